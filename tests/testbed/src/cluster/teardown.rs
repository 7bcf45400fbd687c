//! Taking a cluster from the machine. Everything is found by the cluster's name, never by a list
//! that a crash could have left wrong; each step is safe to repeat.

use super::state::{Folder, Phase, Record};
use crate::machine::cgroup::Group;
use crate::name::ClusterName;
use crate::progress::Progress;
use crate::{Error, Result, network};

pub(super) fn down(name: &ClusterName, purge: bool, progress: &Progress) -> Result<()> {
    let folder = Folder::of(name);
    if !folder.exists() && !leftovers(name)? {
        progress.note(&format!("cluster `{name}` is not there: nothing to do"));
        return Ok(());
    }
    let step = progress.step(&format!("cluster `{name}`"), "stopping");
    if !purge {
        mark_down(&folder)?;
    }
    stop(name)?;
    if purge {
        folder.remove()?;
        step.finish("stopped and removed");
    } else {
        step.finish("stopped; its disks are kept");
    }
    Ok(())
}

/// Is anything of the cluster left on the machine, but for its folder?
pub(super) fn leftovers(name: &ClusterName) -> Result<bool> {
    Ok(Group::at_root(&name.cgroup())?.exists())
}

/// Ends everything of the cluster. With a machine's last process go its mounts, its network and
/// all interfaces that lead into it; cgroups are all that must be removed by hand.
pub(super) fn stop(name: &ClusterName) -> Result<()> {
    let group = Group::at_root(&name.cgroup())?;
    group.kill()?;
    group.remove()?;
    // The kernel would remove it by itself, a moment later.
    network::remove_host_link(name)
}

/// From here on the cluster counts as stopped, even if this program is stopped halfway. A record
/// that cannot be understood is left for `up` to complain about.
fn mark_down(folder: &Folder) -> Result<()> {
    match folder.record() {
        Ok(Some(record)) => folder.write(&Record { phase: Phase::Down, ..record }),
        Ok(None) | Err(Error::State { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
