//! The one way this crate runs another program: every wait is bounded and every failure carries
//! the command and what it wrote to stderr. What a program is for, and what its output means,
//! lives with the caller.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a program may take when its caller names no other limit. `ip`, `nft`, `mount` and
/// `kubectl` answer in milliseconds; a loaded machine is given room.
const DEFAULT_LIMIT: Duration = Duration::from_secs(30);

/// Folders searched for programs by everything started here. Fixed, because the caller's own PATH
/// may miss `sbin` and must not reach the daemons.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The program could not be started at all.
    #[error("cannot start `{program}`: {source}; `cargo testbed doctor` says what is missing")]
    Start {
        /// The program's name or path.
        program: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The program ended with a failure.
    #[error("`{command}` failed ({status}): {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to stderr, trimmed.
        stderr: String,
    },
    /// The program did not end in time and was killed.
    #[error("`{command}` did not end within {limit:?} and was stopped: {stderr}")]
    TimedOut {
        /// The command line.
        command: String,
        /// The limit it had.
        limit: Duration,
        /// What it wrote to stderr until then, trimmed.
        stderr: String,
    },
    /// Talking to the running program failed.
    #[error("lost `{command}`: {source}")]
    Lost {
        /// The command line.
        command: String,
        /// The system's reason.
        source: io::Error,
    },
}

#[derive(Debug)]
enum Input {
    None,
    Text(Vec<u8>),
    File(File),
}

/// A program to run, with its arguments, input and limit.
#[derive(Debug)]
pub(crate) struct Invocation {
    name: OsString,
    args: Vec<OsString>,
    input: Input,
    output: Option<File>,
    limit: Duration,
}

impl Invocation {
    /// A program found by name in the fixed search path, or by its own path.
    pub(crate) fn new(name: impl AsRef<OsStr>) -> Self {
        Self {
            name: name.as_ref().to_owned(),
            args: Vec::new(),
            input: Input::None,
            output: None,
            limit: DEFAULT_LIMIT,
        }
    }

    /// Adds arguments.
    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Gives the program this text as its input.
    pub(crate) fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Text(text.into());
        self
    }

    /// Gives the program this file as its input.
    pub(crate) fn input_from(mut self, file: File) -> Self {
        self.input = Input::File(file);
        self
    }

    /// Sends stdout and stderr to a file: for what stays running after the command has ended.
    pub(crate) fn output_to(mut self, file: File) -> Self {
        self.output = Some(file);
        self
    }

    /// Sets another limit than the default.
    pub(crate) const fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the program to its end and returns what it wrote to stdout.
    pub(crate) fn run(self) -> Result<String, CommandError> {
        let command = self.to_string();
        let lost = |source| CommandError::Lost { command: command.clone(), source };
        let limit = self.limit;
        let mut child = self.spawn()?;
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let ended = ends_within(&child, limit).map_err(lost)?;
        if !ended {
            child.kill().map_err(lost)?;
        }
        let status = child.wait().map_err(lost)?;
        let stderr = collect(stderr).trim().to_owned();
        if !ended {
            return Err(CommandError::TimedOut { command, limit, stderr });
        }
        if !status.success() {
            return Err(CommandError::Failed { command, status, stderr });
        }
        Ok(collect(stdout))
    }

    fn spawn(self) -> Result<Child, CommandError> {
        let program = self.name.to_string_lossy().into_owned();
        let start = |source| CommandError::Start { program: program.clone(), source };
        let mut command = Command::new(&self.name);
        // A clean environment: a proxy, a KUBECONFIG or a GOFLAGS of the caller would reach the
        // daemons. Its own process group: Ctrl-C is for the caller, who cleans up in order.
        command.args(&self.args).env_clear().env("PATH", PATH).env("HOME", "/root");
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let (stdin, text) = match self.input {
            Input::None => (Stdio::null(), None),
            Input::Text(text) => (Stdio::piped(), Some(text)),
            Input::File(file) => (Stdio::from(file), None),
        };
        command.stdin(stdin);
        if let Some(file) = self.output {
            command.stderr(file.try_clone().map_err(start)?).stdout(file);
        } else {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child = command.spawn().map_err(start)?;
        if let (Some(text), Some(mut pipe)) = (text, child.stdin.take()) {
            // A program that ends without reading says why by its status: a broken pipe adds nothing.
            let _ = pipe.write_all(&text);
        }
        Ok(child)
    }
}

impl std::fmt::Display for Invocation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let base = Path::new(&self.name).file_name().unwrap_or(&self.name);
        write!(formatter, "{}", base.to_string_lossy())?;
        self.args.iter().try_for_each(|arg| write!(formatter, " {}", arg.to_string_lossy()))
    }
}

type Drain = Option<JoinHandle<Vec<u8>>>;

/// Reads a pipe to its end on a thread, so that a talkative program never blocks on a full pipe.
fn drain(pipe: Option<impl Read + Send + 'static>) -> Drain {
    let mut pipe = pipe?;
    Some(thread::spawn(move || {
        let mut bytes = Vec::new();
        // What could be read is what there is to tell.
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    }))
}

fn collect(drain: Drain) -> String {
    let bytes = drain.and_then(|thread| thread.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn ends_within(child: &Child, limit: Duration) -> io::Result<bool> {
    let pid = Pid::from_child(child);
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_succeeds_gives_its_output() {
        let text = Invocation::new("cat").stdin("hello").run().unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_failure_carries_the_command_and_its_stderr() {
        let error = Invocation::new("sh").args(["-c", "echo oh no >&2; exit 3"]).run().unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh -c") && text.contains("oh no") && text.contains("exit status: 3"),
            "{text}"
        );
    }

    #[test]
    fn a_program_that_hangs_is_stopped_at_its_limit() {
        let limit = Duration::from_millis(100);
        let before = Instant::now();
        let error = Invocation::new("sleep").args(["30"]).limit(limit).run().unwrap_err();
        assert!(matches!(error, CommandError::TimedOut { .. }), "{error}");
        assert!(before.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_program_that_is_not_there_says_where_to_look_for_help() {
        let text = Invocation::new("no-such-program").run().unwrap_err().to_string();
        assert!(text.contains("no-such-program") && text.contains("doctor"), "{text}");
    }

    #[test]
    fn the_callers_environment_does_not_leak_into_a_program() {
        let text = Invocation::new("env").run().unwrap();
        let mut names: Vec<_> = text.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["HOME", "PATH"]);
    }
}
