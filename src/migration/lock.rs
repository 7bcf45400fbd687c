//! Connection A: it holds the source still, reads its schema, and puts up and takes down the fence.
//! It reads no row.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::failure::{Failure, Outcome, Reason};
use super::source::guard::explain;
use super::source::schema::{self, Schema, SchemaObject};
use crate::membership::sqlite::fence::{self, FenceState};

/// How long a live writer, or a reader in the way of the fence, is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The source, held still: nobody else writes while this lives and nothing was committed.
pub struct Lock {
    connection: Connection,
}

/// The source behind its fence: nobody writes rows, and a changed schema is noticed.
pub struct Fenced {
    connection: Connection,
    schema: Vec<SchemaObject>,
    cookie: i64,
}

impl Lock {
    /// Waits for the last writer to end and keeps the next one out.
    ///
    /// # Errors
    /// `SourceBusy` when a writer does not end in time, `SourceNotWritable`, `LocksIgnored`, and as
    /// [`explain`].
    pub fn take(path: &Path, patience: Duration) -> Outcome<Self> {
        let connection = connect(path, patience)?;
        if connection.is_readonly("main").map_err(explain)? {
            return Err(explain(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY),
                None,
            )));
        }
        connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| busy(path, error))?;
        prove(path)?;
        Ok(Self { connection })
    }

    /// Whose file it is.
    ///
    /// # Errors
    /// As [`schema::read`].
    pub fn schema(&self) -> Outcome<Schema> {
        schema::read(&self.connection)
    }

    /// What the fence says; `None` when there is none.
    ///
    /// # Errors
    /// `SchemaMismatch` for a fence that cannot be read.
    pub fn fence(&self) -> Outcome<Option<FenceState>> {
        fence::state(&self.connection).map_err(explain)
    }

    /// Puts up what is not up of the fence, and lets go of the lock: from here on the fence holds.
    ///
    /// # Errors
    /// `SourceBusy` when readers of a file without a write-ahead log do not end in time.
    pub fn raise(self, schema: &Schema) -> Outcome<Fenced> {
        let state = self.fence()?;
        let there = schema::list(&self.connection)?;
        for sql in fence::statements(&schema.tables) {
            if !there.iter().any(|object| object.sql == sql) {
                self.connection.execute_batch(&sql).map_err(explain)?;
            }
        }
        if state.is_none() {
            self.say(FenceState::Raised)?;
        }
        let list = schema::list(&self.connection)?;
        let cookie = cookie(&self.connection)?;
        self.commit()?;
        let Self { connection } = self;
        Ok(Fenced { connection, schema: list, cookie })
    }

    /// Takes the fence down.
    ///
    /// # Errors
    /// `AlreadyMoved` once the records have moved, `SchemaMismatch` for a fence that is not ours.
    pub fn lift(self) -> Outcome<Lifted> {
        match self.fence()? {
            None => return Ok(Lifted::NoneThere),
            Some(FenceState::Raised) => {}
            Some(FenceState::Done) => {
                return Err(Failure::new(
                    Reason::AlreadyMoved,
                    "the membership was moved away and is served from JetStream: its fence stays. \
                     To go back to an old state, restore the backup to another file",
                ));
            }
        }
        let schema = self.schema()?;
        remove(&self.connection, &schema.tables).map_err(explain)?;
        self.commit()?;
        Ok(Lifted::Lifted)
    }

    fn say(&self, state: FenceState) -> Outcome<()> {
        self.connection
            .execute(
                &format!(
                    "INSERT OR REPLACE INTO {} (only_row, state) VALUES (1, ?1)",
                    fence::TABLE
                ),
                [state.as_str()],
            )
            .map_err(explain)?;
        Ok(())
    }

    fn commit(&self) -> Outcome<()> {
        self.connection.execute_batch("COMMIT").map_err(|error| {
            if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) {
                return Failure::new(
                    Reason::SourceBusy,
                    "a program goes on reading the database and keeps the fence from being \
                     written: stop it, or try again",
                )
                .caused_by(error);
            }
            explain(error)
        })
    }
}

/// What taking down the fence came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifted {
    /// It is down.
    Lifted,
    /// It was not up.
    NoneThere,
}

impl Fenced {
    /// Says in the source that the records have moved: from here on nobody is admitted from it.
    /// Refused when anything but a row of the fence changed since it was put up, for then rows may
    /// have changed, too.
    ///
    /// # Errors
    /// `SourceChanged`, `SourceBusy`.
    pub fn conclude(&self) -> Outcome<()> {
        self.connection.execute_batch("BEGIN IMMEDIATE").map_err(explain)?;
        let lock = ScopedLock(&self.connection);
        self.check()?;
        self.connection
            .execute(
                &format!("UPDATE {} SET state = ?1 WHERE only_row = 1", fence::TABLE),
                [FenceState::Done.as_str()],
            )
            .map_err(explain)?;
        lock.commit()
    }

    /// Whether the fence is as it was put up, with every table behind it.
    ///
    /// # Errors
    /// `SourceChanged` when it is not.
    pub fn check(&self) -> Outcome<()> {
        let same = cookie(&self.connection)? == self.cookie
            && schema::list(&self.connection)? == self.schema
            && fence::state(&self.connection).is_ok_and(|state| state.is_some());
        if same {
            return Ok(());
        }
        Err(Failure::new(
            Reason::SourceChanged,
            "the database's tables or its fence were changed during the migration, so its rows may \
             have changed, too: find out which program did it and stop it, then run this again",
        ))
    }
}

/// Rolls back unless it was committed.
struct ScopedLock<'c>(&'c Connection);

impl ScopedLock<'_> {
    fn commit(self) -> Outcome<()> {
        self.0.execute_batch("COMMIT").map_err(explain)
    }
}

impl Drop for ScopedLock<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // What cannot be rolled back is rolled back when the connection closes.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

/// Takes the fence's triggers and its table out of a file.
pub(super) fn remove(connection: &Connection, tables: &[String]) -> rusqlite::Result<()> {
    for (trigger, _) in fence::triggers(tables) {
        connection.execute_batch(&format!("DROP TRIGGER IF EXISTS {}", fence::quoted(&trigger)))?;
    }
    connection.execute_batch(&format!("DROP TABLE {}", fence::TABLE))
}

fn connect(path: &Path, patience: Duration) -> Outcome<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(explain)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true).map_err(explain)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false).map_err(explain)?;
    connection.busy_timeout(patience).map_err(explain)?;
    // The fence must be on the disk before the first record leaves.
    connection.pragma_update(None, "synchronous", "full").map_err(explain)?;
    Ok(connection)
}

/// On some network file systems locks do nothing. So a second connection must be turned away.
fn prove(path: &Path) -> Outcome<()> {
    let second = connect(path, Duration::ZERO)?;
    match second.execute_batch("BEGIN IMMEDIATE") {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Ok(()),
        Err(error) => Err(explain(error)),
        Ok(()) => Err(Failure::new(
            Reason::LocksIgnored,
            format!(
                "the file system of {} ignores locks, so nobody can be kept from writing: copy \
                 the database, with every program that uses it stopped, to a local disk",
                path.display()
            ),
        )),
    }
}

fn busy(path: &Path, error: rusqlite::Error) -> Failure {
    if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) {
        return explain(error);
    }
    Failure::new(
        Reason::SourceBusy,
        format!("another program is writing to {}: stop it, or try again", path.display()),
    )
    .caused_by(error)
}

fn cookie(connection: &Connection) -> Outcome<i64> {
    connection.pragma_query_value(None, "schema_version", |row| row.get(0)).map_err(explain)
}
