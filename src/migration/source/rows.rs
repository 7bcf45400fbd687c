//! Rows as records: four queries for our file, four for the old program's, and one way to read what
//! they give.

use std::str::FromStr;

use rusqlite::Connection;

use super::bad::{BadClass, BadRow};
use super::cell::{BadCell, Cells, Column, selected};
use super::guard::explain;
use super::schema::SourceKind;
use crate::membership::ids::{Endpoint, UserKey};
use crate::membership::records::UserStatus;
use crate::membership::snapshot::{
    MemberRecord, Record, RoomKeyRecord, RoomRecord, Table, UserRecord,
};
use crate::migration::failure::Outcome;

/// Where the records of one kind come from: each column of a record with the expression that gives
/// it.
struct Query {
    table: &'static str,
    columns: &'static [Column],
    condition: &'static str,
}

const fn ours(table: Table) -> Query {
    match table {
        Table::Users => Query {
            table: "users",
            columns: &[
                ("user_key", "user_key"),
                ("handle", "handle"),
                ("role", "role"),
                ("revoked", "CASE status WHEN 'active' THEN 0 WHEN 'revoked' THEN 1 END"),
            ],
            condition: "",
        },
        Table::Rooms => Query {
            table: "rooms",
            columns: &[
                ("room", "room"),
                ("subject", "subject"),
                ("owner", "owner"),
                ("encrypted", "encrypted"),
                ("epoch", "(SELECT max(e.epoch) FROM room_epochs e WHERE e.room = rooms.room)"),
                ("created_at", "created_at"),
            ],
            condition: "",
        },
        Table::Members => Query {
            table: "members",
            columns: &[
                ("room", "room"),
                ("endpoint", "endpoint"),
                (
                    "role",
                    "CASE (SELECT r.owner FROM rooms r WHERE r.room = members.room) \
                     WHEN endpoint THEN 'owner' ELSE 'member' END",
                ),
                ("added_by", "added_by"),
                ("added_at", "added_at"),
            ],
            condition: "WHERE removed = 0",
        },
        Table::RoomKeys => Query {
            table: "room_keys",
            columns: &[
                ("room", "room"),
                ("endpoint", "endpoint"),
                ("epoch", "epoch"),
                ("sealed", "sealed"),
            ],
            // Keys of an attempt that was never committed are no part of the membership.
            condition: "WHERE EXISTS (SELECT 1 FROM room_epochs e WHERE e.room = room_keys.room \
                        AND e.epoch = room_keys.epoch AND e.attempt = room_keys.attempt)",
        },
    }
}

const fn legacy(table: Table) -> Query {
    match table {
        Table::Users => Query {
            table: "users",
            columns: &[
                ("user_key", "pubkey"),
                ("handle", "handle"),
                ("role", "role"),
                ("revoked", "revoked"),
            ],
            condition: "",
        },
        Table::Rooms => Query {
            table: "rooms",
            columns: &[
                ("room", "room_id"),
                ("subject", "subject"),
                ("owner", "owner"),
                ("encrypted", "encrypted"),
                ("epoch", "epoch"),
                ("created_at", "created_at"),
            ],
            condition: "",
        },
        Table::Members => Query {
            table: "room_members",
            columns: &[
                ("room", "room_id"),
                ("endpoint", "endpoint"),
                ("role", "role"),
                ("added_by", "added_by"),
                ("added_at", "added_at"),
            ],
            condition: "",
        },
        Table::RoomKeys => Query {
            table: "room_keys",
            columns: &[
                ("room", "room_id"),
                ("endpoint", "endpoint"),
                ("epoch", "epoch"),
                ("sealed", "sealed_key"),
            ],
            condition: "",
        },
    }
}

const fn query(kind: &SourceKind, table: Table) -> Query {
    match kind {
        SourceKind::Ours => ours(table),
        SourceKind::Legacy { .. } => legacy(table),
    }
}

/// The source's name of a table.
#[must_use]
pub const fn table_name(kind: &SourceKind, table: Table) -> &'static str {
    query(kind, table).table
}

/// How many rows there are to read.
///
/// # Errors
/// As [`explain`].
pub fn count(connection: &Connection, kind: &SourceKind, table: Table) -> Outcome<u64> {
    let sql = format!("SELECT count(*) FROM {}", table_name(kind, table));
    connection.query_row(&sql, [], |row| row.get(0)).map_err(explain)
}

/// One row of the source.
pub struct SourceRow {
    /// Which one, counted from 1 in the order of the scan.
    pub number: u64,
    /// What it says.
    pub record: Result<Record, BadRow>,
    /// Whether a user key in it was spelled in another than its canonical way.
    pub respelled: bool,
}

/// Reads every row of one kind, one at a time.
///
/// # Errors
/// As [`explain`], and whatever `take` answers.
pub fn for_each(
    connection: &Connection,
    kind: &SourceKind,
    table: Table,
    mut take: impl FnMut(SourceRow) -> Outcome<()>,
) -> Outcome<()> {
    let query = query(kind, table);
    let columns: Vec<String> = query.columns.iter().map(|column| selected(column.1)).collect();
    let sql = format!("SELECT {} FROM {} {}", columns.join(", "), query.table, query.condition);
    let mut statement = connection.prepare(&sql).map_err(explain)?;
    let mut rows = statement.query([]).map_err(explain)?;
    let mut number = 0;
    while let Some(row) = rows.next().map_err(explain)? {
        number += 1;
        let cells = Cells::new(row, query.columns);
        let mut respelled = false;
        let record = record(table, &cells, &mut respelled).map_err(|bad| {
            let BadCell { column, class, why } = bad;
            BadRow { table: query.table, row: number, column: Some(column), class, why }
        });
        take(SourceRow { number, record, respelled })?;
    }
    Ok(())
}

fn record(table: Table, cells: &Cells<'_, '_>, respelled: &mut bool) -> Result<Record, BadCell> {
    Ok(match table {
        Table::Users => Record::User(user(cells, respelled)?),
        Table::Rooms => Record::Room(RoomRecord {
            room: cells.text("room")?,
            subject: cells.text("subject")?,
            owner: endpoint(cells, "owner", respelled)?,
            encrypted: cells.boolean("encrypted")?,
            epoch: cells.epoch("epoch")?,
            created_at: cells.moment("created_at")?,
        }),
        Table::Members => Record::Member(MemberRecord {
            room: cells.text("room")?,
            endpoint: endpoint(cells, "endpoint", respelled)?,
            role: cells.text("role")?,
            added_by: endpoint(cells, "added_by", respelled)?,
            added_at: cells.moment("added_at")?,
        }),
        Table::RoomKeys => Record::RoomKey(RoomKeyRecord {
            room: cells.text("room")?,
            endpoint: endpoint(cells, "endpoint", respelled)?,
            epoch: cells.epoch("epoch")?,
            sealed: cells.sealed("sealed")?,
        }),
    })
}

fn user(cells: &Cells<'_, '_>, respelled: &mut bool) -> Result<UserRecord, BadCell> {
    let Spelled { key, canonical } = cells.text("user_key")?;
    *respelled |= !canonical;
    Ok(UserRecord {
        key,
        handle: cells.text("handle")?,
        role: cells.text("role")?,
        status: if cells.boolean("revoked")? { UserStatus::Revoked } else { UserStatus::Active },
    })
}

/// A user's key, and whether it was written as we write it.
struct Spelled {
    key: UserKey,
    canonical: bool,
}

impl FromStr for Spelled {
    type Err = crate::membership::ids::InvalidValue;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let key: UserKey = text.parse()?;
        Ok(Self { key, canonical: key.to_string() == text })
    }
}

/// An endpoint. One that is a user's key in capitals is that user: left as it is, the user would
/// lose its rooms.
fn endpoint(
    cells: &Cells<'_, '_>,
    column: &'static str,
    respelled: &mut bool,
) -> Result<Endpoint, BadCell> {
    let endpoint: Endpoint = cells.text(column)?;
    let text = endpoint.as_str();
    if text.len() != 64 || !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(endpoint);
    }
    let key = text.parse::<UserKey>();
    *respelled |= key.is_ok();
    Ok(key.map_or(endpoint, |key| Endpoint::from(&key)))
}

/// A row that cannot be read as what its neighbours say.
#[must_use]
pub fn contradiction(
    kind: &SourceKind,
    table: Table,
    row: u64,
    class: BadClass,
    why: &str,
) -> BadRow {
    BadRow { table: table_name(kind, table), row, column: None, class, why: why.to_owned() }
}
