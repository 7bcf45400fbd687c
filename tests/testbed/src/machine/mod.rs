//! A machine: a first process in its own mount, process and network namespaces, with its own
//! `/run`, its own disk as `/var`, and a cgroup that holds all it runs. Killing the first process is
//! a power-off. What runs on a machine is not known here.
//!
//! A machine is never remembered, always looked for: it is on if its cgroup has the first process
//! of a namespace. So there is no pid file to be stale.

pub(crate) mod cgroup;
pub(crate) mod process;

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::Invocation;
use crate::{Error, Result, wait};
use cgroup::Group;
use process::Process;

const BOOT_SCRIPT: &str = include_str!("boot.sh");

const BOOT_LIMIT: Duration = Duration::from_secs(20);

/// A shell becomes the daemon within milliseconds.
const START_LIMIT: Duration = Duration::from_secs(5);

/// How much of a daemon's log is shown when it ended against expectation.
const LAST_LINES: usize = 5;

/// Where a machine sees its own programs.
const PROGRAMS: &str = "/run/bin";

/// One machine of a cluster, on or off.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    name: String,
    title: String,
    group: Group,
    folder: PathBuf,
}

impl Machine {
    /// The machine `name` of the cluster whose cgroup and folder are given.
    pub(crate) fn new(name: &str, cluster: &Group, folder: &Path) -> Self {
        Self {
            name: name.to_owned(),
            title: format!("{}/{name}", cluster.kubelet_root().trim_start_matches('/')),
            group: cluster.child(name),
            folder: folder.join(name),
        }
    }

    /// Its name within the cluster.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its cgroup. Its own daemons are in `system` below, so that the kubelet finds only pods
    /// beside them.
    pub(crate) const fn group(&self) -> &Group {
        &self.group
    }

    /// Its disk as the host sees it; the machine sees it as `/var`.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.join("var")
    }

    /// The log of one of its daemons.
    pub(crate) fn log(&self, daemon: &str) -> PathBuf {
        self.folder.join("log").join(format!("{daemon}.log"))
    }

    /// The logs there are: the daemon's name and the file.
    pub(crate) fn logs(&self) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(self.folder.join("log")).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .map(|entry| entry.path())
            .filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)))
            .collect();
        found.sort();
        found
    }

    /// Writes a file onto its disk. `path` is relative to `/var`.
    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> Result<()> {
        crate::files::write_private(&self.disk().join(path), text.as_ref())
    }

    /// Every process of its own: its first one and its daemons, without the pods.
    pub(crate) fn processes(&self) -> Vec<Process> {
        self.system().members().into_iter().filter_map(Process::read).collect()
    }

    /// The id of its first process, if it is on.
    pub(crate) fn first_process(&self) -> Option<i32> {
        let first =
            |process: &Process| process.is_first_of_namespace() && process.program() == "sh";
        self.processes().into_iter().find(first).map(|process| process.pid)
    }

    /// Is it on?
    pub(crate) fn is_on(&self) -> bool {
        self.first_process().is_some()
    }

    /// Switches it on, with `programs` at hand. Its network is not connected yet.
    pub(crate) fn boot(&self, programs: &[&Path]) -> Result<()> {
        fs::create_dir_all(self.disk()).map_err(Error::io("make", self.disk()))?;
        self.system().create()?;
        // It joins its cgroup before it does anything else: from the first moment on it can be
        // found and ended. `setsid --fork` leaves it to the system's own first process.
        let script = format!(
            "set -e; {} exec unshare --mount --pid --net --fork --mount-proc \
             sh -c 'while :; do sleep 86400; done' \"$0\"",
            self.join_script()
        );
        Invocation::new("setsid")
            .args(["--fork", "sh", "-c", &script, &self.title])
            .output_to(self.open_log("boot")?)
            .run()?;
        let what = format!("the first process of machine {}", self.name);
        let hint = format!("see {}", self.log("boot").display());
        wait::until(&what, &hint, BOOT_LIMIT, Duration::from_millis(5), || {
            Ok(self.first_process())
        })?;
        self.enter(["sh", "-s", "--"])?
            .args([self.disk().as_path()])
            .args(programs)
            .stdin(BOOT_SCRIPT)
            .run()?;
        Ok(())
    }

    /// A program that runs inside it.
    pub(crate) fn enter<A: AsRef<std::ffi::OsStr>>(
        &self,
        command: impl IntoIterator<Item = A>,
    ) -> Result<Invocation> {
        let pid = self.on()?.to_string();
        let program =
            Invocation::new("nsenter").args(["--target", &pid, "--mount", "--pid", "--net", "--"]);
        Ok(program.args(command))
    }

    /// Runs lines of `ip -batch` in its network.
    pub(crate) fn ip(&self, lines: &str) -> Result<()> {
        let pid = self.on()?.to_string();
        let args = ["--target", &pid, "--net", "--", "ip", "-batch", "-"];
        Invocation::new("nsenter").args(args).stdin(lines).run()?;
        Ok(())
    }

    /// Loads rules of nftables into its network.
    pub(crate) fn nft(&self, rules: &str) -> Result<()> {
        let pid = self.on()?.to_string();
        let args = ["--target", &pid, "--net", "--", "nft", "-f", "-"];
        Invocation::new("nsenter").args(args).stdin(rules).run()?;
        Ok(())
    }

    /// Starts a daemon on it: one of the programs it was booted with, or one of the system's.
    pub(crate) fn start(&self, daemon: &str, args: &[String]) -> Result<()> {
        self.start_with(daemon, &[], args)
    }

    /// Starts a daemon with additional environment variables.
    pub(crate) fn start_with(
        &self,
        daemon: &str,
        env: &[(&str, &str)],
        args: &[String],
    ) -> Result<()> {
        let settings: Vec<_> = env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let script = format!("set -e; PATH={PROGRAMS}:$PATH; {} exec \"$@\"", self.join_script());
        self.enter(["setsid", "--fork", "sh", "-c", &script, "sh", "env"])?
            .args(settings)
            .args([daemon])
            .args(args)
            .output_to(self.open_log(daemon)?)
            .run()?;
        // It bears its name from the moment on in which the shell has become it.
        let begun = Instant::now();
        while self.daemon(daemon).is_none() && begun.elapsed() < START_LIMIT {
            thread::sleep(Duration::from_millis(5));
        }
        self.expect_running(daemon)
    }

    /// The running daemon of that name.
    pub(crate) fn daemon(&self, name: &str) -> Option<Process> {
        self.processes().into_iter().find(|process| process.program() == name)
    }

    /// Fails, with the end of its log, if a daemon that should run does not.
    pub(crate) fn expect_running(&self, daemon: &str) -> Result<()> {
        if self.daemon(daemon).is_some() {
            return Ok(());
        }
        let text = fs::read(self.log(daemon)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let last: Vec<_> = text.lines().rev().take(LAST_LINES).collect();
        let said = last.into_iter().rev().collect::<Vec<_>>().join("\n");
        Err(Error::Ended { daemon: daemon.to_owned(), machine: self.name.clone(), said })
    }

    /// Kills one daemon, as a crash would.
    pub(crate) fn kill(&self, daemon: &str) {
        let system = self.system();
        self.processes()
            .iter()
            .filter(|process| process.program() == daemon)
            .for_each(|process| system.kill_member(process.pid));
    }

    /// Kills every process of a pod, of whatever class of service.
    pub(crate) fn kill_pod(&self, uid: &str) -> Result<()> {
        let pods = self.group.child("kubepods");
        let classes = [pods.child("burstable"), pods.child("besteffort"), pods];
        classes.iter().try_for_each(|class| class.child(&format!("pod{uid}")).kill())
    }

    /// Ends everything on it at once, as a cut cable would, and lets its cgroups go.
    pub(crate) fn power_off(&self) -> Result<()> {
        if let Some(pid) = self.first_process() {
            // The kernel ends all others of the namespace together with the first.
            self.system().kill_member(pid);
        }
        self.group.kill()?;
        self.group.remove()
    }

    fn on(&self) -> Result<i32> {
        self.first_process().ok_or_else(|| Error::Off(self.name.clone()))
    }

    fn system(&self) -> Group {
        self.group.child("system")
    }

    /// Shell text by which a process joins the machine's cgroup.
    fn join_script(&self) -> String {
        self.system().doors().map(|door| format!("echo 0 > '{}'; ", door.display())).collect()
    }

    fn open_log(&self, daemon: &str) -> Result<File> {
        let path = self.log(daemon);
        let folder = self.folder.join("log");
        fs::create_dir_all(&folder).map_err(Error::io("make", folder))?;
        OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("open", path))
    }
}
