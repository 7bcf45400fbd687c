//! Changes of a running cluster, by its user or behind the operator's back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::bed::{turn, within};
use crate::load::Load;
use crate::subject::{SERVED, Subject, spec_with};
use crate::users::Users;

/// The small cluster with other resources.
const LARGER: &str = "{membershipd: {}, buckets: {maxBytes: 32Mi}, \
                      nats: {storage: {size: 1Gi}, resources: {limits: {memory: 256Mi}}}}";

#[test]
fn a_change_restarts_one_server_at_a_time_and_loses_no_acknowledged_write() {
    let bed = turn();
    // Of its own: the cluster need not be changed back, server by server.
    let subject = Subject::up(&bed, "larger");
    let mut users = Users::of(subject);
    let before = subject.pods();
    let done = AtomicBool::new(false);
    scope(|scope| {
        let over = Over(&done);
        let writer = scope.spawn(|| {
            let mut refused = 0;
            while !done.load(Ordering::Relaxed) {
                refused += u32::from(!users.add());
            }
            (users, refused)
        });
        subject.apply(LARGER);
        subject.until("Reconciling", "True");
        subject.restarts_one_by_one(&before);
        drop(over);
        let (users, refused) = writer.join().unwrap();
        eprintln!("{} writes acknowledged, {refused} not", users.acknowledged.len());
        assert!(users.acknowledged.len() > 5, "no load");
        users.are_all_there();
        users.end();
    });
    subject.rests();
    subject.is_true(3, 3);
    each_restart_was_told(subject);
    bed.kubectl().run(["delete", "namespace", "larger", "--wait=false"]).unwrap();
}

/// Says so when it is dropped: a story that fails would wait for its writer for ever.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn each_restart_was_told(subject: Subject<'_>) {
    let told = subject.events("RestartingServer");
    let mut told: Vec<&str> = told.iter().map(|event| event["note"].as_str().unwrap()).collect();
    told.sort_unstable();
    assert_eq!(told, [0, 1, 2].map(|server| format!("restarting demo-nats-{server}")));
}

#[test]
fn a_bad_image_stops_at_the_first_server_and_heals_when_it_is_taken_back() {
    let bed = turn();
    let subject = Subject::up(&bed, "change");
    let before = subject.pods();
    subject.apply(
        "{membershipd: {}, nats: {image: 'docker.io/library/nats:0.0.0', storage: {size: 1Gi}}, \
         buckets: {maxBytes: 32Mi}}",
    );
    let stayed = || subject.pods().iter().filter(|pod| before.contains(pod)).count();
    within("the first server", || (stayed() == 2).then_some(()));
    within("the reason", || {
        let words = subject.resource()?["status"]["conditions"].to_string();
        ["ImagePullBackOff", "ErrImagePull"].iter().any(|why| words.contains(why)).then_some(())
    });
    sleep(Duration::from_secs(5));
    assert_eq!(stayed(), 2, "the others must wait for the first");
    assert!(subject.is("Ready", "True"), "two of three serve");
    subject.apply(
        "{membershipd: {}, nats: {image: 'docker.io/library/nats:2.15.2-scratch', storage: {size: 1Gi}}, \
         buckets: {maxBytes: 32Mi}}",
    );
    subject.rests();
    assert_eq!(stayed(), 2, "the others already run what is wanted");
    subject.is_true(3, 3);
    subject.apply(SERVED);
    subject.rests();
}

#[test]
fn children_that_are_deleted_by_hand_come_back_without_a_loss() {
    let bed = turn();
    let subject = Subject::up(&bed, "change");
    let users = Users::of(subject);
    let id = subject.cluster_id();
    // Secrets are never watched, so this one is missed by the pass after the next deletion.
    bed.delete("change", "secret", "demo-nats-migration");
    for (kind, name) in [
        ("configmap", "demo-nats"),
        ("service", "demo-nats"),
        ("service", "demo-nats-headless"),
        ("poddisruptionbudget", "demo-nats"),
        ("statefulset", "demo-nats"),
    ] {
        bed.delete("change", kind, name);
        within(&format!("{kind} {name}"), || bed.get("change", &format!("{kind}/{name}")));
    }
    within("the Secret", || bed.get("change", "secret/demo-nats-migration"));
    subject.rests();
    subject.is_true(3, 3);
    assert_eq!(subject.cluster_id(), id);
    users.are_all_there();
    users.end();
}

#[test]
fn a_suspended_cluster_is_left_alone_until_it_is_resumed() {
    let bed = turn();
    let subject = Subject::up(&bed, "change");
    subject.apply(&spec_with("membershipd: {}, suspend: true"));
    within("suspension", || {
        (subject.condition("Reconciling")? == ("False".to_owned(), "Suspended".to_owned()))
            .then_some(())
    });
    bed.delete("change", "service", "demo-nats");
    sleep(Duration::from_secs(5));
    assert!(bed.get("change", "service/demo-nats").is_none());
    assert!(subject.is("Ready", "True"), "it serves on");
    subject.apply(&spec_with("membershipd: {}, suspend: false"));
    within("the service", || bed.get("change", "service/demo-nats"));
    subject.rests();
}

#[test]
fn a_bucket_with_much_data_is_raised_and_r3_is_only_said_of_equal_copies() {
    const KEYS: usize = 20_000;
    let bed = turn();
    let subject = Subject::new(&bed, "raise", "demo");
    let spec = |replicas: u8| {
        format!(
            "{{nats: {{storage: {{size: 2Gi}}}}, buckets: {{replicas: {replicas}, maxBytes: 160Mi}}}}"
        )
    };
    subject.apply(&spec(1));
    subject.rests();
    subject.is_true(3, 1);
    Load::on(&subject).fill("UNIBUS_room_keys", KEYS, 4096);
    let began = Instant::now();
    subject.apply(&spec(3));
    within("all buckets raised", || {
        let status = subject.resource()?["status"].clone();
        let buckets = status["buckets"].as_array()?;
        let keys = buckets.iter().find(|bucket| bucket["name"] == "UNIBUS_room_keys")?;
        let said =
            status["bucketReplicas"] == "R3" || (keys["replicas"] == 3 && keys["state"] == "Equal");
        if said {
            assert_eq!(subject.copies("KV_UNIBUS_room_keys"), [KEYS as u64; 3], "{status}");
        }
        (status["bucketReplicas"] == "R3" && subject.is("Reconciling", "False")).then_some(())
    });
    eprintln!("{KEYS} keys of 4 KiB raised to R3 in {:.1?}", began.elapsed());
    subject.rests();
    bed.kubectl().run(["delete", "namespace", "raise", "--wait=false"]).unwrap();
}

/// The kubelet carries a configuration into the pods with its next look at them.
#[test]
fn debug_logging_is_switched_without_a_restart() {
    let bed = turn();
    let subject = Subject::up(&bed, "change");
    let before = subject.pods();
    let logs = || bed.kubectl().run(["logs", "demo-nats-0", "-n", "change"]).unwrap();
    for debug in [true, false] {
        let spec = SERVED.replacen("{storage", &format!("{{debug: {debug}, storage"), 1);
        subject.apply(&spec);
        subject.rests();
        // A server with nothing to say says nothing until the next ping.
        within("a line of debugging", || logs().contains("[DBG]").then_some(()));
        assert_eq!(subject.pods(), before, "a server was restarted");
    }
    let lines = logs().matches("[DBG]").count();
    sleep(Duration::from_secs(10));
    assert_eq!(logs().matches("[DBG]").count(), lines, "still debugging");
}
