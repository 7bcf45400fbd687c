//! Sealed keys outside of rekeys.

use membership_operator::membership::ErrorKind;
use membership_operator::membership::ids::Epoch;
use membership_operator::membership::records::{SEALED_KEY_MAX_BYTES, SealedKey};
use membership_operator::membership::store::{EpochKey, NewRoom};

use super::rekey::rekeyed;
use super::{Backend, refusal};
use crate::words::{
    encrypted_room, endpoint, epoch, invited, key, member_key, plain_room, room, sealed, soon,
};

pub async fn a_member_is_given_the_keys_it_lacks(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let (lobby, guest) = (room("lobby"), endpoint("guest"));
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    rekeyed(store, "lobby", &[member_key("owner", "second")]).await;
    store.add_member(invited("lobby", "guest", 2), soon()).await.unwrap();
    let refused = store.key(&lobby, &guest, epoch(1), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::NotFound);
    // Twice: a caller that lost the answer asks again.
    for _ in 0..2 {
        store.put_key(&lobby, key(1, "first"), &guest, soon()).await.unwrap();
    }
    let given = store.key(&lobby, &guest, epoch(1), soon()).await.unwrap();
    assert!(given.sealed == sealed("first"));
    let latest = store.latest_key(&lobby, &guest, soon()).await.unwrap();
    assert_eq!(latest.epoch, epoch(2), "an older key does not become the latest");
    for epoch in [1, 2] {
        let refused = store.put_key(&lobby, key(epoch, "changed"), &guest, soon()).await;
        assert_eq!(refusal(refused), ErrorKind::AlreadyExists, "epoch {epoch}");
    }
    store.create_room(plain_room("open", "owner"), soon()).await.unwrap();
    let refused = store.put_key(&room("open"), key(1, "x"), &endpoint("owner"), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::Invalid);
}

pub async fn keys_of_every_allowed_size_come_back_whole(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    for (n, size) in [1, 2, 4096, SEALED_KEY_MAX_BYTES].into_iter().enumerate() {
        let name = format!("room-{n}");
        let bytes: Vec<u8> = (0..size).map(|byte| u8::try_from(byte % 256).unwrap()).collect();
        let sealed = SealedKey::try_from(bytes).unwrap();
        let new = NewRoom { owner_key: Some(sealed.clone()), ..encrypted_room(&name, "owner") };
        store.create_room(new, soon()).await.unwrap();
        let held = store.latest_key(&room(&name), &endpoint("owner"), soon()).await.unwrap();
        assert!(held.sealed == sealed, "{size} bytes");
    }
}

pub async fn keys_do_not_show_to_those_outside(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let (lobby, guest) = (room("lobby"), endpoint("guest"));
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    store.add_member(invited("lobby", "guest", 1), soon()).await.unwrap();
    store.remove_member(&lobby, &guest, soon()).await.unwrap();
    assert_eq!(refusal(store.latest_key(&lobby, &guest, soon()).await), ErrorKind::NotFound);
    let refused = store.key(&lobby, &guest, Epoch::FIRST, soon()).await;
    assert_eq!(refusal(refused), ErrorKind::NotFound);
    let put = EpochKey { epoch: Epoch::FIRST, sealed: sealed("x") };
    assert_eq!(refusal(store.put_key(&lobby, put, &guest, soon()).await), ErrorKind::NotFound);
    // Back in the room at the next epoch, it holds again what it was given before.
    rekeyed(store, "lobby", &[member_key("owner", "second")]).await;
    store.add_member(invited("lobby", "guest", 2), soon()).await.unwrap();
    let held = store.key(&lobby, &guest, Epoch::FIRST, soon()).await.unwrap();
    assert!(held.sealed == sealed("guest"));
}
