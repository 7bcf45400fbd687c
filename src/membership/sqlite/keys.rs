//! The sealed keys of committed epochs. Who may see one is decided by the room and the membership,
//! which are read first in the same transaction.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::row::{epoch, parsed, sealed};
use super::writing::Writing;
use super::{members, rooms};
use crate::membership::error::StoreResult;
use crate::membership::ids::{Endpoint, Epoch, RoomId};
use crate::membership::records::{CommittedEpoch, Origin, Room, RoomKey, SealedKey};
use crate::membership::store::EpochKey;
use crate::membership::{refusal, rules};

/// The room, once it is known that the endpoint is in it.
fn room_of_member(txn: &Connection, room: &RoomId, endpoint: &Endpoint) -> StoreResult<Room> {
    let room = rooms::get(txn, room)?.record;
    if members::find(txn, &room, endpoint)?.is_none() {
        return Err(refusal::no_member(&room.id, endpoint));
    }
    Ok(room)
}

pub(super) fn get(
    txn: &Connection,
    room: &RoomId,
    endpoint: &Endpoint,
    epoch: Epoch,
) -> StoreResult<RoomKey> {
    let room = room_of_member(txn, room, endpoint)?;
    let attempt = room.epochs.attempt_of(epoch);
    let attempt = attempt.ok_or_else(|| refusal::no_epoch(&room.id, epoch))?;
    let found = find_written(txn, &room.id, endpoint, CommittedEpoch { epoch, attempt })?;
    let (sealed, _) = found.ok_or_else(|| refusal::no_key(&room.id, endpoint))?;
    Ok(RoomKey { room: room.id, endpoint: endpoint.clone(), epoch, sealed })
}

pub(super) fn latest(txn: &Connection, room: &RoomId, endpoint: &Endpoint) -> StoreResult<RoomKey> {
    let room = room_of_member(txn, room, endpoint)?;
    let mut statement = txn.prepare_cached(
        "SELECT epoch, sealed FROM room_keys JOIN room_epochs USING (room, epoch, attempt)
         WHERE room = ?1 AND endpoint = ?2 ORDER BY epoch DESC LIMIT 1",
    )?;
    let read = |row: &Row<'_>| Ok((epoch(row)?, sealed(row)?));
    let found = statement.query_row((room.id.as_str(), endpoint.as_str()), read).optional()?;
    let (epoch, sealed) = found.ok_or_else(|| refusal::no_key(&room.id, endpoint))?;
    Ok(RoomKey { room: room.id, endpoint: endpoint.clone(), epoch, sealed })
}

/// Gives a member a key that it lacks. The very key it has is no error: a caller that lost the
/// answer asks again.
pub(super) fn give(
    w: &Writing<'_>,
    room: &RoomId,
    endpoint: &Endpoint,
    key: &EpochKey,
) -> StoreResult<()> {
    let room = room_of_member(w.txn, room, endpoint)?;
    let attempt = rules::committed_attempt(&room, key.epoch)?;
    let place = CommittedEpoch { epoch: key.epoch, attempt };
    match find_written(w.txn, &room.id, endpoint, place)? {
        Some((sealed, _)) if sealed == key.sealed => Ok(()),
        Some(_) => Err(refusal::key_exists(&room.id, endpoint, key.epoch)),
        None => {
            w.check_growth()?;
            put(w, &room.id, endpoint, place, &key.sealed)
        }
    }
}

/// A key under one attempt, with who wrote it.
pub(super) fn find_written(
    txn: &Connection,
    room: &RoomId,
    endpoint: &Endpoint,
    place: CommittedEpoch,
) -> StoreResult<Option<(SealedKey, Origin)>> {
    let mut statement = txn.prepare_cached(
        "SELECT sealed, origin FROM room_keys
         WHERE room = ?1 AND endpoint = ?2 AND epoch = ?3 AND attempt = ?4",
    )?;
    let wanted = (room.as_str(), endpoint.as_str(), place.epoch.get(), place.attempt.to_string());
    let read = |row: &Row<'_>| Ok((sealed(row)?, parsed(row, "origin")?));
    Ok(statement.query_row(wanted, read).optional()?)
}

/// Writes a key under an attempt, whatever was there.
pub(super) fn put(
    w: &Writing<'_>,
    room: &RoomId,
    endpoint: &Endpoint,
    place: CommittedEpoch,
    sealed: &SealedKey,
) -> StoreResult<()> {
    let mut statement = w.txn.prepare_cached(
        "INSERT OR REPLACE INTO room_keys
             (room, endpoint, epoch, attempt, sealed, revision, mutation, origin)
         VALUES (:room, :endpoint, :epoch, :attempt, :sealed, :revision, :mutation, :origin)",
    )?;
    statement.execute(named_params! {
        ":room": room.as_str(),
        ":endpoint": endpoint.as_str(),
        ":epoch": place.epoch.get(),
        ":attempt": place.attempt.to_string(),
        ":sealed": sealed.expose(),
        ":revision": w.revision_number(),
        ":mutation": w.mutation.to_string(),
        ":origin": w.origin.as_str(),
    })?;
    Ok(())
}
