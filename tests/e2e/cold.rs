//! From nothing to a Ready that is true, with the operator there before, after or together with the
//! resource, in every size, and in one namespace or all.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{Bed, PATIENCE, SYSTEM, turn, within};
use crate::subject::{SPEC, Subject, spec_with};

/// How often a cluster is started from nothing.
fn rounds() -> u32 {
    std::env::var("TEST_ROUNDS").map_or(5, |rounds| rounds.parse::<u32>().unwrap().max(5))
}

/// From clean stores, every time.
#[test]
fn every_cold_start_ends_in_a_ready_that_is_true_and_then_nothing_is_written() {
    let bed = turn();
    for round in 0..rounds() {
        let namespace = format!("cold-{round}");
        let subject = Subject::new(&bed, &namespace, "demo");
        let began = Instant::now();
        subject.apply(SPEC);
        subject.until("Ready", "True");
        eprintln!("cold start {round}: Ready after {:.1?}", began.elapsed());
        subject.is_true(3, 3);
        if round + 1 == rounds() {
            nothing_is_written_at_rest(&bed, &subject);
        }
        let delete = ["delete", "namespace", &namespace, "--wait=false"];
        bed.kubectl().run(delete).unwrap();
    }
}

fn versions(bed: &Bed, namespace: &str) -> Vec<Value> {
    let kinds = "membershipclusters,statefulsets,configmaps,services,secrets,poddisruptionbudgets";
    let list = bed.get(namespace, kinds).unwrap();
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["resourceVersion"].clone()).collect()
}

fn nothing_is_written_at_rest(bed: &Bed, subject: &Subject<'_>) {
    sleep(Duration::from_secs(5));
    let before = versions(bed, subject.namespace);
    subject.apply(SPEC);
    sleep(Duration::from_secs(15));
    assert_eq!(versions(bed, subject.namespace), before);
}

/// Both at once, in one namespace.
#[test]
fn one_and_five_servers_come_up_beside_each_other() {
    let bed = turn();
    let one = Subject::new(&bed, "sizes", "one");
    let five = Subject::new(&bed, "sizes", "five");
    one.apply("{replicas: 1, nats: {storage: {size: 1Gi}}, buckets: {maxBytes: 32Mi}}");
    five.apply(
        "{replicas: 5, nats: {antiAffinity: Preferred, storage: {size: 1Gi}}, \
         buckets: {maxBytes: 32Mi}}",
    );
    one.until("Ready", "True");
    one.is_true(1, 1);
    five.until("Ready", "True");
    five.is_true(5, 3);
    one.delete();
    assert!(five.is("Ready", "True"), "the neighbour");
    five.delete();
    bed.kubectl().run(["delete", "namespace", "sizes", "--wait=false"]).unwrap();
}

/// The operator goes, a resource comes; an operator of its namespace alone brings it up and leaves
/// another namespace's alone; and the one of the whole cluster, installed together with a third
/// resource, brings up both.
#[test]
fn it_does_not_matter_whether_resource_or_operator_comes_first() {
    let bed = turn();
    bed.uninstall(SYSTEM);
    let (mine, other) = (Subject::new(&bed, "mine", "demo"), Subject::new(&bed, "other", "demo"));
    mine.apply(SPEC);
    other.apply(SPEC);
    assert!(mine.condition("Ready").is_none(), "somebody is at work");
    // The chart keeps its CRD, and that belongs to the release that made it.
    let mine_alone = ["--set", "watchNamespaces={mine},crds.install=false"];
    bed.install("mine", &[&mine_alone[..], &["--wait", "--timeout", "120s"]].concat());
    mine.until("Ready", "True");
    mine.is_true(3, 3);
    assert!(other.condition("Ready").is_none(), "an operator reaches beyond its namespace");
    assert!(bed.names("other", "statefulsets").is_empty());
    mine.delete();
    bed.uninstall("mine");
    bed.install(SYSTEM, &[]);
    let together = Subject::new(&bed, "together", "demo");
    together.apply(SPEC);
    for subject in [other, together] {
        subject.until("Ready", "True");
        subject.is_true(3, 3);
    }
    for namespace in ["mine", "other", "together"] {
        bed.kubectl().run(["delete", "namespace", namespace, "--wait=false"]).unwrap();
    }
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
/// next operator. Once that one has to wait for the end of the dead one's Lease.
#[test]
fn an_operator_that_is_killed_at_any_stage_is_followed_by_one_that_ends_its_work() {
    let bed = turn();
    for stage in ["Applying", "ServersNotReady", "Settling", "RaisingReplicas", "ReplicasSyncing"] {
        let namespace = format!("kill-{}", stage.to_lowercase());
        let subject = Subject::new(&bed, &namespace, "demo");
        subject.apply(&spec_with("deletionPolicy: Retain"));
        let reached = within(stage, || {
            let (_, reason) = subject.condition("Reconciling")?;
            (place(&reason) >= place(stage)).then_some(reason)
        });
        if stage == "Applying" {
            bed.kill_operator();
        } else {
            bed.kill_operator_and_lease();
        }
        subject.until("Ready", "True");
        eprintln!("killed at {reached}, meant {stage}");
        subject.is_true(3, 3);
        let events = bed.kubectl().run(["get", "events", "-n", &namespace]).unwrap();
        assert!(!events.contains("BucketLost"), "{events}");
        let delete = ["delete", "namespace", &namespace, "--wait=false"];
        bed.kubectl().run_within(PATIENCE, delete).unwrap();
    }
}
