//! The sealed keys of committed epochs. Who may see one, the room and the membership say.

use super::bucket::Bucket;
use super::codec::Key;
use super::store::KvStore;
use super::streams::Streams;
use super::value::{KeyValue, Slot, corrupt};
use super::{members, rooms};
use crate::membership::error::{ErrorKind, StoreResult};
use crate::membership::ids::{Endpoint, Epoch, RoomId};
use crate::membership::records::{CommittedEpoch, Origin, Room, RoomKey, SealedKey};
use crate::membership::store::{Deadline, EpochKey};
use crate::membership::{refusal, rules};

/// The room, once it is known that the endpoint is in it.
async fn room_of_member(
    streams: &Streams,
    room: &RoomId,
    endpoint: &Endpoint,
    deadline: Deadline,
) -> StoreResult<Room> {
    let room = rooms::get(streams, room, deadline).await?.record;
    let slot = members::slot(streams, &room.id, endpoint, deadline).await?;
    match members::in_room(&room, endpoint, slot) {
        Some(_) => Ok(room),
        None => Err(refusal::no_member(&room.id, endpoint)),
    }
}

/// What is at a key's place.
pub(super) async fn slot(
    streams: &Streams,
    room: &RoomId,
    endpoint: &Endpoint,
    place: CommittedEpoch,
    deadline: Deadline,
) -> StoreResult<Slot<SealedKey>> {
    let key = Key::sealed(room, endpoint, place.epoch, place.attempt);
    let slot: Slot<KeyValue> = streams.get(Bucket::RoomKeys, &key, deadline).await?;
    opened(&key, slot)
}

/// The sealed key in a slot.
pub(super) fn opened(key: &Key, slot: Slot<KeyValue>) -> StoreResult<Slot<SealedKey>> {
    let Slot { at, mark, value } = slot;
    let not_sealed = || corrupt(Bucket::RoomKeys, key, "it holds no sealed key");
    let value = value.map(|value| value.sealed().ok_or_else(not_sealed)).transpose()?;
    Ok(Slot { at, mark, value })
}

/// Writes a key under an attempt, whatever was there; the very key that is there is left.
pub(super) async fn put(
    streams: &Streams,
    room: &RoomId,
    endpoint: &Endpoint,
    place: CommittedEpoch,
    sealed: &SealedKey,
    by: Origin,
    deadline: Deadline,
) -> StoreResult<()> {
    let key = Key::sealed(room, endpoint, place.epoch, place.attempt);
    let value = KeyValue::of(sealed);
    loop {
        let there = slot(streams, room, endpoint, place, deadline).await?;
        if there.value.as_ref() == Some(sealed) {
            return Ok(());
        }
        let written = (by, there.at);
        match streams.put(Bucket::RoomKeys, &key, &value, written, deadline).await {
            Err(error) if error.kind() == ErrorKind::Conflict && !deadline.has_passed() => {}
            ended => return ended.map(drop),
        }
    }
}

pub(super) async fn get(
    store: &KvStore,
    room: &RoomId,
    endpoint: &Endpoint,
    epoch: Epoch,
    deadline: Deadline,
) -> StoreResult<RoomKey> {
    let room = room_of_member(&store.streams, room, endpoint, deadline).await?;
    let attempt = room.epochs.attempt_of(epoch);
    let attempt = attempt.ok_or_else(|| refusal::no_epoch(&room.id, epoch))?;
    let place = CommittedEpoch { epoch, attempt };
    let slot = slot(&store.streams, &room.id, endpoint, place, deadline).await?;
    let sealed = slot.value.ok_or_else(|| refusal::no_key(&room.id, endpoint))?;
    Ok(RoomKey { room: room.id, endpoint: endpoint.clone(), epoch, sealed })
}

pub(super) async fn latest(
    store: &KvStore,
    room: &RoomId,
    endpoint: &Endpoint,
    deadline: Deadline,
) -> StoreResult<RoomKey> {
    let room = room_of_member(&store.streams, room, endpoint, deadline).await?;
    for place in room.epochs.iter() {
        let slot = slot(&store.streams, &room.id, endpoint, place, deadline).await?;
        if let Some(sealed) = slot.value {
            let (endpoint, epoch) = (endpoint.clone(), place.epoch);
            return Ok(RoomKey { room: room.id, endpoint, epoch, sealed });
        }
    }
    Err(refusal::no_key(&room.id, endpoint))
}

/// Gives a member a key that it lacks. The very key it has is no error: a caller that lost the
/// answer asks again.
pub(super) async fn give(
    store: &KvStore,
    room: &RoomId,
    endpoint: &Endpoint,
    key: &EpochKey,
    deadline: Deadline,
) -> StoreResult<()> {
    let streams = &store.streams;
    let room = room_of_member(streams, room, endpoint, deadline).await?;
    let attempt = rules::committed_attempt(&room, key.epoch)?;
    let place = CommittedEpoch { epoch: key.epoch, attempt };
    let there = slot(streams, &room.id, endpoint, place, deadline).await?;
    match &there.value {
        Some(sealed) if *sealed == key.sealed => return Ok(()),
        Some(_) => return Err(refusal::key_exists(&room.id, endpoint, key.epoch)),
        None => {}
    }
    streams.check_growth(&[Bucket::RoomKeys], deadline).await?;
    let at = Key::sealed(&room.id, endpoint, place.epoch, place.attempt);
    let written = (Origin::Service, there.at);
    let value = KeyValue::of(&key.sealed);
    let written = streams.put(Bucket::RoomKeys, &at, &value, written, deadline).await;
    written
        .map(drop)
        .map_err(|error| error.on_conflict(|| refusal::key_exists(&room.id, endpoint, key.epoch)))
}
