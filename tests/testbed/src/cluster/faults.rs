//! Making a node fail, and making it well again.

use std::path::PathBuf;
use std::time::Duration;

use super::{Cluster, lock::Lock};
use crate::node::Node;
use crate::{Result, control_plane, network};

/// Another command on the same cluster is short, or an `up` that takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which way a node is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partition {
    /// Nothing comes in, nothing goes out.
    Both,
    /// It still hears, but nothing it says arrives.
    Outgoing,
}

/// A node of a started cluster.
#[derive(Debug)]
pub struct NodeHandle<'a> {
    cluster: &'a Cluster,
    node: &'a Node,
}

impl<'a> NodeHandle<'a> {
    pub(super) const fn new(cluster: &'a Cluster, node: &'a Node) -> Self {
        Self { cluster, node }
    }

    /// Its name in Kubernetes.
    #[must_use]
    pub fn name(&self) -> &str {
        self.node.name()
    }

    /// Is it on?
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.node.machine.is_on()
    }

    /// The file of its network: a thread that moves there sends and is reached as the node itself.
    ///
    /// # Errors
    /// [`crate::Error::Off`].
    pub fn network(&self) -> Result<PathBuf> {
        let machine = &self.node.machine;
        let off = || crate::Error::Off(machine.name().to_owned());
        let first = machine.first_process().ok_or_else(off)?;
        Ok(PathBuf::from(format!("/proc/{first}/ns/net")))
    }

    /// Cuts its power: everything on it ends at once, and nobody is told. Its disk stays.
    ///
    /// # Errors
    /// [`crate::Error::Busy`], or what could not be removed.
    pub fn power_off(&self) -> Result<()> {
        let _lock = self.lock()?;
        // The cable first: the sockets of killed processes would say goodbye.
        network::unplug(&self.cluster.control, &self.node.machine)?;
        self.node.machine.power_off()
    }

    /// Gives it power again, on the same disk. It is Ready about a second later.
    ///
    /// # Errors
    /// [`crate::Error::Busy`], or what did not start.
    pub fn power_on(&self) -> Result<()> {
        let _lock = self.lock()?;
        let record = &self.cluster.record;
        let cluster = self.cluster;
        self.node.boot(&cluster.control, &record.range, record.nodes, &cluster.tools)?;
        self.start_missing()
    }

    /// Kills the kubelet: pods go on, Kubernetes hears no more of them.
    ///
    /// # Errors
    /// [`crate::Error::Busy`] or [`crate::Error::Off`].
    pub fn kill_kubelet(&self) -> Result<()> {
        let _lock = self.lock()?;
        self.node.machine.expect_running("kubelet")?;
        self.node.machine.kill("kubelet");
        Ok(())
    }

    /// Kills every process of a pod, as a crash would. The kubelet starts its containers again, unless
    /// the pod is deleted meanwhile.
    ///
    /// # Errors
    /// [`crate::Error::Busy`], or processes that do not end.
    pub fn kill_pod(&self, uid: &str) -> Result<()> {
        let _lock = self.lock()?;
        self.node.machine.kill_pod(uid)
    }

    /// Cuts it off from everything but itself.
    ///
    /// # Errors
    /// [`crate::Error::Busy`] or [`crate::Error::Off`].
    pub fn partition(&self, way: Partition) -> Result<()> {
        let _lock = self.lock()?;
        let node = &self.node.machine;
        match way {
            Partition::Both => network::set_cable(&self.cluster.control, node, false),
            Partition::Outgoing => network::silence(node),
        }
    }

    /// Undoes [`NodeHandle::partition`] and [`NodeHandle::kill_kubelet`].
    ///
    /// # Errors
    /// [`crate::Error::Busy`] or [`crate::Error::Off`].
    pub fn heal(&self) -> Result<()> {
        let _lock = self.lock()?;
        network::unsilence(&self.node.machine)?;
        network::set_cable(&self.cluster.control, &self.node.machine, true)?;
        self.start_missing()
    }

    fn start_missing(&self) -> Result<()> {
        let range = &self.cluster.record.range;
        self.node.start_containerd(range)?;
        let kubeconfig = control_plane::kubeconfig_for_machines(&self.cluster.control)?;
        self.node.start_kubelet(range, &kubeconfig)
    }

    fn lock(&self) -> Result<Lock> {
        Lock::wait_for(&self.cluster.name, PATIENCE)
    }
}
