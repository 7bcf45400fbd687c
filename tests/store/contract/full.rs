//! A store without room takes nothing in, and still sends away.

use membership_operator::membership::authorize::{AuthorizeRequest, Consistency};
use membership_operator::membership::ids::Endpoint;
use membership_operator::membership::records::{UserRole, UserStatus};
use membership_operator::membership::store::{NewMember, NewRoom, NewUser};
use membership_operator::membership::{DenyReason, ErrorKind, MembershipStore};

use super::{Backend, denial, refusal};
use crate::words::{guest, new_user, plain_room, room, soon, user};

const BYTES: u64 = 512 * 1024;

/// More than would fit.
const MANY: u32 = 8000;

/// Adds users until the store refuses one; how many there are.
async fn fill_with_users(store: &dyn MembershipStore) -> u32 {
    let long = "x".repeat(120);
    for n in 1..MANY {
        let handle = format!("{long}{n}").parse().unwrap();
        let new = NewUser { handle, ..new_user(n, UserRole::User) };
        if let Err(error) = store.add_user(new, soon()).await {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            return n;
        }
    }
    panic!("{MANY} users fit");
}

/// Adds members until the store refuses one.
async fn fill_with_members(store: &dyn MembershipStore) {
    let long = "x".repeat(120);
    for n in 0..MANY {
        let new = guest("lobby", &format!("{long}{n}"));
        if let Err(error) = store.add_member(new, soon()).await {
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            return;
        }
    }
    panic!("{MANY} members fit");
}

pub async fn a_full_store_still_revokes_and_removes(backend: &dyn Backend) {
    let fresh = backend.small(BYTES).await;
    let store = &*fresh.store;
    let own = |n| Endpoint::from(&user(n));
    let new = NewRoom { owner: own(0), ..plain_room("lobby", "owner") };
    store.create_room(new, soon()).await.unwrap();
    store.add_first_admin(user(0), "root".parse().unwrap(), soon()).await.unwrap();
    for n in 1..4 {
        let new = NewMember { endpoint: own(n), ..guest("lobby", "guest") };
        store.add_member(new, soon()).await.unwrap();
    }
    let users = fill_with_users(store).await;
    fill_with_members(store).await;
    let again = store.add_user(new_user(MANY, UserRole::User), soon()).await;
    assert_eq!(refusal(again), ErrorKind::Full, "it stays full");
    for n in 1..users {
        let revoked = store.revoke_user(&user(n), soon()).await.unwrap();
        assert_eq!(revoked.record.status, UserStatus::Revoked);
    }
    for n in 1..4 {
        store.remove_member(&room("lobby"), &own(n), soon()).await.unwrap();
    }
    let ask = |n, room| {
        store.authorize(
            AuthorizeRequest { user: user(n), room, consistency: Consistency::Strict },
            soon(),
        )
    };
    assert!(ask(0, Some(room("lobby"))).await.is_admit());
    assert_eq!(denial(&ask(1, None).await), DenyReason::Revoked);
}
