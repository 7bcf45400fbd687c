//! What runs of a cluster and what it takes, as data for people and programs.

use serde::Serialize;

use super::Cluster;
use crate::machine::Machine;
use crate::{Result, control_plane};

/// A started cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// The API server's URL.
    pub server: String,
    /// The file to reach it with.
    pub kubeconfig: String,
    /// Its address range on this machine.
    pub range: String,
    /// Whether the API server writes an audit log.
    pub audit: bool,
    /// What runs on the control plane's machine.
    pub control_plane: Vec<DaemonStatus>,
    /// Its nodes.
    pub nodes: Vec<NodeStatus>,
    /// The resident memory of all daemons, without pods, in MiB. Pages that several processes share
    /// are counted for each.
    pub memory_mib: u64,
}

/// One node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Whether it is on.
    pub power: Power,
    /// What runs on it, without pods.
    pub daemons: Vec<DaemonStatus>,
}

/// Whether a machine is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// One daemon.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonStatus {
    /// Its program.
    pub name: String,
    /// Its process id on this machine.
    pub pid: i32,
    /// Its resident memory in MiB.
    pub memory_mib: u64,
}

pub(super) fn of(cluster: &Cluster) -> Result<ClusterStatus> {
    let plan = &cluster.record.range;
    let control_plane = daemons(&cluster.control);
    let nodes: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| NodeStatus {
            name: node.name().to_owned(),
            address: plan.node(node.number).to_string(),
            power: if node.machine.is_on() { Power::On } else { Power::Off },
            daemons: daemons(&node.machine),
        })
        .collect();
    let all = nodes.iter().flat_map(|node| &node.daemons).chain(&control_plane);
    Ok(ClusterStatus {
        name: cluster.name.to_string(),
        server: control_plane::server(plan),
        kubeconfig: cluster.kubeconfig().display().to_string(),
        range: plan.range().to_string(),
        audit: cluster.record.audit,
        memory_mib: all.map(|daemon| daemon.memory_mib).sum(),
        control_plane,
        nodes,
    })
}

/// The daemons of a machine: what it started has a log. What they start in turn has none, such as
/// kube-proxy's `nft`, which comes and goes.
fn daemons(machine: &Machine) -> Vec<DaemonStatus> {
    let mut found: Vec<_> = machine
        .processes()
        .into_iter()
        .filter(|process| machine.log(process.program()).exists())
        .map(|process| DaemonStatus {
            name: process.program().to_owned(),
            pid: process.pid,
            memory_mib: process.rss_kib / 1024,
        })
        .collect();
    found.sort_by(|one, other| (&one.name, one.pid).cmp(&(&other.name, other.pid)));
    found
}
