//! Three real NATS servers on three nodes, and what becomes of them when a node does not.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testbed::Cluster;
use testbed::cluster::Partition;
use testbed::tools::{self, Program};

use crate::support::{Forward, shared, within};

const NAMESPACE: &str = "nats";
const SOON: Duration = Duration::from_secs(60);

/// The nats CLI, through one server.
struct Nats {
    forward: Forward,
}

impl Nats {
    fn through(cluster: &Cluster, pod: &str) -> Self {
        Self { forward: Forward::to(cluster, NAMESPACE, &format!("pod/{pod}"), 4222) }
    }

    fn try_run(&self, args: &str) -> Result<String, String> {
        let url = format!("nats://127.0.0.1:{}", self.forward.port);
        let mut command = Command::new(tools::ensure_one(Program::Nats).unwrap());
        command.args(["--server", &url, "--timeout", "2s"]).args(args.split(' '));
        let home = tempfile::tempdir().unwrap();
        let output = command.env("HOME", home.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Short attempts, again and again: a leader may be elected meanwhile.
    fn run(&self, args: &str) -> String {
        let mut last = String::new();
        within(SOON, &format!("nats {args}"), || match self.try_run(args) {
            Ok(said) => Some(said),
            Err(said) => {
                if said != last {
                    eprintln!("nats {args}: {said}");
                    last = said;
                }
                None
            }
        })
    }

    /// Waits until the bucket has three replicas that are all current.
    fn wait_until_current(&self, bucket: &str) {
        within(SOON, "three current replicas", || {
            let text = self.try_run(&format!("stream info KV_{bucket} --json")).ok()?;
            let info: Value = serde_json::from_str(&text).unwrap();
            let peers = info["cluster"]["replicas"].as_array()?;
            let current = |peer: &Value| peer["current"] == true && peer["offline"] != true;
            (peers.len() == 2 && peers.iter().all(current)).then_some(())
        });
    }
}

fn kubectl(cluster: &Cluster, args: &str) -> String {
    cluster.kubectl().run_within(SOON, args.split(' ')).unwrap()
}

fn deploy(cluster: &Cluster) {
    cluster.kubectl().apply(include_str!("nats.yaml")).unwrap();
    kubectl(cluster, "rollout status statefulset/nats -n nats --timeout=60s");
}

fn node_of(cluster: &Cluster, pod: &str) -> String {
    kubectl(cluster, &format!("get pod {pod} -n nats -o jsonpath={{.spec.nodeName}}"))
}

/// Is the node Ready in the eyes of Kubernetes? `True`, `False` or `Unknown`.
fn ready(cluster: &Cluster, node: &str) -> String {
    let path = "{.status.conditions[?(@.type==\"Ready\")].status}";
    kubectl(cluster, &format!("get node {node} -o jsonpath={path}"))
}

/// A fresh bucket at three replicas with one key, made through `nats-0`.
fn bucket(nats: &Nats, name: &str) {
    nats.run(&format!("kv add {name} --replicas 1"));
    nats.run(&format!("kv put {name} room blue"));
    nats.run(&format!("kv edit {name} --replicas 3"));
    nats.wait_until_current(name);
}

#[test]
fn three_servers_form_a_cluster_from_clean_stores_and_a_bucket_rises_to_three_replicas() {
    let (cluster, _alone) = shared();
    deploy(cluster);
    let mut nodes: Vec<_> = (0..3).map(|n| node_of(cluster, &format!("nats-{n}"))).collect();
    nodes.sort();
    assert_eq!(nodes, ["node1", "node2", "node3"]);
    for server in 0..3 {
        let path = format!("/api/v1/namespaces/nats/pods/nats-{server}:8222/proxy/routez");
        // One route a peer; two for a moment when both dial at once.
        within(SOON, "one route to each peer", || {
            let text = cluster.kubectl().run(["get", "--raw", &path]).unwrap();
            let routes: Value = serde_json::from_str(&text).unwrap();
            (routes["num_routes"] == 2).then_some(())
        });
    }
    bucket(&Nats::through(cluster, "nats-0"), "risen");
}

#[test]
fn a_node_that_lost_its_power_comes_back_with_its_data() {
    let (cluster, _alone) = shared();
    deploy(cluster);
    let nats = Nats::through(cluster, "nats-0");
    bucket(&nats, "power");
    let name = node_of(cluster, "nats-2");
    let node = cluster.node(&name).unwrap();
    node.power_off().unwrap();
    assert!(!node.is_on());
    nats.run("kv put power room green");
    // Within the grace period of 20 s, and some.
    within(Duration::from_secs(40), "the loss of the node", || {
        (ready(cluster, &name) == "Unknown").then_some(())
    });
    node.power_on().unwrap();
    within(SOON, "the node's return", || (ready(cluster, &name) == "True").then_some(()));
    deploy(cluster);
    nats.wait_until_current("power");
    assert_eq!(node_of(cluster, "nats-2"), name, "bound to its volume");
    // Its own store, not only its peers': the log says what it found on disk.
    let log = kubectl(cluster, "logs nats-2 -n nats");
    assert!(log.contains("Restored"), "{log}");
    assert_eq!(Nats::through(cluster, "nats-2").run("kv get power room --raw").trim(), "green");
}

#[test]
fn a_partition_is_noticed_and_heals_whichever_way_it_cut() {
    let (cluster, _alone) = shared();
    deploy(cluster);
    let nats = Nats::through(cluster, "nats-0");
    bucket(&nats, "parted");
    let name = node_of(cluster, "nats-1");
    let node = cluster.node(&name).unwrap();
    for way in [Partition::Both, Partition::Outgoing] {
        node.partition(way).unwrap();
        within(Duration::from_secs(40), "the loss of the node", || {
            (ready(cluster, &name) == "Unknown").then_some(())
        });
        assert!(node.is_on(), "cut off, not switched off");
        nats.run("kv put parted room red");
        node.heal().unwrap();
        within(SOON, "the node's return", || (ready(cluster, &name) == "True").then_some(()));
        nats.wait_until_current("parted");
    }
}

#[test]
fn a_node_without_its_kubelet_keeps_its_pods_and_is_well_again_after_healing() {
    let (cluster, _alone) = shared();
    deploy(cluster);
    let nats = Nats::through(cluster, "nats-0");
    let name = node_of(cluster, "nats-1");
    let node = cluster.node(&name).unwrap();
    node.kill_kubelet().unwrap();
    within(Duration::from_secs(40), "the loss of the node", || {
        (ready(cluster, &name) == "Unknown").then_some(())
    });
    bucket(&nats, "orphan");
    node.heal().unwrap();
    within(SOON, "the node's return", || (ready(cluster, &name) == "True").then_some(()));
}
