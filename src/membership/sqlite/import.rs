//! Records from another store, each by the one rule of imports.

use super::members::Written;
use super::writing::Writing;
use super::{keys, members, rooms, users};
use crate::membership::error::StoreResult;
use crate::membership::ids::RoomId;
use crate::membership::records::{CommittedEpoch, Origin, Room, User, Versioned};
use crate::membership::refusal;
use crate::membership::rules::{self, Found, Verdict};
use crate::membership::snapshot::{MemberRecord, Record, RoomKeyRecord, RoomRecord, UserRecord};
use crate::membership::store::{ImportCounts, ImportMode};

/// Writes the records in their order. An error takes all of them back.
pub(super) fn records(
    w: &Writing<'_>,
    records: &[Record],
    mode: ImportMode,
) -> StoreResult<ImportCounts> {
    w.check_growth()?;
    let mut counts = ImportCounts::default();
    for record in records {
        let verdict = match record {
            Record::User(record) => user(w, record, mode)?,
            Record::Room(record) => room(w, record, mode)?,
            Record::Member(record) => member(w, record, mode)?,
            Record::RoomKey(record) => room_key(w, record, mode)?,
        };
        counts.count(verdict);
    }
    Ok(counts)
}

fn user(w: &Writing<'_>, record: &UserRecord, mode: ImportMode) -> StoreResult<Verdict> {
    let UserRecord { key, handle, role, status } = record.clone();
    let user = User { key, handle, role, status };
    let found = users::find_written(w.txn, &user.key)?;
    let found = found.map_or(Found::Nothing, |(there, origin)| Found::Something {
        equal: there == user,
        origin,
    });
    let verdict = rules::import_verdict(found, mode);
    match verdict {
        Verdict::Create | Verdict::Overwrite => {
            users::put(w, user)?;
        }
        Verdict::Equal | Verdict::KeepNewer => {}
    }
    Ok(verdict)
}

fn room(w: &Writing<'_>, record: &RoomRecord, mode: ImportMode) -> StoreResult<Verdict> {
    let Some((Versioned { record: there, .. }, origin)) = rooms::find_written(w.txn, &record.room)?
    else {
        rooms::insert(w, new_room(record)?)?;
        return Ok(Verdict::Create);
    };
    rules::check_same_room(&there, record)?;
    let equal = rules::equals_room(&there, record);
    let verdict = rules::import_verdict(Found::Something { equal, origin }, mode);
    match verdict {
        Verdict::Create | Verdict::Overwrite => overwrite_room(w, there, record)?,
        Verdict::Equal | Verdict::KeepNewer => {}
    }
    Ok(verdict)
}

fn new_room(record: &RoomRecord) -> StoreResult<Room> {
    let (life, attempt) = (rooms::random_incarnation()?, rooms::random_attempt()?);
    Ok(rules::imported_room(record, life, attempt, rooms::FIRST_ROSTER))
}

fn overwrite_room(w: &Writing<'_>, there: Room, record: &RoomRecord) -> StoreResult<()> {
    let room = rules::overwritten_room(there, record, rooms::random_attempt()?);
    let room = rooms::put(w, room, w.origin)?;
    rooms::put_epochs(w, &room.record)
}

fn member(w: &Writing<'_>, record: &MemberRecord, mode: ImportMode) -> StoreResult<Verdict> {
    let (room, room_origin) = room_named(w, &record.room)?;
    rules::check_imported_member(&room, record)?;
    let found = members::find_written(w.txn, &record.room, &record.endpoint)?;
    let found = found.map_or(Found::Nothing, |there| Found::Something {
        equal: equals_member(&there, record),
        origin: there.origin,
    });
    let verdict = rules::import_verdict(found, mode);
    match verdict {
        Verdict::Create | Verdict::Overwrite => {
            let MemberRecord { room: id, endpoint, added_by, added_at, .. } = record;
            members::put(w, id, endpoint, added_by, *added_at)?;
            // A rekey under way must notice; whose room it is does not change by it.
            rooms::bump_roster(w, room, room_origin)?;
        }
        Verdict::Equal | Verdict::KeepNewer => {}
    }
    Ok(verdict)
}

fn equals_member(there: &Written, record: &MemberRecord) -> bool {
    !there.removed && there.added_by == record.added_by && there.added_at == record.added_at
}

fn room_key(w: &Writing<'_>, record: &RoomKeyRecord, mode: ImportMode) -> StoreResult<Verdict> {
    let (room, _) = room_named(w, &record.room)?;
    let place = rules::place_of_imported_key(&room, record)?;
    let member = members::find_written(w.txn, &record.room, &record.endpoint)?
        .ok_or_else(|| refusal::never_a_member(&room.id, &record.endpoint))?;
    let Some(attempt) = place.filter(|_| !member.removed) else {
        return Ok(Verdict::KeepNewer);
    };
    let place = CommittedEpoch { epoch: record.epoch, attempt };
    let found = keys::find_written(w.txn, &room.id, &record.endpoint, place)?;
    let found = found.map_or(Found::Nothing, |(sealed, origin)| Found::Something {
        equal: sealed == record.sealed,
        origin,
    });
    let verdict = rules::import_verdict(found, mode);
    match verdict {
        Verdict::Create | Verdict::Overwrite => {
            keys::put(w, &room.id, &record.endpoint, place, &record.sealed)?;
        }
        Verdict::Equal | Verdict::KeepNewer => {}
    }
    Ok(verdict)
}

fn room_named(w: &Writing<'_>, id: &RoomId) -> StoreResult<(Room, Origin)> {
    let found = rooms::find_written(w.txn, id)?;
    let (room, origin) = found.ok_or_else(|| refusal::room_comes_first(id))?;
    Ok((room.record, origin))
}
