//! What is removed when the process that made it is no more, however it ends: at its end, by a panic
//! or by SIGKILL. For test programs; the command line leaves its clusters running.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use crate::progress::Progress;
use crate::{Cluster, ClusterName, Result};

/// The cluster that a run of a test program is for removing.
const REMOVING: &str = "TESTBED_REMOVES";

/// Runs a command, its program and arguments and what it adds to the environment, once this process
/// is no more.
///
/// # Errors
/// The system's, when no helper can be started.
pub fn at_end(command: &Command) -> io::Result<()> {
    let mut helper = Command::new("sh");
    helper.args(["-c", "cat >/dev/null; exec \"$0\" \"$@\""]);
    helper.arg(command.get_program()).args(command.get_args());
    helper.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    // In a group of its own: an interrupt of the terminal is not for it.
    helper.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    // Its input is never closed here: the system does, with this process.
    std::mem::forget(helper.spawn()?);
    Ok(())
}

/// Removes a cluster once this test program is no more, by a run of its ignored test of this name,
/// which calls [`now_if_asked`].
///
/// # Errors
/// As [`at_end`].
pub fn of_cluster_by_test(name: &ClusterName, test: &str) -> io::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--ignored", "--exact", test]).env(REMOVING, name.to_string());
    at_end(&command)
}

/// Removes the cluster that this run is for removing; nothing when somebody else runs the test.
///
/// # Errors
/// As [`Cluster::down`].
pub fn now_if_asked() -> Result<()> {
    let asked = std::env::var(REMOVING).ok().and_then(|name| name.parse().ok());
    asked.map_or(Ok(()), |name| Cluster::down(&name, true, &Progress::stderr()))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::path::Path;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use super::*;

    const MARK: &str = "TESTBED_TEST_MARK";

    #[test]
    #[ignore = "this is the process that is killed"]
    fn the_process_that_is_killed() {
        let Some(mark) = std::env::var_os(MARK) else { return };
        at_end(
            Command::new("sh")
                .args(["-c", "echo \"$WORDS\" >\"$0\""])
                .arg(mark)
                .env("WORDS", "it ran"),
        )
        .unwrap();
        println!("ready");
        sleep(Duration::from_secs(60));
    }

    fn is_written(mark: &Path) -> bool {
        std::fs::read_to_string(mark).is_ok_and(|text| text == "it ran\n")
    }

    #[test]
    fn a_command_is_run_when_the_process_was_killed_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let mut killed = Command::new(std::env::current_exe().unwrap());
        killed.args(["--ignored", "--exact", "--nocapture"]);
        killed.arg("removal::tests::the_process_that_is_killed").env(MARK, &mark);
        let mut killed = killed.stdout(Stdio::piped()).spawn().unwrap();
        let mut said = killed.stdout.take().unwrap();
        let mut text = String::new();
        while !text.contains("ready") {
            let mut byte = [0];
            assert_eq!(said.read(&mut byte).unwrap(), 1, "it ended early: {text}");
            text.push(byte[0].into());
        }
        sleep(Duration::from_millis(200));
        assert!(!mark.exists(), "while the process lives");
        killed.kill().unwrap();
        killed.wait().unwrap();
        let began = Instant::now();
        while !is_written(&mark) {
            assert!(began.elapsed() < Duration::from_secs(10), "never");
            sleep(Duration::from_millis(10));
        }
    }
}
