//! Ten thousand rows, and in the middle of their move something is killed: the Job's pod, a server,
//! a majority of the servers, the operator, and then all together.

use serde_json::Value;

use crate::bed::{turn, within};
use crate::cordon::Cordon;
use crate::migrate::{forget, is_moved, jobs_begun, migration};
use crate::sample::Amounts;
use crate::source::Source;
use crate::subject::{SPEC, Subject, spec_with};

/// About ten thousand rows.
const MANY: Amounts = Amounts { users: 600, rooms: 60, members: 60, epochs: 6 };

/// So little of a processor that the middle of the move lasts for seconds.
const SLOWLY: &str = "migration: {resources: {limits: {cpu: 100m}}}";

const NAMESPACE: &str = "mig-kill";

/// What is killed, by its name, and how.
type Killed = (&'static str, fn(&Subject<'_>));

/// One cluster and one claim for each, named after it. What stands together is killed one after the
/// other, and neither is in the other's way.
const KILLED: [&[Killed]; 4] = [
    &[("job", kill_job), ("server", kill_server)],
    &[("quorum", kill_quorum)],
    &[("operator", |subject| subject.bed.kill_operator_and_lease())],
    &[("all", |subject| {
        kill_server(subject);
        kill_job(subject);
        subject.bed.kill_operator_and_lease();
    })],
];

#[test]
fn whatever_is_killed_in_the_middle_everything_is_moved_once() {
    let bed = turn();
    let names = KILLED.concat().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    let source = Source::new(&bed, NAMESPACE, &names);
    for name in &names {
        Subject::new(&bed, NAMESPACE, name).apply(SPEC);
    }
    let rows = source.fill(MANY);
    assert!(rows >= 10_000, "{rows} rows");
    source.release(&names);
    for group in KILLED {
        let subject = |name| Subject::new(&bed, NAMESPACE, name);
        let killed =
            group.iter().map(|(name, kill)| (subject(name), is_killed(&subject(name), *kill)));
        for (subject, after) in killed.collect::<Vec<_>>() {
            is_moved_once(&subject, &after);
        }
    }
    forget(&bed, NAMESPACE);
}

/// Kills something when rows are written, and says how many were.
fn is_killed(subject: &Subject<'_>, kill: fn(&Subject<'_>)) -> String {
    let name = subject.name;
    subject.rests();
    subject.apply(&spec_with(&format!("sqlite: {{claimName: {name}}}, {SLOWLY}")));
    let after = is_under_way(subject);
    kill(subject);
    assert!(!has_ended(subject), "{name} was killed too late");
    after
}

fn is_moved_once(subject: &Subject<'_>, after: &str) {
    let name = subject.name;
    is_moved(subject, MANY, 3);
    eprintln!("{name}: killed after {after}, moved {}", times(subject));
    assert_eq!((jobs_begun(subject), &migration(subject)["job"]), (1, &job(subject).into()));
    let pods = pods_made(subject);
    assert!(pods >= 2 || !["job", "all"].contains(&name), "{name}: {pods} pods");
    let delete = ["delete", "membershipcluster", name, "-n", NAMESPACE, "--wait=false"];
    subject.bed.kubectl().run(delete).unwrap();
}

/// From when to when the move was made.
fn times(subject: &Subject<'_>) -> String {
    let told = migration(subject);
    format!("from {} to {}", told["startedAt"], told["completedAt"])
}

fn job(subject: &Subject<'_>) -> String {
    format!("{}-migrate-1", subject.name)
}

fn log(subject: &Subject<'_>) -> String {
    let selector = format!("batch.kubernetes.io/job-name={}", job(subject));
    let args = ["logs", "-n", NAMESPACE, "-l", &selector, "--tail=-1"];
    subject.bed.kubectl().run(args).unwrap_or_default()
}

/// Waits until rows are written, and says how many were.
fn is_under_way(subject: &Subject<'_>) -> String {
    within("rows to be written", || {
        let log = log(subject);
        assert!(!log.contains("read back"), "it was over too soon: {log}");
        let line =
            log.lines().rfind(|line| line.starts_with("import: ") && !line.contains("(0 %)"));
        line.map(str::to_owned)
    })
}

/// Whether all rows were written, as the pod or its Job tells.
fn has_ended(subject: &Subject<'_>) -> bool {
    let job = subject.bed.get(NAMESPACE, &format!("job/{}", job(subject))).unwrap();
    log(subject).contains("read back") || job["status"]["succeeded"] == 1
}

/// How many pods the Job had.
fn pods_made(subject: &Subject<'_>) -> usize {
    let chosen = format!("involvedObject.name={},reason=SuccessfulCreate", job(subject));
    let args = ["get", "events", "-n", NAMESPACE, "-o", "name", "--field-selector", &chosen];
    subject.bed.kubectl().run(args).unwrap().lines().count()
}

fn kill_job(subject: &Subject<'_>) {
    let selector = format!("batch.kubernetes.io/job-name={}", job(subject));
    subject.bed.kill_pods(NAMESPACE, &["-l", &selector]);
}

/// The server that leads the bucket with most of the rows.
fn leader(subject: &Subject<'_>) -> String {
    let resource = subject.resource().unwrap();
    let buckets = resource["status"]["buckets"].as_array().unwrap();
    let keys = |bucket: &&Value| bucket["name"].as_str().unwrap().ends_with("_room_keys");
    buckets.iter().find(keys).unwrap()["leader"].as_str().unwrap().to_owned()
}

fn kill_server(subject: &Subject<'_>) {
    subject.bed.kill_pods(NAMESPACE, &[&leader(subject)]);
}

/// Two of three servers, and nothing new starts on any node until that was seen.
fn kill_quorum(subject: &Subject<'_>) {
    let closed = Cordon::of(subject.bed, subject.bed.machines().nodes());
    let (leader, name) = (leader(subject), subject.name);
    let other = (0..3).map(|n| format!("{name}-nats-{n}")).find(|pod| *pod != leader).unwrap();
    subject.bed.kill_pods(NAMESPACE, &[&leader, &other]);
    within("the quorum to be missed", || {
        (subject.condition("Ready")? == ("False".to_owned(), "QuorumLost".to_owned())).then_some(())
    });
    assert!(subject.is("Migrated", "Unknown") || subject.is("Migrated", "False"));
    drop(closed);
}
