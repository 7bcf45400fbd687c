//! A room's way to its next epoch, over several calls: begin, pages of keys, commit. The keys lie
//! under an attempt of their own and show only once the room names that attempt.

use rusqlite::{OptionalExtension, named_params};

use super::writing::{Writing, moment_number, revision_number};
use super::{keys, rooms, row};
use crate::membership::error::StoreResult;
use crate::membership::ids::{Endpoint, RoomId};
use crate::membership::records::{CommittedEpoch, Room, UnixMillis, Versioned};
use crate::membership::refusal;
use crate::membership::store::{MemberKey, Rekey};

pub(super) fn begin(w: &Writing<'_>, room: &RoomId, now: UnixMillis) -> StoreResult<Rekey> {
    let Versioned { record: room, revision } = rooms::get(w.txn, room)?;
    if !room.encrypted {
        return Err(refusal::not_encrypted(&room.id));
    }
    w.check_growth()?;
    let epoch = room.epochs.current().epoch.next();
    let epoch = epoch.ok_or_else(|| refusal::no_next_epoch(&room.id))?;
    let attempt = rooms::random_attempt()?;
    w.txn.execute(
        "INSERT INTO rekeys (attempt, room, epoch, room_revision, begun_at)
         VALUES (:attempt, :room, :epoch, :room_revision, :begun_at)",
        named_params! {
            ":attempt": attempt.to_string(),
            ":room": room.id.as_str(),
            ":epoch": epoch.get(),
            ":room_revision": revision_number(revision),
            ":begun_at": moment_number(now)?,
        },
    )?;
    Ok(Rekey { room: room.id, epoch, attempt, revision })
}

/// The room, as long as the rekey is one that was begun here and nothing has changed since.
fn room_as_begun(w: &Writing<'_>, rekey: &Rekey) -> StoreResult<Room> {
    let Versioned { record: room, revision } = rooms::get(w.txn, &rekey.room)?;
    let begun: bool = w.txn.query_row(
        "SELECT EXISTS (SELECT 1 FROM rekeys
                        WHERE attempt = ?1 AND room = ?2 AND epoch = ?3 AND room_revision = ?4)",
        (
            rekey.attempt.to_string(),
            rekey.room.as_str(),
            rekey.epoch.get(),
            revision_number(rekey.revision),
        ),
        |row| row.get(0),
    )?;
    if begun && revision == rekey.revision {
        return Ok(room);
    }
    Err(refusal::rekey_overtaken(&rekey.room))
}

pub(super) fn put_keys(w: &Writing<'_>, rekey: &Rekey, keys: &[MemberKey]) -> StoreResult<()> {
    let room = room_as_begun(w, rekey)?;
    w.check_growth()?;
    let place = CommittedEpoch { epoch: rekey.epoch, attempt: rekey.attempt };
    keys.iter().try_for_each(|key| keys::put(w, &room.id, &key.endpoint, place, &key.sealed))
}

pub(super) fn commit(w: &Writing<'_>, rekey: &Rekey) -> StoreResult<Versioned<Room>> {
    let room = room_as_begun(w, rekey)?;
    if let Some(endpoint) = member_without_key(w, rekey)? {
        return Err(refusal::rekey_incomplete(&room.id, &endpoint));
    }
    let epochs = room.epochs.advanced(rekey.attempt);
    let epochs = epochs.ok_or_else(|| refusal::no_next_epoch(&room.id))?;
    let room = rooms::put(w, Room { epochs, ..room }, w.origin)?;
    rooms::put_epochs(w, &room.record)?;
    // Every other rekey of the room was overtaken by this one.
    w.txn.execute("DELETE FROM rekeys WHERE room = ?1", [room.record.id.as_str()])?;
    Ok(room)
}

fn member_without_key(w: &Writing<'_>, rekey: &Rekey) -> StoreResult<Option<Endpoint>> {
    let mut statement = w.txn.prepare_cached(
        "SELECT endpoint FROM members
         WHERE room = ?1 AND removed = 0 AND NOT EXISTS (
             SELECT 1 FROM room_keys
             WHERE room_keys.room = members.room AND room_keys.endpoint = members.endpoint
               AND epoch = ?2 AND attempt = ?3)
         LIMIT 1",
    )?;
    let wanted = (rekey.room.as_str(), rekey.epoch.get(), rekey.attempt.to_string());
    Ok(statement.query_row(wanted, |row| row::parsed(row, "endpoint")).optional()?)
}
