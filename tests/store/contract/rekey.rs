//! Rekeys: all members get a key of the next epoch, or nothing happened.

use membership_operator::membership::ids::Attempt;
use membership_operator::membership::store::{MemberKey, Rekey};
use membership_operator::membership::{ErrorKind, MembershipStore};

use super::{Backend, exported_lines, members_of, refusal};
use crate::words::{
    encrypted_room, endpoint, epoch, guest, invited, member_key, plain_room, room, sealed, soon,
};

/// Brings a room to its next epoch with these keys.
pub async fn rekeyed(store: &dyn MembershipStore, in_room: &str, keys: &[MemberKey]) {
    let rekey = begun(store, in_room, keys).await;
    let committed = store.commit_rekey(&rekey, soon()).await.unwrap();
    assert_eq!(committed.record.epochs.current().epoch, rekey.epoch);
}

/// Begins a rekey and brings these keys, one page each.
async fn begun(store: &dyn MembershipStore, in_room: &str, keys: &[MemberKey]) -> Rekey {
    let rekey = store.begin_rekey(&room(in_room), soon()).await.unwrap();
    for key in keys {
        store.put_rekey_keys(&rekey, vec![key.clone()], soon()).await.unwrap();
    }
    rekey
}

async fn lobby_with_a_guest(store: &dyn MembershipStore) {
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    store.add_member(invited("lobby", "guest", 1), soon()).await.unwrap();
}

pub async fn a_rekey_brings_the_next_epoch_and_its_keys(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    lobby_with_a_guest(store).await;
    rekeyed(store, "lobby", &[member_key("owner", "o2"), member_key("guest", "g2")]).await;
    let lobby = room("lobby");
    let now = store.room(&lobby, soon()).await.unwrap().record;
    assert_eq!(now.epochs.current().epoch, epoch(2));
    for (name, first, second) in [("owner", "owner", "o2"), ("guest", "guest", "g2")] {
        let latest = store.latest_key(&lobby, &endpoint(name), soon()).await.unwrap();
        assert_eq!(latest.epoch, epoch(2), "{name}");
        assert!(latest.sealed == sealed(second), "{name}");
        let before = store.key(&lobby, &endpoint(name), epoch(1), soon()).await.unwrap();
        assert!(before.sealed == sealed(first), "{name}");
    }
    let refused = store.add_member(invited("lobby", "late", 1), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::Conflict, "a key of the epoch before");
    let rekey = begun(store, "lobby", &[member_key("owner", "x"), member_key("guest", "x")]).await;
    assert_eq!(rekey.epoch, epoch(3));
    store.create_room(plain_room("open", "owner"), soon()).await.unwrap();
    let refused = store.begin_rekey(&room("open"), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::Invalid);
}

pub async fn only_the_last_three_epochs_are_kept(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    for n in 2..=4 {
        rekeyed(store, "lobby", &[member_key("owner", &format!("o{n}"))]).await;
    }
    let (lobby, owner) = (room("lobby"), endpoint("owner"));
    for swept in [false, true] {
        if swept {
            store.sweep(soon()).await.unwrap();
        }
        let oldest = store.key(&lobby, &owner, epoch(1), soon()).await;
        assert_eq!(refusal(oldest), ErrorKind::NotFound);
        for n in 2..=4 {
            let kept = store.key(&lobby, &owner, epoch(n), soon()).await.unwrap();
            assert!(kept.sealed == sealed(&format!("o{n}")), "epoch {n}");
        }
    }
}

pub async fn nothing_of_a_rekey_shows_before_its_commit(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    lobby_with_a_guest(store).await;
    let before = exported_lines(store).await;
    let keys = [member_key("owner", "o2"), member_key("guest", "g2"), member_key("nobody", "n2")];
    let rekey = begun(store, "lobby", &keys).await;
    assert_eq!(exported_lines(store).await, before);
    let lobby = room("lobby");
    for name in ["owner", "guest"] {
        let latest = store.latest_key(&lobby, &endpoint(name), soon()).await.unwrap();
        assert_eq!(latest.epoch, epoch(1));
        let early = store.key(&lobby, &endpoint(name), epoch(2), soon()).await;
        assert_eq!(refusal(early), ErrorKind::NotFound);
    }
    store.commit_rekey(&rekey, soon()).await.unwrap();
    let nobody = store.latest_key(&lobby, &endpoint("nobody"), soon()).await;
    assert_eq!(refusal(nobody), ErrorKind::NotFound);
    assert!(!exported_lines(store).await.iter().any(|line| line.contains("nobody")));
}

pub async fn a_commit_needs_a_key_for_every_member(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    lobby_with_a_guest(store).await;
    let rekey = begun(store, "lobby", &[member_key("owner", "o2")]).await;
    let refused = store.commit_rekey(&rekey, soon()).await;
    assert_eq!(refusal(refused), ErrorKind::Invalid);
    let lobby = room("lobby");
    let still = store.room(&lobby, soon()).await.unwrap().record;
    assert_eq!(still.epochs.current().epoch, epoch(1));
    let last = vec![member_key("guest", "g2")];
    // Twice: a page may be sent again.
    store.put_rekey_keys(&rekey, last.clone(), soon()).await.unwrap();
    store.put_rekey_keys(&rekey, last, soon()).await.unwrap();
    store.commit_rekey(&rekey, soon()).await.unwrap();
    let latest = store.latest_key(&lobby, &endpoint("guest"), soon()).await.unwrap();
    assert!(latest.sealed == sealed("g2"));
}

pub async fn of_two_rekeys_at_once_one_wins(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let beside = backend.beside(&fresh).await;
    let store = &*fresh.store;
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    for round in 0..5_u64 {
        let mine = begun(store, "lobby", &[member_key("owner", "mine")]).await;
        let theirs = begun(&*beside, "lobby", &[member_key("owner", "theirs")]).await;
        let (mine, theirs) =
            tokio::join!(store.commit_rekey(&mine, soon()), beside.commit_rekey(&theirs, soon()));
        let won = match (&mine, &theirs) {
            (Ok(_), Err(lost)) => {
                assert_eq!(lost.kind(), ErrorKind::Conflict, "{lost}");
                "mine"
            }
            (Err(lost), Ok(_)) => {
                assert_eq!(lost.kind(), ErrorKind::Conflict, "{lost}");
                "theirs"
            }
            (Ok(_), Ok(_)) => panic!("both won"),
            (Err(one), Err(other)) => panic!("both lost: {one}; {other}"),
        };
        let latest = store.latest_key(&room("lobby"), &endpoint("owner"), soon()).await.unwrap();
        assert_eq!(latest.epoch, epoch(round + 2));
        assert!(latest.sealed == sealed(won), "the winner's key counts");
    }
}

pub async fn a_member_removed_during_a_rekey_gets_no_key_of_it(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    lobby_with_a_guest(store).await;
    let lobby = room("lobby");
    let keys = [member_key("owner", "o2"), member_key("guest", "g2")];
    let rekey = begun(store, "lobby", &keys).await;
    store.remove_member(&lobby, &endpoint("guest"), soon()).await.unwrap();
    let more = store.put_rekey_keys(&rekey, keys[..1].to_vec(), soon()).await;
    assert_eq!(refusal(more), ErrorKind::Conflict);
    assert_eq!(refusal(store.commit_rekey(&rekey, soon()).await), ErrorKind::Conflict);
    rekeyed(store, "lobby", &keys[..1]).await;
    // Let in again later, it holds no key of the epoch that it was out for.
    rekeyed(store, "lobby", &[member_key("owner", "o3")]).await;
    store.add_member(invited("lobby", "guest", 3), soon()).await.unwrap();
    let missed = store.key(&lobby, &endpoint("guest"), epoch(2), soon()).await;
    assert_eq!(refusal(missed), ErrorKind::NotFound);
}

pub async fn a_member_added_during_a_rekey_makes_it_begin_anew(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    let rekey = begun(store, "lobby", &[member_key("owner", "o2")]).await;
    store.add_member(invited("lobby", "guest", 1), soon()).await.unwrap();
    assert_eq!(refusal(store.commit_rekey(&rekey, soon()).await), ErrorKind::Conflict);
    let latest = store.latest_key(&room("lobby"), &endpoint("guest"), soon()).await.unwrap();
    assert_eq!(latest.epoch, epoch(1), "the member has the key of the current epoch");
}

pub async fn a_rekey_that_was_never_begun_is_a_conflict(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    let begun = begun(store, "lobby", &[member_key("owner", "o2")]).await;
    let far = Rekey { epoch: epoch(7), ..begun.clone() };
    assert_eq!(refusal(store.commit_rekey(&far, soon()).await), ErrorKind::Conflict);
    let missing = Rekey { attempt: Attempt::from([7; 16]), ..begun.clone() };
    // Either word keeps the epoch where it was: no such attempt, or no keys under it.
    let kind = refusal(store.commit_rekey(&missing, soon()).await);
    assert!([ErrorKind::Conflict, ErrorKind::Invalid].contains(&kind), "{kind:?}");
    let still = store.room(&room("lobby"), soon()).await.unwrap().record;
    assert_eq!(still.epochs.current().epoch, epoch(1));
    store.commit_rekey(&begun, soon()).await.unwrap();
}

pub async fn a_sweep_disturbs_nothing_that_counts(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    lobby_with_a_guest(store).await;
    store.create_room(plain_room("open", "owner"), soon()).await.unwrap();
    store.add_member(guest("open", "guest"), soon()).await.unwrap();
    store.remove_member(&room("open"), &endpoint("guest"), soon()).await.unwrap();
    let keys = [member_key("owner", "o2"), member_key("guest", "g2")];
    let lost = begun(store, "lobby", &keys).await;
    rekeyed(store, "lobby", &keys).await;
    let under_way = begun(store, "lobby", &keys).await;
    let before = exported_lines(store).await;
    store.sweep(soon()).await.unwrap();
    store.sweep(soon()).await.unwrap();
    assert_eq!(exported_lines(store).await, before);
    assert_eq!(refusal(store.commit_rekey(&lost, soon()).await), ErrorKind::Conflict);
    store.commit_rekey(&under_way, soon()).await.unwrap();
    assert_eq!(members_of(store, &room("lobby")).await.len(), 2);
}
