//! The cgroups of a cluster: where its processes are kept together, in every hierarchy.
//! Membership is the proof that a process is ours: nothing else is ever ended.
//!
//! Hierarchies are used as they are found; none is ever mounted, unmounted or remounted.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{Error, Result, wait};

/// The controllers that the kubelet and runc cannot do without.
const NEEDED: [&str; 8] =
    ["cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer", "blkio"];

/// How long the kernel may take to end killed processes and to let their groups go.
const END_LIMIT: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(10);

/// One cgroup, by its path below each hierarchy.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    hierarchies: Vec<PathBuf>,
    path: PathBuf,
}

impl Group {
    /// The group `path` below the root of this machine's hierarchies; nothing is made yet.
    ///
    /// # Errors
    /// [`Error::Cgroups`] when the machine has no usable v1 layout.
    pub(crate) fn at_root(path: &str) -> Result<Self> {
        let file = "/proc/self/mountinfo";
        let text = fs::read_to_string(file).map_err(Error::io("read", file))?;
        Ok(Self { hierarchies: hierarchies(&text)?, path: path.into() })
    }

    /// The group `name` below this one.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self { hierarchies: self.hierarchies.clone(), path: self.path.join(name) }
    }

    /// The path that the kubelet knows it by.
    pub(crate) fn kubelet_root(&self) -> String {
        format!("/{}", self.path.display())
    }

    /// The files a process writes `0` into to become a member.
    pub(crate) fn doors(&self) -> impl Iterator<Item = PathBuf> {
        self.folders().map(|folder| folder.join("cgroup.procs"))
    }

    /// Makes the group, and those above it, in every hierarchy.
    pub(crate) fn create(&self) -> Result<()> {
        for hierarchy in &self.hierarchies {
            let mut folder = hierarchy.clone();
            for part in self.path.components() {
                let parent = folder.clone();
                folder.push(part);
                fs::create_dir_all(&folder).map_err(Error::io("make", &folder))?;
                inherit_cpuset(&parent, &folder)?;
            }
        }
        Ok(())
    }

    /// Does the group, or a rest of it, exist in any hierarchy?
    pub(crate) fn exists(&self) -> bool {
        self.folders().any(|folder| folder.exists())
    }

    /// Every process in the group and below it.
    pub(crate) fn members(&self) -> BTreeSet<i32> {
        let mut pids = BTreeSet::new();
        for folder in self.folders().flat_map(|top| tree(&top)) {
            // A group that has just gone has no members.
            let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
        // Zero stands for a process of a namespace that is not ours to see.
        pids.remove(&0);
        pids
    }

    /// Ends every process in the group and below it, and waits until none is left.
    pub(crate) fn kill(&self) -> Result<()> {
        let what = format!("the end of the processes in {}", self.path.display());
        wait::until(&what, "a process may hang in the kernel: see `ps`", END_LIMIT, PAUSE, || {
            let members = self.members();
            members.iter().for_each(|pid| self.kill_member(*pid));
            Ok(members.is_empty().then_some(()))
        })
    }

    /// Ends one process if it still is a member. The pidfd is taken before membership is read
    /// again: an id that was given to another process meanwhile is never hit.
    pub(crate) fn kill_member(&self, pid: i32) {
        let Some(id) = Pid::from_raw(pid) else { return };
        let Ok(process) = pidfd_open(id, PidfdFlags::empty()) else { return };
        if self.members().contains(&pid) {
            // It may have ended by itself: then there is nothing left to do.
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
    }

    /// Removes the group and those below it, deepest first. It must have no members.
    pub(crate) fn remove(&self) -> Result<()> {
        let what = format!("the removal of the cgroup {}", self.path.display());
        wait::until(&what, "see its cgroup.procs", END_LIMIT, PAUSE, || {
            let left =
                self.folders().flat_map(|top| tree(&top)).map(|folder| fs::remove_dir(&folder));
            let busy = left
                .filter_map(io::Result::err)
                .any(|error| error.kind() != io::ErrorKind::NotFound);
            Ok((!busy && !self.exists()).then_some(()))
        })
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.hierarchies.iter().map(|hierarchy| hierarchy.join(&self.path))
    }
}

/// A folder and all below it, deepest first.
fn tree(top: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(top).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        found.extend(tree(&entry.path()));
    }
    if top.exists() {
        found.push(top.to_owned());
    }
    found
}

/// A new cpuset group is empty, and nothing may join it until it is given processors and memory.
fn inherit_cpuset(parent: &Path, group: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let from = parent.join(file);
        if from.exists() {
            let value = fs::read_to_string(&from).map_err(Error::io("read", &from))?;
            let to = group.join(file);
            fs::write(&to, value.trim()).map_err(Error::io("write", &to))?;
        }
    }
    Ok(())
}

/// The mount points of all hierarchies, from the text of `/proc/self/mountinfo`.
fn hierarchies(mountinfo: &str) -> Result<Vec<PathBuf>> {
    let mut roots = Vec::new();
    let mut controllers = BTreeSet::new();
    let mut unified = Vec::new();
    for line in mountinfo.lines() {
        let Some((place, kind)) = line.split_once(" - ") else { continue };
        let mut kind = kind.split(' ');
        match kind.next() {
            Some("cgroup") => {
                roots.extend(place.split(' ').nth(4).map(PathBuf::from));
                controllers.extend(kind.nth(1).into_iter().flat_map(|options| options.split(',')));
            }
            // On a mixed layout runc keeps containers in the unified hierarchy as well.
            Some("cgroup2") => unified.extend(place.split(' ').nth(4).map(PathBuf::from)),
            _ => {}
        }
    }
    let missing: Vec<_> = NEEDED.into_iter().filter(|name| !controllers.contains(name)).collect();
    match (roots.is_empty(), !unified.is_empty()) {
        (true, true) => Err(Error::Cgroups("it is cgroup v2 only".to_owned())),
        (true, false) => Err(Error::Cgroups("no cgroup hierarchy is mounted".to_owned())),
        (false, _) if missing.is_empty() => Ok([roots, unified].concat()),
        (false, _) => Err(Error::Cgroups(format!("no v1 hierarchy has {}", missing.join(", ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
30 1 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
33 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
34 30 0:31 / /sys/fs/cgroup/pids rw shared:4 - cgroup cgroup rw,pids
35 30 0:32 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices
36 30 0:33 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer
37 30 0:34 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
38 30 0:35 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
39 30 0:36 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn every_hierarchy_is_found_the_unified_one_last() {
        let roots = hierarchies(V1).unwrap();
        assert_eq!(roots.len(), 9);
        assert_eq!(roots[0], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(roots[7], Path::new("/sys/fs/cgroup/systemd"));
        assert_eq!(roots[8], Path::new("/sys/fs/cgroup/unified"));
    }

    #[test]
    fn a_v2_only_machine_is_refused_in_words() {
        let text = "25 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let error = hierarchies(text).unwrap_err().to_string();
        assert!(
            error.contains("cgroup v2 only") && error.contains("unified_cgroup_hierarchy=0"),
            "{error}"
        );
    }

    #[test]
    fn a_machine_without_a_needed_controller_or_without_cgroups_is_refused_naming_it() {
        let without: String =
            V1.lines().filter(|line| !line.contains("pids")).collect::<Vec<_>>().join("\n");
        let error = hierarchies(&without).unwrap_err().to_string();
        assert!(error.contains("no v1 hierarchy has pids"), "{error}");
        let error = hierarchies("24 1 0:21 / /proc rw - proc proc rw\n").unwrap_err().to_string();
        assert!(error.contains("no cgroup hierarchy is mounted"), "{error}");
    }
}
