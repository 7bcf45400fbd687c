//! A SQLite file becomes a replicated cluster, on a real Kubernetes: what has to be mended first,
//! whatever is killed on the way, and never twice.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::bed::{Bed, PATIENCE, turn, within};
use crate::sample::{Amounts, write};
use crate::subject::{Subject, spec_with};

const SOURCE: &str = "sqlite: {claimName: old}";

/// About ten thousand rows.
const TEN_THOUSAND: Amounts = Amounts { users: 600, rooms: 60, members: 60, epochs: 6 };

/// A claim with a file in it, written by a pod of this user that goes on using it.
fn fill(bed: &Bed, namespace: &str, amounts: Amounts, user: u32) {
    let manifest = format!(
        "apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: old, namespace: {namespace}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 64Mi}}}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: old-service, namespace: {namespace}}}
spec:
  terminationGracePeriodSeconds: 0
  securityContext:
    {{runAsNonRoot: true, runAsUser: {user}, runAsGroup: {user}, fsGroup: {user}, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: service
      image: docker.io/library/busybox:stable
      command: [sleep, \"100000\"]
      securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
      volumeMounts: [{{name: source, mountPath: /source}}]
  volumes: [{{name: source, persistentVolumeClaim: {{claimName: old}}}}]
"
    );
    bed.kubectl().apply(&manifest).unwrap();
    let wait = ["wait", "--for=condition=Ready", "pod/old-service", "-n", namespace];
    bed.kubectl().run_within(PATIENCE, [&wait[..], &["--timeout=200s"]].concat()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("membership.db");
    let rows = write(&file, amounts, 7).unwrap();
    assert!(amounts.rooms < 60 || rows >= 10_000, "{rows} rows");
    let copy = "umask 077; cat >/source/membership.db";
    let mut exec = bed.kubectl().command();
    exec.args(["exec", "-i", "-n", namespace, "old-service", "--", "sh", "-c", copy]);
    let mut exec = exec.stdin(Stdio::piped()).spawn().unwrap();
    exec.stdin.take().unwrap().write_all(&std::fs::read(&file).unwrap()).unwrap();
    assert!(exec.wait().unwrap().success());
}

/// The old service ends, and the claim is given to a resource.
fn release(bed: &Bed, namespace: &str, to: &str) {
    bed.delete(namespace, "pod", "old-service");
    annotate(bed, namespace, to);
}

fn annotate(bed: &Bed, namespace: &str, to: &str) {
    let annotation = format!("membership.unibus.dev/release-to={to}");
    let args = ["annotate", "--overwrite", "pvc", "old", "-n", namespace, &annotation];
    bed.kubectl().run(args).unwrap();
}

fn migration(subject: &Subject<'_>) -> Value {
    subject.resource().unwrap()["status"]["migration"].clone()
}

/// Everything is in the buckets, and the Job is gone.
fn is_moved(subject: &Subject<'_>, amounts: Amounts) {
    subject.until("Migrated", "True");
    subject.rests();
    subject.is_true(3, 3);
    let told = migration(subject);
    assert_eq!(told["state"], "Done");
    assert_eq!(told["counts"]["users"], amounts.users);
    assert_eq!(told["counts"]["rooms"], amounts.rooms);
    assert_eq!(told["counts"]["members"], amounts.rooms * amounts.members);
    within("the Job to go", || {
        subject.bed.names(subject.namespace, "jobs").is_empty().then_some(())
    });
}

fn jobs_begun(bed: &Bed, namespace: &str) -> usize {
    let list = bed.get(namespace, "events.events.k8s.io").unwrap();
    let events = list["items"].as_array().unwrap();
    events.iter().filter(|event| event["reason"] == "MigrationStarted").count()
}

#[test]
#[ignore = "minutes on a loaded machine: run by `make test-long`"]
fn a_file_is_moved_when_it_is_released_and_unused_and_never_again() {
    let bed = turn();
    let (namespace, amounts) = ("mig-once", TEN_THOUSAND);
    fill(&bed, namespace, amounts, 65532);
    let demo = Subject::new(&bed, namespace, "demo");
    demo.apply(&spec_with(SOURCE));
    demo.stalls("ClaimNotReleased");
    annotate(&bed, namespace, "demo");
    demo.stalls("SourceInUse");
    let (_, words) = message(&demo, "Stalled");
    assert!(words.contains("old-service"), "{words}");
    bed.delete(namespace, "pod", "old-service");
    is_moved(&demo, amounts);
    assert_eq!(jobs_begun(&bed, namespace), 1);
    assert!(migration(&demo)["backup"].as_str().unwrap().starts_with("old/backups/"));

    let other = Subject::new(&bed, namespace, "other");
    other.apply(&spec_with(SOURCE));
    other.stalls("ClaimNotReleased");
    annotate(&bed, namespace, "other");
    other.stalls("OtherMigration");
    other.delete();

    demo.delete();
    demo.apply(&spec_with(SOURCE));
    demo.rests();
    demo.until("Migrated", "True");
    assert_eq!(migration(&demo)["counts"]["users"], amounts.users);
    assert_eq!(jobs_begun(&bed, namespace), 2, "one of demo and one of other");
    bed.kubectl().run_within(PATIENCE, ["delete", "namespace", namespace]).unwrap();
}

fn message(subject: &Subject<'_>, kind: &str) -> (String, String) {
    let resource = subject.resource().unwrap();
    let conditions = resource["status"]["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|condition| condition["type"] == kind).unwrap();
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("status"), text("message"))
}

/// Kills the pods that a selector finds, without a word of farewell.
fn kill(bed: &Bed, namespace: &str, selector: &str) {
    let args = ["delete", "pod", "-n", namespace, "-l", selector, "--grace-period=0", "--force"];
    bed.kubectl().run(args).unwrap();
}

const JOB: &str = "app.kubernetes.io/component=migration";
const SERVER: &str = "apps.kubernetes.io/pod-index=1,app.kubernetes.io/component=nats";

#[test]
#[ignore = "minutes on a loaded machine: run by `make test-long`"]
fn whatever_is_killed_in_the_middle_everything_is_moved_once() {
    let bed = turn();
    for (name, operator, job, server) in [
        ("mig-operator", true, false, false),
        ("mig-job", false, true, false),
        ("mig-server", false, false, true),
        ("mig-all", true, true, true),
    ] {
        fill(&bed, name, TEN_THOUSAND, 65532);
        let demo = Subject::up(&bed, name);
        release(&bed, name, "demo");
        demo.apply(&spec_with(SOURCE));
        within("the Job's pod to run", || {
            // On a quick machine it is over between two looks.
            if demo.is("Migrated", "True") {
                return Some(());
            }
            let pods = bed.get(name, "pods")?;
            let of_job = |pod: &&Value| {
                pod["metadata"]["labels"]["app.kubernetes.io/component"] == "migration"
            };
            let pod = pods["items"].as_array()?.iter().find(of_job)?.clone();
            (pod["status"]["phase"] != "Pending").then_some(())
        });
        if server {
            kill(&bed, name, SERVER);
        }
        if job {
            kill(&bed, name, JOB);
        }
        if operator {
            bed.kill_operator();
        }
        is_moved(&demo, TEN_THOUSAND);
        bed.kubectl().run_within(PATIENCE, ["delete", "namespace", name]).unwrap();
    }
}

#[test]
#[ignore = "minutes on a loaded machine: run by `make test-long`"]
fn a_typo_a_foreign_owner_and_a_missing_image_are_named_and_heal() {
    let bed = turn();
    let namespace = "mig-mend";
    let amounts = Amounts { users: 50, rooms: 5, members: 10, epochs: 3 };
    fill(&bed, namespace, amounts, 1000);
    release(&bed, namespace, "demo");
    let demo = Subject::new(&bed, namespace, "demo");
    demo.apply(&spec_with("sqlite: {claimName: old, path: memmership.db}"));
    demo.stalls("SourceNotReadable");
    assert!(message(&demo, "Stalled").1.contains("no such file"));
    demo.apply(&spec_with(SOURCE));
    within("the owner to be named", || {
        let (_, words) = message(&demo, "Stalled");
        (words.contains("user 1000") && words.contains("0600")).then_some(())
    });
    let as_owner = "podSecurityContext: {runAsUser: 1000, runAsGroup: 1000}";
    let missing = format!("{SOURCE}, migration: {{image: 'registry.invalid/none:1', {as_owner}}}");
    demo.apply(&spec_with(&missing));
    within("the missing image", || {
        (demo.condition("Migrated")?.1 == "MigrationPodNotRunning").then_some(())
    });
    demo.apply(&spec_with(&format!("{SOURCE}, migration: {{{as_owner}}}")));
    is_moved(&demo, amounts);
    bed.kubectl().run_within(PATIENCE, ["delete", "namespace", namespace]).unwrap();
}
