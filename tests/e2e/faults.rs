//! Servers and nodes that go away, and come back.

use std::time::{Duration, Instant};

use crate::bed::{Bed, turn, within};
use crate::subject::Subject;
use crate::users::Users;

/// Within this time from the fault, Ready must not be True any more.
pub const SHOWN: Duration = Duration::from_secs(15);

#[test]
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

/// Nodes without power. They have it again when this is dropped.
pub struct Off<'a> {
    bed: &'a Bed,
    nodes: &'a [String],
}

impl<'a> Off<'a> {
    pub fn of(bed: &'a Bed, nodes: &'a [String]) -> Self {
        let off = Self { bed, nodes };
        for node in nodes {
            bed.machines().node(node).unwrap().power_off().unwrap();
        }
        off
    }
}

impl Drop for Off<'_> {
    fn drop(&mut self) {
        for node in self.nodes {
            self.bed.machines().node(node).unwrap().power_on().unwrap();
        }
    }
}

#[test]
fn with_one_node_off_the_cluster_is_ready_and_degraded_and_then_whole_again() {
    let bed = turn();
    let subject = Subject::up(&bed, "faults");
    let mut users = Users::of(subject);
    let others = bed.nodes_without_operator();
    let off = Off::of(&bed, &others[..1]);
    subject.until("Degraded", "True");
    // Buckets that the lost server led have no leader for the seconds of an election.
    subject.until("Ready", "True");
    assert!(subject.is("Degraded", "True"), "two of three serve");
    within("a user while a node is off", || users.add().then_some(()));
    drop(off);
    subject.rests();
    subject.is_true(3, 3);
    within("a user more", || users.add().then_some(()));
    users.are_all_there();
    users.end();
}

#[test]
fn without_a_quorum_ready_is_false_in_time_and_comes_back_with_the_nodes() {
    let bed = turn();
    let subject = Subject::up(&bed, "faults");
    let others = bed.nodes_without_operator();
    assert_eq!(others.len(), 2);
    let began = Instant::now();
    let off = Off::of(&bed, &others);
    subject.until("Ready", "False");
    let took = began.elapsed();
    eprintln!("no quorum: Ready=False after {took:.1?}");
    assert!(took < SHOWN, "{took:?}");
    drop(off);
    subject.rests();
    subject.is_true(3, 3);
}

#[test]
fn a_power_cut_of_all_nodes_is_survived_with_every_record() {
    let bed = turn();
    let subject = Subject::up(&bed, "faults");
    let mut users = Users::of(subject);
    for _ in 0..3 {
        users.add();
    }
    let all: Vec<String> = bed.machines().nodes().map(str::to_owned).collect();
    drop(Off::of(&bed, &all));
    within("a user more", || users.add().then_some(()));
    subject.rests();
    subject.is_true(3, 3);
    users.are_all_there();
    users.end();
}
