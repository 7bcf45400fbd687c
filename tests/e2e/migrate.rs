//! A SQLite file becomes a replicated cluster, on a real Kubernetes: what has to be mended first, and
//! never twice. What is killed on the way has a story of its own.

use serde_json::Value;

use crate::bed::{Bed, PATIENCE, turn, within};
use crate::faults::Off;
use crate::sample::Amounts;
use crate::source::{FEW, SERVICE, Source};
use crate::subject::{Subject, spec_with};

const SOURCE: &str = "sqlite: {claimName: old}";

/// A cluster of one server, with something else.
fn one_server(more: &str) -> String {
    format!(
        "{{replicas: 1, {more}, nats: {{storage: {{size: 1Gi}}}}, buckets: {{maxBytes: 32Mi}}}}"
    )
}

pub fn migration(subject: &Subject<'_>) -> Value {
    subject.resource().unwrap()["status"]["migration"].clone()
}

/// Everything is in the buckets, and the Job is gone.
pub fn is_moved(subject: &Subject<'_>, amounts: Amounts, servers: u64) {
    subject.until("Migrated", "True");
    subject.rests();
    subject.is_true(servers, servers);
    let told = migration(subject);
    assert_eq!(told["state"], "Done");
    assert_eq!(told["counts"]["users"], amounts.users);
    assert_eq!(told["counts"]["rooms"], amounts.rooms);
    assert_eq!(told["counts"]["members"], amounts.rooms * amounts.members);
    let own = format!("job.batch/{}-migrate-", subject.name);
    within("the Job to go", || {
        let jobs = subject.bed.names(subject.namespace, "jobs");
        jobs.iter().all(|job| !job.starts_with(&own)).then_some(())
    });
}

/// How many Jobs of a resource were begun, as its Events tell: one that is told again is counted up.
pub fn jobs_begun(subject: &Subject<'_>) -> u64 {
    let begun = subject.events("MigrationStarted");
    begun.iter().map(|event| event["series"]["count"].as_u64().unwrap_or(1)).sum()
}

/// What is said of the resource's waiting for a person.
fn complaint(subject: &Subject<'_>) -> String {
    let resource = subject.resource().unwrap();
    let conditions = resource["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == "Stalled").unwrap();
    found["message"].as_str().unwrap().to_owned()
}

pub fn forget(bed: &Bed, namespace: &str) {
    let delete = ["delete", "namespace", namespace, "--wait=false"];
    bed.kubectl().run_within(PATIENCE, delete).unwrap();
}

#[test]
fn a_file_is_moved_when_it_is_released_and_unused_and_never_again() {
    let bed = turn();
    let namespace = "mig-once";
    let source = Source::new(&bed, namespace, &["old"]);
    let (demo, other) =
        (Subject::new(&bed, namespace, "demo"), Subject::new(&bed, namespace, "other"));
    source.fill(FEW);
    demo.apply(&spec_with(SOURCE));
    other.apply(&one_server(SOURCE));
    demo.stalls("ClaimNotReleased");
    source.annotate("old", "demo");
    demo.stalls("SourceInUse");
    assert!(complaint(&demo).contains(SERVICE), "{}", complaint(&demo));
    bed.delete(namespace, "pod", SERVICE);
    is_moved(&demo, FEW, 3);
    assert_eq!(jobs_begun(&demo), 1);
    assert!(migration(&demo)["backup"].as_str().unwrap().starts_with("old/backups/"));

    other.stalls("ClaimNotReleased");
    source.annotate("old", "other");
    other.stalls("OtherMigration");
    assert_eq!(jobs_begun(&other), 1);
    other.delete();

    // Nothing but the record stands against a second move.
    source.annotate("old", "demo");
    demo.delete();
    demo.apply(&spec_with(SOURCE));
    demo.rests();
    demo.until("Migrated", "True");
    assert_eq!(migration(&demo)["counts"]["users"], FEW.users);
    assert_eq!(jobs_begun(&demo), 1, "the first life's");
    forget(&bed, namespace);
}

#[test]
fn a_typo_a_foreign_owner_and_a_missing_image_are_named_and_heal() {
    let bed = turn();
    let namespace = "mig-mend";
    let source = Source { user: 1000, ..Source::new(&bed, namespace, &["old"]) };
    source.fill(FEW);
    source.release(&["demo"]);
    let demo = Subject::new(&bed, namespace, "demo");
    demo.apply(&one_server("sqlite: {claimName: old, path: memmership.db}"));
    demo.stalls("SourceNotReadable");
    assert!(complaint(&demo).contains("no such file"), "{}", complaint(&demo));
    demo.apply(&one_server(SOURCE));
    within("the owner to be named", || {
        let words = complaint(&demo);
        (words.contains("user 1000") && words.contains("0600")).then_some(())
    });
    let as_owner = "podSecurityContext: {runAsUser: 1000, runAsGroup: 1000}";
    let missing = format!("{SOURCE}, migration: {{image: 'registry.invalid/none:1', {as_owner}}}");
    demo.apply(&one_server(&missing));
    within("the missing image", || {
        (demo.condition("Migrated")?.1 == "MigrationPodNotRunning").then_some(())
    });
    demo.apply(&one_server(&format!("{SOURCE}, migration: {{{as_owner}}}")));
    is_moved(&demo, FEW, 1);
    forget(&bed, namespace);
}

#[test]
fn a_source_on_a_lost_node_is_named_and_moved_when_the_node_is_back() {
    let bed = turn();
    let namespace = "mig-lost";
    let nodes = bed.nodes_without_operator();
    let source = Source { node: Some(&nodes[0]), ..Source::new(&bed, namespace, &["old"]) };
    source.fill(FEW);
    source.annotate("old", "demo");
    let demo = Subject::new(&bed, namespace, "demo");
    // Its server is on another node: nothing but the source is lost.
    let server = format!("nodeSelector: {{kubernetes.io/hostname: {}}}", nodes[1]);
    demo.apply(&one_server(SOURCE).replacen("nats: {", &format!("nats: {{{server}, "), 1));
    demo.stalls("SourceInUse");
    let off = Off::of(&bed, &nodes[..1]);
    bed.kubectl().run(["delete", "pod", SERVICE, "-n", namespace, "--wait=false"]).unwrap();
    demo.stalls("SourceOnLostNode");
    let words = complaint(&demo);
    assert!(words.contains(SERVICE) && words.contains(&nodes[0]), "{words}");
    drop(off);
    is_moved(&demo, FEW, 1);
    assert_eq!(jobs_begun(&demo), 1);
    forget(&bed, namespace);
}
