//! The records of a source, checked against each other and kept in a file of our own making, so
//! that what follows reads clean records in a fixed order, finds any of them by its key, and needs
//! little memory. The file has no name: when this process ends, however it ends, it is gone.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use zeroize::Zeroizing;

use super::digest::{Tallies, canonical};
use super::failure::{Failure, Outcome, Reason};
use super::source::bad::BadClass;
use crate::membership::ids::{Endpoint, Epoch, RoomId};
use crate::membership::records::{KEPT_EPOCHS, MemberRole};
use crate::membership::snapshot::{MemberRecord, Record, RoomKeyRecord, RoomRecord, Table};

const SCHEMA: &str = "
    PRAGMA journal_mode = off;
    PRAGMA synchronous = off;
    PRAGMA locking_mode = exclusive;
    PRAGMA cache_size = -16384;
    CREATE TABLE staged (
        id INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL,
        a TEXT NOT NULL,
        b TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        line BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX by_key ON staged (kind, a, b, epoch);
    CREATE INDEX by_kind ON staged (kind);
    BEGIN;";

/// How many bytes of records a page holds at most, give or take one record.
const PAGE_MAX_BYTES: usize = 1 << 20;

/// What became of a record that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is part of the membership.
    Taken,
    /// It is a key that the membership does not need: of an epoch too old.
    OldEpoch,
    /// It is a key that the membership does not need: of somebody who is out of the room.
    NotAMember,
    /// It contradicts the others.
    Bad(BadClass, &'static str),
}

/// A record with its place in the order.
pub struct Staged {
    /// The place; places grow.
    pub id: i64,
    /// The record.
    pub record: Record,
}

/// Clean records.
pub struct Staging {
    connection: Connection,
    tallies: Tallies,
    bytes: [u64; 4],
    /// The room that was asked for last: rows of one room stand together.
    room: Option<RoomRecord>,
}

impl Staging {
    /// An empty one, its file in this folder.
    ///
    /// # Errors
    /// `BackupFailed` when the folder takes no file.
    pub fn in_folder(folder: &Path) -> Outcome<Self> {
        let path = folder.join("staging.db");
        let connection = Connection::open(&path).map_err(failed)?;
        connection.execute_batch(SCHEMA).map_err(failed)?;
        fs::remove_file(&path).map_err(|error| {
            Failure::new(Reason::BackupFailed, "the staging file cannot be unlinked")
                .caused_by(error)
        })?;
        Ok(Self { connection, tallies: Tallies::default(), bytes: [0; 4], room: None })
    }

    /// How many records there are, and their digests.
    #[must_use]
    pub const fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// How many bytes the canonical records of a kind have.
    #[must_use]
    pub const fn bytes(&self, table: Table) -> u64 {
        self.bytes[kind_of(table) as usize]
    }

    /// Takes a record in, if it fits to those before it. Users come first, then rooms, members and
    /// keys.
    ///
    /// # Errors
    /// As [`Staging::in_folder`].
    pub fn offer(&mut self, record: &Record) -> Outcome<Offered> {
        let objection = match record {
            Record::User(_) | Record::Room(_) => None,
            Record::Member(member) => self.object_to_member(member)?,
            Record::RoomKey(key) => self.object_to_key(key)?,
        };
        match objection {
            Some(objection) => Ok(objection),
            None => self.insert(record),
        }
    }

    fn insert(&mut self, record: &Record) -> Outcome<Offered> {
        let line = canonical(record).map_err(|error| {
            Failure::new(Reason::BadRows, "a record cannot be written as JSON").caused_by(error)
        })?;
        let (kind, a, b, epoch) = key_of(record);
        let inserted = self
            .connection
            .prepare_cached(
                "INSERT INTO staged (kind, a, b, epoch, line) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING",
            )
            .and_then(|mut statement| statement.execute(params![kind, a, b, epoch, &line[..]]))
            .map_err(failed)?;
        if inserted == 0 {
            return Ok(Offered::Bad(BadClass::Duplicate, "there is another row about the same"));
        }
        self.tallies.of_mut(record.table()).count(&line);
        self.bytes[usize::from(kind)] += line.len() as u64;
        Ok(Offered::Taken)
    }

    fn object_to_member(&mut self, member: &MemberRecord) -> Outcome<Option<Offered>> {
        let Some(room) = self.room(&member.room)? else {
            return Ok(Some(no_room()));
        };
        let owner = room.owner == member.endpoint;
        Ok((owner != (member.role == MemberRole::Owner)).then_some(Offered::Bad(
            BadClass::OwnerMismatch,
            "the member and the room disagree about who owns the room",
        )))
    }

    fn object_to_key(&mut self, key: &RoomKeyRecord) -> Outcome<Option<Offered>> {
        let Some(room) = self.room(&key.room)? else {
            return Ok(Some(no_room()));
        };
        let (encrypted, current) = (room.encrypted, room.epoch);
        if !encrypted {
            let why = "the room has no encryption, so it can have no keys";
            return Ok(Some(Offered::Bad(BadClass::KeyOfOpenRoom, why)));
        }
        if key.epoch > current {
            let why = "the room has not come to the key's epoch";
            return Ok(Some(Offered::Bad(BadClass::KeyOfFutureEpoch, why)));
        }
        if current.get() - key.epoch.get() >= KEPT_EPOCHS as u64 {
            return Ok(Some(Offered::OldEpoch));
        }
        let member = self.line(Table::Members, key.room.as_str(), key.endpoint.as_str(), 0)?;
        Ok(member.is_none().then_some(Offered::NotAMember))
    }

    fn room(&mut self, room: &RoomId) -> Outcome<Option<&RoomRecord>> {
        if self.room.as_ref().is_none_or(|cached| cached.room != *room) {
            let line = self.line(Table::Rooms, room.as_str(), "", 0)?;
            self.room = match line.map(|line| parse(&line)).transpose()? {
                Some(Record::Room(record)) => Some(record),
                Some(Record::User(_) | Record::Member(_) | Record::RoomKey(_)) | None => None,
            };
        }
        Ok(self.room.as_ref())
    }

    /// The canonical line of a record, found by its key.
    fn line(
        &self,
        table: Table,
        a: &str,
        b: &str,
        epoch: u64,
    ) -> Outcome<Option<Zeroizing<Vec<u8>>>> {
        self.connection
            .prepare_cached(
                "SELECT line FROM staged WHERE kind = ?1 AND a = ?2 AND b = ?3 AND epoch = ?4",
            )
            .and_then(|mut statement| {
                let key = params![kind_of(table), a, b, epoch];
                statement.query_row(key, |row| row.get(0).map(Zeroizing::new)).optional()
            })
            .map_err(failed)
    }

    /// Whether there is a record of this key, whatever it says.
    ///
    /// # Errors
    /// As [`Staging::in_folder`].
    pub fn has(&self, record: &Record) -> Outcome<bool> {
        let (kind, a, b, epoch) = key_of(record);
        self.connection
            .prepare_cached(
                "SELECT 1 FROM staged WHERE kind = ?1 AND a = ?2 AND b = ?3 AND epoch = ?4",
            )
            .and_then(|mut statement| statement.exists(params![kind, a, b, epoch]))
            .map_err(failed)
    }

    /// Whether there is this very record; `None` when there is none of its key.
    ///
    /// # Errors
    /// As [`Staging::in_folder`].
    pub fn is_equal(&self, record: &Record, line: &[u8]) -> Outcome<Option<bool>> {
        let (_, a, b, epoch) = key_of(record);
        let found = self.line(record.table(), &a, &b, epoch)?;
        Ok(found.map(|found| found[..] == *line))
    }

    /// The owners that are no member of their room: an old program may have taken that for granted.
    ///
    /// # Errors
    /// As [`Staging::in_folder`].
    pub fn owners_without_membership(
        &self,
        after: i64,
    ) -> Outcome<(Vec<MemberRecord>, Option<i64>)> {
        let page = self.page(Table::Rooms, after, usize::MAX)?;
        let last = page.last().map(|staged| staged.id);
        let mut owners = Vec::new();
        for staged in page {
            let Record::Room(room) = staged.record else { continue };
            let member = MemberRecord {
                room: room.room,
                endpoint: room.owner.clone(),
                role: MemberRole::Owner,
                added_by: room.owner,
                added_at: room.created_at,
            };
            if self
                .line(Table::Members, member.room.as_str(), member.endpoint.as_str(), 0)?
                .is_none()
            {
                owners.push(member);
            }
        }
        Ok((owners, last))
    }

    /// The next records of a kind after a place: at most `limit`, and about a megabyte.
    ///
    /// # Errors
    /// As [`Staging::in_folder`].
    pub fn page(&self, table: Table, after: i64, limit: usize) -> Outcome<Vec<Staged>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, line FROM staged WHERE id > ?1 AND kind = ?2 ORDER BY id")
            .map_err(failed)?;
        let mut rows = statement.query(params![after, kind_of(table)]).map_err(failed)?;
        let (mut page, mut bytes) = (Vec::new(), 0);
        while page.len() < limit && bytes < PAGE_MAX_BYTES {
            let Some(row) = rows.next().map_err(failed)? else { break };
            let line: Zeroizing<Vec<u8>> = row.get("line").map(Zeroizing::new).map_err(failed)?;
            bytes += line.len();
            page.push(Staged { id: row.get("id").map_err(failed)?, record: parse(&line)? });
        }
        Ok(page)
    }
}

const fn no_room() -> Offered {
    Offered::Bad(BadClass::NoSuchRoom, "there is no such room")
}

fn parse(line: &[u8]) -> Outcome<Record> {
    serde_json::from_slice(line).map_err(|error| {
        Failure::new(Reason::BackupFailed, "the staging file was damaged").caused_by(error)
    })
}

const fn kind_of(table: Table) -> u8 {
    match table {
        Table::Users => 0,
        Table::Rooms => 1,
        Table::Members => 2,
        Table::RoomKeys => 3,
    }
}

/// What makes a record the only one of its kind.
fn key_of(record: &Record) -> (u8, String, String, u64) {
    let kind = kind_of(record.table());
    let pair = |room: &RoomId, endpoint: &Endpoint, epoch: Option<Epoch>| {
        (kind, room.to_string(), endpoint.to_string(), epoch.map_or(0, Epoch::get))
    };
    match record {
        Record::User(user) => (kind, user.key.to_string(), String::new(), 0),
        Record::Room(room) => (kind, room.room.to_string(), String::new(), 0),
        Record::Member(member) => pair(&member.room, &member.endpoint, None),
        Record::RoomKey(key) => pair(&key.room, &key.endpoint, Some(key.epoch)),
    }
}

fn failed(error: rusqlite::Error) -> Failure {
    let reason = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => Reason::NoSpace,
        Some(_) | None => Reason::BackupFailed,
    };
    Failure::new(reason, "the staging file beside the backup could not be used").caused_by(error)
}
