//! The status in every state that users meet, as they would read it, with what `kubectl wait` and
//! kstatus (Flux, Helm) make of it. The snapshots are the recorded statuses of these states.

use membership_operator::api::conditions::{ConditionType, Reason, find};
use membership_operator::cluster::equal::Equality;
use membership_operator::cluster::names::Bucket;
use membership_operator::cluster::settled::Unsettled;
use membership_operator::cluster::status::{EventKind, on_its_way_for, report_invalid};
use serde_json::{Value, json};

use crate::fake::{BAD_IMAGE, Crash, Fake, Probe, Seen};

struct Walk {
    fake: Fake,
    probe: Probe,
}

impl Walk {
    fn new(spec: &Value) -> Self {
        Self { fake: Fake::new(spec, 11), probe: Probe::default() }
    }

    fn ready(spec: &Value) -> Self {
        let mut walk = Self::new(spec);
        walk.rest();
        walk.fake.write_records();
        walk.fake.events.clear();
        walk
    }

    fn rest(&mut self) {
        self.fake.settle(&mut self.probe, 1200).unwrap();
    }

    /// One second and one pass.
    fn step(&mut self) {
        self.fake.tick();
        self.probe.look(&self.fake);
        let seen = self.fake.see(&self.probe);
        self.fake.pass(&seen, &mut self.probe, &mut Crash::never());
    }

    /// Steps until a condition has a status.
    fn until(&mut self, kind: ConditionType, status: &str) {
        for _ in 0..200 {
            self.step();
            if self.says(kind, status) {
                return;
            }
        }
        unreachable!("{kind} never is {status}: {}", self.read());
    }

    fn says(&self, kind: ConditionType, status: &str) -> bool {
        find(&self.fake.status.conditions, kind).is_some_and(|found| found.status == status)
    }

    /// The status as text, without times and ids.
    fn read(&self) -> String {
        let status = &self.fake.status;
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let mut text = format!(
            "generation {} observed {} kstatus {} waitForReady {}\nservers {} buckets {} leader {}\n",
            self.fake.generation,
            status.observed_generation.unwrap_or(-1),
            self.kstatus(),
            self.wait_for_ready(),
            dash(&status.servers),
            dash(&status.bucket_replicas),
            if status.meta_leader.is_some() { "known" } else { "-" },
        );
        for condition in &status.conditions {
            text += &format!(
                "{} {} {} ({}): {}\n",
                condition.type_,
                condition.status,
                condition.reason,
                condition.observed_generation.unwrap_or(-1),
                condition.message
            );
        }
        for event in &self.fake.events {
            let kind = if event.kind == EventKind::Warning { "Warning" } else { "Normal" };
            text += &format!("event {kind} {}: {}\n", event.reason, event.note);
        }
        let id = status.cluster_id.clone().unwrap_or_else(|| "fresh".to_owned());
        let text = text.replace(&id, "ID");
        self.fake.meta_leader.as_ref().map_or(text.clone(), |leader| text.replace(leader, "LEADER"))
    }

    /// Records the state: as text to be read, and as the resource that health checks are tried on.
    fn record(&self, state: &str) {
        insta::assert_snapshot!(format!("status-{state}"), self.read());
        let mut resource = json!({
            "apiVersion": "membership.unibus.dev/v1alpha1",
            "kind": "MembershipCluster",
            "metadata": {"name": "demo", "namespace": "chat", "generation": self.fake.generation},
            "spec": self.fake.spec,
            "status": self.fake.status,
        });
        if self.fake.deleting {
            resource["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let yaml = serde_saphyr::to_string(&resource).unwrap();
        insta::assert_snapshot!(format!("resource-{state}"), yaml);
    }

    /// The rules of kstatus, in their order.
    fn kstatus(&self) -> &'static str {
        let status = &self.fake.status;
        let observed = status.observed_generation.unwrap_or(-1);
        if self.fake.deleting {
            "Terminating"
        } else if observed != self.fake.generation || self.says(ConditionType::Reconciling, "True")
        {
            "InProgress"
        } else if self.says(ConditionType::Stalled, "True") {
            "Failed"
        } else if self.says(ConditionType::Ready, "True") || status.conditions.is_empty() {
            "Current"
        } else {
            "InProgress"
        }
    }

    /// Whether `kubectl wait --for=condition=Ready` would return.
    fn wait_for_ready(&self) -> bool {
        find(&self.fake.status.conditions, ConditionType::Ready).is_some_and(|ready| {
            ready.status == "True" && ready.observed_generation == Some(self.fake.generation)
        })
    }

    fn reason(&self, kind: ConditionType) -> Option<Reason> {
        Reason::parse(&find(&self.fake.status.conditions, kind)?.reason)
    }
}

#[test]
fn a_new_resource_is_in_progress_with_every_condition_on_the_first_visit() {
    let mut walk = Walk::new(&json!({}));
    assert_eq!((walk.kstatus(), walk.wait_for_ready()), ("InProgress", false));
    walk.step();
    assert_eq!(walk.fake.status.conditions.len(), ConditionType::ALL.len());
    walk.record("new");
}

#[test]
fn each_step_of_a_cold_start_shows_and_ready_comes_last() {
    let mut walk = Walk::new(&json!({}));
    let mut reasons = Vec::new();
    while !walk.says(ConditionType::Ready, "True") {
        walk.step();
        assert_eq!(walk.wait_for_ready(), walk.kstatus() == "Current");
        assert!(walk.says(ConditionType::Degraded, "False"));
        let reason = walk.reason(ConditionType::Reconciling).unwrap();
        if walk.says(ConditionType::Reconciling, "True") && reasons.last() != Some(&reason) {
            reasons.push(reason);
        }
    }
    assert_eq!(
        reasons,
        [
            Reason::Applying,
            Reason::ServersNotReady,
            Reason::CreatingBuckets,
            Reason::Settling,
            Reason::RaisingReplicas,
            Reason::ReplicasSyncing,
        ]
    );
    walk.rest();
    walk.record("ready");
}

#[test]
fn an_edit_is_in_progress_until_every_server_runs_with_it() {
    let mut walk = Walk::ready(&json!({}));
    walk.fake.edit(&json!({"nats": {"image": "registry.example/nats:2.15.3"}}));
    assert_eq!((walk.kstatus(), walk.wait_for_ready()), ("InProgress", false));
    let image = "registry.example/nats:2.15.3";
    let all_new = |walk: &Walk| {
        let pods = walk.fake.pods.values();
        pods.filter(|server| server.pod.image.as_deref() == Some(image) && server.pod.ready).count()
            == 3
    };
    let mut shown = false;
    for _ in 0..200 {
        walk.step();
        assert!(walk.says(ConditionType::Ready, "True"), "it serves all the while");
        assert!(walk.says(ConditionType::Degraded, "False"), "{}", walk.read());
        if walk.kstatus() == "Current" {
            break;
        }
        assert!(!walk.wait_for_ready());
        if !shown && walk.reason(ConditionType::Reconciling) == Some(Reason::RollingRestart) {
            shown = true;
            walk.record("edited");
        }
    }
    assert!(shown && all_new(&walk) && walk.wait_for_ready());
    walk.record("edited-done");
}

#[test]
fn what_was_applied_is_in_progress_until_every_server_that_is_there_says_what_it_runs_with() {
    type Change = fn(&mut Seen);
    let table: [(Change, &str); 5] = [
        (|_| {}, "InProgress"),
        (|seen| seen.world.nats = None, "InProgress"),
        (
            |seen| {
                let nats = seen.world.nats.as_mut().unwrap();
                nats.round.servers.remove("demo-nats-1");
                nats.servers.clear();
                nats.meta = Err(Unsettled::Silent { server: "demo-nats-1".to_owned() });
            },
            "InProgress",
        ),
        (
            |seen| {
                let nats = seen.world.nats.as_mut().unwrap();
                nats.buckets.get_mut(&Bucket::Rooms).unwrap().equality = Equality::Watching;
            },
            "InProgress",
        ),
        // Nothing that is there lacks the change: it waits for a server, as before.
        (
            |seen| {
                seen.world.pods[2].ready = false;
                seen.world.nats.as_mut().unwrap().servers.clear();
            },
            "Current",
        ),
    ];
    for (row, (change, kstatus)) in table.into_iter().enumerate() {
        let mut walk = Walk::ready(&json!({}));
        walk.fake.edit(&json!({"nats": {"debug": true}}));
        walk.step();
        assert_eq!(walk.reason(ConditionType::Reconciling), Some(Reason::Applying));
        let mut seen = walk.fake.see(&walk.probe);
        change(&mut seen);
        walk.fake.pass(&seen, &mut walk.probe, &mut Crash::never());
        assert_eq!(walk.kstatus(), kstatus, "{row}: {}", walk.read());
    }
}

#[test]
fn a_bad_image_shows_what_it_waits_for() {
    let mut walk = Walk::ready(&json!({}));
    walk.fake.edit(&json!({"nats": {"image": BAD_IMAGE}}));
    walk.rest();
    walk.record("bad-image");
}

#[test]
fn with_one_server_lost_it_is_ready_and_degraded_and_current() {
    let mut walk = Walk::ready(&json!({}));
    walk.fake.dead.insert("demo-nats-1".to_owned());
    walk.until(ConditionType::Degraded, "True");
    walk.rest();
    assert_eq!((walk.kstatus(), walk.wait_for_ready()), ("Current", true));
    walk.record("degraded");
    walk.fake.dead.clear();
    walk.rest();
    assert!(walk.says(ConditionType::Degraded, "False") && walk.wait_for_ready());
    assert!(walk.fake.events.iter().any(|event| event.reason == "Recovered"));
}

#[test]
fn without_a_quorum_it_is_not_ready_and_comes_back_by_itself() {
    let mut walk = Walk::ready(&json!({}));
    let lost: Vec<String> = ["demo-nats-0", "demo-nats-2"].map(str::to_owned).into();
    walk.fake.dead.extend(lost);
    walk.until(ConditionType::Ready, "False");
    walk.rest();
    assert_eq!(walk.reason(ConditionType::Ready), Some(Reason::QuorumLost));
    assert_eq!((walk.kstatus(), walk.wait_for_ready()), ("InProgress", false));
    walk.record("no-quorum");
    walk.fake.dead.remove("demo-nats-0");
    walk.until(ConditionType::Ready, "True");
    assert!(walk.says(ConditionType::Degraded, "True"), "the third is still away");
    walk.fake.dead.clear();
    walk.rest();
    assert_eq!((walk.kstatus(), walk.wait_for_ready()), ("Current", true));
}

#[test]
fn answers_count_and_not_what_kubernetes_calls_ready() {
    let mut walk = Walk::ready(&json!({}));
    let (keep, lost) = ("demo-nats-1", ["demo-nats-0", "demo-nats-2"]);
    walk.fake.tick();
    walk.probe.look(&walk.fake);
    let mut seen = walk.fake.see(&walk.probe);
    let nats = seen.world.nats.as_mut().unwrap();
    nats.round.servers.retain(|name, _| name == keep);
    assert!(lost.iter().all(|name| seen.world.pods.iter().any(|p| p.name == *name && p.ready)));
    walk.fake.pass(&seen, &mut walk.probe, &mut Crash::never());
    assert_eq!(walk.reason(ConditionType::Ready), Some(Reason::QuorumLost));
}

#[test]
fn a_lost_bucket_is_failed_and_says_the_way_out() {
    let mut walk = Walk::ready(&json!({}));
    walk.fake.streams.remove(&Bucket::Users);
    walk.until(ConditionType::Stalled, "True");
    walk.rest();
    assert_eq!((walk.kstatus(), walk.wait_for_ready()), ("Failed", false));
    walk.record("bucket-lost");
}

#[test]
fn a_bucket_made_anew_is_not_ready_even_where_nothing_is_to_be_done() {
    let mut walk = Walk::ready(&json!({}));
    walk.fake.edit(&json!({"suspend": true}));
    walk.rest();
    walk.fake.make_anew(Bucket::Users);
    walk.until(ConditionType::Ready, "False");
    walk.rest();
    assert_eq!(walk.reason(ConditionType::Ready), Some(Reason::BucketLost));
    assert_eq!(walk.reason(ConditionType::BucketsReady), Some(Reason::BucketLost));
    assert!(walk.says(ConditionType::Degraded, "True"));
}

#[test]
fn a_refused_change_is_failed_and_names_the_way_back() {
    let mut walk = Walk::ready(&json!({}));
    walk.fake.edit(&json!({"replicas": 5}));
    walk.rest();
    assert_eq!((walk.kstatus(), walk.wait_for_ready()), ("Failed", false));
    walk.record("replicas-changed");
    walk.fake.edit(&json!({}));
    walk.rest();
    assert_eq!((walk.kstatus(), walk.wait_for_ready()), ("Current", true));
}

#[test]
fn a_suspended_cluster_says_so_and_still_tells_the_truth() {
    let mut walk = Walk::ready(&json!({}));
    walk.fake.edit(&json!({"suspend": true, "nats": {"image": BAD_IMAGE}}));
    walk.rest();
    assert!(!walk.wait_for_ready(), "the new image does not run");
    walk.record("suspended");
    walk.fake.dead.insert("demo-nats-1".to_owned());
    walk.until(ConditionType::Degraded, "True");
}

#[test]
fn a_resource_that_is_deleted_says_what_it_waits_for() {
    let mut walk = Walk::ready(&json!({"deletionPolicy": "Delete"}));
    walk.fake.delete();
    walk.step();
    walk.step();
    assert_eq!(walk.kstatus(), "Terminating");
    walk.record("deleting");
}

#[test]
fn a_first_start_that_takes_too_long_is_failed_and_goes_on() {
    let mut walk = Walk::new(&json!({"bootstrap": {"settle": "30s", "timeout": "31s"}}));
    walk.until(ConditionType::ServersReady, "True");
    walk.fake.dead.insert("demo-nats-0".to_owned());
    for _ in 0..20 {
        walk.step();
    }
    assert!(walk.says(ConditionType::Stalled, "False"), "counted from when all are ready");
    walk.fake.dead.clear();
    walk.until(ConditionType::ServersReady, "True");
    walk.until(ConditionType::Stalled, "True");
    assert_eq!(walk.reason(ConditionType::Stalled), Some(Reason::BootstrapTimeout));
    assert_eq!(walk.kstatus(), "Failed");
    walk.rest();
    assert_eq!((walk.kstatus(), walk.wait_for_ready()), ("Current", true));
}

#[test]
fn an_operator_that_starts_anew_does_not_flap_the_status() {
    for lost in [None, Some("demo-nats-1")] {
        let mut walk = Walk::ready(&json!({}));
        walk.fake.dead.extend(lost.map(str::to_owned));
        walk.rest();
        walk.fake.events.clear();
        let before = walk.fake.status.clone();
        walk.probe = Probe::default();
        let seen = walk.fake.see(&walk.probe);
        walk.fake.pass(&seen, &mut walk.probe, &mut Crash::never());
        assert_eq!(walk.fake.status, before, "nothing was asked yet");
        for _ in 0..30 {
            walk.step();
            assert_eq!(walk.fake.status.conditions, before.conditions, "{}", walk.read());
        }
        assert_eq!((&walk.fake.status, walk.fake.events.len()), (&before, 0));
    }
}

#[test]
fn silence_of_nats_makes_ready_unknown_after_a_short_while() {
    let mut walk = Walk::ready(&json!({}));
    let mut seen = walk.fake.see(&walk.probe);
    seen.world.nats = None;
    for (silence, status) in [(5, "True"), (11, "Unknown")] {
        seen.world.silence = std::time::Duration::from_secs(silence);
        walk.fake.pass(&seen, &mut walk.probe, &mut Crash::never());
        assert!(walk.says(ConditionType::Ready, status), "{}", walk.read());
        seen.world.resource.status = walk.fake.status.clone();
    }
}

#[test]
fn a_spec_that_cannot_be_acted_on_is_failed_with_the_reason() {
    let mut walk = Walk::ready(&json!({}));
    let old = walk.fake.status.clone();
    let now = walk.fake.given().now;
    let report = report_invalid(&old, 2, "replicas must be 1, 3 or 5, not 2", now);
    (walk.fake.status, walk.fake.events, walk.fake.generation) = (report.status, report.events, 2);
    assert_eq!((walk.kstatus(), walk.wait_for_ready()), ("Failed", false));
    walk.record("invalid");
}

#[test]
fn more_replicas_are_ready_only_when_all_are_equal() {
    let mut walk = Walk::ready(&json!({"buckets": {"replicas": 1}}));
    for _ in 0..300 {
        walk.step();
    }
    walk.fake.edit(&json!({}));
    loop {
        walk.step();
        assert!(walk.says(ConditionType::Stalled, "False"), "{}", walk.read());
        if walk.wait_for_ready() {
            break;
        }
    }
    assert!(Bucket::ALL.iter().all(|bucket| walk.fake.is_equal(*bucket, 3)));
    assert!(walk.fake.events.iter().all(|event| event.kind == EventKind::Normal));
}

#[test]
fn a_mended_trouble_is_no_first_start() {
    let mut walk = Walk::ready(&json!({}));
    walk.fake.edit(&json!({"replicas": 5}));
    walk.rest();
    walk.fake.edit(&json!({"nats": {"image": "registry.example/nats:2.15.3"}}));
    for _ in 0..200 {
        walk.step();
        assert!(walk.says(ConditionType::Stalled, "False"), "{}", walk.read());
    }
    assert!(walk.wait_for_ready());
}

#[test]
fn how_long_a_cluster_is_on_its_way_is_counted_from_the_last_turn() {
    let mut walk = Walk::ready(&json!({}));
    let on_its_way = |walk: &Walk| on_its_way_for(&walk.fake.status, walk.fake.given().now);
    assert_eq!(on_its_way(&walk).as_secs(), 0);
    walk.fake.dead.insert("demo-nats-1".to_owned());
    walk.until(ConditionType::Degraded, "True");
    for _ in 0..30 {
        walk.step();
    }
    assert_eq!(on_its_way(&walk).as_secs(), 30);
}

#[test]
fn a_newer_default_image_is_told_and_not_taken() {
    let walk = Walk::ready(&json!({}));
    assert_eq!(walk.fake.status.available_image, None);
    let seen = walk.fake.see(&walk.probe);
    let mut given = walk.fake.given();
    given.default_image = "docker.io/library/nats:3.0.0".to_owned();
    let plan = membership_operator::cluster::plan::plan(&seen.cluster, &seen.world, &given);
    let pass = membership_operator::cluster::status::Pass { plan: &plan, done: &[], failure: None };
    let report =
        membership_operator::cluster::status::report(&seen.cluster, &seen.world, &given, pass);
    assert_eq!(report.status.available_image.as_deref(), Some("docker.io/library/nats:3.0.0"));
}
