//! The real buckets as the place that is moved to: what they say of themselves, that nobody wrote
//! meanwhile, and what is taken back.

use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::membership::MembershipStore;
use membership_operator::membership::authorize::{AuthorizeRequest, Consistency};
use membership_operator::membership::error::ErrorKind;
use membership_operator::membership::ids::{Endpoint, MutationId};
use membership_operator::membership::kv::{Control, KvStore, Settings};
use membership_operator::membership::records::{UnixMillis, UserRole};
use membership_operator::membership::snapshot::{Record, Table};
use membership_operator::membership::store::{ImportMode, NewMember, NewUser, PageRequest};
use membership_operator::migration::Reason;
use membership_operator::migration::buckets::Buckets;
use membership_operator::migration::lock::Lock;
use membership_operator::migration::marker::{MarkedSource, Marker, Phase};
use membership_operator::migration::moving::{State, run};
use membership_operator::migration::target::Target;
use membership_operator::migration::watch::{Nobody, Progress, Step, Watch};
use serde_json::json;

use crate::moving::options_for;
use crate::program::{Bus, migrate, run as run_program};
use crate::sources::{LEGACY_TABLES, Source, soon, user};

pub async fn opened(bus: &Bus) -> KvStore {
    let options = NatsOptions::new(&bus.url(), Role::Migration).unwrap().nkey(Some(&bus.key));
    KvStore::open(&options, "UNIBUS".parse().unwrap(), Settings::default()).await.unwrap()
}

/// Empty buckets, and a second store on them.
async fn empty() -> (Bus, Buckets, KvStore) {
    let bus = Bus::of(1).await;
    run_program(&bus, "UNIBUS", ["init", "--max-bytes", "16Mi"]).done();
    let (store, beside) = (opened(&bus).await, opened(&bus).await);
    (bus, Buckets::of(store), beside)
}

fn record(value: &serde_json::Value) -> Record {
    serde_json::from_value(value.clone()).unwrap()
}

/// A user, a room and its members and keys.
fn records() -> Vec<Record> {
    [
        json!({"kind":"user","key":user(1).to_string(),"handle":"A","role":"user","status":"active"}),
        json!({"kind":"room","room":"r","subject":"s","owner":"o","encrypted":true,"epoch":1,"createdAt":1}),
        json!({"kind":"member","room":"r","endpoint":"m","role":"member","addedBy":"o","addedAt":2}),
        json!({"kind":"roomKey","room":"r","endpoint":"m","epoch":1,"sealed":"AAEC"}),
    ]
    .iter()
    .map(record)
    .collect()
}

async fn exported(store: &dyn MembershipStore) -> Vec<String> {
    let mut lines = Vec::new();
    for table in Table::ALL {
        let page = store.export(table, PageRequest::default(), soon()).await.unwrap();
        lines.extend(page.items.iter().map(|record| serde_json::to_string(record).unwrap()));
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_changes_with_every_record_and_with_nothing_else() {
    let (_bus, buckets, beside) = empty().await;
    beside.import(records(), ImportMode::KeepNewer, soon()).await.unwrap();
    let mut last = buckets.barrier(soon()).await.unwrap();
    // Fences of whoever asks are no records.
    for _ in 0..3 {
        let request =
            AuthorizeRequest { user: user(1), room: None, consistency: Consistency::Strict };
        assert!(beside.authorize(request, soon()).await.is_admit());
        let now = buckets.barrier(soon()).await.unwrap();
        assert_eq!(now, last, "nothing was written");
    }
    let new = NewUser { key: user(2), handle: "B".parse().unwrap(), role: UserRole::User };
    let room = "r".parse().unwrap();
    let member: Endpoint = "n".parse().unwrap();
    for write in 0..4 {
        match write {
            0 => drop(beside.add_user(new.clone(), soon()).await.unwrap()),
            1 => drop(beside.revoke_user(&user(1), soon()).await.unwrap()),
            2 => {
                let sealed = vec![7].try_into().unwrap();
                let epoch = 1.try_into().unwrap();
                let new = NewMember {
                    room: "r".parse().unwrap(),
                    endpoint: member.clone(),
                    added_by: "o".parse().unwrap(),
                    key: Some(membership_operator::membership::store::EpochKey { epoch, sealed }),
                    now: UnixMillis(3),
                };
                drop(beside.add_member(new, soon()).await.unwrap());
            }
            _ => beside.remove_member(&room, &member, soon()).await.unwrap(),
        }
        let now = buckets.barrier(soon()).await.unwrap();
        assert_ne!(now, last, "write {write} was not noticed");
        last = now;
        assert_eq!(buckets.barrier(soon()).await.unwrap(), last, "it is noticed once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_an_import_wrote_and_nobody_changed_is_taken_back() {
    let (_bus, buckets, beside) = empty().await;
    let new = NewUser { key: user(2), handle: "B".parse().unwrap(), role: UserRole::User };
    beside.add_user(new, soon()).await.unwrap();
    beside.import(records(), ImportMode::KeepNewer, soon()).await.unwrap();
    let before = exported(&beside).await;
    let services = json!({"kind":"user","key":user(2).to_string(),"handle":"B","role":"user","status":"active"});
    let otherwise = json!({"kind":"user","key":user(1).to_string(),"handle":"X","role":"user","status":"active"});
    let never = json!({"kind":"member","room":"r","endpoint":"x","role":"member","addedBy":"o","addedAt":2});
    let left = [&services, &otherwise, &never].map(record).to_vec();
    assert_eq!(buckets.remove_imported(left, soon()).await.unwrap(), 0);
    assert_eq!(exported(&beside).await, before);

    let mut all: Vec<Record> = records();
    all.reverse();
    assert_eq!(buckets.remove_imported(all.clone(), soon()).await.unwrap(), 4);
    assert_eq!(exported(&beside).await.len(), 1, "the service's own user stays");
    assert_eq!(buckets.remove_imported(all, soon()).await.unwrap(), 0, "once is enough");
    // What was taken back can be imported anew.
    beside.import(records(), ImportMode::KeepNewer, soon()).await.unwrap();
    assert_eq!(exported(&beside).await.len(), before.len());
}

fn marker(phase: Phase) -> Marker {
    let source = MarkedSource { kind: "ours".into(), users: 0, rooms: 0, members: 0, room_keys: 0 };
    Marker { phase, attempt: MutationId::from([1; 16]), digest: "d".into(), source }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_marker_is_written_over_what_was_read_or_not_at_all() {
    let (_bus, buckets, beside) = empty().await;
    let fresh = buckets.situation(soon()).await.unwrap();
    assert_eq!((&fresh.marker, fresh.served, fresh.foreign), (&None, false, false));
    let at = buckets.mark(&marker(Phase::Importing), fresh.control, soon()).await.unwrap();
    let late = buckets.mark(&marker(Phase::Done), fresh.control, soon()).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Conflict);
    let now = buckets.situation(soon()).await.unwrap();
    assert_eq!(now.marker, Some((marker(Phase::Importing), at)));
    buckets.mark(&marker(Phase::Done), Some(at), soon()).await.unwrap();

    let control = beside.control(soon()).await.unwrap();
    let rubbish = Control { migration: Some(json!({"phase": "later"})), ..control.record };
    beside.set_control(&rubbish, control.revision, soon()).await.unwrap();
    let newer = buckets.situation(soon()).await.unwrap_err();
    assert_eq!(newer.kind(), ErrorKind::Corrupt, "a marker that cannot be read is never absent");
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_that_have_served_are_refused_however_empty_they_are() {
    let (_bus, buckets, beside) = empty().await;
    let control = beside.control(soon()).await.unwrap();
    let served = Control { served_since: Some(UnixMillis(5)), ..control.record };
    beside.set_control(&served, control.revision, soon()).await.unwrap();
    let source = Source::legacy();
    let refused = run(&options_for(&source.path), &buckets, &Nobody).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::StoreNotEmpty);
    source.execute("DELETE FROM users");
}

/// Changes the source's tables once the buckets were verified.
struct Meddles<'s>(&'s Source);

impl Watch for Meddles<'_> {
    fn step(&self, step: Step) {
        if step == Step::Verified {
            self.0.execute("CREATE TABLE behind_the_fence (x)");
        }
    }

    fn progress(&self, _: Progress) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changed_between_two_runs_is_what_counts_in_the_buckets() {
    let (bus, buckets, beside) = empty().await;
    let source = Source::legacy();
    let changed = run(&options_for(&source.path), &buckets, &Meddles(&source)).await.unwrap_err();
    assert_eq!(changed.reason(), Reason::SourceChanged);
    Lock::take(&source.path, std::time::Duration::from_secs(5)).unwrap().lift().unwrap();
    source.execute(
        "DELETE FROM room_keys WHERE endpoint = 'phone.7';
         DELETE FROM room_members WHERE endpoint = 'phone.7';
         UPDATE users SET revoked = 1 WHERE handle = 'Bo B'",
    );
    let summary = run(&options_for(&source.path), &buckets, &Nobody).await.unwrap();
    assert_eq!((summary.state, summary.pruned, summary.imported.overwritten), (State::Done, 2, 1));
    let lines = exported(&beside).await;
    assert!(!lines.iter().any(|line| line.contains("phone.7")), "{lines:?}");
    let again = migrate(&bus, "UNIBUS", &source.path, &[]).summary(0);
    assert_eq!(again["comparison"]["equal"], lines.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_too_large_for_the_buckets_is_refused_before_the_fence() {
    let bus = Bus::of(1).await;
    run_program(&bus, "UNIBUS", ["init", "--max-bytes", "1Mi"]).done();
    let source = Source::of_sql(&format!(
        "{LEGACY_TABLES}
         INSERT INTO rooms VALUES ('r', 's', 'o', 0, 1, 1);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO room_members SELECT 'r', 'm' || i, 'member', 'o', 1 FROM n;"
    ));
    assert_eq!(migrate(&bus, "UNIBUS", &source.path, &[]).failed(6), "StoreTooSmall");
    // Buckets that are still to be made are judged by the size they would have.
    let flags = ["--dry-run", "--max-bytes", "1Mi"];
    assert_eq!(migrate(&bus, "OTHER", &source.path, &flags).failed(6), "StoreTooSmall");
    migrate(&bus, "OTHER", &source.path, &["--dry-run", "--max-bytes", "16Mi"]).summary(0);
    source.execute("DELETE FROM room_members");
}
