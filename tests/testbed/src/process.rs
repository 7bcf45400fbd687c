//! Running a child program to its end: its lines are heard while it runs, and it never outlives
//! its deadline. What a program's output means is the caller's business.

use std::{
    io::{self, BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

/// How long a killed or finished child may take to be collected before its exit is polled again.
const POLL: Duration = Duration::from_millis(20);

/// How long a child says nothing before the listener hears of the silence.
const QUIET: Duration = Duration::from_secs(1);

/// Why a child program gave no exit status.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not there, or may not be run.
    #[error("`{program}` cannot be started: {source}")]
    Start {
        /// The program as it was called.
        program: String,
        /// What the system said; `NotFound` when it is not installed.
        source: io::Error,
    },
    /// The program ran longer than it may and was killed.
    #[error("`{program}` was stopped after {seconds} s without coming to an end")]
    TimedOut {
        /// The program as it was called.
        program: String,
        /// The deadline that passed.
        seconds: u64,
    },
}

/// What is heard from a child while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A line of its standard output.
    Out(&'a str),
    /// A line of its standard error.
    Err(&'a str),
    /// Nothing for a second: a chance to give a sign of life.
    Quiet,
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// What a child that ended left behind.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs a command without input and gives back what it said.
///
/// # Errors
/// [`ProcessError`] when it cannot start or does not end within `deadline`. A non-zero exit is
/// not an error here: see [`Finished::status`].
pub fn run(command: &mut Command, deadline: Duration) -> Result<Finished, ProcessError> {
    run_heard(command, deadline, |_| ())
}

/// As [`run`], and calls `hear` for every line while the program runs, and in long silences.
///
/// # Errors
/// As [`run`].
pub fn run_heard(
    command: &mut Command,
    deadline: Duration,
    mut hear: impl FnMut(Heard<'_>),
) -> Result<Finished, ProcessError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let end = Instant::now() + deadline;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| ProcessError::Start { program: program.clone(), source })?;
    let lines = listen(&mut child);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left.min(QUIET)) {
            Ok((Stream::Out, line)) => {
                hear(Heard::Out(&line));
                stdout.extend([line.as_str(), "\n"]);
            }
            Ok((Stream::Err, line)) => {
                hear(Heard::Err(&line));
                stderr.extend([line.as_str(), "\n"]);
            }
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => hear(Heard::Quiet),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    match collect(&mut child, end) {
        Some(status) => Ok(Finished { status, stdout, stderr }),
        None => Err(ProcessError::TimedOut { program, seconds: deadline.as_secs() }),
    }
}

/// Both streams as one channel of lines, closed when both have ended.
fn listen(child: &mut Child) -> mpsc::Receiver<(Stream, String)> {
    let (sender, receiver) = mpsc::channel();
    if let Some(out) = child.stdout.take() {
        forward(out, Stream::Out, sender.clone());
    }
    if let Some(err) = child.stderr.take() {
        forward(err, Stream::Err, sender);
    }
    receiver
}

fn forward(pipe: impl Read + Send + 'static, stream: Stream, sender: Sender<(Stream, String)>) {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            if sender.send((stream, text.trim_end_matches(['\n', '\r']).to_owned())).is_err() {
                break;
            }
            line.clear();
        }
    });
}

/// The exit status, or `None` after killing a child that is past its end.
fn collect(child: &mut Child, end: Instant) -> Option<ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < end => thread::sleep(POLL),
            Ok(None) | Err(_) => {
                // Both fail only for a child that is already gone, which is what is wanted.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_streams_are_heard_and_kept_apart() {
        let mut heard = Vec::new();
        let mut command = shell("echo out; echo err >&2; sleep 1.2; exit 3");
        let finished = run_heard(&mut command, Duration::from_secs(10), |what| {
            heard.push(match what {
                Heard::Out(line) => format!("out {line}"),
                Heard::Err(line) => format!("err {line}"),
                Heard::Quiet => "quiet".to_owned(),
            });
        })
        .unwrap();
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("out\n", "err\n"));
        heard.sort();
        assert_eq!(heard, ["err err", "out out", "quiet"]);
    }

    #[test]
    fn a_child_past_its_deadline_is_killed() {
        let start = Instant::now();
        let late = run(&mut shell("exec sleep 60"), Duration::from_millis(200)).unwrap_err();
        assert!(matches!(late, ProcessError::TimedOut { .. }), "{late}");
        assert!(start.elapsed() < Duration::from_secs(30), "the sleep was waited for");
    }

    #[test]
    fn a_missing_program_is_named() {
        let missing =
            run(&mut Command::new("no-such-program"), Duration::from_secs(1)).unwrap_err();
        assert!(missing.to_string().contains("no-such-program"), "{missing}");
    }
}
