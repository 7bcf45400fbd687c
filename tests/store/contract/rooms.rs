//! Rooms: made once, read back, listed for those who are in them.

use std::sync::Arc;

use membership_operator::membership::ErrorKind;
use membership_operator::membership::ids::Epoch;
use membership_operator::membership::records::MemberRole;
use membership_operator::membership::store::{EpochKey, NewRoom};

use super::{Backend, any_page, members_of, refusal, rooms_of};
use crate::words::{
    encrypted_room, endpoint, epoch, guest, invited, key, plain_room, room, sealed, soon, user,
};

pub async fn a_new_room_is_read_back_as_it_was_made(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    for (new, encrypted) in
        [(plain_room("open", "owner"), false), (encrypted_room("closed", "owner"), true)]
    {
        let made = fresh.store.create_room(new.clone(), soon()).await.unwrap();
        let read = fresh.store.room(&new.room, soon()).await.unwrap();
        assert_eq!(read.record, made.record);
        let record = read.record;
        assert_eq!((&record.id, &record.subject), (&new.room, &new.subject));
        assert_eq!((&record.owner, record.created_at), (&new.owner, new.now));
        assert_eq!(record.encrypted, encrypted);
        assert_eq!(record.epochs.current().epoch, Epoch::FIRST);
        let owner = fresh.store.member(&new.room, &new.owner, soon()).await.unwrap();
        assert_eq!(owner.role, MemberRole::Owner);
        assert_eq!((owner.added_by, owner.added_at), (new.owner.clone(), new.now));
        assert_eq!(owner.incarnation, record.incarnation);
        assert_eq!(members_of(&*fresh.store, &new.room).await, [new.owner].into());
    }
}

pub async fn a_room_is_made_once(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let made = fresh.store.create_room(plain_room("lobby", "owner"), soon()).await.unwrap();
    for again in [plain_room("lobby", "owner"), encrypted_room("lobby", "thief")] {
        let refused = fresh.store.create_room(again, soon()).await;
        assert_eq!(refusal(refused), ErrorKind::AlreadyExists);
    }
    let read = fresh.store.room(&room("lobby"), soon()).await.unwrap();
    assert_eq!(read.record, made.record);
    assert!(rooms_of(&*fresh.store, &endpoint("thief")).await.is_empty());
    assert_eq!(members_of(&*fresh.store, &room("lobby")).await, [endpoint("owner")].into());
}

pub async fn of_many_creates_at_once_one_makes_the_room(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let beside = backend.beside(&fresh).await;
    let tries = (0..8).map(|n| {
        let store = Arc::clone(if n % 2 == 0 { &fresh.store } else { &beside });
        let new = encrypted_room("lobby", &format!("owner-{n}"));
        tokio::spawn(async move { store.create_room(new, soon()).await })
    });
    let mut winners = Vec::new();
    for attempt in tries.collect::<Vec<_>>() {
        match attempt.await.unwrap() {
            Ok(made) => winners.push(made.record.owner),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    }
    let [winner] = winners.as_slice() else { panic!("{winners:?}") };
    assert_eq!(fresh.store.room(&room("lobby"), soon()).await.unwrap().record.owner, *winner);
    assert_eq!(members_of(&*fresh.store, &room("lobby")).await, [winner.clone()].into());
    let held = fresh.store.latest_key(&room("lobby"), winner, soon()).await.unwrap();
    assert!(held.sealed == sealed(winner.as_str()), "the winner holds its own key");
    for n in 0..8 {
        let owner = endpoint(&format!("owner-{n}"));
        let lists = rooms_of(&*fresh.store, &owner).await.contains(&room("lobby"));
        assert_eq!(lists, owner == *winner, "{owner}");
    }
}

pub async fn an_endpoint_lists_the_rooms_it_is_in(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    for n in 0..18 {
        let name = format!("room-{n}");
        fresh.store.create_room(plain_room(&name, "owner"), soon()).await.unwrap();
        if n % 2 == 0 {
            fresh.store.add_member(guest(&name, "guest"), soon()).await.unwrap();
        }
    }
    fresh.store.remove_member(&room("room-4"), &endpoint("guest"), soon()).await.unwrap();
    assert_eq!(rooms_of(&*fresh.store, &endpoint("owner")).await.len(), 18);
    let expected = [0, 2, 6, 8, 10, 12, 14, 16].map(|n| room(&format!("room-{n}")));
    assert_eq!(rooms_of(&*fresh.store, &endpoint("guest")).await, expected.into());
    assert!(rooms_of(&*fresh.store, &endpoint("nobody")).await.is_empty());
    let page = fresh.store.rooms_of(&endpoint("owner"), any_page(), soon()).await.unwrap();
    assert!(page.items.iter().all(|joined| joined.role == MemberRole::Owner));
    let page = fresh.store.rooms_of(&endpoint("guest"), any_page(), soon()).await.unwrap();
    assert!(page.items.iter().all(|joined| joined.role == MemberRole::Member));
}

pub async fn every_miss_is_not_found(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    store.create_room(plain_room("open", "owner"), soon()).await.unwrap();
    let (none, lobby, open) = (room("none"), room("lobby"), room("open"));
    let (owner, stranger) = (endpoint("owner"), endpoint("stranger"));
    let all = any_page;
    let misses = [
        ("room", refusal(store.room(&none, soon()).await)),
        ("members", refusal(store.members(&none, all(), soon()).await)),
        ("add", refusal(store.add_member(guest("none", "guest"), soon()).await)),
        ("remove from no room", refusal(store.remove_member(&none, &owner, soon()).await)),
        ("remove nobody", refusal(store.remove_member(&lobby, &stranger, soon()).await)),
        ("member of no room", refusal(store.member(&none, &owner, soon()).await)),
        ("member", refusal(store.member(&lobby, &stranger, soon()).await)),
        ("latest key of no room", refusal(store.latest_key(&none, &owner, soon()).await)),
        ("latest key of nobody", refusal(store.latest_key(&lobby, &stranger, soon()).await)),
        ("latest key of an open room", refusal(store.latest_key(&open, &owner, soon()).await)),
        ("key of no room", refusal(store.key(&none, &owner, epoch(1), soon()).await)),
        ("key of nobody", refusal(store.key(&lobby, &stranger, epoch(1), soon()).await)),
        ("key of an open room", refusal(store.key(&open, &owner, epoch(1), soon()).await)),
        ("key of the next epoch", refusal(store.key(&lobby, &owner, epoch(2), soon()).await)),
        (
            "key of the last epoch there can be",
            refusal(store.key(&lobby, &owner, epoch(i64::MAX.unsigned_abs()), soon()).await),
        ),
        ("put key in no room", refusal(store.put_key(&none, key(1, "x"), &owner, soon()).await)),
        (
            "put key for nobody",
            refusal(store.put_key(&lobby, key(1, "x"), &stranger, soon()).await),
        ),
        (
            "put key of an epoch to come",
            refusal(store.put_key(&lobby, key(2, "x"), &owner, soon()).await),
        ),
        ("rekey", refusal(store.begin_rekey(&none, soon()).await)),
        ("user", refusal(store.user(&user(1), soon()).await)),
        ("revoke", refusal(store.revoke_user(&user(1), soon()).await)),
    ];
    for (miss, kind) in misses {
        assert_eq!(kind, ErrorKind::NotFound, "{miss}");
    }
}

/// What means something in a subject, a path, a query or on a command line means nothing here, and
/// no two names ever meet in one record.
pub async fn ids_that_look_dangerous_are_only_names(backend: &dyn Backend) {
    const NAMES: [&str; 31] = [
        "*",
        ">",
        "a.*",
        "a.>",
        ".",
        "..",
        "a..b",
        ".a",
        "a.",
        "a",
        "b.c",
        "a.b",
        "c",
        "$JS.API",
        "$KV.x",
        "_INBOX.x",
        "$SYS",
        "_fence",
        "-",
        "--help",
        "=",
        "=2A",
        "a/b",
        "..%2f",
        "%2e",
        "+",
        "YWxpY2U",
        "Alice",
        "alice",
        "é",
        "'; DROP TABLE rooms; --",
    ];
    let fresh = backend.fresh().await;
    let names: Vec<&str> = NAMES.into_iter().filter(|name| !name.contains(' ')).collect();
    for name in &names {
        let new: NewRoom = encrypted_room(name, "owner");
        let new = NewRoom { owner: endpoint(name), ..new };
        fresh.store.create_room(new, soon()).await.unwrap();
    }
    for name in &names {
        let id = room(name);
        assert_eq!(fresh.store.room(&id, soon()).await.unwrap().record.id, id);
        assert_eq!(members_of(&*fresh.store, &id).await, [endpoint(name)].into(), "{name}");
        assert_eq!(rooms_of(&*fresh.store, &endpoint(name)).await, [id.clone()].into());
        for other in names.iter().filter(|other| *other != name) {
            let refused = fresh.store.member(&id, &endpoint(other), soon()).await;
            assert_eq!(refusal(refused), ErrorKind::NotFound, "{other} in {name}");
        }
    }
    // Room a with b.c, and room a.b with c, are two memberships.
    fresh.store.add_member(invited("a", "b.c", 1), soon()).await.unwrap();
    let refused = fresh.store.member(&room("a.b"), &endpoint("c"), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::NotFound);
    let wrong: EpochKey = key(1, "x");
    let refused = fresh.store.put_key(&room("a.b"), wrong, &endpoint("c"), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::NotFound);
}
