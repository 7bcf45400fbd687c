//! Telling a person what is going on: moving bars on a terminal, plain lines elsewhere. Always on
//! stderr, so that stdout stays data. What there is to tell is the caller's business.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a plain step that takes long says that it is still at work. Short enough that a log
/// watcher does not think it is stuck.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// How often a spinner moves.
const TICK: Duration = Duration::from_millis(120);

/// Where progress goes.
#[derive(Clone)]
pub struct Progress {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Silent,
    Lines(Arc<Mutex<dyn Write + Send>>),
    Bars { bars: MultiProgress, colours: bool },
}

impl Progress {
    /// Bars when stderr is a terminal, else plain lines on it.
    #[must_use]
    pub fn stderr() -> Self {
        let kind = if io::stderr().is_terminal() {
            let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            Kind::Bars { bars, colours: wants_colour(std::env::var("NO_COLOR").ok().as_deref()) }
        } else {
            Kind::Lines(Arc::new(Mutex::new(io::stderr())))
        };
        Self { kind }
    }

    /// Plain lines into a writer of the caller's choice.
    #[must_use]
    pub fn lines(out: Arc<Mutex<dyn Write + Send>>) -> Self {
        Self { kind: Kind::Lines(out) }
    }

    /// Tells nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self { kind: Kind::Silent }
    }

    /// Says one thing that is already true.
    pub fn note(&self, text: &str) {
        match &self.kind {
            Kind::Silent => {}
            Kind::Lines(out) => write_line(out, text),
            // A terminal that went away is no reason to stop.
            Kind::Bars { bars, .. } => drop(bars.println(text)),
        }
    }

    /// Begins a step, for example "etcd 3.6.16", with what is being done to it.
    #[must_use]
    pub fn step(&self, subject: &str, doing: &str) -> Step {
        let show = match &self.kind {
            Kind::Silent => Show::Silent,
            Kind::Lines(out) => {
                write_line(out, &format!("{subject}: {doing}"));
                Show::Lines { out: Arc::clone(out), said: Instant::now() }
            }
            Kind::Bars { bars, colours } => {
                let bar = bars.add(ProgressBar::new_spinner().with_style(spinner(*colours)));
                bar.set_prefix(subject.to_owned());
                bar.set_message(doing.to_owned());
                bar.enable_steady_tick(TICK);
                Show::Bar { bar, colours: *colours }
            }
        };
        let (subject, doing) = (subject.to_owned(), doing.to_owned());
        Step { subject, doing, done: 0, total: None, start: Instant::now(), show }
    }
}

/// The convention of no-color.org: any value but an empty one switches colours off.
fn wants_colour(no_color: Option<&str>) -> bool {
    no_color.is_none_or(str::is_empty)
}

fn write_line(out: &Mutex<dyn Write + Send>, text: &str) {
    if let Ok(mut out) = out.lock() {
        // A reader that went away is no reason to stop.
        let _ = writeln!(out, "{text}");
    }
}

fn spinner(colours: bool) -> ProgressStyle {
    let template = if colours {
        "{spinner:.cyan} {prefix:28} {msg} {elapsed:.dim}"
    } else {
        "{spinner} {prefix:28} {msg} {elapsed}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn counted(colours: bool) -> ProgressStyle {
    let template = if colours {
        "{spinner:.cyan} {prefix:28} {bar:24.cyan/dim} {pos}/{len} {msg} {elapsed:.dim}"
    } else {
        "{spinner} {prefix:28} {bar:24} {pos}/{len} {msg} {elapsed}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// One thing that takes a while. Dropped without [`Step::finish`], it vanishes from the terminal:
/// the error that ended it is told by whoever handles the error.
pub struct Step {
    subject: String,
    doing: String,
    done: u64,
    total: Option<u64>,
    start: Instant,
    show: Show,
}

enum Show {
    Silent,
    Lines { out: Arc<Mutex<dyn Write + Send>>, said: Instant },
    Bar { bar: ProgressBar, colours: bool },
}

impl Step {
    /// Changes what is being done.
    pub fn doing(&mut self, doing: &str) {
        if self.doing == doing {
            return self.beat();
        }
        doing.clone_into(&mut self.doing);
        match &mut self.show {
            Show::Silent => {}
            Show::Lines { out, said } => {
                write_line(out, &format!("{}: {doing}", self.subject));
                *said = Instant::now();
            }
            Show::Bar { bar, .. } => bar.set_message(doing.to_owned()),
        }
    }

    /// Says of how many parts the step consists.
    pub fn of(&mut self, total: u64) {
        self.total = Some(total);
        if let Show::Bar { bar, colours } = &self.show {
            bar.set_length(total);
            bar.set_style(counted(*colours));
        }
    }

    /// Counts the parts that are done.
    pub fn at(&mut self, done: u64) {
        self.done = done;
        if let Show::Bar { bar, .. } = &self.show {
            bar.set_position(done);
        }
        self.beat();
    }

    /// A sign of life; plain output says something only once per [`HEARTBEAT`].
    pub fn beat(&mut self) {
        let Show::Lines { out, said } = &mut self.show else { return };
        if said.elapsed() < HEARTBEAT {
            return;
        }
        let parts = self.total.map(|total| format!(", {} of {total}", self.done));
        let elapsed = spoken(self.start.elapsed());
        let (subject, doing) = (&self.subject, &self.doing);
        write_line(out, &format!("{subject}: {doing}{} ({elapsed})", parts.unwrap_or_default()));
        *said = Instant::now();
    }

    /// Ends the step with its outcome, for example "built".
    pub fn finish(self, outcome: &str) {
        let line = format!("{}: {outcome} in {}", self.subject, spoken(self.start.elapsed()));
        match &self.show {
            Show::Silent => {}
            Show::Lines { out, .. } => write_line(out, &line),
            Show::Bar { bar, .. } => bar.suspend(|| {
                let _ = writeln!(io::stderr(), "{line}");
            }),
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Show::Bar { bar, .. } = &self.show {
            bar.finish_and_clear();
        }
    }
}

/// A duration as a person says it: `0.4 s`, `12 s`, `4 min 13 s`.
#[must_use]
pub fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 10 {
        format!("{:.1} s", duration.as_secs_f64())
    } else if seconds < 60 {
        format!("{seconds} s")
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(tell: impl FnOnce(&Progress)) -> String {
        let out = Arc::new(Mutex::new(Vec::new()));
        let sink: Arc<Mutex<dyn Write + Send>> = Arc::<Mutex<Vec<u8>>>::clone(&out);
        tell(&Progress::lines(sink));
        let bytes = out.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_plain_step_is_one_line_a_change_without_escape_codes() {
        let said = recorded(|progress| {
            progress.note("two to build");
            let mut step = progress.step("etcd 3.6.16", "building");
            step.of(3);
            step.at(1);
            step.at(2);
            step.doing("linking");
            step.doing("linking");
            step.finish("built");
        });
        let expected = "two to build\netcd 3.6.16: building\netcd 3.6.16: linking\n\
                        etcd 3.6.16: built in 0.0 s\n";
        assert_eq!(said, expected);
    }

    #[test]
    fn a_step_that_takes_long_gives_a_sign_of_life() {
        let said = recorded(|progress| {
            let mut step = progress.step("etcd", "building");
            step.of(9);
            if let Show::Lines { said, .. } = &mut step.show {
                *said = Instant::now().checked_sub(HEARTBEAT).unwrap();
            }
            step.at(4);
            step.at(5);
        });
        assert_eq!(said, "etcd: building\netcd: building, 4 of 9 (0.0 s)\n");
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        let cases =
            [(400, "0.4 s"), (12_300, "12 s"), (253_000, "4 min 13 s"), (60_000, "1 min 0 s")];
        for (millis, expected) in cases {
            assert_eq!(spoken(Duration::from_millis(millis)), expected);
        }
    }

    #[test]
    fn no_color_switches_colours_off_unless_it_is_empty() {
        let cases = [(None, true), (Some(""), true), (Some("1"), false), (Some("0"), false)];
        for (value, expected) in cases {
            assert_eq!(wants_colour(value), expected, "NO_COLOR={value:?}");
        }
    }
}
