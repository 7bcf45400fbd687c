//! A live service moves from its file into the buckets, or gives that up, in a fake world.

use membership_operator::api::conditions::{ConditionType, Reason};
use membership_operator::api::v1alpha1::Store;
use membership_operator::cluster::equal::Equality;
use membership_operator::cluster::names::Bucket;
use membership_operator::cluster::plan::{Trouble, Wait, plan};
use membership_operator::cluster::serving::{Begins, Source};
use membership_operator::cluster::status::EventKind;
use serde_json::{Value, json};

use crate::fake::{Crash, Fake, Probe, Seen};
use crate::serving::{
    LONG, begun, buckets, claim, file, pair, rest, says, second, seconds, settled, told, until,
};

/// The file's cluster with the one field edited.
fn cut_over() -> Value {
    json!({"sqlite": {"claimName": "old"}, "membershipd": {"store": "JetStream"}})
}

/// What follows from a beginning, with more than so many writes, ends as it does undisturbed when a
/// pass dies before or after any one of them.
fn survives_a_crash_at_any_write(
    begin: impl Fn() -> (Fake, Probe),
    least: usize,
    holds: impl Fn(&Fake),
) {
    let (mut reference, mut probe) = begin();
    let first = reference.writes;
    rest(&mut reference, &mut probe);
    assert!(reference.writes > first + least, "{} writes", reference.writes - first);
    for write in first + 1..=reference.writes {
        for after in [false, true] {
            let (mut fake, mut probe) = begin();
            let mut crash = Crash::at(write, after);
            for _ in 0..LONG {
                second(&mut fake, &mut probe, &mut crash);
                if crash.happened {
                    break;
                }
            }
            assert!(crash.happened, "write {write} is never made");
            rest(&mut fake, &mut Probe::default());
            assert_eq!(fake.end_state(), reference.end_state(), "write {write}");
            holds(&fake);
        }
    }
}

/// The mode of the Deployment over the buckets, where there is one.
fn begins(fake: &Fake) -> Option<Begins> {
    fake.serving.deployments.get(&Source::Buckets).map(Begins::of)
}

fn moved(fake: &Fake) -> bool {
    let mark = fake.control.as_ref().and_then(|record| record.migration.as_ref());
    mark.is_some_and(|mark| mark.done)
}

#[test]
fn the_buckets_service_is_there_before_anything_moves_and_that_is_no_lack() {
    let (mut fake, mut probe) = settled(&file());
    fake.edit(&cut_over());
    until(&mut fake, &mut probe, |fake| begins(fake).is_some());
    assert_eq!((begins(&fake), fake.migration.made), (Some(Begins::AfterMigration), 0));
    until(&mut fake, &mut probe, |fake| {
        assert_eq!(fake.serving(Source::Buckets), 0);
        assert_eq!(says(fake, ConditionType::Degraded).0, "False");
        assert_eq!(says(fake, ConditionType::Migrated).0, "False");
        let waiting = pair("False", Reason::MembershipdWaiting);
        assert_eq!(says(fake, ConditionType::MembershipdReady), waiting);
        assert_eq!(told(fake), (Some(Store::SQLite), "1/1".to_owned()));
        fake.migration.made == 1 && fake.replicas(Source::Buckets).count() == 2
    });
    until(&mut fake, &mut probe, moved);
    // The operator dies: the pods need nobody to tell them.
    fake.tick();
    assert_eq!(fake.serving(Source::Buckets), 2);
}

#[test]
fn nothing_waits_for_a_move_before_the_buckets_are_equal() {
    let (mut fake, mut probe) = begun(&cut_over());
    until(&mut fake, &mut probe, |fake| begins(fake).is_some());
    assert_eq!(says(&fake, ConditionType::BucketsReady).0, "True");
    let (mut fake, probe) = settled(&file());
    fake.edit(&cut_over());
    let mut seen = fake.see(&probe);
    let made = |seen: &Seen| plan(&seen.cluster, &seen.world, &fake.given()).apply.len();
    assert_eq!(made(&seen), 1);
    let buckets = &mut seen.world.nats.as_mut().unwrap().buckets;
    buckets.get_mut(&Bucket::Rooms).unwrap().equality = Equality::Syncing { equal: 1 };
    assert_eq!(made(&seen), 0);
}

#[test]
fn a_waiting_service_serves_at_once_when_nothing_is_to_be_moved_any_more() {
    let start = settled(&file());
    for after in 0..6 {
        let (mut fake, mut probe) = start.clone();
        fake.edit(&cut_over());
        until(&mut fake, &mut probe, |fake| begins(fake).is_some());
        seconds(&mut fake, &mut probe, after);
        let begun = fake.control.as_ref().unwrap().migration.is_some();
        fake.edit(&buckets());
        fake.settle(&mut probe, LONG).unwrap();
        assert_eq!(fake.violations, Vec::<String>::new(), "after {after} s");
        if !begun && !moved(&fake) {
            assert_eq!(begins(&fake), Some(Begins::AtOnce), "after {after} s");
            assert_eq!(fake.serving(Source::Buckets), 2, "after {after} s");
            assert_eq!(fake.replicas(Source::File).count(), 0, "after {after} s");
        }
    }
}

#[test]
fn a_service_that_an_older_operator_made_in_the_middle_of_a_move_stays_as_it_is() {
    let (mut fake, mut probe) = settled(&file());
    fake.edit(&cut_over());
    until(&mut fake, &mut probe, |fake| fake.control.as_ref().unwrap().migration.is_some());
    for deployment in fake.serving.deployments.values_mut() {
        let pod = deployment.spec.as_mut().unwrap().template.spec.as_mut().unwrap();
        pod.containers[0].args.as_mut().unwrap().retain(|one| one != Begins::ARGUMENT);
    }
    fake.serving.replicas.retain(|replica| replica.pod.source == Some(Source::File));
    rest(&mut fake, &mut probe);
    assert_eq!((begins(&fake), fake.serving(Source::Buckets)), (Some(Begins::AtOnce), 2));
    let generation = fake.serving.deployments[&Source::Buckets].metadata.generation;
    assert_eq!(generation, Some(1), "nothing was rolled out");
}

#[test]
fn a_live_service_moves_from_its_file_into_the_buckets_by_one_edited_field() {
    let (mut fake, mut probe) = settled(&file());
    fake.events.clear();
    fake.edit(&cut_over());
    rest(&mut fake, &mut probe);
    assert_eq!(says(&fake, ConditionType::Migrated), pair("True", Reason::MigrationDone));
    assert_eq!(says(&fake, ConditionType::Ready).0, "True");
    assert_eq!(told(&fake), (Some(Store::JetStream), "2/2".to_owned()));
    assert_eq!((fake.serving(Source::Buckets), fake.replicas(Source::File).count()), (2, 0));
    assert_eq!((fake.migration.made, fake.migration.jobs.len()), (1, 0));
    let events: Vec<&str> = fake.events.iter().map(|event| event.reason.as_str()).collect();
    for reason in ["MigrationStarted", "Migrated", "RemovingMembershipd"] {
        assert!(events.contains(&reason), "{reason}: {events:?}");
    }
    let warned = fake.events.iter().any(|event| event.kind == EventKind::Warning);
    assert!(!warned, "what was asked for is no warning: {events:?}");
}

#[test]
fn the_end_of_a_cut_over_is_the_same_after_a_crash_at_any_write() {
    let start = settled(&file());
    let begin = || {
        let (mut fake, probe) = start.clone();
        fake.edit(&cut_over());
        (fake, probe)
    };
    survives_a_crash_at_any_write(begin, 3, |fake| assert_eq!(fake.migration.made, 1));
}

#[test]
fn there_is_no_way_back_to_a_file_and_the_buckets_are_served_on() {
    let (mut fake, mut probe) = settled(&file());
    fake.edit(&cut_over());
    rest(&mut fake, &mut probe);
    let moved = (fake, probe);
    for (moved_there, (mut fake, mut probe)) in [(true, moved), (false, settled(&buckets()))] {
        fake.edit(&file());
        let plan = fake.settle(&mut probe, LONG).unwrap();
        assert_eq!(fake.violations, Vec::<String>::new());
        assert_eq!(plan.wait, Wait::Person(Trouble::NoWayBack { moved: moved_there }));
        assert_eq!(says(&fake, ConditionType::Stalled), pair("True", Reason::NoWayBack));
        assert_eq!((fake.serving(Source::Buckets), fake.replicas(Source::File).count()), (2, 0));
        fake.edit(&cut_over());
        if moved_there {
            rest(&mut fake, &mut probe);
        }
    }
}

/// What was done to a move when `store` went back to SQLite in its n-th second, and its end.
#[test]
fn a_move_that_is_given_up_in_any_second_leaves_the_file_served_and_without_its_fence() {
    let start = settled(&file());
    let mut given_up = 0;
    for after in 0..30 {
        let (mut fake, mut probe) = start.clone();
        fake.edit(&cut_over());
        seconds(&mut fake, &mut probe, after);
        if moved(&fake) {
            break;
        }
        fake.edit(&file());
        let plan = fake.settle(&mut probe, LONG).unwrap();
        assert_eq!(fake.violations, Vec::<String>::new(), "after {after} s");
        if moved(&fake) {
            assert_eq!(plan.wait, Wait::Person(Trouble::NoWayBack { moved: true }));
            continue;
        }
        given_up += 1;
        assert_eq!(plan.wait, Wait::Nothing, "after {after} s: {:#?}", fake.status.conditions);
        assert!(!fake.migration.fenced, "after {after} s the fence is up");
        assert_eq!(fake.serving(Source::File), 1);
        assert!(fake.migration.jobs.is_empty() && fake.replicas(Source::Buckets).next().is_none());
        assert_eq!(says(&fake, ConditionType::Ready).0, "True");
        assert_eq!(says(&fake, ConditionType::Migrated).0, "False");
        // And it can be begun again.
        fake.edit(&cut_over());
        rest(&mut fake, &mut probe);
        assert_eq!(says(&fake, ConditionType::Migrated).0, "True");
        assert!(fake.migration.unfences.is_empty());
    }
    assert!(given_up > 4, "{given_up}");
}

#[test]
fn giving_up_survives_a_crash_at_any_write() {
    let begin = || {
        let (mut fake, mut probe) = settled(&file());
        fake.edit(&cut_over());
        until(&mut fake, &mut probe, |fake| fake.migration.fenced);
        fake.edit(&file());
        (fake, probe)
    };
    let start = begin();
    let unfenced = |fake: &Fake| assert!(!fake.migration.fenced);
    survives_a_crash_at_any_write(|| start.clone(), 2, unfenced);
}

#[test]
fn giving_up_needs_no_nats() {
    let (mut fake, mut probe) = settled(&file());
    fake.edit(&cut_over());
    until(&mut fake, &mut probe, |fake| fake.migration.fenced);
    fake.dead = ["demo-nats-0", "demo-nats-1", "demo-nats-2"].map(str::to_owned).into();
    fake.edit(&file());
    until(&mut fake, &mut probe, |fake| !fake.migration.fenced && fake.serving(Source::File) == 1);
    // What waits for the move goes on waiting, for nobody can say that it was not done.
    assert_eq!((begins(&fake), fake.serving(Source::Buckets)), (Some(Begins::AfterMigration), 0));
    fake.dead.clear();
    rest(&mut fake, &mut probe);
    assert_eq!((begins(&fake), fake.serving(Source::File)), (None, 1));
}

#[test]
fn a_move_that_is_refused_lets_the_file_take_changes_again_until_a_person_has_acted() {
    for code in [5, 6] {
        let (mut fake, mut probe) = settled(&file());
        fake.migration.ends.push_back((code, "VerificationFailed"));
        fake.edit(&cut_over());
        let plan = fake.settle(&mut probe, LONG).unwrap();
        assert_eq!(fake.violations, Vec::<String>::new());
        assert!(matches!(plan.wait, Wait::Person(Trouble::Migration(_))), "{:?}", plan.wait);
        let failed = pair("False", Reason::VerificationFailed);
        assert_eq!(says(&fake, ConditionType::Migrated), failed);
        assert_eq!(fake.serving(Source::File), 1);
        assert!(!fake.migration.fenced, "{code}");
        fake.migration.retry = Some("please".to_owned());
        rest(&mut fake, &mut probe);
        assert_eq!((fake.migration.made, fake.serving(Source::Buckets)), (2, 2));
    }
}

#[test]
fn a_claim_for_one_pod_at_a_time_is_freed_by_the_service_before_the_job_comes() {
    let (mut fake, mut probe) = begun(&file());
    claim(&mut fake).exclusive = true;
    rest(&mut fake, &mut probe);
    fake.edit(&cut_over());
    until(&mut fake, &mut probe, |fake| fake.migration.made == 1);
    assert_eq!(fake.replicas(Source::File).count(), 0);
    rest(&mut fake, &mut probe);
    assert_eq!(fake.serving(Source::Buckets), 2);
}

#[test]
fn reads_go_on_from_the_file_until_it_has_moved_and_the_buckets_service_is_there_by_then() {
    let (mut fake, mut probe) = settled(&file());
    fake.edit(&cut_over());
    let mut without = 0;
    while fake.serving(Source::Buckets) == 0 {
        second(&mut fake, &mut probe, &mut Crash::never());
        let nobody = fake.serving(Source::File) + fake.serving(Source::Buckets) == 0;
        without += u32::from(nobody);
    }
    assert!(without <= 1, "{without} s");
}

#[test]
fn a_file_whose_cluster_drops_it_is_left_before_empty_buckets_are_served() {
    let (mut fake, mut probe) = settled(&file());
    fake.edit(&buckets());
    rest(&mut fake, &mut probe);
    assert_eq!((fake.serving(Source::Buckets), fake.replicas(Source::File).count()), (2, 0));
    assert_eq!(fake.migration.made, 0);
}
