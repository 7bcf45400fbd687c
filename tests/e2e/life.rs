//! The life of clusters, from the chart's installation to their end, in one story: each chapter
//! begins where the one before has ended.

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::bed::{Bed, PATIENCE, within};

/// A small cluster of three.
const SPEC: &str = "{nats: {storage: {size: 1Gi}}, buckets: {maxBytes: 32Mi}}";

/// How often a cluster is started from nothing: `TEST_ROUNDS` times, else five.
fn rounds() -> u32 {
    std::env::var("TEST_ROUNDS").map_or(5, |text| text.parse().unwrap())
}

#[test]
#[ignore = "minutes on a loaded machine, and tried too seldom yet to gate: run by `make test-long`"]
fn clusters_come_up_heal_outlive_their_operator_and_go() {
    let bed = Bed::up();
    bed.install();
    cold_starts(&bed);
    nothing_is_written_at_rest(&bed);
    a_server_is_lost(&bed);
    the_operator_is_killed_at_each_stage(&bed);
    volumes_outlive_their_resource_and_are_taken_up_again(&bed);
    volumes_go_with_their_resource_where_that_was_asked_for(&bed);
}

/// From clean stores, every time, to a Ready that is true. The last one stays for the next
/// chapters.
fn cold_starts(bed: &Bed) {
    for round in 0..rounds() {
        let namespace = format!("cold-{round}");
        bed.apply(&namespace, "demo", SPEC);
        let took = bed.until(&namespace, "demo", "Ready", "True");
        eprintln!("cold start {round}: Ready after {took:.1?}");
        is_true(bed, &namespace);
        if round > 0 {
            let gone = format!("cold-{}", round - 1);
            bed.kubectl().run_within(PATIENCE, ["delete", "namespace", &gone]).unwrap();
        }
    }
}

fn last() -> String {
    format!("cold-{}", rounds() - 1)
}

/// What Ready says is what the servers say: seven buckets of three, and one route a peer.
fn is_true(bed: &Bed, namespace: &str) {
    let status = bed.get(namespace, "membershipcluster/demo").unwrap()["status"].clone();
    assert_eq!(status["servers"], "3/3");
    assert_eq!(status["bucketReplicas"], "R3");
    for server in 0..3 {
        let raw = |what: &str| {
            let path = format!("/api/v1/namespaces/{namespace}/pods/demo-nats-{server}:8222/proxy");
            let text = bed.kubectl().run(["get", "--raw", &format!("{path}/{what}")]).unwrap();
            serde_json::from_str::<Value>(&text).unwrap()
        };
        assert_eq!(raw("routez")["num_routes"], 2, "one route a peer");
        assert_eq!(raw("jsz")["streams"], 7);
    }
}

fn versions(bed: &Bed, namespace: &str) -> Vec<Value> {
    let kinds = "membershipclusters,statefulsets,configmaps,services,secrets,poddisruptionbudgets";
    let list = bed.get(namespace, kinds).unwrap();
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["resourceVersion"].clone()).collect()
}

fn nothing_is_written_at_rest(bed: &Bed) {
    let namespace = last();
    sleep(Duration::from_secs(10));
    let before = versions(bed, &namespace);
    bed.apply(&namespace, "demo", SPEC);
    sleep(Duration::from_secs(20));
    assert_eq!(versions(bed, &namespace), before);
}

fn a_server_is_lost(bed: &Bed) {
    let namespace = last();
    let uid = |bed: &Bed| {
        let pod = bed.get(&namespace, "pod/demo-nats-1")?;
        pod["metadata"]["uid"].as_str().map(str::to_owned)
    };
    let before = uid(bed).unwrap();
    let delete = ["delete", "pod", "demo-nats-1", "-n", &namespace, "--wait=false"];
    bed.kubectl().run(delete).unwrap();
    bed.until(&namespace, "demo", "Degraded", "True");
    let (ready, _) = bed.condition(&namespace, "demo", "Ready").unwrap();
    assert_eq!(ready, "True", "two of three serve");
    bed.until(&namespace, "demo", "Degraded", "False");
    assert_ne!(uid(bed).unwrap(), before);
    is_true(bed, &namespace);
}

/// What a cold start waits for, in its order.
const STAGES: [&str; 7] = [
    "Applying",
    "ServersNotReady",
    "NatsUnreachable",
    "Settling",
    "RaisingReplicas",
    "ReplicasSyncing",
    "ReconcileComplete",
];

fn place(stage: &str) -> Option<usize> {
    STAGES.iter().position(|one| *one == stage)
}

/// At each stage of a cold start, or the next one that was seen; what was begun is ended by the
/// next operator.
fn the_operator_is_killed_at_each_stage(bed: &Bed) {
    for stage in ["Applying", "ServersNotReady", "Settling", "RaisingReplicas", "ReplicasSyncing"] {
        let namespace = format!("kill-{}", stage.to_lowercase());
        bed.apply(&namespace, "demo", SPEC);
        let reached = within(stage, || {
            let (_, reason) = bed.condition(&namespace, "demo", "Reconciling")?;
            (place(&reason) >= place(stage)).then_some(reason)
        });
        bed.kill_operator();
        bed.until(&namespace, "demo", "Ready", "True");
        eprintln!("killed at {reached}, meant {stage}");
        is_true(bed, &namespace);
        let stalls = bed.kubectl().run(["get", "events", "-n", &namespace]).unwrap();
        assert!(!stalls.contains("BucketLost"), "{stalls}");
        bed.kubectl().run_within(PATIENCE, ["delete", "namespace", &namespace]).unwrap();
    }
}

fn volumes_outlive_their_resource_and_are_taken_up_again(bed: &Bed) {
    let namespace = last();
    let id = |bed: &Bed| {
        let resource = bed.get(&namespace, "membershipcluster/demo")?;
        resource["status"]["clusterId"].as_str().map(str::to_owned)
    };
    let before = id(bed).unwrap();
    let delete = ["delete", "membershipcluster", "demo", "-n", &namespace];
    bed.kubectl().run_within(PATIENCE, delete).unwrap();
    // At once: what is left of the first is waited for.
    bed.apply(&namespace, "demo", SPEC);
    bed.until(&namespace, "demo", "Ready", "True");
    assert_eq!(id(bed).unwrap(), before);
    assert_eq!(bed.names(&namespace, "persistentvolumeclaims").len(), 3);
    is_true(bed, &namespace);
}

fn volumes_go_with_their_resource_where_that_was_asked_for(bed: &Bed) {
    let namespace = last();
    bed.apply(&namespace, "other", SPEC);
    bed.until(&namespace, "other", "Ready", "True");
    bed.apply(&namespace, "demo", &SPEC.replacen('{', "{deletionPolicy: Delete, ", 1));
    within("the finalizer", || {
        let resource = bed.get(&namespace, "membershipcluster/demo")?;
        resource["metadata"]["finalizers"].as_array().filter(|found| !found.is_empty()).map(|_| ())
    });
    let delete = ["delete", "membershipcluster", "demo", "-n", &namespace];
    bed.kubectl().run_within(PATIENCE, delete).unwrap();
    let left = bed.names(&namespace, "persistentvolumeclaims");
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.iter().all(|claim| claim.contains("other")), "{left:?}");
    let (ready, _) = bed.condition(&namespace, "other", "Ready").unwrap();
    assert_eq!(ready, "True");
}
