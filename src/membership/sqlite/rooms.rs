//! The rooms and their committed epochs.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::cursor::{self, List};
use super::row::{epoch, moment, parsed, revision, unreadable};
use super::writing::{Writing, moment_number};
use super::{keys, members};
use crate::membership::error::StoreResult;
use crate::membership::ids::{Attempt, Endpoint, Epoch, Incarnation, RoomId};
use crate::membership::records::{CommittedEpoch, Origin, RecentEpochs, Room, Versioned};
use crate::membership::store::{JoinedRoom, NewRoom, Page, PageRequest};
use crate::membership::{refusal, rules};

/// The first state of every roster: its owner alone.
pub(super) const FIRST_ROSTER: u64 = 1;

pub(super) fn find(txn: &Connection, id: &RoomId) -> StoreResult<Option<Versioned<Room>>> {
    Ok(find_written(txn, id)?.map(|(room, _)| room))
}

pub(super) fn get(txn: &Connection, id: &RoomId) -> StoreResult<Versioned<Room>> {
    find(txn, id)?.ok_or_else(|| refusal::no_room(id))
}

/// A room with who wrote it last.
pub(super) fn find_written(
    txn: &Connection,
    id: &RoomId,
) -> StoreResult<Option<(Versioned<Room>, Origin)>> {
    let mut statement = txn.prepare_cached("SELECT * FROM rooms WHERE room = ?1")?;
    let read = |row: &Row<'_>| {
        let record = room(txn, row)?;
        Ok((Versioned { record, revision: revision(row)? }, parsed(row, "origin")?))
    };
    Ok(statement.query_row([id.as_str()], read).optional()?)
}

pub(super) fn create(w: &Writing<'_>, new: NewRoom) -> StoreResult<Versioned<Room>> {
    if find(w.txn, &new.room)?.is_some() {
        return Err(refusal::room_exists(&new.room));
    }
    w.check_growth()?;
    let first = CommittedEpoch { epoch: Epoch::FIRST, attempt: random_attempt()? };
    let room = Room {
        id: new.room,
        incarnation: random_incarnation()?,
        subject: new.subject,
        owner: new.owner,
        encrypted: new.owner_key.is_some(),
        epochs: RecentEpochs::ending_at(first),
        roster_revision: FIRST_ROSTER,
        created_at: new.now,
    };
    let room = insert(w, room)?;
    if let Some(sealed) = &new.owner_key {
        keys::put(w, &room.record.id, &room.record.owner, first, sealed)?;
    }
    Ok(room)
}

/// Writes a room that was not there, with its epochs and its owner's membership.
pub(super) fn insert(w: &Writing<'_>, room: Room) -> StoreResult<Versioned<Room>> {
    let room = put(w, room, w.origin)?;
    put_epochs(w, &room.record)?;
    let Room { id, owner, created_at, .. } = &room.record;
    members::put(w, id, owner, owner, *created_at)?;
    Ok(room)
}

/// Writes a room's own row, whatever was there, and nothing else.
pub(super) fn put(w: &Writing<'_>, room: Room, origin: Origin) -> StoreResult<Versioned<Room>> {
    let mut statement = w.txn.prepare_cached(
        "INSERT INTO rooms (room, incarnation, subject, owner, encrypted, roster_revision,
                            created_at, revision, mutation, origin)
         VALUES (:room, :incarnation, :subject, :owner, :encrypted, :roster_revision,
                 :created_at, :revision, :mutation, :origin)
         ON CONFLICT (room) DO UPDATE SET
             subject = excluded.subject, roster_revision = excluded.roster_revision,
             created_at = excluded.created_at, revision = excluded.revision,
             mutation = excluded.mutation, origin = excluded.origin",
    )?;
    statement.execute(named_params! {
        ":room": room.id.as_str(),
        ":incarnation": room.incarnation.to_string(),
        ":subject": room.subject.as_str(),
        ":owner": room.owner.as_str(),
        ":encrypted": room.encrypted,
        ":roster_revision": room.roster_revision,
        ":created_at": moment_number(room.created_at)?,
        ":revision": w.revision_number(),
        ":mutation": w.mutation.to_string(),
        ":origin": origin.as_str(),
    })?;
    Ok(Versioned { record: room, revision: w.revision })
}

/// Makes the room's epochs in the file those of the record; keys of the others are swept later.
pub(super) fn put_epochs(w: &Writing<'_>, room: &Room) -> StoreResult<()> {
    w.txn.prepare_cached("DELETE FROM room_epochs WHERE room = ?1")?.execute([room.id.as_str()])?;
    let mut statement = w
        .txn
        .prepare_cached("INSERT INTO room_epochs (room, epoch, attempt) VALUES (?1, ?2, ?3)")?;
    for CommittedEpoch { epoch, attempt } in room.epochs.iter() {
        statement.execute((room.id.as_str(), epoch.get(), attempt.to_string()))?;
    }
    Ok(())
}

/// Counts a change of the roster, which every rekey that was begun before it must notice.
pub(super) fn bump_roster(
    w: &Writing<'_>,
    room: Room,
    origin: Origin,
) -> StoreResult<Versioned<Room>> {
    let roster_revision = room.roster_revision.saturating_add(1);
    put(w, Room { roster_revision, ..room }, origin)
}

pub(super) fn of_endpoint(
    txn: &Connection,
    endpoint: &Endpoint,
    request: &PageRequest,
) -> StoreResult<Page<JoinedRoom>> {
    let list = List::RoomsOf(endpoint.to_string());
    let after: String = cursor::start(&list, request)?;
    let limit = request.limit.get();
    let mut statement = txn.prepare_cached(
        "SELECT rooms.* FROM members JOIN rooms USING (room)
         WHERE members.endpoint = ?1 AND members.removed = 0 AND members.room > ?2
         ORDER BY members.room LIMIT ?3",
    )?;
    let read = |row: &Row<'_>| {
        let room = room(txn, row)?;
        let role = rules::role_of(&room, endpoint);
        Ok(JoinedRoom { room, role })
    };
    let rooms = statement
        .query_map((endpoint.as_str(), after, limit + 1), read)?
        .collect::<Result<_, _>>()?;
    cursor::page(list, rooms, limit, |joined: &JoinedRoom| joined.room.id.to_string())
}

/// A page of all rooms.
pub(super) fn page(txn: &Connection, list: List, request: &PageRequest) -> StoreResult<Page<Room>> {
    let after: String = cursor::start(&list, request)?;
    let limit = request.limit.get();
    let mut statement =
        txn.prepare_cached("SELECT * FROM rooms WHERE room > ?1 ORDER BY room LIMIT ?2")?;
    let rooms =
        statement.query_map((after, limit + 1), |row| room(txn, row))?.collect::<Result<_, _>>()?;
    cursor::page(list, rooms, limit, |room: &Room| room.id.to_string())
}

pub(super) fn random_attempt() -> StoreResult<Attempt> {
    Attempt::random().map_err(refusal::no_random_bytes)
}

pub(super) fn random_incarnation() -> StoreResult<Incarnation> {
    Incarnation::random().map_err(refusal::no_random_bytes)
}

fn room(txn: &Connection, row: &Row<'_>) -> rusqlite::Result<Room> {
    let id: RoomId = parsed(row, "room")?;
    let epochs =
        RecentEpochs::try_from(epochs(txn, &id)?).map_err(|why| unreadable(row, "room", why))?;
    Ok(Room {
        epochs,
        id,
        incarnation: parsed(row, "incarnation")?,
        subject: parsed(row, "subject")?,
        owner: parsed(row, "owner")?,
        encrypted: row.get("encrypted")?,
        roster_revision: row.get("roster_revision")?,
        created_at: moment(row, "created_at")?,
    })
}

fn epochs(txn: &Connection, id: &RoomId) -> rusqlite::Result<Vec<CommittedEpoch>> {
    let mut statement = txn.prepare_cached(
        "SELECT epoch, attempt FROM room_epochs WHERE room = ?1 ORDER BY epoch DESC",
    )?;
    let read =
        |row: &Row<'_>| Ok(CommittedEpoch { epoch: epoch(row)?, attempt: parsed(row, "attempt")? });
    statement.query_map([id.as_str()], read)?.collect()
}
