//! Plans carried out over and over in a fake world: from any start, over crashes after any write,
//! with old views and needless passes, the end is the same and nothing forbidden ever happens.

use membership_operator::api::conditions::{ConditionType, find};
use membership_operator::cluster::names::{Bucket, Role};
use membership_operator::cluster::plan::{Trouble, Wait};
use membership_operator::cluster::world::ClaimMark;
use serde_json::{Value, json};

use crate::fake::{BAD_IMAGE, Crash, Fake, Probe};

/// Seconds in which everything comes to rest.
const LONG: u32 = 1200;

fn settled(spec: &Value, seed: u64) -> (Fake, Probe) {
    let (mut fake, mut probe) = (Fake::new(spec, seed), Probe::default());
    rest(&mut fake, &mut probe);
    (fake, probe)
}

/// Runs to rest, where nothing may be left to do.
fn rest(fake: &mut Fake, probe: &mut Probe) {
    let plan = fake.settle(probe, LONG).unwrap();
    assert_eq!(plan.wait, Wait::Nothing, "{:#?}", fake.status.conditions);
    assert_eq!(fake.violations, Vec::<String>::new());
    assert!(holds(fake, ConditionType::Ready), "{:#?}", fake.status.conditions);
}

/// Runs until a person is needed.
fn trouble(fake: &mut Fake, probe: &mut Probe) -> Trouble {
    let plan = fake.settle(probe, LONG).unwrap();
    assert_eq!(fake.violations, Vec::<String>::new());
    assert!(holds(fake, ConditionType::Stalled), "{:#?}", fake.status.conditions);
    let Wait::Person(trouble) = plan.wait else { unreachable!("{:?}", plan.wait) };
    trouble
}

fn holds(fake: &Fake, kind: ConditionType) -> bool {
    find(&fake.status.conditions, kind).is_some_and(|condition| condition.status == "True")
}

fn image(image: &str) -> Value {
    json!({"nats": {"image": image}})
}

#[test]
fn a_new_cluster_becomes_ready_with_every_bucket_at_its_wanted_replicas() {
    let table = [
        (json!({}), "R3", "3/3"),
        (json!({"replicas": 1}), "R1", "1/1"),
        (json!({"replicas": 5}), "R3", "5/5"),
        (json!({"replicas": 5, "buckets": {"replicas": 5}}), "R5", "5/5"),
        (json!({"buckets": {"replicas": 1}}), "R1", "3/3"),
    ];
    for (spec, replicas, servers) in table {
        for seed in 0..10 {
            let (fake, _) = settled(&spec, seed);
            assert_eq!(fake.status.bucket_replicas.as_deref(), Some(replicas), "{spec}");
            assert_eq!(fake.status.servers.as_deref(), Some(servers), "{spec}");
            let record = fake.control.unwrap();
            assert_eq!(record.made, Bucket::ALL.into_iter().collect(), "{spec}");
            assert!(fake.claims.values().all(|claim| claim.mark == ClaimMark::Made));
        }
    }
}

#[test]
fn at_rest_nothing_is_written() {
    let (mut fake, mut probe) = settled(&json!({}), 1);
    let (writes, status, events) = (fake.writes, fake.status.clone(), fake.events.len());
    for _ in 0..600 {
        fake.tick();
        fake.write_records();
        fake.tick();
        probe.look(&fake);
        let seen = fake.see(&probe);
        fake.pass(&seen, &mut probe, &mut Crash::never()).unwrap();
    }
    assert_eq!((fake.writes, &fake.status, fake.events.len()), (writes, &status, events));
}

/// What happens to a settled cluster in a scenario.
type Change = fn(&mut Fake);

const SCENARIOS: [(&str, Change); 10] = [
    ("nothing", |_| {}),
    ("an image", |fake| fake.edit(&image("registry.example/nats:2.15.3"))),
    ("debug", |fake| fake.edit(&json!({"nats": {"debug": true}}))),
    ("a policy", |fake| fake.edit(&json!({"deletionPolicy": "Delete"}))),
    ("a Secret lost", |fake| drop(fake.secrets.remove(&Role::Membershipd))),
    ("our own key lost", |fake| drop(fake.secrets.remove(&Role::System))),
    ("a StatefulSet lost", |fake| fake.stateful_set = None),
    ("a Service lost", |fake| fake.client = None),
    ("a volume lost", |fake| lose_volume(fake, "demo-nats-1")),
    ("a bucket given up", |fake| {
        fake.streams.remove(&Bucket::Rooms);
        let id = fake.control.as_ref().unwrap().cluster_id.clone();
        fake.accept_loss = Some(format!("UNIBUS_rooms/{id}"));
    }),
];

fn lose_volume(fake: &mut Fake, server: &str) {
    let claim = fake.claims.remove(&format!("data-{server}")).unwrap();
    fake.forget_volume(&claim.uid);
    fake.pods.remove(server);
}

#[test]
fn the_end_is_the_same_after_a_crash_at_any_write() {
    for (name, change) in SCENARIOS {
        let start = if name == "nothing" { None } else { Some(settled(&json!({}), 7)) };
        let fresh = || (Fake::new(&json!({}), 7), Probe::default());
        let begin = || {
            let (mut fake, probe) = start.clone().unwrap_or_else(fresh);
            fake.write_records();
            change(&mut fake);
            (fake, probe)
        };
        let (mut reference, mut probe) = begin();
        let first = reference.writes;
        rest(&mut reference, &mut probe);
        assert!(name == "a StatefulSet lost" || reference.writes > first, "{name} does something");
        for write in first + 1..=reference.writes {
            for after in [false, true] {
                let (mut fake, mut probe) = begin();
                let mut crash = Crash::at(write, after);
                run_until_crash(&mut fake, &mut probe, &mut crash);
                assert!(crash.happened, "{name}: write {write} is never made");
                rest(&mut fake, &mut Probe::default());
                assert_eq!(fake.end_state(), reference.end_state(), "{name}, write {write}");
            }
        }
    }
}

fn run_until_crash(fake: &mut Fake, probe: &mut Probe, crash: &mut Crash) {
    for _ in 0..LONG {
        fake.tick();
        probe.look(fake);
        let seen = fake.see(probe);
        fake.pass(&seen, probe, crash);
        if crash.happened {
            return;
        }
    }
}

/// Worlds tried; more of them at night.
fn rounds() -> u64 {
    std::env::var("TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1) * 30
}

/// Views of up to this many passes ago.
const OLD: usize = 40;

#[test]
fn old_views_crashes_and_failing_servers_lead_to_the_same_end() {
    let (mut reference, mut calm) = settled(&image("registry.example/nats:2.15.3"), 0);
    rest(&mut reference, &mut calm);
    for seed in 0..rounds() {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut fake, mut probe) = (Fake::new(&json!({}), seed), Probe::default());
        let mut views = Vec::new();
        for second in 0..400 {
            fake.tick();
            probe.look(&fake);
            disturb(&mut fake, &mut probe, &mut random);
            views.push(fake.see(&probe));
            let back = if random.u8(0..4) == 0 { random.usize(0..OLD.min(views.len())) } else { 0 };
            let seen = views[views.len() - 1 - back].clone();
            let mut crash = if random.u8(0..20) == 0 {
                Crash::at(fake.writes + random.usize(1..4), random.bool())
            } else {
                Crash::never()
            };
            fake.pass(&seen, &mut probe, &mut crash);
            if crash.happened {
                probe = Probe::default();
            }
            assert_eq!(fake.violations, Vec::<String>::new(), "seed {seed}, second {second}");
        }
        fake.dead.clear();
        fake.edit(&image("registry.example/nats:2.15.3"));
        rest(&mut fake, &mut probe);
        fake.generation = reference.generation;
        let made: Vec<bool> =
            [&fake, &reference].map(|fake| fake.is_equal(Bucket::Users, 3)).into();
        assert_eq!(made, [true, true], "seed {seed}");
        assert_eq!(fake.status.bucket_replicas, reference.status.bucket_replicas, "seed {seed}");
    }
}

/// Users, administrators and machines do what they do.
fn disturb(fake: &mut Fake, probe: &mut Probe, random: &mut fastrand::Rng) {
    let server = format!("demo-nats-{}", random.u8(0..3));
    match random.u8(0..120) {
        0 => fake.edit(&image("registry.example/nats:2.15.3")),
        1 => fake.edit(&image("docker.io/library/nats:2.15.2")),
        2 => fake.edit(&image(BAD_IMAGE)),
        3 => fake.edit(&json!({"nats": {"debug": true}})),
        4 => drop(fake.dead.insert(server)),
        5..10 => fake.dead.clear(),
        10 => drop(fake.secrets.remove(&Role::Operator)),
        11 => fake.config_map = None,
        12 => fake.stateful_set = None,
        13 => fake.headless = None,
        14 => *probe = Probe::default(),
        15..40 => fake.write_records(),
        _ => {}
    }
}

#[test]
fn a_bad_image_stops_at_the_first_pod_and_heals_when_it_is_taken_back() {
    for seed in 0..10 {
        let (mut fake, mut probe) = settled(&image("docker.io/library/nats:2.15.2"), seed);
        fake.edit(&image(BAD_IMAGE));
        let plan = fake.settle(&mut probe, LONG).unwrap();
        assert!(matches!(plan.wait, Wait::Restarts { .. }), "{:?}", plan.wait);
        let bad = |fake: &Fake| {
            fake.pods.values().filter(|s| s.pod.image.as_deref() == Some(BAD_IMAGE)).count()
        };
        assert_eq!(bad(&fake), 1);
        assert!(holds(&fake, ConditionType::Ready) && holds(&fake, ConditionType::Degraded));
        fake.edit(&image("docker.io/library/nats:2.15.2"));
        rest(&mut fake, &mut probe);
        assert_eq!(bad(&fake), 0);
    }
}

#[test]
fn a_cluster_that_never_started_for_its_image_starts_when_that_is_mended() {
    let (mut fake, mut probe) = (Fake::new(&image(BAD_IMAGE), 3), Probe::default());
    fake.settle(&mut probe, LONG).unwrap();
    assert!(!holds(&fake, ConditionType::Ready));
    fake.edit(&json!({"nats": {"image": "docker.io/library/nats:2.15.2"}}));
    rest(&mut fake, &mut probe);
}

#[test]
fn a_bucket_deleted_behind_our_back_is_not_made_again() {
    let (mut fake, mut probe) = settled(&json!({}), 2);
    fake.write_records();
    fake.streams.remove(&Bucket::Users);
    let cluster_id = fake.control.as_ref().unwrap().cluster_id.clone();
    let lost = Trouble::BucketLost { bucket: Bucket::Users, cluster_id: cluster_id.clone() };
    assert_eq!(trouble(&mut fake, &mut probe), lost);
    assert!(!holds(&fake, ConditionType::Ready));
    fake.accept_loss = Some("UNIBUS_users/other".to_owned());
    assert_eq!(trouble(&mut fake, &mut probe), lost);
    fake.accept_loss = Some(format!("UNIBUS_users/{cluster_id}"));
    rest(&mut fake, &mut probe);
    assert!(fake.events.iter().any(|event| event.reason == "LossAccepted"));
    // The word is used up, although the annotation still stands.
    fake.write_records();
    fake.streams.remove(&Bucket::Users);
    assert_eq!(trouble(&mut fake, &mut probe), lost);
}

#[test]
fn a_bucket_made_anew_behind_our_back_is_as_lost_as_one_that_is_gone() {
    let (mut fake, mut probe) = settled(&json!({}), 2);
    // Nothing was kept in it yet.
    fake.make_anew(Bucket::Users);
    rest(&mut fake, &mut probe);
    fake.write_records();
    fake.make_anew(Bucket::Users);
    let cluster_id = fake.control.as_ref().unwrap().cluster_id.clone();
    let lost = Trouble::BucketLost { bucket: Bucket::Users, cluster_id: cluster_id.clone() };
    assert_eq!(trouble(&mut fake, &mut probe), lost);
    assert!(!holds(&fake, ConditionType::Ready));
    let there = fake.streams[&Bucket::Users].created.clone();
    fake.accept_loss = Some(format!("UNIBUS_users/{cluster_id}"));
    rest(&mut fake, &mut probe);
    assert_eq!(fake.streams[&Bucket::Users].created, there, "it stays as it is");
    fake.write_records();
    fake.make_anew(Bucket::Users);
    assert_eq!(trouble(&mut fake, &mut probe), lost, "the word is used up");
}

#[test]
fn a_lost_control_bucket_is_made_again_only_once_and_only_on_a_persons_word() {
    let (mut fake, mut probe) = settled(&json!({}), 2);
    let cluster_id = fake.control.as_ref().unwrap().cluster_id.clone();
    let lost = Trouble::BucketLost { bucket: Bucket::Control, cluster_id: cluster_id.clone() };
    let lose = |fake: &mut Fake| {
        fake.streams.remove(&Bucket::Control);
        fake.control = None;
    };
    lose(&mut fake);
    assert_eq!(trouble(&mut fake, &mut probe), lost);
    fake.accept_loss = Some(format!("UNIBUS_control/{cluster_id}"));
    rest(&mut fake, &mut probe);
    assert_eq!(fake.control.as_ref().unwrap().made, Bucket::ALL.into_iter().collect());
    lose(&mut fake);
    assert_eq!(trouble(&mut fake, &mut probe), lost);
}

#[test]
fn retained_volumes_are_taken_up_with_their_data() {
    let (mut fake, mut probe) = settled(&json!({}), 4);
    fake.write_records();
    let cluster_id = fake.status.cluster_id.clone();
    fake.delete();
    fake.recreate(&json!({}));
    rest(&mut fake, &mut probe);
    assert_eq!(fake.status.cluster_id, cluster_id);
    assert_eq!(fake.streams[&Bucket::Users].messages, 1);
    let adopted = fake.events.iter().filter(|event| event.reason == "DataAdopted").count();
    assert_eq!(adopted, 1);
}

#[test]
fn a_cluster_of_the_same_name_waits_for_the_old_ones_children() {
    let (mut fake, mut probe) = settled(&json!({}), 4);
    fake.delete();
    fake.recreate(&json!({}));
    let seen = fake.see(&probe);
    let plan = fake.pass(&seen, &mut probe, &mut Crash::never()).unwrap();
    assert!(matches!(plan.wait, Wait::OldChildrenGone { .. }), "{:?}", plan.wait);
    assert!(plan.apply.is_empty() && plan.steps.is_empty());
}

#[test]
fn deletion_keeps_the_volumes_or_takes_exactly_ours() {
    for (policy, left) in [("Retain", 4), ("Delete", 1)] {
        let (mut fake, mut probe) = settled(&json!({"deletionPolicy": policy}), 5);
        let mut other = fake.claims.values().next().unwrap().clone();
        (other.name, other.uid) = ("data-demo-nats-9".to_owned(), "other".to_owned());
        other.cluster_id = Some("another".to_owned());
        fake.claims.insert(other.name.clone(), other);
        assert_eq!(fake.finalizer, policy == "Delete");
        fake.delete();
        for _ in 0..60 {
            fake.tick();
            probe.look(&fake);
            if fake.exists {
                let seen = fake.see(&probe);
                fake.pass(&seen, &mut probe, &mut Crash::never());
            }
        }
        assert!(!fake.exists, "{policy}");
        assert_eq!(fake.claims.len(), left, "{policy}");
        assert_eq!(fake.violations, Vec::<String>::new());
    }
}

#[test]
fn deletion_survives_a_crash_at_any_write() {
    let (start, _) = settled(&json!({"deletionPolicy": "Delete"}), 5);
    for write in 1..=5 {
        for after in [false, true] {
            let (mut fake, mut probe) = (start.clone(), Probe::default());
            fake.delete();
            let mut crash = Crash::at(fake.writes + write, after);
            run_until_crash(&mut fake, &mut probe, &mut crash);
            assert!(crash.happened, "write {write}");
            run_until_crash(&mut fake, &mut Probe::default(), &mut Crash::never());
            assert!(!fake.exists && fake.claims.is_empty() && fake.pods.is_empty());
            assert_eq!(fake.violations, Vec::<String>::new());
        }
    }
}

#[test]
fn too_few_retained_volumes_start_nothing() {
    let (mut fake, mut probe) = settled(&json!({}), 6);
    fake.delete();
    for _ in 0..30 {
        fake.tick();
    }
    for claim in ["data-demo-nats-0", "data-demo-nats-2"] {
        fake.claims.remove(claim);
    }
    fake.recreate(&json!({}));
    assert_eq!(trouble(&mut fake, &mut probe), Trouble::QuorumAtRisk { left: 1, quorum: 2 });
    assert!(fake.stateful_set.is_none() && fake.pods.is_empty() && fake.secrets.is_empty());
}
