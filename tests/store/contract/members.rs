//! Members: let in once, taken out, listed in pages.

use membership_operator::membership::ErrorKind;
use membership_operator::membership::records::MemberRole;
use membership_operator::membership::store::{Cursor, NewMember};

use super::{Backend, members_of, refusal, rooms_of};
use crate::words::{
    encrypted_room, endpoint, epoch, first_page, guest, invited, key, next_page, plain_room, room,
    sealed, soon,
};

pub async fn an_invited_member_goes_through_every_method(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let (lobby, guest) = (room("lobby"), endpoint("guest"));
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    let new = invited("lobby", "guest", 1);
    let added = store.add_member(new.clone(), soon()).await.unwrap();
    assert_eq!(added.room.record.epochs.current().epoch, epoch(1));
    assert_eq!(added.room.record, store.room(&lobby, soon()).await.unwrap().record);
    let member = store.member(&lobby, &guest, soon()).await.unwrap();
    assert_eq!(member, added.member);
    assert_eq!((&member.room, &member.endpoint), (&lobby, &guest));
    assert_eq!((member.role, &member.added_by), (MemberRole::Member, &endpoint("owner")));
    assert_eq!(member.added_at, new.now);
    assert_eq!(members_of(store, &lobby).await, [endpoint("owner"), guest.clone()].into());
    assert_eq!(rooms_of(store, &guest).await, [lobby.clone()].into());
    let latest = store.latest_key(&lobby, &guest, soon()).await.unwrap();
    assert_eq!((&latest.room, &latest.endpoint, latest.epoch), (&lobby, &guest, epoch(1)));
    assert!(latest.sealed == sealed("guest"));
    assert!(latest == store.key(&lobby, &guest, epoch(1), soon()).await.unwrap());
    let owners = store.latest_key(&lobby, &endpoint("owner"), soon()).await.unwrap();
    assert!(owners.sealed == sealed("owner"), "each member has its own key");
    store.remove_member(&lobby, &guest, soon()).await.unwrap();
    assert_eq!(members_of(store, &lobby).await, [endpoint("owner")].into());
    assert!(rooms_of(store, &guest).await.is_empty());
    assert_eq!(refusal(store.member(&lobby, &guest, soon()).await), ErrorKind::NotFound);
}

pub async fn a_member_is_added_once_and_can_come_back(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let (lobby, guest) = (room("lobby"), endpoint("guest"));
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    let first = store.add_member(invited("lobby", "guest", 1), soon()).await.unwrap();
    let again = NewMember { key: Some(key(1, "other")), ..invited("lobby", "guest", 1) };
    let refused = store.add_member(again.clone(), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::AlreadyExists);
    let owner = store.add_member(invited("lobby", "owner", 1), soon()).await;
    assert_eq!(refusal(owner), ErrorKind::AlreadyExists);
    assert_eq!(store.member(&lobby, &guest, soon()).await.unwrap(), first.member);
    let held = store.latest_key(&lobby, &guest, soon()).await.unwrap();
    assert!(held.sealed == sealed("guest"), "the refused add left the key alone");

    store.remove_member(&lobby, &guest, soon()).await.unwrap();
    let refused = store.remove_member(&lobby, &guest, soon()).await;
    assert_eq!(refusal(refused), ErrorKind::NotFound);
    store.add_member(again, soon()).await.unwrap();
    let held = store.latest_key(&lobby, &guest, soon()).await.unwrap();
    assert!(held.sealed == sealed("other"), "a new key came with the new membership");
    assert_eq!(rooms_of(store, &guest).await, [lobby].into());
}

pub async fn the_key_of_a_new_member_must_fit_the_room(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    store.create_room(encrypted_room("closed", "owner"), soon()).await.unwrap();
    store.create_room(plain_room("open", "owner"), soon()).await.unwrap();
    for (new, kind) in [
        (guest("closed", "guest"), ErrorKind::Invalid),
        (invited("closed", "guest", 2), ErrorKind::Conflict),
        (invited("open", "guest", 1), ErrorKind::Invalid),
    ] {
        assert_eq!(refusal(store.add_member(new, soon()).await), kind);
    }
    for name in ["open", "closed"] {
        assert_eq!(members_of(store, &room(name)).await, [endpoint("owner")].into());
    }
    assert!(rooms_of(store, &endpoint("guest")).await.is_empty());
}

pub async fn the_owner_never_leaves(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let lobby = room("lobby");
    fresh.store.create_room(plain_room("lobby", "owner"), soon()).await.unwrap();
    let refused = fresh.store.remove_member(&lobby, &endpoint("owner"), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::Invalid);
    assert_eq!(members_of(&*fresh.store, &lobby).await, [endpoint("owner")].into());
}

pub async fn each_change_of_the_roster_moves_the_room(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let lobby = room("lobby");
    let mut last = store.create_room(plain_room("lobby", "owner"), soon()).await.unwrap();
    for round in 0..3 {
        store.add_member(guest("lobby", "guest"), soon()).await.unwrap();
        let after_add = store.room(&lobby, soon()).await.unwrap();
        store.remove_member(&lobby, &endpoint("guest"), soon()).await.unwrap();
        let after_remove = store.room(&lobby, soon()).await.unwrap();
        assert!(last.record.roster_revision < after_add.record.roster_revision, "{round}");
        assert!(after_add.record.roster_revision < after_remove.record.roster_revision);
        assert!(last.revision < after_add.revision && after_add.revision < after_remove.revision);
        last = after_remove;
    }
}

pub async fn a_long_list_comes_in_pages(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let lobby = room("lobby");
    store.create_room(plain_room("lobby", "owner"), soon()).await.unwrap();
    for n in 0..57 {
        store.add_member(guest("lobby", &format!("guest-{n}")), soon()).await.unwrap();
    }
    for n in 0..10 {
        let left = endpoint(&format!("guest-{n}"));
        store.remove_member(&lobby, &left, soon()).await.unwrap();
    }
    for limit in [1, 5, 48, 1000] {
        let (mut seen, mut request) = (Vec::new(), first_page(limit));
        loop {
            let page = store.members(&lobby, request, soon()).await.unwrap();
            assert!(page.items.len() <= usize::from(limit));
            seen.extend(page.items.into_iter().map(|member| member.endpoint));
            let Some(after) = page.next else {
                break;
            };
            request = next_page(after, limit);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 48, "at {limit} a page");
    }
}

pub async fn a_list_that_changes_keeps_those_who_stay(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let lobby = room("lobby");
    store.create_room(plain_room("lobby", "owner"), soon()).await.unwrap();
    for n in 0..20 {
        store.add_member(guest("lobby", &format!("stays-{n}")), soon()).await.unwrap();
        store.add_member(guest("lobby", &format!("goes-{n}")), soon()).await.unwrap();
    }
    let (mut seen, mut request) = (Vec::new(), first_page(4));
    for n in 0.. {
        let page = store.members(&lobby, request, soon()).await.unwrap();
        seen.extend(page.items.into_iter().map(|member| member.endpoint.to_string()));
        let Some(after) = page.next else {
            break;
        };
        if n < 20 {
            let goes = endpoint(&format!("goes-{n}"));
            store.remove_member(&lobby, &goes, soon()).await.unwrap();
            store.add_member(guest("lobby", &format!("comes-{n}")), soon()).await.unwrap();
        }
        request = next_page(after, 4);
    }
    for n in 0..20 {
        assert!(seen.contains(&format!("stays-{n}")), "stays-{n}");
    }
}

pub async fn a_cursor_of_another_list_is_refused(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    for name in ["one", "two"] {
        store.create_room(plain_room(name, "owner"), soon()).await.unwrap();
        store.add_member(guest(name, "guest"), soon()).await.unwrap();
    }
    let page = store.members(&room("one"), first_page(1), soon()).await.unwrap();
    let of_one = page.next.expect("a second page");
    let wrong = |after: &Cursor| next_page(after.clone(), 1);
    let rubbish = Cursor("rubbish".to_owned());
    let empty = Cursor(String::new());
    for after in [&of_one, &rubbish, &empty] {
        let refused = store.members(&room("two"), wrong(after), soon()).await;
        assert_eq!(refusal(refused), ErrorKind::Invalid, "members, {after:?}");
        let refused = store.rooms_of(&endpoint("owner"), wrong(after), soon()).await;
        assert_eq!(refusal(refused), ErrorKind::Invalid, "rooms, {after:?}");
        let refused = store.users(wrong(after), soon()).await;
        assert_eq!(refusal(refused), ErrorKind::Invalid, "users, {after:?}");
    }
    store.members(&room("one"), wrong(&of_one), soon()).await.unwrap();
}
