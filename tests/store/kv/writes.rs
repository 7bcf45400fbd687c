//! Writes whose answers are lost: found to be one's own, or unknown, and never done twice.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use membership_operator::jetstream::connect::Role;
use membership_operator::membership::kv::KvStore;
use membership_operator::membership::records::{UserRole, UserStatus};
use membership_operator::membership::snapshot::Record;
use membership_operator::membership::store::{Deadline, ImportMode};
use membership_operator::membership::{ErrorKind, MembershipStore};

use super::servers::{Home, ONE};
use super::wires::{LosesAnswers, Wire};
use crate::contract::{members_of, refusal, rooms_of};
use crate::words::{encrypted_room, endpoint, invited, new_user, room, soon, user};

async fn behind(losses: usize) -> (Home, Arc<Wire<LosesAnswers>>, Arc<KvStore>) {
    let home = ONE.home().await;
    home.init().await;
    let link = home.link(Role::Membershipd);
    let wire = Arc::new(Wire { link, nature: LosesAnswers::to_writes(losses) });
    let store = home.open_through(Arc::clone(&wire) as _).await;
    (home, wire, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_whose_answer_was_lost_is_found_to_be_ones_own() {
    let (_home, wire, store) = behind(0).await;
    let lose = |count| wire.nature.left.store(count, Ordering::Release);
    lose(1);
    let added = store.add_user(new_user(1, UserRole::User), soon()).await.unwrap();
    assert_eq!(store.user(&user(1), soon()).await.unwrap(), added);
    lose(1);
    let revoked = store.revoke_user(&user(1), soon()).await.unwrap();
    assert_eq!(store.user(&user(1), soon()).await.unwrap(), revoked);
    lose(4);
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    lose(4);
    store.add_member(invited("lobby", "guest", 1), soon()).await.unwrap();
    assert_eq!(rooms_of(&*store, &endpoint("guest")).await, [room("lobby")].into());
    lose(3);
    store.remove_member(&room("lobby"), &endpoint("guest"), soon()).await.unwrap();
    assert_eq!(members_of(&*store, &room("lobby")).await, [endpoint("owner")].into());
    assert!(!wire.nature.retired.load(Ordering::Acquire), "no outcome was unknown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_makes_no_success_of_somebody_elses_write() {
    let (home, wire, store) = behind(0).await;
    let beside = home.open().await;
    beside.add_user(new_user(1, UserRole::User), soon()).await.unwrap();
    wire.nature.left.store(1, Ordering::Release);
    let refused = store.add_user(new_user(1, UserRole::Admin), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::AlreadyExists);
    assert_eq!(store.user(&user(1), soon()).await.unwrap().record.role, UserRole::User);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_never_answered_is_unknown_at_the_deadline_and_gives_its_connection_up() {
    const PATIENCE: Duration = Duration::from_secs(1);
    let (home, wire, store) = behind(0).await;
    store.add_user(new_user(1, UserRole::User), soon()).await.unwrap();
    wire.nature.deaf.store(true, Ordering::Release);
    let begun = Instant::now();
    let unknown = store.revoke_user(&user(1), Deadline::after(PATIENCE)).await;
    assert_eq!(refusal(unknown), ErrorKind::Unknown);
    assert!(begun.elapsed() < PATIENCE * 2, "{:?}", begun.elapsed());
    assert!(wire.nature.retired.load(Ordering::Acquire));
    let status = home.open().await.user(&user(1), soon()).await.unwrap().record.status;
    assert_eq!(status, UserStatus::Revoked, "it had happened");
}

/// Its record was written over, and the one that is there now does not say by whom first: whether it
/// was this write that came between is nothing that can be told. A "conflict" would say that it was not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_itself_written_over_is_unknown() {
    let (home, wire, store) = behind(0).await;
    let added = store.add_user(new_user(1, UserRole::User), soon()).await.unwrap();
    wire.nature.deaf.store(true, Ordering::Release);
    let revoking = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.revoke_user(&user(1), soon()).await }
    });
    let beside = home.open().await;
    while beside.user(&user(1), soon()).await.unwrap().record.status == UserStatus::Active {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let back = vec![Record::from(added.record)];
    beside.import(back, ImportMode::Force, soon()).await.unwrap();
    wire.nature.deaf.store(false, Ordering::Release);
    assert_eq!(refusal(revoking.await.unwrap()), ErrorKind::Unknown);
    assert!(wire.nature.retired.load(Ordering::Acquire));
}
