//! Processes as `/proc` tells them. Reading only: who may be ended is decided by cgroup
//! membership, in `cgroup`.

use std::fs;
use std::path::Path;

/// One process, as read at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id as this program sees it.
    pub(crate) pid: i32,
    /// Its id in each process namespace it is in, outermost first.
    pub(crate) ns_pids: Vec<i32>,
    /// Its command line.
    pub(crate) argv: Vec<String>,
    /// Its resident memory, in KiB.
    pub(crate) rss_kib: u64,
}

impl Process {
    /// Reads one process; `None` once it has gone.
    pub(crate) fn read(pid: i32) -> Option<Self> {
        let folder = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(folder.join("status")).ok()?;
        let command_line = fs::read(folder.join("cmdline")).ok()?;
        let process = Self::parse(pid, &status, &command_line);
        // A zombie has no command line left: it is dead, only not yet reaped.
        (!process.argv.is_empty()).then_some(process)
    }

    fn parse(pid: i32, status: &str, command_line: &[u8]) -> Self {
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .unwrap_or_default()
                .split_whitespace()
        };
        Self {
            pid,
            ns_pids: field("NSpid:").filter_map(|id| id.parse().ok()).collect(),
            argv: command_line
                .split(|byte| *byte == 0)
                .filter(|part| !part.is_empty())
                .map(|part| String::from_utf8_lossy(part).into_owned())
                .collect(),
            rss_kib: field("VmRSS:").next().and_then(|size| size.parse().ok()).unwrap_or(0),
        }
    }

    /// The program's name without its folder.
    pub(crate) fn program(&self) -> &str {
        self.argv.first().map_or("", |first| first.rsplit('/').next().unwrap_or(first))
    }

    /// Is this the first process of a process namespace made directly below ours?
    pub(crate) fn is_first_of_namespace(&self) -> bool {
        matches!(self.ns_pids[..], [_, 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str =
        "Name:\tkubelet\nPid:\t4711\nNSpid:\t4711\t42\nVmRSS:\t  112640 kB\nThreads:\t9\n";

    #[test]
    fn a_process_is_read_with_its_ids_memory_and_command_line() {
        let process = Process::parse(4711, STATUS, b"/run/bin/kubelet\0--config=/x\0");
        assert_eq!(process.ns_pids, [4711, 42]);
        assert_eq!(process.rss_kib, 112_640);
        assert_eq!(process.argv, ["/run/bin/kubelet", "--config=/x"]);
        assert_eq!(process.program(), "kubelet");
        assert!(!process.is_first_of_namespace());
    }

    #[test]
    fn only_the_first_process_one_namespace_down_is_a_machines_first() {
        let first = |ns_pids: &str| {
            Process::parse(7, &format!("NSpid:\t{ns_pids}\n"), b"sh\0").is_first_of_namespace()
        };
        assert!(first("7\t1"));
        assert!(!first("1"), "the host's own");
        assert!(!first("7"), "on the host");
        assert!(!first("7\t2"), "a daemon of the machine");
        assert!(!first("7\t3\t1"), "a container's first");
    }

    #[test]
    fn a_process_that_has_gone_reads_as_none() {
        assert_eq!(Process::read(i32::MAX), None);
    }
}
