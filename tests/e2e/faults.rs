//! Servers and nodes that go away, and come back.

use std::time::{Duration, Instant};

use crate::bed::{Bed, turn, within};
use crate::subject::Subject;
use crate::users::Users;

/// Within this time from the fault, Ready must not be True any more.
const SHOWN: Duration = Duration::from_secs(15);

#[test]
#[ignore = "tried too seldom yet to gate: run by `make test-long`"]
fn a_deleted_server_is_missed_and_comes_back() {
    let bed = turn();
    let subject = Subject::up(&bed, "faults");
    let before = subject.pods();
    let delete = ["delete", "pod", "demo-nats-1", "-n", "faults", "--wait=false"];
    bed.kubectl().run(delete).unwrap();
    subject.until("Degraded", "True");
    assert!(subject.is("Ready", "True"), "two of three serve");
    subject.rests();
    let after = subject.pods();
    let stayed = after.iter().filter(|pod| before.contains(pod)).count();
    assert_eq!((after.len(), stayed), (3, 2));
    subject.is_true(3, 3);
}

fn power(bed: &Bed, nodes: &[String], on: bool) {
    for node in nodes {
        let node = bed.machines().node(node).unwrap();
        if on { node.power_on().unwrap() } else { node.power_off().unwrap() }
    }
}

#[test]
#[ignore = "tried too seldom yet to gate: run by `make test-long`"]
fn with_one_node_off_the_cluster_is_ready_and_degraded_and_then_whole_again() {
    let bed = turn();
    let subject = Subject::up(&bed, "faults");
    let mut users = Users::of(subject);
    let off = &bed.nodes_without_operator()[..1];
    power(&bed, off, false);
    subject.until("Degraded", "True");
    assert!(subject.is("Ready", "True"), "two of three serve");
    power(&bed, off, true);
    subject.rests();
    subject.is_true(3, 3);
    within("a user more", || users.add().then_some(()));
    users.are_all_there();
    users.end();
}

#[test]
#[ignore = "tried too seldom yet to gate: run by `make test-long`"]
fn without_a_quorum_ready_is_false_in_time_and_comes_back_with_the_nodes() {
    let bed = turn();
    let subject = Subject::up(&bed, "faults");
    let off = bed.nodes_without_operator();
    assert_eq!(off.len(), 2);
    // The fault begins with the first node: from the second on there is no quorum.
    power(&bed, &off[..1], false);
    let began = Instant::now();
    power(&bed, &off[1..], false);
    subject.until("Ready", "False");
    let took = began.elapsed();
    eprintln!("no quorum: Ready=False after {took:.1?}");
    assert!(took < SHOWN, "{took:?}");
    power(&bed, &off, true);
    subject.rests();
    subject.is_true(3, 3);
}

#[test]
#[ignore = "tried too seldom yet to gate: run by `make test-long`"]
fn a_power_cut_of_all_nodes_is_survived_with_every_record() {
    let bed = turn();
    let subject = Subject::up(&bed, "faults");
    let mut users = Users::of(subject);
    for _ in 0..3 {
        users.add();
    }
    let all: Vec<String> = bed.machines().nodes().map(str::to_owned).collect();
    power(&bed, &all, false);
    power(&bed, &all, true);
    within("a user more", || users.add().then_some(()));
    subject.rests();
    subject.is_true(3, 3);
    users.are_all_there();
    users.end();
}
