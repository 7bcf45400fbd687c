//! One cluster that most tests share, started by the first that needs it and removed when this
//! program has ended, however it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use testbed::cache::Cache;
use testbed::prepare::{self, Prepared};
use testbed::progress::Progress;
use testbed::{Cluster, UpRequest, removal};

pub const SHARED: &str = "t3";

const TESTBED: &str = env!("CARGO_BIN_EXE_testbed");

static ALONE: Mutex<()> = Mutex::new(());

static PREPARED: LazyLock<Prepared> = LazyLock::new(|| {
    prepare::prepare(&Cache::of_this_user().unwrap(), &Progress::stderr()).unwrap()
});

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    remove_at_end(SHARED);
    // A killed run may have left one with other data.
    assert!(testbed(&["down", "--purge", "--name", SHARED]).status.success());
    let request = UpRequest { audit: true, ..UpRequest::new(SHARED.parse().unwrap()) };
    Cluster::up(&request, &PREPARED, &Progress::stderr()).unwrap()
});

/// One test at a time works on the machine: two cores are quickest in turn, and a power-off is no
/// news to the test beside it.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn shared() -> (&'static Cluster, MutexGuard<'static, ()>) {
    let guard = alone();
    (&CLUSTER, guard)
}

/// The command line under test, run to its end.
pub fn testbed(args: &[&str]) -> Output {
    Command::new(TESTBED).args(args).stdin(Stdio::null()).output().unwrap()
}

/// The command line under test, left running.
pub fn spawn_testbed(args: &[&str]) -> Child {
    let mut command = Command::new(TESTBED);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// What was written to stderr by a command that must fail with exit code 1.
pub fn refusal(args: &[&str]) -> String {
    let output = testbed(args);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "testbed {args:?} said: {text}");
    text
}

/// Asks until the answer is there; the promise is that it comes within `limit`.
pub fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// Removes a cluster once this program is no more.
pub fn remove_at_end(name: &str) {
    removal::at_end(Command::new(TESTBED).args(["down", "--purge", "--name", name])).unwrap();
}

/// A port of this machine that leads to a port in the cluster while it lives.
pub struct Forward {
    child: Child,
    pub port: u16,
}

impl Forward {
    pub fn to(cluster: &Cluster, namespace: &str, target: &str, port: u16) -> Self {
        let mut command = cluster.kubectl().command();
        command.args(["port-forward", "--namespace", namespace, target, &format!(":{port}")]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        // Forwarding from 127.0.0.1:PORT -> TARGET
        let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next());
        let port = port.and_then(|port| port.parse().ok());
        Self { port: port.unwrap_or_else(|| panic!("port-forward said: {line}")), child }
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
