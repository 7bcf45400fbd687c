//! The store as records that mean the same everywhere, page by page.

use rusqlite::{Connection, Row};

use super::cursor::{self, List};
use super::row::{epoch, moment, parsed, sealed};
use super::{rooms, users};
use crate::membership::error::StoreResult;
use crate::membership::ids::{Endpoint, Epoch, RoomId};
use crate::membership::records::{MemberRole, SEALED_KEY_MAX_BYTES};
use crate::membership::snapshot::{MemberRecord, Record, RoomKeyRecord, Table};
use crate::membership::store::{Page, PageRequest};

/// How many bytes of sealed keys a page takes at most, give or take one key: a page of the largest
/// keys must not be a burden where a page of users is none.
const KEY_BYTES_PER_PAGE: usize = 16 * SEALED_KEY_MAX_BYTES;

pub(super) fn page(
    txn: &Connection,
    table: Table,
    request: &PageRequest,
) -> StoreResult<Page<Record>> {
    match table {
        Table::Users => Ok(records(users::page(txn, List::ExportedUsers, request)?, Record::from)),
        Table::Rooms => Ok(records(rooms::page(txn, List::ExportedRooms, request)?, Record::from)),
        Table::Members => Ok(records(members(txn, request)?, Record::Member)),
        Table::RoomKeys => Ok(records(room_keys(txn, request)?, Record::RoomKey)),
    }
}

fn records<T>(page: Page<T>, record: impl Fn(T) -> Record) -> Page<Record> {
    Page { items: page.items.into_iter().map(record).collect(), next: page.next }
}

fn members(txn: &Connection, request: &PageRequest) -> StoreResult<Page<MemberRecord>> {
    let after: (String, String) = cursor::start(&List::ExportedMembers, request)?;
    let limit = request.limit.get();
    let mut statement = txn.prepare_cached(
        "SELECT members.*, rooms.owner FROM members JOIN rooms USING (room)
         WHERE (members.room, members.endpoint) > (?1, ?2) AND removed = 0
         ORDER BY members.room, members.endpoint LIMIT ?3",
    )?;
    let members =
        statement.query_map((after.0, after.1, limit + 1), member)?.collect::<Result<_, _>>()?;
    cursor::page(List::ExportedMembers, members, limit, |member: &MemberRecord| {
        (member.room.to_string(), member.endpoint.to_string())
    })
}

fn member(row: &Row<'_>) -> rusqlite::Result<MemberRecord> {
    let endpoint: Endpoint = parsed(row, "endpoint")?;
    let owner: Endpoint = parsed(row, "owner")?;
    Ok(MemberRecord {
        room: parsed(row, "room")?,
        role: if endpoint == owner { MemberRole::Owner } else { MemberRole::Member },
        endpoint,
        added_by: parsed(row, "added_by")?,
        added_at: moment(row, "added_at")?,
    })
}

fn room_keys(txn: &Connection, request: &PageRequest) -> StoreResult<Page<RoomKeyRecord>> {
    type Place = (String, String, u64);
    let after: Place = cursor::start(&List::ExportedKeys, request)?;
    let limit = request.limit.get();
    let mut statement = txn.prepare_cached(
        "SELECT room_keys.* FROM room_keys
         JOIN room_epochs USING (room, epoch, attempt)
         JOIN members USING (room, endpoint)
         WHERE (room_keys.room, room_keys.endpoint, room_keys.epoch) > (?1, ?2, ?3)
           AND members.removed = 0
         ORDER BY room_keys.room, room_keys.endpoint, room_keys.epoch LIMIT ?4",
    )?;
    let mut rows = statement.query((after.0, after.1, after.2, limit + 1))?;
    let (mut keys, mut bytes, mut cut) = (Vec::new(), 0, limit);
    while let Some(row) = rows.next()? {
        if bytes >= KEY_BYTES_PER_PAGE {
            cut = keys.len().min(limit);
            keys.push(room_key(row)?);
            break;
        }
        let key = room_key(row)?;
        bytes += key.sealed.expose().len();
        keys.push(key);
    }
    cursor::page(List::ExportedKeys, keys, cut, |key: &RoomKeyRecord| -> Place {
        (key.room.to_string(), key.endpoint.to_string(), key.epoch.get())
    })
}

fn room_key(row: &Row<'_>) -> rusqlite::Result<RoomKeyRecord> {
    let (room, endpoint): (RoomId, Endpoint) = (parsed(row, "room")?, parsed(row, "endpoint")?);
    let epoch: Epoch = epoch(row)?;
    Ok(RoomKeyRecord { room, endpoint, epoch, sealed: sealed(row)? })
}
