//! The fence that a migration puts round the file: triggers that abort every write, whatever
//! program makes it, and a table that says how far the move has come. Reads go on behind it. Here
//! is only what the fence is; putting it up and taking it down is the migration's.

use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension};

use super::row::unreadable;
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::InvalidValue;

/// The fence's own table; every trigger's name begins with it.
pub const TABLE: &str = "_unibus_fence";

/// What the fence says when it aborts a write, in whatever program made it.
pub const MESSAGE: &str = "this membership is being moved to JetStream: nothing may change here any more \
     (membershipd migrate-to-kv --unfence gives up the move)";

/// What a write can be.
const WRITES: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

/// How far the move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// The records are being copied; the fence may still be lifted.
    Raised,
    /// The records have moved. The fence stays, and nobody is admitted from here.
    Done,
}

impl FenceState {
    /// The state's word in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Done => "done",
        }
    }
}

impl FromStr for FenceState {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "raised" => Ok(Self::Raised),
            "done" => Ok(Self::Done),
            _ => Err(InvalidValue::Form { what: "fence state", expected: "raised or done" }),
        }
    }
}

/// The statements that put the fence round these tables, exactly as SQLite then lists them. Plain
/// SQL of any age: the old program must still be able to read its file.
pub fn statements(tables: &[String]) -> impl Iterator<Item = String> + '_ {
    let table = format!(
        "CREATE TABLE \"{TABLE}\" (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), state TEXT NOT NULL)"
    );
    std::iter::once(table).chain(triggers(tables).map(|(_, sql)| sql))
}

/// The name and the statement of each trigger.
pub fn triggers(tables: &[String]) -> impl Iterator<Item = (String, String)> + '_ {
    tables.iter().flat_map(|table| {
        WRITES.map(|write| {
            let name = format!("{TABLE}_{}_{table}", write.to_lowercase());
            let sql = format!(
                "CREATE TRIGGER {} BEFORE {write} ON {} BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END",
                quoted(&name),
                quoted(table)
            );
            (name, sql)
        })
    })
}

/// A name as SQL takes it, whatever is in it.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What the fence says; `None` when there is none. Read in the transaction whose answer depends on
/// it.
///
/// # Errors
/// A fence that says neither, or nothing, is unreadable.
pub fn state(connection: &Connection) -> rusqlite::Result<Option<FenceState>> {
    let there = connection
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1")?
        .exists([TABLE])?;
    if !there {
        return Ok(None);
    }
    connection
        .prepare_cached("SELECT state FROM \"_unibus_fence\" WHERE only_row = 1")?
        .query_row([], |row| {
            let text: String = row.get("state")?;
            text.parse().map(Some).map_err(|why| unreadable(row, "state", why))
        })
        .optional()?
        .ok_or(rusqlite::Error::InvalidQuery)
}

/// Refuses to write behind a fence, with a sentence of its own before a trigger says it.
pub(super) fn check(connection: &Connection) -> StoreResult<()> {
    match state(connection)? {
        None => Ok(()),
        Some(FenceState::Raised) => Err(StoreError::new(
            ErrorKind::Unavailable,
            "the membership is being moved to JetStream: nothing was written, and this file takes \
             no more changes until `membershipd migrate-to-kv` is done or its fence is lifted",
        )),
        Some(FenceState::Done) => Err(StoreError::new(
            ErrorKind::Unavailable,
            "the membership was moved to JetStream: nothing was written, and this file takes no \
             more changes; use the service that serves from there",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fenced(state: &str) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        for sql in statements(&[]) {
            connection.execute_batch(&sql).unwrap();
        }
        connection.execute(&format!("INSERT INTO {TABLE} VALUES (1, ?1)"), [state]).unwrap();
        connection
    }

    #[test]
    fn a_fence_says_how_far_the_move_has_come() {
        assert_eq!(state(&Connection::open_in_memory().unwrap()).unwrap(), None);
        for known in [FenceState::Raised, FenceState::Done] {
            assert_eq!(state(&fenced(known.as_str())).unwrap(), Some(known));
        }
    }

    #[test]
    fn a_fence_that_cannot_be_read_is_an_error_and_never_none() {
        assert!(state(&fenced("lifted")).is_err());
        let empty = fenced("raised");
        empty.execute(&format!("DELETE FROM {TABLE}"), []).unwrap();
        assert!(state(&empty).is_err());
        assert!(check(&empty).is_err());
    }

    #[test]
    fn a_trigger_stands_before_each_kind_of_write_to_a_table_of_any_name() {
        let tables = ["plain".to_owned(), "odd \"name'".to_owned()];
        let connection = Connection::open_in_memory().unwrap();
        for table in &tables {
            let sql =
                format!("CREATE TABLE {0} (x UNIQUE); INSERT INTO {0} VALUES (1)", quoted(table));
            connection.execute_batch(&sql).unwrap();
        }
        for sql in statements(&tables) {
            connection.execute_batch(&sql).unwrap();
            let listed: bool = connection
                .query_row("SELECT count(*) FROM sqlite_schema WHERE sql = ?1", [&sql], |row| {
                    row.get(0)
                })
                .unwrap();
            assert!(listed, "SQLite lists it in these words: {sql}");
        }
        for table in tables.iter().map(|table| quoted(table)) {
            for write in [
                format!("INSERT INTO {table} VALUES (2)"),
                format!("INSERT OR IGNORE INTO {table} VALUES (2)"),
                format!("INSERT OR REPLACE INTO {table} VALUES (1)"),
                format!("REPLACE INTO {table} VALUES (1)"),
                format!("INSERT INTO {table} VALUES (1) ON CONFLICT DO UPDATE SET x = 3"),
                format!("INSERT INTO {table} VALUES (1) ON CONFLICT DO NOTHING"),
                format!("UPDATE {table} SET x = 2"),
                format!("UPDATE OR IGNORE {table} SET x = 2"),
                format!("UPDATE OR REPLACE {table} SET x = 2"),
                format!("DELETE FROM {table}"),
                format!("DELETE FROM {table} WHERE x = 1"),
            ] {
                let error = connection.execute_batch(&write).unwrap_err();
                assert!(error.to_string().contains(MESSAGE), "{write}: {error}");
            }
        }
    }
}
