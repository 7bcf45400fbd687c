//! Users, and the gate for the first admin.

use std::collections::BTreeSet;
use std::sync::Arc;

use membership_operator::membership::ErrorKind;
use membership_operator::membership::records::{User, UserRole, UserStatus};
use membership_operator::membership::store::Page;

use super::{Backend, any_page, refusal};
use crate::words::{first_page, new_user, next_page, soon, user};

const ROLES: [UserRole; 3] = [UserRole::Admin, UserRole::User, UserRole::Service];

pub async fn a_user_is_added_read_listed_and_revoked(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    for (n, role) in (0..).zip(ROLES) {
        let added = store.add_user(new_user(n, role), soon()).await.unwrap();
        let expected = User {
            key: user(n),
            handle: format!("user {n}").parse().unwrap(),
            role,
            status: UserStatus::Active,
        };
        assert_eq!(added.record, expected);
        assert_eq!(store.user(&user(n), soon()).await.unwrap(), added);
        let revoked = store.revoke_user(&user(n), soon()).await.unwrap();
        let expected = User { status: UserStatus::Revoked, ..expected };
        assert_eq!(revoked.record, expected);
        assert_ne!(revoked.revision, added.revision);
        let again = store.revoke_user(&user(n), soon()).await.unwrap();
        assert_eq!(again.record, expected, "revoking again is no error");
        assert_eq!(store.user(&user(n), soon()).await.unwrap().record, expected);
    }
    let Page { items, next } = store.users(any_page(), soon()).await.unwrap();
    assert_eq!((items.len(), next), (3, None));
    assert!(items.iter().all(|user| user.status == UserStatus::Revoked));
}

pub async fn a_key_comes_in_once_and_never_again(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let first = store.add_user(new_user(1, UserRole::User), soon()).await.unwrap();
    for role in ROLES {
        let refused = store.add_user(new_user(1, role), soon()).await;
        assert_eq!(refusal(refused), ErrorKind::AlreadyExists);
    }
    assert_eq!(store.user(&user(1), soon()).await.unwrap(), first);
    store.revoke_user(&user(1), soon()).await.unwrap();
    let refused = store.add_user(new_user(1, UserRole::User), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::AlreadyExists);
    let refused = store.add_first_admin(user(1), "root".parse().unwrap(), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::AlreadyExists);
    let still = store.user(&user(1), soon()).await.unwrap().record;
    assert_eq!((still.status, still.role), (UserStatus::Revoked, UserRole::User));
}

pub async fn the_gate_for_the_first_admin_opens_once(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    store.add_user(new_user(1, UserRole::User), soon()).await.unwrap();
    store.add_user(new_user(2, UserRole::Service), soon()).await.unwrap();
    assert!(!store.has_admin(soon()).await.unwrap());
    let root = store.add_first_admin(user(3), "root".parse().unwrap(), soon()).await.unwrap();
    assert_eq!((root.record.role, root.record.status), (UserRole::Admin, UserStatus::Active));
    assert_eq!(store.user(&user(3), soon()).await.unwrap(), root);
    assert!(store.has_admin(soon()).await.unwrap());
    let refused = store.add_first_admin(user(4), "thief".parse().unwrap(), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::AlreadyExists);
    // A store whose admins are all gone is not a new store.
    store.revoke_user(&user(3), soon()).await.unwrap();
    assert!(!store.has_admin(soon()).await.unwrap());
    let refused = store.add_first_admin(user(4), "thief".parse().unwrap(), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::AlreadyExists);
    assert_eq!(refusal(store.user(&user(4), soon()).await), ErrorKind::NotFound);
}

pub async fn the_gate_stays_shut_once_there_was_any_admin(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    store.add_user(new_user(1, UserRole::Admin), soon()).await.unwrap();
    assert!(store.has_admin(soon()).await.unwrap());
    for revoked in [false, true] {
        if revoked {
            store.revoke_user(&user(1), soon()).await.unwrap();
        }
        let refused = store.add_first_admin(user(2), "thief".parse().unwrap(), soon()).await;
        assert_eq!(refusal(refused), ErrorKind::AlreadyExists);
    }
}

pub async fn of_many_first_admins_at_once_one_comes_in(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let beside = backend.beside(&fresh).await;
    let tries = (0..8).map(|n| {
        let store = Arc::clone(if n % 2 == 0 { &fresh.store } else { &beside });
        let handle = "root".parse().unwrap();
        tokio::spawn(async move { store.add_first_admin(user(n), handle, soon()).await })
    });
    let mut admins = Vec::new();
    for attempt in tries.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(made) => admins.push(made.record.key),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    }
    let [admin] = admins.as_slice() else { panic!("{admins:?}") };
    let listed = fresh.store.users(any_page(), soon()).await.unwrap().items;
    let listed: Vec<_> = listed.into_iter().map(|user| user.key).collect();
    assert_eq!(listed, [*admin], "nobody else is there, not even without a role");
}

pub async fn users_come_in_pages(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    for n in 0..23 {
        store.add_user(new_user(n, UserRole::User), soon()).await.unwrap();
    }
    let (mut seen, mut request) = (BTreeSet::new(), first_page(5));
    loop {
        let page = store.users(request, soon()).await.unwrap();
        assert!(page.items.len() <= 5);
        for user in page.items {
            assert!(seen.insert(user.key), "a user came twice");
        }
        let Some(after) = page.next else {
            break;
        };
        request = next_page(after, 5);
    }
    assert_eq!(seen, (0..23).map(user).collect());
}
