//! Many clients at once, in two processes: what they are told must be what one order explains.

use std::sync::Arc;

use membership_operator::membership::records::{UserRole, UserStatus};
use membership_operator::membership::{ErrorKind, MembershipStore};

use super::{Backend, exported_lines, members_of, rooms_of};
use crate::words::{encrypted_room, endpoint, invited, new_user, room, soon, user};

const CLIENTS: u32 = 32;
const ROUNDS: u32 = 4;

/// How often each change took hold.
#[derive(Default)]
struct Effects {
    added: i64,
    removed: i64,
}

async fn add_and_remove(store: Arc<dyn MembershipStore>, client: u32) -> Effects {
    let (lobby, guest) = (room("lobby"), endpoint("guest"));
    let mut effects = Effects::default();
    for round in 0..ROUNDS {
        if (client + round).is_multiple_of(2) {
            match store.add_member(invited("lobby", "guest", 1), soon()).await {
                Ok(_) => effects.added += 1,
                Err(error) => assert!(
                    [ErrorKind::AlreadyExists, ErrorKind::Conflict].contains(&error.kind()),
                    "{error}"
                ),
            }
        } else {
            match store.remove_member(&lobby, &guest, soon()).await {
                Ok(()) => effects.removed += 1,
                Err(error) => assert!(
                    [ErrorKind::NotFound, ErrorKind::Conflict].contains(&error.kind()),
                    "{error}"
                ),
            }
        }
    }
    effects
}

pub async fn many_add_and_remove_one_member_in_some_order(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let beside = backend.beside(&fresh).await;
    fresh.store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    let clients = (0..CLIENTS).map(|client| {
        let store = if client % 2 == 0 { &fresh.store } else { &beside };
        tokio::spawn(add_and_remove(Arc::clone(store), client))
    });
    let mut total = Effects::default();
    for client in clients.collect::<Vec<_>>() {
        let effects = client.await.unwrap();
        total.added += effects.added;
        total.removed += effects.removed;
    }
    assert!(total.added > 0, "somebody got through");
    let (lobby, guest) = (room("lobby"), endpoint("guest"));
    let inside = members_of(&*fresh.store, &lobby).await.contains(&guest);
    assert_eq!(total.added - total.removed, i64::from(inside), "adds less removes");
    assert_eq!(fresh.store.member(&lobby, &guest, soon()).await.is_ok(), inside);
    assert_eq!(rooms_of(&*fresh.store, &guest).await.contains(&lobby), inside);
    assert_eq!(fresh.store.latest_key(&lobby, &guest, soon()).await.is_ok(), inside);
    assert_eq!(exported_lines(&*fresh.store).await, exported_lines(&*beside).await);
}

pub async fn many_grant_and_revoke_in_some_order(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let beside = backend.beside(&fresh).await;
    let clients = (0..CLIENTS).map(|client| {
        let store = Arc::clone(if client % 2 == 0 { &fresh.store } else { &beside });
        tokio::spawn(async move {
            let n = client % 4;
            if client < CLIENTS / 2 {
                return store.add_user(new_user(n, UserRole::User), soon()).await.is_ok();
            }
            while let Err(error) = store.revoke_user(&user(n), soon()).await {
                let kinds = [ErrorKind::NotFound, ErrorKind::Conflict];
                assert!(kinds.contains(&error.kind()), "{error}");
            }
            let now = store.user(&user(n), soon()).await.unwrap().record;
            assert_eq!(now.status, UserStatus::Revoked, "an acknowledged revocation shows");
            false
        })
    });
    let mut added = 0;
    for client in clients.collect::<Vec<_>>() {
        added += i32::from(client.await.unwrap());
    }
    assert_eq!(added, 4, "each of the four was let in once");
}
