//! The membership service in a fake world: when it starts and over what, what stands against that,
//! and how a change is rolled out.

use membership_operator::api::conditions::{ConditionType, Reason, find};
use membership_operator::api::v1alpha1::Store;
use membership_operator::cluster::migration::{SourceClaim, SourceUser};
use membership_operator::cluster::plan::{Child, Trouble, Wait, plan};
use membership_operator::cluster::serving::Source;
use membership_operator::cluster::world::Found;
use serde_json::{Value, json};

use crate::fake::migration::released;
use crate::fake::{BAD_IMAGE, Crash, Fake, Probe};

/// Seconds in which everything comes to rest.
pub const LONG: u32 = 1200;

pub fn buckets() -> Value {
    json!({"membershipd": {}})
}

pub fn file() -> Value {
    json!({"sqlite": {"claimName": "old"}, "membershipd": {"store": "SQLite"}})
}

pub fn begun(spec: &Value) -> (Fake, Probe) {
    let mut fake = Fake::new(spec, 3);
    fake.migration.claim = Some(released());
    (fake, Probe::default())
}

pub fn rest(fake: &mut Fake, probe: &mut Probe) {
    let plan = fake.settle(probe, LONG).unwrap();
    assert_eq!(fake.violations, Vec::<String>::new());
    assert_eq!(plan.wait, Wait::Nothing, "{:#?}", fake.status.conditions);
}

pub fn settled(spec: &Value) -> (Fake, Probe) {
    let (mut fake, mut probe) = begun(spec);
    rest(&mut fake, &mut probe);
    (fake, probe)
}

/// One second, and a pass that may die.
pub fn second(fake: &mut Fake, probe: &mut Probe, crash: &mut Crash) {
    fake.tick();
    probe.look(fake);
    let seen = fake.see(probe);
    fake.pass(&seen, probe, crash);
    assert_eq!(fake.violations, Vec::<String>::new());
}

pub fn seconds(fake: &mut Fake, probe: &mut Probe, number: u32) {
    for _ in 0..number {
        second(fake, probe, &mut Crash::never());
    }
}

/// Seconds until something holds.
pub fn until(fake: &mut Fake, probe: &mut Probe, holds: impl Fn(&Fake) -> bool) {
    for _ in 0..LONG {
        second(fake, probe, &mut Crash::never());
        if holds(fake) {
            return;
        }
    }
    unreachable!("it never holds: {:#?}", fake.status.conditions);
}

pub fn says(fake: &Fake, kind: ConditionType) -> (String, String) {
    let found = find(&fake.status.conditions, kind).unwrap();
    (found.status.clone(), found.reason.clone())
}

pub fn pair(status: &str, reason: Reason) -> (String, String) {
    (status.to_owned(), reason.to_string())
}

pub fn told(fake: &Fake) -> (Option<Store>, String) {
    let told = fake.status.membershipd.clone().unwrap();
    (told.store, told.replicas)
}

#[test]
fn the_service_starts_over_ready_buckets_and_a_cluster_is_ready_only_with_it() {
    let (mut fake, mut probe) = begun(&buckets());
    until(&mut fake, &mut probe, |fake| !fake.serving.deployments.is_empty());
    assert_eq!(says(&fake, ConditionType::BucketsReady).0, "True");
    assert_eq!(says(&fake, ConditionType::Ready).0, "False");
    rest(&mut fake, &mut probe);
    assert_eq!(says(&fake, ConditionType::MembershipdReady), pair("True", Reason::AsExpected));
    assert_eq!(says(&fake, ConditionType::Ready).0, "True");
    assert_eq!(told(&fake), (Some(Store::JetStream), "2/2".to_owned()));
    let url = fake.status.endpoints.clone().unwrap().membershipd;
    assert_eq!(url.as_deref(), Some("http://demo-membershipd.chat.svc:8080"));
}

#[test]
fn without_a_service_in_the_spec_none_runs_and_that_is_no_lack() {
    let (fake, _) = settled(&json!({}));
    assert_eq!(says(&fake, ConditionType::MembershipdReady), pair("False", Reason::NotRequested));
    assert_eq!(says(&fake, ConditionType::Ready).0, "True");
    assert_eq!(fake.status.membershipd, None);
    assert!(fake.serving.service.is_none() && fake.serving.budget.is_none());
}

#[test]
fn a_service_that_is_not_wanted_any_more_goes_with_all_that_belongs_to_it() {
    let (mut fake, mut probe) = settled(&buckets());
    fake.edit(&json!({}));
    rest(&mut fake, &mut probe);
    assert!(fake.serving.deployments.is_empty() && fake.serving.replicas.is_empty());
    assert!(fake.serving.service.is_none() && fake.serving.budget.is_none());
    assert_eq!(
        (&fake.status.membershipd, says(&fake, ConditionType::Ready).0.as_str()),
        (&None, "True")
    );
}

#[test]
fn the_file_is_served_by_one_pod_without_any_nats_and_nats_comes_up_beside_it() {
    let spec =
        json!({"sqlite": {"claimName": "old"}, "membershipd": {"store": "SQLite", "replicas": 3}});
    let (mut fake, mut probe) = begun(&spec);
    fake.dead = ["demo-nats-0", "demo-nats-1", "demo-nats-2"].map(str::to_owned).into();
    seconds(&mut fake, &mut probe, 60);
    assert_eq!(fake.serving(Source::File), 1);
    assert_eq!(says(&fake, ConditionType::MembershipdReady), pair("True", Reason::AsExpected));
    assert_eq!(told(&fake), (Some(Store::SQLite), "1/1".to_owned()));
    assert_eq!(says(&fake, ConditionType::Ready).0, "False");
    fake.dead.clear();
    rest(&mut fake, &mut probe);
    assert_eq!(says(&fake, ConditionType::Ready).0, "True");
    assert_eq!(says(&fake, ConditionType::BucketsReady).0, "True");
    assert_eq!(says(&fake, ConditionType::Migrated), pair("False", Reason::NotRequested));
    assert_eq!((fake.migration.made, fake.status.migration.is_some()), (0, false));
}

/// What stands against serving a file, how it is called, and how it is mended.
type Case = (&'static str, fn(&mut Fake), Reason);

const OBSTACLES: [Case; 5] = [
    ("missing", |fake| fake.migration.claim = None, Reason::ClaimMissing),
    ("going", |fake| claim(fake).deleting = true, Reason::ClaimMissing),
    ("not released", |fake| claim(fake).released_to = None, Reason::ClaimNotReleased),
    ("in use", |fake| fake.migration.users.push(user(false)), Reason::SourceInUse),
    ("on a lost node", |fake| fake.migration.users.push(user(true)), Reason::SourceOnLostNode),
];

pub fn claim(fake: &mut Fake) -> &mut SourceClaim {
    fake.migration.claim.as_mut().unwrap()
}

fn user(overdue: bool) -> SourceUser {
    let (name, uid) = ("old-program".to_owned(), "p".to_owned());
    SourceUser { name, uid, node: Some("node2".to_owned()), overdue, own: false }
}

#[test]
fn what_stands_against_serving_a_file_is_named_holds_up_no_server_and_heals() {
    for (name, break_it, reason) in OBSTACLES {
        let (mut fake, mut probe) = begun(&file());
        break_it(&mut fake);
        fake.settle(&mut probe, LONG).unwrap();
        assert!(fake.serving.deployments.is_empty(), "{name}");
        assert_eq!(says(&fake, ConditionType::MembershipdReady), pair("False", reason), "{name}");
        assert_eq!(says(&fake, ConditionType::Stalled), pair("True", reason), "{name}");
        assert_eq!(says(&fake, ConditionType::BucketsReady).0, "True", "{name}");
        fake.migration.claim = Some(released());
        fake.migration.users.clear();
        rest(&mut fake, &mut probe);
        assert_eq!(fake.serving(Source::File), 1, "{name}");
    }
}

#[test]
fn a_claim_that_waits_for_its_first_pod_gets_it() {
    let (mut fake, mut probe) = begun(&file());
    claim(&mut fake).bound = false;
    until(&mut fake, &mut probe, |fake| fake.serving(Source::File) == 1);
}

#[test]
fn a_change_is_rolled_out_with_never_a_replica_less_and_a_bad_one_stops_at_the_first() {
    let (mut fake, mut probe) = settled(&buckets());
    fake.edit(&json!({"membershipd": {"image": "registry.example/membershipd:2"}}));
    for _ in 0..60 {
        second(&mut fake, &mut probe, &mut Crash::never());
        assert!(fake.serving(Source::Buckets) >= 2);
        assert_eq!(says(&fake, ConditionType::Ready).0, "True");
        assert_eq!(says(&fake, ConditionType::MembershipdReady).0, "True");
    }
    rest(&mut fake, &mut probe);
    fake.edit(&json!({"membershipd": {"image": BAD_IMAGE}}));
    seconds(&mut fake, &mut probe, 60);
    assert_eq!(fake.serving(Source::Buckets), 2);
    assert_eq!(says(&fake, ConditionType::Reconciling), pair("True", Reason::MembershipdRolling));
    let words = find(&fake.status.conditions, ConditionType::Ready).unwrap().message.clone();
    assert!(words.contains("ImagePullBackOff"), "{words}");
    assert_eq!(says(&fake, ConditionType::Ready).0, "True");
    fake.edit(&buckets());
    fake.edit(&json!({"membershipd": {"image": "registry.example/membershipd:2"}}));
    rest(&mut fake, &mut probe);
}

#[test]
fn a_replica_that_goes_away_makes_a_cluster_degraded_and_the_last_one_not_ready() {
    let (mut fake, mut probe) = settled(&buckets());
    let see = |fake: &mut Fake, probe: &mut Probe, gone: usize| {
        fake.tick();
        probe.look(fake);
        let mut seen = fake.see(probe);
        for pod in seen.world.membershipd.pods.iter_mut().take(gone) {
            pod.ready = false;
        }
        fake.pass(&seen, probe, &mut Crash::never());
    };
    see(&mut fake, &mut probe, 1);
    let lacking = pair("True", Reason::MembershipdNotReady);
    assert_eq!(says(&fake, ConditionType::Degraded), lacking);
    assert_eq!(says(&fake, ConditionType::Ready).0, "True");
    see(&mut fake, &mut probe, 2);
    let not_ready = pair("False", Reason::MembershipdNotReady);
    assert_eq!(says(&fake, ConditionType::Ready), not_ready);
    assert_eq!(says(&fake, ConditionType::MembershipdReady), not_ready);
    see(&mut fake, &mut probe, 0);
    assert_eq!(says(&fake, ConditionType::Ready).0, "True");
}

#[test]
fn a_change_of_the_service_does_not_wait_for_a_server_that_is_away() {
    let (mut fake, mut probe) = settled(&buckets());
    fake.dead.insert("demo-nats-1".to_owned());
    seconds(&mut fake, &mut probe, 30);
    fake.edit(&json!({"membershipd": {"replicas": 3}}));
    until(&mut fake, &mut probe, |fake| fake.serving(Source::Buckets) == 3);
}

#[test]
fn somebody_elses_deployment_of_our_name_is_left_alone() {
    let (mut fake, mut probe) = begun(&buckets());
    fake.tick();
    probe.look(&fake);
    let mut seen = fake.see(&probe);
    seen.world.membershipd.buckets = Found::Foreign { owner: "somebody".to_owned() };
    let planned = plan(&seen.cluster, &seen.world, &fake.given());
    let Wait::Person(Trouble::NameTaken { kind, name, .. }) = planned.wait else {
        unreachable!("{:?}", planned.wait)
    };
    assert_eq!((kind, name.as_str()), ("Deployment", "demo-membershipd"));
    // Where no service is wanted, its names are anybody's.
    seen.cluster.membershipd = None;
    let planned = plan(&seen.cluster, &seen.world, &fake.given());
    assert!(!matches!(planned.wait, Wait::Person(_)), "{:?}", planned.wait);
}

#[test]
fn over_volumes_that_held_data_no_file_is_served_before_nats_has_spoken() {
    let (mut fake, mut probe) = settled(&buckets());
    fake.delete();
    for _ in 0..60 {
        fake.tick();
    }
    fake.recreate(&file());
    for _ in 0..LONG {
        second(&mut fake, &mut probe, &mut Crash::never());
        assert!(fake.serving.deployments.is_empty(), "what the buckets hold was served before");
        if says(&fake, ConditionType::Stalled).0 == "True" {
            break;
        }
    }
    assert_eq!(says(&fake, ConditionType::Stalled), pair("True", Reason::NoWayBack));
}

#[test]
fn children_of_the_service_that_somebody_changed_are_applied_again() {
    let (fake, probe) = settled(&buckets());
    let mut seen = fake.see(&probe);
    seen.world.membershipd.service = Found::Absent;
    let Found::Ours(deployment) = &mut seen.world.membershipd.buckets else { unreachable!() };
    deployment.spec.as_mut().unwrap().replicas = Some(1);
    let planned = plan(&seen.cluster, &seen.world, &fake.given());
    assert!(matches!(planned.apply[..], [Child::Service(_), Child::Deployment(_)]));
}
