//! What a connection may do with a file that nobody vouches for: read named tables, for so long,
//! with so much memory, and run nothing that the file brings along.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::migration::failure::{Failure, Outcome, Reason};

/// The longest value or row that is looked at, in bytes. A sealed key has at most 64 KiB.
const LENGTH_MAX: i32 = 1 << 20;

/// The longest row that is copied unseen, in bytes: a table that is not ours to read may hold
/// longer ones.
const COPIED_LENGTH_MAX: i32 = 16 << 20;

/// How long checking and reading may take, whatever the size.
const TIME_MIN: Duration = Duration::from_secs(10);

/// How many bytes a second are checked and read at the very least. A thousand times slower than a
/// laptop: it only ends what would never end.
const BYTES_PER_SECOND_MIN: u64 = 256 << 10;

/// How many steps of SQLite's machine go between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 1000;

/// Pages kept in memory, in KiB.
const CACHE_KIB: i64 = 8192;

/// What the statements of a connection may touch.
#[derive(Clone, Debug)]
pub enum Access {
    /// The list of tables, and SQLite's own checks.
    Schema,
    /// The same and the rows of these tables.
    Rows(Vec<String>),
    /// Everything, for copying the whole file. Only for a file whose schema was checked.
    Copy,
}

/// Opens a file under these rules. It is opened for writing, as only so a crashed transaction can
/// be rolled back, but no statement that writes is let through.
///
/// # Errors
/// As [`explain`].
pub fn open(path: &Path, bytes: u64, access: Access) -> Outcome<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(explain)?;
    harden(&mut connection, bytes, access).map_err(explain)?;
    Ok(connection)
}

fn harden(connection: &mut Connection, bytes: u64, access: Access) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    for off in [
        DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA,
        DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER,
        DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW,
        DbConfig::SQLITE_DBCONFIG_DQS_DML,
        DbConfig::SQLITE_DBCONFIG_DQS_DDL,
    ] {
        connection.set_db_config(off, false)?;
    }
    let (length, attached) = match access {
        Access::Schema | Access::Rows(_) => (LENGTH_MAX, 0),
        Access::Copy => (COPIED_LENGTH_MAX, 1),
    };
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, length)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, attached)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, LENGTH_MAX)?;
    connection.set_limit(Limit::SQLITE_LIMIT_COLUMN, 100)?;
    connection.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    let until = Instant::now() + TIME_MIN + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN);
    connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || Instant::now() > until))?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // Sorting in memory: no temporary file in a folder of the file's or the environment's choice.
    connection.pragma_update(None, "temp_store", "memory")?;
    match access {
        Access::Schema => authorize(connection, Vec::new()),
        Access::Rows(tables) => authorize(connection, tables),
        Access::Copy => Ok(()),
    }
}

fn authorize(connection: &mut Connection, tables: Vec<String>) -> rusqlite::Result<()> {
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        if may(&context.action, &tables) { Authorization::Allow } else { Authorization::Deny }
    }))
}

/// The pragmas that only tell or check.
const PRAGMAS: [&str; 9] = [
    "application_id",
    "user_version",
    "schema_version",
    "encoding",
    "quick_check",
    "integrity_check",
    "table_xinfo",
    "index_list",
    "index_xinfo",
];

#[expect(clippy::wildcard_enum_match_arm, reason = "whatever SQLite can do next is refused, too")]
fn may(action: &AuthAction<'_>, tables: &[String]) -> bool {
    match action {
        AuthAction::Select => true,
        AuthAction::Transaction { .. } => true,
        AuthAction::Pragma { pragma_name, .. } => PRAGMAS.contains(pragma_name),
        AuthAction::Read { table_name, .. } => {
            // SQLite names no table when only the number of rows is asked for.
            *table_name == "sqlite_master"
                || table_name.is_empty()
                || tables.iter().any(|table| table == table_name)
        }
        AuthAction::Function { function_name } => {
            ["octet_length", "count", "max"].contains(function_name)
        }
        _ => false,
    }
}

/// Checks that the file is whole, first quickly, then with its indexes and constraints.
///
/// # Errors
/// `IntegrityCheckFailed` with the first finding.
pub fn check_integrity(connection: &Connection) -> Outcome<()> {
    for check in ["PRAGMA quick_check(1)", "PRAGMA integrity_check(1)"] {
        let finding: String = connection.query_row(check, [], |row| row.get(0)).map_err(explain)?;
        if finding != "ok" {
            // The finding may span lines and name anything; it is shown on one, cut short.
            let first: String = finding
                .lines()
                .filter(|line| !line.starts_with("***"))
                .take(1)
                .flat_map(str::chars)
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            return Err(damaged(&first));
        }
    }
    Ok(())
}

fn damaged(finding: &str) -> Failure {
    Failure::new(
        Reason::IntegrityCheckFailed,
        format!("the database is damaged ({finding}): restore it from a backup, or mend it first"),
    )
}

/// What SQLite's errors mean for a source.
#[must_use]
pub fn explain(error: rusqlite::Error) -> Failure {
    let (reason, message) = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            (Reason::NotADatabase, "the file is no SQLite database, or it is encrypted")
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            (Reason::IntegrityCheckFailed, "the database is damaged: restore it from a backup")
        }
        Some(ErrorCode::OperationInterrupted | ErrorCode::OperationAborted) => {
            (Reason::TooSlow, "the database took too long to read: no file of its size should")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (Reason::SourceBusy, "another program holds the database: stop it, or try again")
        }
        Some(ErrorCode::TooBig | ErrorCode::OutOfMemory) => {
            (Reason::TooLarge, "the database holds a value larger than any membership record")
        }
        Some(ErrorCode::ReadOnly) => (
            Reason::SourceNotWritable,
            "the database cannot be written, so it cannot be fenced: check its owner, its mode \
             and its mount",
        ),
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            Reason::SourceNotReadable,
            "the database cannot be opened: its file and its folder must be readable and writable",
        ),
        Some(ErrorCode::DiskFull) => (Reason::NoSpace, "the disk is full: make room"),
        Some(ErrorCode::SystemIoFailure) => {
            (Reason::SourceNotReadable, "the disk failed while the database was read")
        }
        Some(_) | None => {
            (Reason::SchemaMismatch, "the database has something that no membership has")
        }
    };
    Failure::new(reason, message).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded(sql: &str, access: Access) -> (tempfile::TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let connection = open(&path, 0, access).unwrap();
        (folder, connection)
    }

    #[test]
    fn only_named_tables_are_read_and_nothing_is_written() {
        let rows = Access::Rows(vec!["a".to_owned()]);
        let (_folder, connection) =
            guarded("CREATE TABLE a (x); CREATE TABLE b (x); INSERT INTO a VALUES (1)", rows);
        let one: i64 = connection.query_row("SELECT x FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(one, 1);
        for refused in [
            "SELECT x FROM b",
            "INSERT INTO a VALUES (2)",
            "DELETE FROM a",
            "DROP TABLE a",
            "CREATE TABLE c (x)",
            "ATTACH ':memory:' AS other",
            "PRAGMA writable_schema = on",
            "PRAGMA journal_mode = off",
            "SELECT load_extension('x')",
            "SELECT randomblob(10)",
            "VACUUM",
            "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r",
        ] {
            assert!(connection.execute_batch(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn what_takes_too_long_is_ended() {
        let (_folder, mut connection) = guarded("CREATE TABLE a (x)", Access::Copy);
        connection.progress_handler(1, Some(|| true)).unwrap();
        let error = connection.query_row("SELECT count(*) FROM a", [], |_| Ok(())).unwrap_err();
        assert_eq!(explain(error).reason(), Reason::TooSlow);
    }
}
