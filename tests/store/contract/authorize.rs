//! The one question that must never be answered wrongly.

use std::sync::Arc;
use std::time::{Duration, Instant};

use membership_operator::membership::authorize::{AuthorizeRequest, Consistency, Standing};
use membership_operator::membership::ids::{Endpoint, RoomId, UserKey};
use membership_operator::membership::records::{MemberRole, UserRole};
use membership_operator::membership::store::{Deadline, NewMember, NewRoom};
use membership_operator::membership::{Decision, DenyReason, MembershipStore};
use tokio::task::JoinSet;

use super::{Backend, denial};
use crate::words::{guest, new_user, plain_room, room, soon, user};

fn question(user: UserKey, room: Option<RoomId>) -> AuthorizeRequest {
    AuthorizeRequest { user, room, consistency: Consistency::Strict }
}

async fn ask(store: &dyn MembershipStore, n: u32, in_room: Option<&str>) -> Decision {
    store.authorize(question(user(n), in_room.map(room)), soon()).await
}

fn standing(decision: &Decision) -> Standing {
    match decision {
        Decision::Admit(admit) => admit.standing(),
        Decision::Deny(deny) => panic!("denied: {deny:?}"),
    }
}

fn own(n: u32) -> Endpoint {
    Endpoint::from(&user(n))
}

async fn room_of(store: &dyn MembershipStore, name: &str, owner: u32, members: &[u32]) {
    let new = NewRoom { owner: own(owner), ..plain_room(name, "owner") };
    store.create_room(new, soon()).await.unwrap();
    for member in members {
        let new = NewMember { endpoint: own(*member), ..guest(name, "guest") };
        store.add_member(new, soon()).await.unwrap();
    }
}

pub async fn the_records_decide(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    for (n, role) in [(1, UserRole::Admin), (2, UserRole::User), (3, UserRole::Service)] {
        store.add_user(new_user(n, role), soon()).await.unwrap();
    }
    store.add_user(new_user(4, UserRole::Admin), soon()).await.unwrap();
    store.revoke_user(&user(4), soon()).await.unwrap();
    // 5 is no user but a member, 4 is a revoked owner.
    room_of(store, "lobby", 1, &[2, 5]).await;
    room_of(store, "cellar", 4, &[1]).await;
    for (n, in_room, role, member) in [
        (1, None, UserRole::Admin, None),
        (2, None, UserRole::User, None),
        (3, None, UserRole::Service, None),
        (1, Some("lobby"), UserRole::Admin, Some(MemberRole::Owner)),
        (2, Some("lobby"), UserRole::User, Some(MemberRole::Member)),
        (1, Some("cellar"), UserRole::Admin, Some(MemberRole::Member)),
    ] {
        let standing = standing(&ask(store, n, in_room).await);
        assert_eq!((standing.user, standing.member), (role, member), "{n} in {in_room:?}");
    }
    for (n, in_room, reason) in [
        (9, None, DenyReason::UnknownUser),
        (9, Some("lobby"), DenyReason::UnknownUser),
        (5, Some("lobby"), DenyReason::UnknownUser),
        (4, None, DenyReason::Revoked),
        (4, Some("cellar"), DenyReason::Revoked),
        (2, Some("none"), DenyReason::UnknownRoom),
        (3, Some("lobby"), DenyReason::NotMember),
        (2, Some("cellar"), DenyReason::NotMember),
        // Names are not patterns.
        (2, Some("*"), DenyReason::UnknownRoom),
        (2, Some(">"), DenyReason::UnknownRoom),
        (2, Some("lobb?"), DenyReason::UnknownRoom),
        (2, Some("%"), DenyReason::UnknownRoom),
    ] {
        assert_eq!(denial(&ask(store, n, in_room).await), reason, "{n} in {in_room:?}");
    }
}

pub async fn a_revocation_holds_in_every_process_at_once(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let beside = backend.beside(&fresh).await;
    for n in 0..20 {
        fresh.store.add_user(new_user(n, UserRole::User), soon()).await.unwrap();
        assert!(ask(&*beside, n, None).await.is_admit(), "{n}");
        let revoked = fresh.store.revoke_user(&user(n), soon()).await.unwrap();
        let decision = ask(&*beside, n, None).await;
        assert_eq!(denial(&decision), DenyReason::Revoked, "{n}");
        match decision {
            Decision::Deny(deny) => assert_eq!(deny.revision, Some(revoked.revision)),
            Decision::Admit(_) => unreachable!(),
        }
    }
}

pub async fn a_removal_holds_in_every_process_at_once(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let beside = backend.beside(&fresh).await;
    room_of(&*fresh.store, "lobby", 1, &[]).await;
    fresh.store.add_user(new_user(2, UserRole::User), soon()).await.unwrap();
    for _ in 0..10 {
        let new = NewMember { endpoint: own(2), ..guest("lobby", "guest") };
        fresh.store.add_member(new, soon()).await.unwrap();
        assert!(ask(&*beside, 2, Some("lobby")).await.is_admit());
        beside.remove_member(&room("lobby"), &own(2), soon()).await.unwrap();
        let decision = ask(&*fresh.store, 2, Some("lobby")).await;
        assert_eq!(denial(&decision), DenyReason::NotMember);
    }
}

/// Conditions on one record get into each other's way; that decides nothing about anybody.
pub async fn a_crowd_that_asks_about_one_user_from_two_processes_is_let_in(backend: &dyn Backend) {
    const CALLERS: u32 = 8;
    const QUESTIONS: u32 = 20;
    let fresh = backend.fresh().await;
    fresh.store.add_user(new_user(1, UserRole::User), soon()).await.unwrap();
    let stores = [Arc::clone(&fresh.store), backend.beside(&fresh).await];
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let store = Arc::clone(&stores[usize::try_from(caller % 2).unwrap()]);
        callers.spawn(async move {
            for _ in 0..QUESTIONS {
                let decision = ask(&*store, 1, None).await;
                assert!(decision.is_admit(), "{:?}", denial(&decision));
            }
        });
    }
    callers.join_all().await;
}

/// What is asked about them meanwhile is in the way of the write, and no reason to refuse it.
pub async fn users_are_added_while_another_process_asks_about_them(backend: &dyn Backend) {
    const USERS: u32 = 20;
    let fresh = backend.fresh().await;
    let beside = backend.beside(&fresh).await;
    for n in 1..=USERS {
        let mut callers = JoinSet::new();
        for _ in 0..4 {
            let beside = Arc::clone(&beside);
            callers.spawn(async move { while !ask(&*beside, n, None).await.is_admit() {} });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        fresh.store.add_user(new_user(n, UserRole::User), soon()).await.unwrap();
        callers.join_all().await;
    }
}

pub async fn a_passed_deadline_denies(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    fresh.store.add_first_admin(user(1), "root".parse().unwrap(), soon()).await.unwrap();
    let begun = Instant::now();
    let passed = Deadline::after(Duration::ZERO);
    let decision = fresh.store.authorize(question(user(1), None), passed).await;
    assert_eq!(denial(&decision), DenyReason::Deadline);
    fresh.store.has_admin(passed).await.expect_err("an error, which a gate takes as a refusal");
    assert!(begun.elapsed() < Duration::from_secs(1), "nothing waited");
    assert!(ask(&*fresh.store, 1, None).await.is_admit());
}
