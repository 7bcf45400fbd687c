//! Starting a cluster: what is there is understood first, what is missing is made then.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::state::{Folder, Phase, Record, ranges_of_others};
use super::{Cluster, lock::Lock, teardown};
use crate::control_plane::{self, ControlPlane};
use crate::name::ClusterName;
use crate::network::{self, AddressPlan, MOST_NODES, plan};
use crate::prepare::Prepared;
use crate::progress::Progress;

use crate::{Error, Result, wait};

/// Nodes of a warm cluster are Ready in about 2 s; a busy machine is given room.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// What cluster is wanted.
#[derive(Debug, Clone)]
pub struct UpRequest {
    /// Its name.
    pub name: ClusterName,
    /// How many nodes; of a cluster that is there already, `None` takes what it has, and 3
    /// otherwise.
    pub nodes: Option<u8>,
    /// Whether the API server writes an audit log.
    pub audit: bool,
    /// Its /24; a free one is chosen when there is none.
    pub range: Option<AddressPlan>,
    /// Further image archives to put on every node, beside those that every cluster has.
    pub images: Vec<PathBuf>,
}

impl UpRequest {
    /// Three nodes, no audit log, a free address range, no images.
    #[must_use]
    pub const fn new(name: ClusterName) -> Self {
        Self { name, nodes: None, audit: false, range: None, images: Vec::new() }
    }
}

/// What is to be done about a cluster as it is found.
#[derive(Debug, PartialEq, Eq)]
enum Beginning {
    /// It is new.
    New { nodes: u8 },
    /// It was started completely and is asked for again: complete it.
    Complete(Record),
    /// It was stopped, or a crash left it half-made: clear the rest away and start on its disks.
    Restart(Record),
}

pub(super) fn up(request: &UpRequest, prepared: &Prepared, progress: &Progress) -> Result<Cluster> {
    let name = &request.name;
    let _lock = Lock::of(name)?;
    let folder = Folder::of(name);
    let running = teardown::leftovers(name)?;
    let begun = Instant::now();
    let (record, fresh) = match begin(request, folder.record()?, running)? {
        Beginning::Complete(record) => (record, false),
        Beginning::Restart(record) => {
            teardown::stop(name)?;
            (Record { phase: Phase::Starting, audit: request.audit, ..record }, false)
        }
        Beginning::New { nodes } => {
            teardown::stop(name)?;
            (new_record(request, &folder, nodes)?, true)
        }
    };
    let cluster = Cluster::of(name, record, &prepared.tools)?;
    let base = prepared.images.iter().map(|archive| archive.path.as_path());
    let images: Vec<_> = base.chain(request.images.iter().map(PathBuf::as_path)).collect();
    match cluster.start(&folder, &images, progress) {
        Ok(cluster) => {
            let what = format!("cluster `{name}` is up: {} nodes Ready", cluster.record.nodes);
            progress.note(&format!("{what} in {}", crate::progress::spoken(begun.elapsed())));
            Ok(cluster)
        }
        Err(error) => {
            teardown::stop(name)?;
            if fresh {
                folder.remove()?;
            }
            Err(error)
        }
    }
}

/// Decides how to begin from what is asked for and what is found. `running` says whether anything
/// of the cluster is left on the machine.
fn begin(request: &UpRequest, found: Option<Record>, running: bool) -> Result<Beginning> {
    let Some(record) = found else {
        let wanted = request.nodes.unwrap_or(3);
        return match wanted {
            1..=MOST_NODES => Ok(Beginning::New { nodes: wanted }),
            _ => Err(Error::BadNodeCount { wanted, most: MOST_NODES }),
        };
    };
    let nodes = request.nodes.unwrap_or(record.nodes);
    let range = request.range.unwrap_or(record.range);
    let complete = running && record.phase == Phase::Up;
    // The audit log is a flag of a process: it may change at a restart, not while it runs. Whoever
    // does not ask for it may find it there.
    let audit_fits = !complete || record.audit || !request.audit;
    if nodes != record.nodes || range != record.range || !audit_fits {
        return Err(Error::OtherShape {
            cluster: request.name.to_string(),
            there: shape(record.nodes, record.range, record.audit),
            wanted: shape(nodes, range, request.audit),
        });
    }
    Ok(if complete { Beginning::Complete(record) } else { Beginning::Restart(record) })
}

fn shape(nodes: u8, range: AddressPlan, audit: bool) -> String {
    let audit = if audit { ", with an audit log" } else { "" };
    format!("{nodes} nodes in {}{audit}", range.range())
}

/// Chooses the range and writes the record, as one step: two new clusters never take the same.
fn new_record(request: &UpRequest, folder: &Folder, nodes: u8) -> Result<Record> {
    let _lock = Lock::of_ranges()?;
    let mut taken = network::taken_on_host(&request.name)?;
    taken.extend(ranges_of_others(&request.name));
    let record = Record::new(plan::choose(request.range, &taken)?, nodes, request.audit);
    folder.write(&record)?;
    Ok(record)
}

impl Cluster {
    fn start(mut self, folder: &Folder, images: &[&Path], progress: &Progress) -> Result<Self> {
        folder.write(&self.record)?;
        let plan = self.record.range;
        let control = ControlPlane {
            machine: &self.control,
            plan: &plan,
            context: self.name.as_str(),
            audit: self.record.audit,
        };
        let step = progress.step("network and machines", "starting");
        if !self.control.is_on() {
            control.boot(&self.tools)?;
            network::connect_control_plane(&self.control, &self.name, &plan, self.record.nodes)?;
        }
        step.finish("started");
        let step = progress.step("control plane and containerd", "starting");
        thread::scope(|scope| {
            let nodes = scope.spawn(|| self.boot_nodes(images));
            control.start_api_server(&self.tools, folder.kubeconfig())?;
            control.start_controllers()?;
            control.start_storage(&self.kubectl)?;
            nodes.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        step.finish("started");
        let step = progress.step("nodes", "waiting until they are Ready");
        let stale = self.stale_heartbeats()?;
        let kubeconfig = control_plane::kubeconfig_for_machines(&self.control)?;
        in_parallel(&self.nodes, |node| node.start_kubelet(&plan, &kubeconfig))?;
        self.wait_until_ready(&stale)?;
        step.finish("Ready");
        self.record.phase = Phase::Up;
        folder.write(&self.record)?;
        Ok(self)
    }

    fn boot_nodes(&self, images: &[&Path]) -> Result<()> {
        in_parallel(&self.nodes, |node| {
            node.boot(&self.control, &self.record.range, self.record.nodes, &self.tools)?;
            node.start_containerd(&self.record.range)?;
            node.import_new(images)
        })
    }

    /// Waits until all nodes are Ready by word of the kubelets that run now. `before` is what was
    /// said of nodes when their kubelets did not run: it may long be untrue.
    fn wait_until_ready(&self, before: &[Heartbeat]) -> Result<()> {
        let hint = format!("see `cargo testbed logs node1/kubelet --name {}`", self.name);
        let pause = Duration::from_millis(200);
        wait::until("the readiness of all nodes", &hint, READY_LIMIT, pause, || {
            self.nodes.iter().try_for_each(|node| node.machine.expect_running("kubelet"))?;
            let world = self.observe()?;
            let news = |heartbeat: &&Heartbeat| heartbeat.ready && !before.contains(heartbeat);
            let ready = world.heartbeats().iter().filter(news).count();
            // The service account is what a pod without one gets; before it is there, every pod is
            // refused.
            let account = world.items.iter().any(|item| item.kind == "ServiceAccount");
            Ok((account && ready == self.nodes.len()).then_some(()))
        })
    }

    /// What is said of the nodes whose kubelets do not run.
    fn stale_heartbeats(&self) -> Result<Vec<Heartbeat>> {
        let silent = |heartbeat: &Heartbeat| {
            let node = self.nodes.iter().find(|node| node.name() == heartbeat.node);
            node.is_some_and(|node| node.machine.daemon("kubelet").is_none())
        };
        Ok(self.observe()?.heartbeats().into_iter().filter(silent).collect())
    }

    fn observe(&self) -> Result<List> {
        let args = ["get", "nodes,serviceaccounts", "--namespace=default", "-o", "json"];
        serde_json::from_str(&self.kubectl.run(args)?)
            .map_err(Error::make("sense of a list of nodes"))
    }
}

#[derive(Deserialize)]
struct List {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    kind: String,
    metadata: Metadata,
    #[serde(default)]
    status: ItemStatus,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize, Default)]
struct ItemStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    last_heartbeat_time: Option<String>,
}

/// What a node last said of itself, and when.
#[derive(Debug, PartialEq, Eq)]
struct Heartbeat {
    node: String,
    ready: bool,
    at: Option<String>,
}

impl List {
    fn heartbeats(&self) -> Vec<Heartbeat> {
        let nodes = self.items.iter().filter(|item| item.kind == "Node");
        nodes.filter_map(Item::heartbeat).collect()
    }
}

impl Item {
    fn heartbeat(&self) -> Option<Heartbeat> {
        let condition =
            self.status.conditions.iter().find(|condition| condition.kind == "Ready")?;
        Some(Heartbeat {
            node: self.metadata.name.clone(),
            ready: condition.status == "True",
            at: condition.last_heartbeat_time.clone(),
        })
    }
}

/// Does one thing to many at once; the first failure is the answer, after all have ended.
pub(super) fn in_parallel<T: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> =
            items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        let results = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> UpRequest {
        UpRequest::new("dev".parse().unwrap())
    }

    fn record(phase: Phase) -> Record {
        Record { phase, ..Record::new("10.123.7.0/24".parse().unwrap(), 3, false) }
    }

    #[test]
    fn a_new_cluster_has_three_nodes_unless_told_otherwise() {
        assert_eq!(begin(&request(), None, false).unwrap(), Beginning::New { nodes: 3 });
        let five = UpRequest { nodes: Some(5), ..request() };
        assert_eq!(begin(&five, None, false).unwrap(), Beginning::New { nodes: 5 });
        for bad in [0, 10, 255] {
            let error =
                begin(&UpRequest { nodes: Some(bad), ..request() }, None, false).unwrap_err();
            assert!(error.to_string().contains("1 to 9 nodes"), "{error}");
        }
    }

    #[test]
    fn a_started_cluster_is_completed_and_anything_else_is_cleared_and_started_on_its_disks() {
        let table = [
            (Phase::Up, true, Beginning::Complete(record(Phase::Up))),
            // The host was switched off, or somebody killed everything.
            (Phase::Up, false, Beginning::Restart(record(Phase::Up))),
            // `up` or `down` was killed.
            (Phase::Starting, true, Beginning::Restart(record(Phase::Starting))),
            (Phase::Starting, false, Beginning::Restart(record(Phase::Starting))),
            (Phase::Down, true, Beginning::Restart(record(Phase::Down))),
            (Phase::Down, false, Beginning::Restart(record(Phase::Down))),
        ];
        for (phase, running, expected) in table {
            let beginning = begin(&request(), Some(record(phase)), running).unwrap();
            assert_eq!(beginning, expected, "{phase:?}, running: {running}");
        }
    }

    #[test]
    fn another_shape_than_the_one_there_is_refused_saying_both() {
        let four = UpRequest { nodes: Some(4), ..request() };
        let elsewhere = UpRequest { range: Some("10.123.8.0/24".parse().unwrap()), ..request() };
        for (other, words) in [(four, "4 nodes"), (elsewhere, "10.123.8.0/24")] {
            let error = begin(&other, Some(record(Phase::Down)), false).unwrap_err().to_string();
            assert!(error.contains("3 nodes in 10.123.7.0/24") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_audit_log_can_be_switched_on_at_a_restart_but_not_while_it_runs() {
        let audited = UpRequest { audit: true, ..request() };
        assert!(begin(&audited, Some(record(Phase::Up)), true).is_err());
        assert!(begin(&audited, Some(record(Phase::Up)), false).is_ok());
        let has_it = Record { audit: true, ..record(Phase::Up) };
        assert!(
            begin(&request(), Some(has_it), true).is_ok(),
            "who does not ask may find it there"
        );
    }

    #[test]
    fn only_nodes_have_heartbeats_and_only_the_condition_ready_counts() {
        let json = r#"{"items":[
            {"kind":"Node","metadata":{"name":"node1"},"status":{"conditions":[
                {"type":"DiskPressure","status":"True","lastHeartbeatTime":"2026-01-01T00:00:00Z"},
                {"type":"Ready","status":"Unknown","lastHeartbeatTime":"2026-01-01T00:00:01Z"}]}},
            {"kind":"Node","metadata":{"name":"node2"}},
            {"kind":"ServiceAccount","metadata":{"name":"default"}}]}"#;
        let list: List = serde_json::from_str(json).unwrap();
        let at = Some("2026-01-01T00:00:01Z".to_owned());
        assert_eq!(list.heartbeats(), [Heartbeat { node: "node1".to_owned(), ready: false, at }]);
    }
}
