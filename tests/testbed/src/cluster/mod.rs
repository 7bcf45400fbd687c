//! A whole cluster: what may be done with it, in the order in which it must be done. How each part
//! is done lives with the part.
//!
//! Everything a cluster has on the machine is found by its name alone: its cgroup, its network
//! interface, its folder. So a cluster can be removed whatever a crash has left of it.

mod faults;
mod lock;
mod state;
mod status;
mod teardown;
mod up;

use std::path::{Path, PathBuf};

pub use faults::{NodeHandle, Partition};
pub use status::{ClusterStatus, DaemonStatus, NodeStatus, Power};
pub use up::UpRequest;

use crate::kubectl::Kubectl;
use crate::machine::Machine;
use crate::machine::cgroup::Group;
use crate::name::ClusterName;
use crate::node::Node;
use crate::prepare::Prepared;
use crate::progress::Progress;
use crate::tools::{Program, Tools};
use crate::{Error, Result, control_plane};
use lock::Lock;
use state::{Folder, Phase, Record};

/// A cluster that has been started.
///
/// ```no_run
/// use testbed::{Cluster, UpRequest, cache::Cache, prepare::prepare, progress::Progress};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let progress = Progress::stderr();
/// let prepared = prepare(&Cache::of_this_user()?, &progress)?;
/// let cluster = Cluster::up(&UpRequest::new("dev".parse()?), &prepared, &progress)?;
/// println!("{}", cluster.kubectl().run(["get", "nodes"])?);
/// cluster.node("node2")?.power_off()?;
/// Cluster::down(cluster.name(), true, &progress)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster {
    name: ClusterName,
    record: Record,
    control: Machine,
    nodes: Vec<Node>,
    kubectl: Kubectl,
    tools: Tools,
}

impl Cluster {
    /// Starts a cluster, or brings back what is missing of a started one. Its nodes are Ready when
    /// this returns.
    ///
    /// # Errors
    /// See [`Error`]. A cluster that was not there before is then not there again.
    pub fn up(request: &UpRequest, prepared: &Prepared, progress: &Progress) -> Result<Self> {
        up::up(request, prepared, progress)
    }

    /// The started cluster of that name.
    ///
    /// # Errors
    /// [`Error::NotUp`] when it does not run.
    pub fn attach(name: &ClusterName, tools: &Tools) -> Result<Self> {
        let record = Folder::of(name).record()?.filter(|record| record.phase == Phase::Up);
        let cluster = record.map(|record| Self::of(name, record, tools)).transpose()?;
        cluster
            .filter(|cluster| cluster.control.is_on())
            .ok_or_else(|| Error::NotUp(name.to_string()))
    }

    /// Stops a cluster and removes all it has on this machine, whatever state it is in. Its disks
    /// stay for a warm start, unless `purge` says otherwise. One that is not there is no error.
    ///
    /// # Errors
    /// See [`Error`]; what could not be removed is named.
    pub fn down(name: &ClusterName, purge: bool, progress: &Progress) -> Result<()> {
        let _lock = Lock::of(name)?;
        teardown::down(name, purge, progress)
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &ClusterName {
        &self.name
    }

    /// kubectl with administrator's rights.
    #[must_use]
    pub const fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// The administrator's kubeconfig. The address in it can be reached from this host alone.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        self.kubectl.kubeconfig()
    }

    /// The API server's audit log, one JSON object a line, if the cluster was started with it.
    #[must_use]
    pub fn audit_log(&self) -> Option<PathBuf> {
        self.record.audit.then(|| self.control.disk().join("log/audit.log"))
    }

    /// The names of its nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(Node::name)
    }

    /// A node, to switch off and the like.
    ///
    /// # Errors
    /// [`Error::UnknownNode`].
    pub fn node(&self, name: &str) -> Result<NodeHandle<'_>> {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.map(|node| NodeHandle::new(self, node)).ok_or_else(|| Error::UnknownNode {
            cluster: self.name.to_string(),
            wanted: name.to_owned(),
            known: self.nodes().collect::<Vec<_>>().join(", "),
        })
    }

    /// Puts the images of an archive (`docker save` or OCI layout, as a tar file) into the store of
    /// every node that is on.
    ///
    /// # Errors
    /// [`Error::Command`] with what containerd said.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let on: Vec<_> = self.nodes.iter().filter(|node| node.machine.is_on()).collect();
        up::in_parallel(on, |node| node.import(archive))
    }

    /// The log of a component: `kube-apiserver`, `etcd`, `node1/kubelet`, ...
    ///
    /// # Errors
    /// [`Error::UnknownComponent`] naming those there are.
    pub fn log_path(&self, component: &str) -> Result<PathBuf> {
        let known: Vec<(String, PathBuf)> = self.logs();
        let found = known.iter().find(|(name, _)| name == component).map(|(_, path)| path.clone());
        found.ok_or_else(|| Error::UnknownComponent {
            wanted: component.to_owned(),
            known: known.into_iter().map(|(name, _)| name).collect::<Vec<_>>().join(", "),
        })
    }

    /// What runs of it, and what it takes.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn status(&self) -> Result<ClusterStatus> {
        status::of(self)
    }

    fn of(name: &ClusterName, record: Record, tools: &Tools) -> Result<Self> {
        let folder = Folder::of(name);
        let group = Group::at_root(&name.cgroup())?;
        let machine = |called: &str| Machine::new(called, &group, folder.path());
        let node = |number| Node { machine: machine(&Node::name_of(number)), number };
        Ok(Self {
            name: name.clone(),
            control: machine(control_plane::MACHINE),
            nodes: (1..=record.nodes).map(node).collect(),
            kubectl: Kubectl::new(tools.path(Program::Kubectl), folder.kubeconfig()),
            tools: tools.clone(),
            record,
        })
    }

    fn logs(&self) -> Vec<(String, PathBuf)> {
        let control = self.control.logs().into_iter();
        let nodes = self.nodes.iter().flat_map(|node| {
            let logs = node.machine.logs().into_iter();
            logs.map(|(daemon, path)| (format!("{}/{daemon}", node.name()), path))
        });
        control.chain(nodes).collect()
    }
}
