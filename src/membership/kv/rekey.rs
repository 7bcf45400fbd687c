//! A room's way to its next epoch: begin, pages of keys, commit. The keys lie under an attempt of
//! their own and show only once the room names that attempt; until then nothing at all is different.

use futures_util::future::try_join_all;

use super::bucket::Bucket;
use super::store::KvStore;
use super::{keys, members, rooms};
use crate::membership::error::StoreResult;
use crate::membership::ids::{Endpoint, RoomId};
use crate::membership::records::{CommittedEpoch, Origin, Room, Versioned};
use crate::membership::refusal;
use crate::membership::store::{Deadline, MemberKey, Rekey};

/// How many keys are written, or looked for, at once.
const AT_ONCE: usize = 32;

pub(super) async fn begin(
    store: &KvStore,
    room: &RoomId,
    deadline: Deadline,
) -> StoreResult<Rekey> {
    let Versioned { record: room, revision } = rooms::get(&store.streams, room, deadline).await?;
    if !room.encrypted {
        return Err(refusal::not_encrypted(&room.id));
    }
    store.streams.check_growth(&[Bucket::RoomKeys], deadline).await?;
    let epoch = room.epochs.current().epoch.next();
    let epoch = epoch.ok_or_else(|| refusal::no_next_epoch(&room.id))?;
    Ok(Rekey { room: room.id, epoch, attempt: rooms::random_attempt()?, revision })
}

/// The room, as long as nothing has changed since the rekey was begun.
async fn room_as_begun(store: &KvStore, rekey: &Rekey, deadline: Deadline) -> StoreResult<Room> {
    let found = rooms::get(&store.streams, &rekey.room, deadline).await?;
    let Versioned { record: room, revision } = found;
    let is_next = room.epochs.current().epoch.next() == Some(rekey.epoch);
    if revision == rekey.revision && is_next && room.encrypted {
        return Ok(room);
    }
    Err(refusal::rekey_overtaken(&rekey.room))
}

pub(super) async fn put_keys(
    store: &KvStore,
    rekey: &Rekey,
    sealed: Vec<MemberKey>,
    deadline: Deadline,
) -> StoreResult<()> {
    let room = room_as_begun(store, rekey, deadline).await?;
    store.streams.check_growth(&[Bucket::RoomKeys], deadline).await?;
    let place = CommittedEpoch { epoch: rekey.epoch, attempt: rekey.attempt };
    for some in sealed.chunks(AT_ONCE) {
        let puts = some.iter().map(|key| {
            let MemberKey { endpoint, sealed } = key;
            let by = Origin::Service;
            keys::put(&store.streams, &room.id, endpoint, place, sealed, by, deadline)
        });
        try_join_all(puts).await?;
    }
    Ok(())
}

/// The room's record changes with every change of its roster, so a commit over the revision that the
/// rekey was begun at has a key for everybody who is in the room.
pub(super) async fn commit(
    store: &KvStore,
    rekey: &Rekey,
    deadline: Deadline,
) -> StoreResult<Versioned<Room>> {
    let streams = &store.streams;
    let room = room_as_begun(store, rekey, deadline).await?;
    let members::Roster { others: mut everybody, newest, .. } =
        members::all_others(streams, &room, deadline).await?;
    if newest > room.roster_revision {
        // Whoever made that change did not live to count it, or is about to.
        rooms::note_roster(streams, &room.id, newest, None, deadline).await?;
        return Err(refusal::rekey_overtaken(&room.id));
    }
    everybody.push(room.owner.clone());
    for some in everybody.chunks(AT_ONCE) {
        let lacking = some.iter().map(|endpoint| lacks_key(store, rekey, endpoint, deadline));
        if let Some(endpoint) = try_join_all(lacking).await?.into_iter().flatten().next() {
            return Err(refusal::rekey_incomplete(&room.id, &endpoint));
        }
    }
    let epochs = room.epochs.advanced(rekey.attempt);
    let epochs = epochs.ok_or_else(|| refusal::no_next_epoch(&room.id))?;
    let written = (Origin::Service, rekey.revision.0);
    let committed = rooms::put(streams, Room { epochs, ..room }, written, deadline).await;
    committed.map_err(|error| error.on_conflict(|| refusal::rekey_overtaken(&rekey.room)))
}

async fn lacks_key(
    store: &KvStore,
    rekey: &Rekey,
    endpoint: &Endpoint,
    deadline: Deadline,
) -> StoreResult<Option<Endpoint>> {
    let place = CommittedEpoch { epoch: rekey.epoch, attempt: rekey.attempt };
    let slot = keys::slot(&store.streams, &rekey.room, endpoint, place, deadline).await?;
    Ok(slot.value.is_none().then(|| endpoint.clone()))
}
