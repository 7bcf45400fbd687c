//! The members of rooms. One that was taken out stays as a marker that only imports look at.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::cursor::{self, List};
use super::row::{moment, parsed, revision};
use super::writing::{Writing, moment_number};
use super::{keys, rooms};
use crate::membership::error::StoreResult;
use crate::membership::ids::{Endpoint, RoomId};
use crate::membership::records::{Member, MemberRole, Origin, Room, UnixMillis, Versioned};
use crate::membership::store::{MemberAdded, NewMember, Page, PageRequest};
use crate::membership::{refusal, rules};

/// What is written about an endpoint in a room.
pub(super) struct Written {
    pub(super) removed: bool,
    pub(super) added_by: Endpoint,
    pub(super) added_at: UnixMillis,
    pub(super) origin: Origin,
    versioned: Versioned<()>,
}

pub(super) fn find_written(
    txn: &Connection,
    room: &RoomId,
    endpoint: &Endpoint,
) -> StoreResult<Option<Written>> {
    let mut statement =
        txn.prepare_cached("SELECT * FROM members WHERE room = ?1 AND endpoint = ?2")?;
    let read = |row: &Row<'_>| {
        Ok(Written {
            removed: row.get("removed")?,
            added_by: parsed(row, "added_by")?,
            added_at: moment(row, "added_at")?,
            origin: parsed(row, "origin")?,
            versioned: Versioned { record: (), revision: revision(row)? },
        })
    };
    Ok(statement.query_row((room.as_str(), endpoint.as_str()), read).optional()?)
}

/// A member of a room that was read in the same transaction.
pub(super) fn find(
    txn: &Connection,
    room: &Room,
    endpoint: &Endpoint,
) -> StoreResult<Option<Versioned<Member>>> {
    let written = find_written(txn, &room.id, endpoint)?.filter(|written| !written.removed);
    Ok(written.map(|written| Versioned {
        record: member(room, endpoint.clone(), written.added_by, written.added_at),
        revision: written.versioned.revision,
    }))
}

pub(super) fn get(txn: &Connection, room: &RoomId, endpoint: &Endpoint) -> StoreResult<Member> {
    let room = rooms::get(txn, room)?.record;
    let found = find(txn, &room, endpoint)?;
    Ok(found.ok_or_else(|| refusal::no_member(&room.id, endpoint))?.record)
}

pub(super) fn list(
    txn: &Connection,
    room: &RoomId,
    request: &PageRequest,
) -> StoreResult<Page<Member>> {
    let room = rooms::get(txn, room)?.record;
    let list = List::MembersOf(room.id.to_string());
    let after: String = cursor::start(&list, request)?;
    let limit = request.limit.get();
    let mut statement = txn.prepare_cached(
        "SELECT * FROM members WHERE room = ?1 AND endpoint > ?2 AND removed = 0
         ORDER BY endpoint LIMIT ?3",
    )?;
    let members = statement
        .query_map((room.id.as_str(), after, limit + 1), |row| read(&room, row))?
        .collect::<Result<_, _>>()?;
    cursor::page(list, members, limit, |member: &Member| member.endpoint.to_string())
}

pub(super) fn add(w: &Writing<'_>, new: &NewMember) -> StoreResult<MemberAdded> {
    let room = rooms::get(w.txn, &new.room)?.record;
    rules::check_new_member_key(&room, new.key.as_ref())?;
    if find(w.txn, &room, &new.endpoint)?.is_some() {
        return Err(refusal::member_exists(&room.id, &new.endpoint));
    }
    w.check_growth()?;
    put(w, &room.id, &new.endpoint, &new.added_by, new.now)?;
    if let Some(key) = &new.key {
        keys::put(w, &room.id, &new.endpoint, room.epochs.current(), &key.sealed)?;
    }
    let member = member(&room, new.endpoint.clone(), new.added_by.clone(), new.now);
    Ok(MemberAdded { member, room: rooms::bump_roster(w, room, w.origin)? })
}

pub(super) fn remove(w: &Writing<'_>, room: &RoomId, endpoint: &Endpoint) -> StoreResult<()> {
    let room = rooms::get(w.txn, room)?.record;
    match rules::role_of(&room, endpoint) {
        MemberRole::Owner => return Err(refusal::owner_stays(&room.id)),
        MemberRole::Member => {}
    }
    let marked = w
        .txn
        .prepare_cached(
            "UPDATE members SET removed = 1, revision = :revision, mutation = :mutation,
                                origin = :origin
             WHERE room = :room AND endpoint = :endpoint AND removed = 0",
        )?
        .execute(named_params! {
            ":room": room.id.as_str(),
            ":endpoint": endpoint.as_str(),
            ":revision": w.revision_number(),
            ":mutation": w.mutation.to_string(),
            ":origin": w.origin.as_str(),
        })?;
    if marked == 0 {
        return Err(refusal::no_member(&room.id, endpoint));
    }
    rooms::bump_roster(w, room, w.origin)?;
    Ok(())
}

/// Writes a member, whatever was there; the caller counts the change of the roster.
pub(super) fn put(
    w: &Writing<'_>,
    room: &RoomId,
    endpoint: &Endpoint,
    added_by: &Endpoint,
    added_at: UnixMillis,
) -> StoreResult<()> {
    let mut statement = w.txn.prepare_cached(
        "INSERT OR REPLACE INTO members
             (room, endpoint, added_by, added_at, removed, revision, mutation, origin)
         VALUES (:room, :endpoint, :added_by, :added_at, 0, :revision, :mutation, :origin)",
    )?;
    statement.execute(named_params! {
        ":room": room.as_str(),
        ":endpoint": endpoint.as_str(),
        ":added_by": added_by.as_str(),
        ":added_at": moment_number(added_at)?,
        ":revision": w.revision_number(),
        ":mutation": w.mutation.to_string(),
        ":origin": w.origin.as_str(),
    })?;
    Ok(())
}

fn read(room: &Room, row: &Row<'_>) -> rusqlite::Result<Member> {
    let endpoint = parsed(row, "endpoint")?;
    Ok(member(room, endpoint, parsed(row, "added_by")?, moment(row, "added_at")?))
}

/// A membership has no row of its own for what the room says: its incarnation and who owns it.
fn member(room: &Room, endpoint: Endpoint, added_by: Endpoint, added_at: UnixMillis) -> Member {
    Member {
        room: room.id.clone(),
        incarnation: room.incarnation,
        role: rules::role_of(room, &endpoint),
        endpoint,
        added_by,
        added_at,
    }
}
