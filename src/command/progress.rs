//! What a person or a log sees of a move while it goes: a bar on a terminal, else a line now and
//! then. Always on standard error.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::migration::watch::{Progress, Step, Watch};

/// A line is due after so many more percent.
const PERCENT: u64 = 10;

/// A line is due after so long.
const PAUSE: Duration = Duration::from_secs(5);

/// Watches a move for whoever reads standard error.
pub struct Teller {
    how: How,
}

enum How {
    Bar(ProgressBar),
    Lines(RefCell<Milestones>),
}

impl Teller {
    /// A bar when standard error is a terminal, else lines.
    #[must_use]
    pub fn stderr() -> Self {
        if !io::stderr().is_terminal() {
            return Self { how: How::Lines(RefCell::default()) };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix:8} {bar:32} {pos}/{len} rows {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { how: How::Bar(bar) }
    }

    /// Says something beside the progress.
    pub fn say(&self, text: &str) {
        match &self.how {
            How::Bar(bar) => bar.println(text),
            How::Lines(_) => line(text),
        }
    }
}

fn line(text: &str) {
    // Whoever closed standard error does not want to know.
    let _ = writeln!(io::stderr(), "{text}");
}

impl Watch for Teller {
    fn step(&self, step: Step) {
        if let Some(words) = words(step) {
            self.say(words);
        }
    }

    fn progress(&self, progress: Progress) {
        match &self.how {
            How::Bar(bar) => {
                bar.set_prefix(progress.what);
                bar.set_length(progress.of.max(progress.done));
                bar.set_position(progress.done);
            }
            How::Lines(milestones) => {
                if let Some(text) = milestones.borrow_mut().due(progress, Instant::now()) {
                    line(&text);
                }
            }
        }
    }
}

/// What is worth a line of its own.
const fn words(step: Step) -> Option<&'static str> {
    match step {
        Step::Locked => Some("the source is held still"),
        Step::Checked => Some("the source is whole, and a membership"),
        Step::BackedUp => Some("the source is copied and read"),
        Step::Admitted => Some("the buckets can take the records"),
        Step::Fenced => Some("the fence is up: nobody writes to the source any more"),
        Step::Verified => Some("the buckets were read back and hold what the source holds"),
        Step::Marked => Some("the buckets say that the move is done"),
        Step::Copied
        | Step::Staged
        | Step::Importing
        | Step::Batch(_)
        | Step::Pruned(_)
        | Step::Concluded => None,
    }
}

/// Decides when a line is due: at the start and the end of each part, and between them after every
/// tenth of it or every few seconds.
#[derive(Default)]
struct Milestones {
    said: Option<(&'static str, u64, Instant)>,
}

impl Milestones {
    fn due(&mut self, progress: Progress, now: Instant) -> Option<String> {
        let Progress { what, done, of } = progress;
        let percent = done.min(of).saturating_mul(100).checked_div(of).unwrap_or(100);
        let due = match self.said {
            Some((said, at, when)) if said == what => {
                let ended = percent == 100 && at != 100;
                ended || percent >= at + PERCENT || now.duration_since(when) >= PAUSE
            }
            Some(_) | None => true,
        };
        if !due {
            return None;
        }
        self.said = Some((what, percent, now));
        Some(format!("{what}: {done} of {of} rows ({percent} %)"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_at_each_tenth_each_pause_and_each_end() {
        let (mut milestones, start) = (Milestones::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for (what, done, of, seconds, expected) in [
            ("read", 1, 1000, 0, true),
            ("read", 99, 1000, 1, false),
            ("read", 100, 1000, 1, true),
            ("read", 150, 1000, 5, false),
            ("read", 150, 1000, 6, true),
            ("read", 999, 1000, 7, true),
            ("read", 1000, 1000, 7, true),
            ("read", 1000, 1000, 8, false),
            ("import", 0, 0, 8, true),
            ("import", 7, 3, 8, false),
            ("verify", u64::MAX / 100, u64::MAX / 100, 9, true),
        ] {
            let said = milestones.due(Progress { what, done, of }, at(seconds));
            assert_eq!(said.is_some(), expected, "{what} {done} of {of} at {seconds} s");
        }
    }

    #[test]
    fn a_line_says_how_far_it_is() {
        let said = Milestones::default()
            .due(Progress { what: "import", done: 500, of: 2000 }, Instant::now());
        assert_eq!(said.as_deref(), Some("import: 500 of 2000 rows (25 %)"));
    }
}
