//! What is told as Events of what was done and what changed: each thing once, in words of its own.

use std::collections::BTreeSet;

use membership_operator::cluster::names::{Bucket, Role};
use serde_json::json;

use crate::fake::{Fake, Probe};

/// What happens to a cluster at rest.
type Change = fn(&mut Fake);

/// The Events from a change until the cluster is at rest again.
fn told(change: Change, seed: u64) -> Vec<String> {
    let (mut fake, mut probe) = (Fake::new(&json!({}), seed), Probe::default());
    fake.settle(&mut probe, 1200).unwrap();
    fake.write_records();
    fake.events.clear();
    change(&mut fake);
    fake.settle(&mut probe, 1200).unwrap();
    fake.events.iter().map(|event| format!("{}: {}", event.reason, event.note)).collect()
}

fn of<'a>(told: &'a [String], reason: &str) -> Vec<&'a str> {
    let words = told.iter().filter_map(|event| event.split_once(": "));
    let mut notes: Vec<&str> =
        words.filter(|(found, _)| *found == reason).map(|(_, note)| note).collect();
    notes.sort_unstable();
    notes
}

#[test]
fn each_restarted_server_is_named_in_an_event_of_its_own() {
    let image = |fake: &mut Fake| fake.edit(&json!({"nats": {"image": "registry.example/nats:2"}}));
    for seed in 0..10 {
        let told = told(image, seed);
        let servers = [0, 1, 2].map(|server| format!("restarting demo-nats-{server}"));
        assert_eq!(of(&told, "RestartingServer"), servers, "{told:#?}");
        assert_eq!(of(&told, "MovingMetaLeader").len(), 1, "{told:#?}");
    }
}

#[test]
fn what_happens_is_told_in_its_order_and_no_words_come_twice() {
    let table: [(Change, &[&str]); 4] = [
        (|_| {}, &[]),
        (|fake| fake.client = None, &["Applying"]),
        (
            |fake| drop(fake.secrets.remove(&Role::Migration)),
            &[
                "KeyRenewed",
                "Applying",
                "RestartingServer",
                "RollingRestart",
                "RestartingServer",
                "MovingMetaLeader",
                "RestartingServer",
            ],
        ),
        (|fake| drop(fake.streams.remove(&Bucket::Rooms)), &["BucketLost"]),
    ];
    for (row, (change, reasons)) in table.into_iter().enumerate() {
        let told = told(change, 3);
        let words = told.iter().filter_map(|event| event.split_once(": "));
        assert_eq!(words.map(|(reason, _)| reason).collect::<Vec<_>>(), reasons, "{told:#?}");
        let once: BTreeSet<&String> = told.iter().collect();
        assert_eq!(once.len(), told.len(), "{row}: {told:#?}");
    }
}
