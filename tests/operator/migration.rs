//! A migration in a fake world: when its Job is made, what stands against it and how each case
//! heals, that it runs once whatever crashes, and what is said of it.

use membership_operator::api::conditions::{ConditionType, Reason, find};
use membership_operator::api::v1alpha1::MigrationState;
use membership_operator::cluster::build::{build_migration_job, build_unfence_job};
use membership_operator::cluster::migration::{SourceClaim, SourceUser};
use membership_operator::cluster::plan::{JobPlan, Wait};
use membership_operator::migration::{ExitCode, Reason as MoveReason};
use serde_json::{Value, json};

use crate::fake::migration::{MISSING_IMAGE, released};
use crate::fake::{Crash, Fake, Probe};
use crate::fixture::cluster;

fn spec() -> Value {
    json!({"sqlite": {"claimName": "old"}})
}

/// A new cluster that asks for a migration, with a source that is ready.
fn begun() -> (Fake, Probe) {
    let mut fake = Fake::new(&spec(), 3);
    fake.migration.claim = Some(released());
    (fake, Probe::default())
}

fn rest(fake: &mut Fake, probe: &mut Probe) {
    let plan = fake.settle(probe, 2000).unwrap();
    assert_eq!(fake.violations, Vec::<String>::new());
    assert_eq!(plan.wait, Wait::Nothing, "{:#?}", fake.status.conditions);
}

fn says(fake: &Fake, kind: ConditionType) -> (String, String) {
    let found = find(&fake.status.conditions, kind).unwrap();
    (found.status.clone(), found.reason.clone())
}

fn pair(status: &str, reason: Reason) -> (String, String) {
    (status.to_owned(), reason.to_string())
}

fn is_done(fake: &Fake) {
    assert_eq!(says(fake, ConditionType::Migrated), pair("True", Reason::MigrationDone));
    assert_eq!(says(fake, ConditionType::Ready).0, "True");
}

fn seconds(fake: &mut Fake, probe: &mut Probe, seconds: u32) {
    for _ in 0..seconds {
        fake.tick();
        probe.look(fake);
        let seen = fake.see(probe);
        fake.pass(&seen, probe, &mut Crash::never());
        assert_eq!(fake.violations, Vec::<String>::new());
    }
}

#[test]
fn a_file_is_moved_once_the_buckets_are_equal_and_its_job_goes_when_its_result_is_told() {
    let (mut fake, mut probe) = begun();
    rest(&mut fake, &mut probe);
    is_done(&fake);
    assert_eq!((fake.migration.made, fake.migration.jobs.len()), (1, 0));
    let told = fake.status.migration.clone().unwrap();
    assert_eq!(told.state, MigrationState::Done);
    assert_eq!(told.source.as_deref(), Some("old/membership.db"));
    assert_eq!(told.backup.as_deref(), Some("old/backups/b.db"));
    assert_eq!(told.digest.as_deref(), Some("d1g3st"));
    assert_eq!(told.counts.unwrap().room_keys, 8);
    assert!(told.started_at.is_some() && told.completed_at.is_some());
    let events: Vec<&str> = fake.events.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(events.iter().filter(|one| **one == "MigrationStarted").count(), 1);
    assert_eq!(events.iter().filter(|one| **one == "Migrated").count(), 1);
}

#[test]
fn without_a_file_nothing_is_moved_and_that_is_no_lack() {
    let (mut fake, mut probe) = (Fake::new(&json!({}), 3), Probe::default());
    rest(&mut fake, &mut probe);
    assert_eq!(says(&fake, ConditionType::Migrated), pair("False", Reason::NotRequested));
    assert_eq!(says(&fake, ConditionType::Ready).0, "True");
    assert_eq!(fake.status.migration, None);
}

#[test]
fn the_end_is_the_same_after_a_crash_at_any_write_and_the_file_is_moved_once() {
    let (mut reference, mut probe) = begun();
    rest(&mut reference, &mut probe);
    for write in 1..=reference.writes {
        for after in [false, true] {
            let (mut fake, mut probe) = begun();
            let mut crash = Crash::at(write, after);
            for _ in 0..1000 {
                fake.tick();
                probe.look(&fake);
                let seen = fake.see(&probe);
                fake.pass(&seen, &mut probe, &mut crash);
                if crash.happened {
                    break;
                }
            }
            assert!(crash.happened, "write {write} is never made");
            rest(&mut fake, &mut Probe::default());
            is_done(&fake);
            assert_eq!(fake.migration.made, 1, "write {write}");
        }
    }
}

/// What stands against a migration, how it is called, what a person reads of it, and how that person
/// mends it.
type Case = (&'static str, fn(&mut Fake), Reason, &'static [&'static str], fn(&mut Fake));

fn user(overdue: bool) -> SourceUser {
    SourceUser {
        name: "old-program".to_owned(),
        uid: "p".to_owned(),
        node: Some("node2".to_owned()),
        overdue,
        own: false,
    }
}

fn claim(fake: &mut Fake) -> &mut SourceClaim {
    fake.migration.claim.as_mut().unwrap()
}

fn heal(fake: &mut Fake) {
    fake.migration.claim = Some(released());
    fake.migration.no_backup_claim = false;
    fake.migration.users.clear();
}

fn without_backup_claim(fake: &mut Fake) {
    let backup = json!({"backupClaimName": "kept"});
    fake.edit(&json!({"sqlite": {"claimName": "old"}, "migration": backup}));
    fake.migration.no_backup_claim = true;
}

const CASES: [Case; 9] = [
    ("missing", |fake| fake.migration.claim = None, Reason::ClaimMissing, &["old"], heal),
    ("going", |fake| claim(fake).deleting = true, Reason::ClaimMissing, &["old"], heal),
    ("no claim for the backup", without_backup_claim, Reason::ClaimMissing, &["kept"], heal),
    ("unbound", |fake| claim(fake).bound = false, Reason::ClaimNotBound, &["old"], heal),
    (
        "not released",
        |fake| claim(fake).released_to = None,
        Reason::ClaimNotReleased,
        &["old", "membership.unibus.dev/release-to", "demo"],
        heal,
    ),
    (
        "released to another",
        |fake| claim(fake).released_to = Some("other".to_owned()),
        Reason::ClaimNotReleased,
        &["old", "other"],
        heal,
    ),
    (
        "in use",
        |fake| fake.migration.users.push(user(false)),
        Reason::SourceInUse,
        &["old", "old-program"],
        heal,
    ),
    (
        "on a lost node",
        |fake| fake.migration.users.push(user(true)),
        Reason::SourceOnLostNode,
        &["old-program", "node2"],
        heal,
    ),
    (
        "a typo",
        |fake| fake.migration.ends.extend([(3, "SourceNotReadable"); 9]),
        Reason::SourceNotReadable,
        &["demo-migrate-1", "the file says no"],
        |fake| {
            fake.migration.ends.clear();
            fake.edit(&json!({"sqlite": {"claimName": "old", "path": "right.db"}}));
        },
    ),
];

fn until_stalled(fake: &mut Fake, probe: &mut Probe) {
    for _ in 0..60 {
        seconds(fake, probe, 1);
        if says(fake, ConditionType::Stalled).0 == "True" {
            break;
        }
    }
}

#[test]
fn what_stands_against_a_migration_is_named_and_heals_when_it_is_mended() {
    for (name, break_it, reason, words, mend) in CASES {
        let (mut fake, mut probe) = begun();
        break_it(&mut fake);
        until_stalled(&mut fake, &mut probe);
        is_held_up(&fake, reason, name);
        let said = &find(&fake.status.conditions, ConditionType::Stalled).unwrap().message;
        assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}");
        mend(&mut fake);
        rest(&mut fake, &mut probe);
        is_done(&fake);
    }
}

fn is_held_up(fake: &Fake, reason: Reason, name: &str) {
    assert_eq!(says(fake, ConditionType::Stalled), pair("True", reason), "{name}");
    assert_eq!(says(fake, ConditionType::Migrated), pair("False", reason), "{name}");
    assert_eq!(says(fake, ConditionType::Ready), pair("False", reason), "{name}");
    let warned = fake.events.iter().any(|event| event.reason == reason.to_string());
    assert!(warned, "{name}: {:?}", fake.events);
}

/// Every way in which the program can end a Job: what the user sees of it, and that the move comes to
/// its end once the cause is mended, which no object of Kubernetes shows. What was refused needs a
/// word; everything else is tried again by itself.
#[test]
fn however_a_job_fails_its_reason_is_told_and_the_move_ends_well_when_the_cause_is_mended() {
    for reason in MoveReason::ALL {
        let (mut fake, mut probe) = begun();
        let (code, word) = (reason.exit_code(), reason.label());
        fake.migration.ends.extend([(code as i32, word); 9]);
        let told = Reason::parse(word).unwrap();
        let by_itself = matches!(code, ExitCode::SourceUnusable | ExitCode::Unavailable);
        if code == ExitCode::Unavailable {
            seconds(&mut fake, &mut probe, 1);
            while says(&fake, ConditionType::Migrated) != pair("False", told) {
                seconds(&mut fake, &mut probe, 1);
                assert!(fake.migration.ends.len() > 5, "{word} was never told");
            }
            assert_eq!(says(&fake, ConditionType::Stalled).0, "False", "{word}: nothing to mend");
        } else {
            until_stalled(&mut fake, &mut probe);
            is_held_up(&fake, told, word);
        }
        let made = fake.migration.made;
        fake.migration.ends.clear();
        seconds(&mut fake, &mut probe, 60);
        if !by_itself {
            assert_eq!(fake.migration.made, made, "{word}: nobody asked for it");
            fake.migration.retry = Some("mended".to_owned());
        }
        rest(&mut fake, &mut probe);
        is_done(&fake);
        assert_eq!(fake.migration.made, made + 1, "{word}");
    }
}

#[test]
fn an_unusable_source_is_tried_again_after_longer_and_longer_pauses_and_at_once_when_it_changed() {
    let (mut fake, mut probe) = begun();
    fake.migration.ends.extend([(3, "NotADatabase"); 40]);
    seconds(&mut fake, &mut probe, 200);
    let made = fake.migration.made;
    assert!((3..=7).contains(&made), "{made} in 200 s");
    seconds(&mut fake, &mut probe, 600);
    assert!(fake.migration.made <= made + 4, "{}", fake.migration.made);
    // Just after a try, the claim is touched: no pause.
    let before = fake.migration.made;
    while fake.migration.made == before {
        seconds(&mut fake, &mut probe, 1);
    }
    seconds(&mut fake, &mut probe, 20);
    claim(&mut fake).resource_version = "2".to_owned();
    seconds(&mut fake, &mut probe, 3);
    assert_eq!(fake.migration.made, before + 2);
}

#[test]
fn a_refusal_is_never_tried_again_by_itself() {
    for code in [2, 5, 6] {
        let (mut fake, mut probe) = begun();
        fake.migration.ends.extend([(code, "OtherMigration"); 9]);
        seconds(&mut fake, &mut probe, 1500);
        assert_eq!(fake.migration.made, 1, "{code}");
        claim(&mut fake).resource_version = "2".to_owned();
        seconds(&mut fake, &mut probe, 100);
        assert_eq!(fake.migration.made, 1, "{code}");
    }
}

#[test]
fn a_job_whose_image_is_missing_is_replaced_when_another_is_named() {
    let (mut fake, mut probe) = begun();
    let with = |image: &str| json!({"sqlite": {"claimName": "old"}, "migration": {"image": image}});
    fake.edit(&with(MISSING_IMAGE));
    seconds(&mut fake, &mut probe, 60);
    let expected = pair("False", Reason::MigrationPodNotRunning);
    assert_eq!(says(&fake, ConditionType::Migrated), expected);
    assert_eq!(says(&fake, ConditionType::Stalled).0, "False", "it may be pushed any moment");
    fake.edit(&with("registry.example/there:1"));
    rest(&mut fake, &mut probe);
    is_done(&fake);
}

#[test]
fn a_job_that_works_keeps_its_image_when_the_operator_is_upgraded_and_one_that_does_not_is_replaced()
 {
    let upgraded = |from: Option<&str>, made: u32| {
        let (mut fake, mut probe) = begun();
        fake.migration.default_image = from.map(str::to_owned);
        while fake.migration.jobs.values().all(|job| job.job.trouble.is_some() != from.is_some()) {
            seconds(&mut fake, &mut probe, 1);
        }
        fake.migration.default_image = Some("registry.example/newer:2".to_owned());
        rest(&mut fake, &mut probe);
        is_done(&fake);
        assert_eq!(fake.migration.made, made, "{from:?}");
    };
    upgraded(None, 1);
    upgraded(Some(MISSING_IMAGE), 2);
}

#[test]
fn nats_that_is_away_in_the_middle_ends_nothing_and_begins_nothing() {
    let (mut fake, mut probe) = begun();
    while fake.migration.made == 0 {
        seconds(&mut fake, &mut probe, 1);
    }
    seconds(&mut fake, &mut probe, 4);
    fake.migration.ends.push_back((4, "NatsUnavailable"));
    fake.dead = ["demo-nats-0", "demo-nats-1", "demo-nats-2"].map(str::to_owned).into();
    seconds(&mut fake, &mut probe, 60);
    assert_eq!(says(&fake, ConditionType::Migrated), pair("Unknown", Reason::NatsUnreachable));
    assert_eq!(fake.migration.made, 1);
    fake.dead.clear();
    rest(&mut fake, &mut probe);
    is_done(&fake);
    assert_eq!(fake.migration.made, 2);
}

#[test]
fn another_source_is_refused_once_records_are_written_and_can_be_taken_back() {
    let (mut fake, mut probe) = begun();
    let importing = |fake: &Fake| fake.control.as_ref().is_some_and(|one| one.migration.is_some());
    while !importing(&fake) {
        seconds(&mut fake, &mut probe, 1);
    }
    fake.edit(&json!({"sqlite": {"claimName": "old", "path": "other.db"}}));
    fake.migration.ends.push_back((4, "NatsUnavailable"));
    seconds(&mut fake, &mut probe, 30);
    assert_eq!(says(&fake, ConditionType::Stalled), pair("True", Reason::MigrationChanged));
    assert_eq!(fake.migration.made, 1);
    fake.edit(&spec());
    rest(&mut fake, &mut probe);
    is_done(&fake);
}

#[test]
fn a_file_that_is_not_wanted_any_more_takes_its_job_with_it() {
    let (mut fake, mut probe) = begun();
    while fake.migration.made == 0 {
        seconds(&mut fake, &mut probe, 1);
    }
    fake.edit(&json!({}));
    rest(&mut fake, &mut probe);
    assert_eq!(says(&fake, ConditionType::Migrated), pair("False", Reason::NotRequested));
    assert!(fake.migration.jobs.is_empty());
}

#[test]
fn a_resource_over_retained_volumes_does_not_move_the_file_again() {
    let (mut fake, mut probe) = begun();
    rest(&mut fake, &mut probe);
    fake.delete();
    for _ in 0..60 {
        fake.tick();
    }
    fake.recreate(&spec());
    rest(&mut fake, &mut Probe::default());
    is_done(&fake);
    assert_eq!(fake.migration.made, 1);
}

#[test]
fn the_job_of_a_migration() {
    let plan = JobPlan {
        number: 2,
        image: "ghcr.io/unibus/membership-operator:0.1.0".to_owned(),
        asked: "0123".to_owned(),
        circumstances: "4567".to_owned(),
        tries: 1,
        beside: false,
    };
    let beside = JobPlan { beside: true, ..plan.clone() };
    let full = json!({
        "sqlite": {"claimName": "old", "path": "data/members.db"},
        "migration": {
            "backupClaimName": "backups",
            "imagePullPolicy": "Never",
            "imagePullSecrets": [{"name": "registry"}],
            "resources": {"limits": {"memory": "256Mi"}},
            "nodeSelector": {"disk": "ssd"},
            "labels": {"team": "chat"},
            "annotations": {"note": "once"},
            "podSecurityContext": {"runAsUser": 1000, "fsGroup": 1000},
        },
    });
    let none = json!({"sqlite": {"claimName": "old"}, "migration": {"backup": "Never"}});
    for (name, spec) in [("default", spec()), ("full", full), ("no-backup", none)] {
        let cluster = cluster(&spec);
        let job = build_migration_job(&cluster, cluster.migration.as_ref().unwrap(), &plan);
        insta::assert_snapshot!(
            format!("{name}-migration-job"),
            serde_saphyr::to_string(&job).unwrap()
        );
        if name == "full" {
            let wanted = cluster.migration.as_ref().unwrap();
            for (kind, job) in [
                ("migration", build_migration_job(&cluster, wanted, &beside)),
                ("unfence", build_unfence_job(&cluster, wanted, &beside)),
            ] {
                let name = format!("beside-{kind}-job");
                insta::assert_snapshot!(name, serde_saphyr::to_string(&job).unwrap());
            }
        }
    }
}
