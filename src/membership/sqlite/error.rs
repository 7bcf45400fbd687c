//! What SQLite's errors mean to a caller of the store.

use rusqlite::ErrorCode;

use crate::membership::error::{ErrorKind, StoreError};

/// The file has no room left; a transaction that met one of these was rolled back.
const FULL: [ErrorCode; 2] = [ErrorCode::DiskFull, ErrorCode::TooBig];

/// The bytes are not what SQLite or the schema wrote.
const CORRUPT: [ErrorCode; 2] = [ErrorCode::DatabaseCorrupt, ErrorCode::NotADatabase];

/// The statement was given up in the middle: only a passed deadline does that.
const LATE: [ErrorCode; 2] = [ErrorCode::OperationInterrupted, ErrorCode::OperationAborted];

/// Somebody else held the file for the whole of the deadline.
const BUSY: [ErrorCode; 2] = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];

impl From<rusqlite::Error> for StoreError {
    /// For everything but a failed commit, which may have happened nevertheless: that one is
    /// [`commit_failed`].
    fn from(error: rusqlite::Error) -> Self {
        let (kind, message) = match error.sqlite_error_code() {
            None => (ErrorKind::Corrupt, "a record in the database file cannot be read"),
            Some(code) if FULL.contains(&code) => {
                (ErrorKind::Full, "the database file or its disk is full; nothing was written")
            }
            Some(code) if CORRUPT.contains(&code) => {
                (ErrorKind::Corrupt, "the database file is damaged; restore it from a backup")
            }
            Some(code) if LATE.contains(&code) => return late(),
            Some(code) if BUSY.contains(&code) => (
                ErrorKind::Unavailable,
                "the database file is locked by another program; nothing was done: try again",
            ),
            // All statements are ours: SQLite only refuses one where the schema is not.
            Some(ErrorCode::Unknown) if is_refused_statement(&error) => (
                ErrorKind::Corrupt,
                "the database file lacks a part of its schema; restore it from a backup",
            ),
            Some(_) => (ErrorKind::Unavailable, "the database file could not be used"),
        };
        Self::new(kind, message).caused_by(error)
    }
}

fn is_refused_statement(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_ERROR)
}

/// The deadline passed and nothing was written.
pub(super) fn late() -> StoreError {
    StoreError::new(
        ErrorKind::Unavailable,
        "the time ran out before the database file answered; nothing was done: try again",
    )
}

/// The deadline passed while a write was at work.
pub(super) fn late_in_doubt() -> StoreError {
    StoreError::new(
        ErrorKind::Unknown,
        "the time ran out while the database file was being written: the change may or may not \
         have happened, so look before trying again",
    )
}

/// Whether a commit that failed may have happened depends on why it failed.
pub(super) fn commit_failed(error: rusqlite::Error) -> StoreError {
    let certain = error
        .sqlite_error_code()
        .is_some_and(|code| FULL.contains(&code) || BUSY.contains(&code) || LATE.contains(&code));
    if certain {
        return error.into();
    }
    StoreError::new(
        ErrorKind::Unknown,
        "the database file failed while a change was being made final: it may or may not have \
         happened, so look before trying again",
    )
    .caused_by(error)
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    fn kind_of(code: i32) -> ErrorKind {
        StoreError::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).kind()
    }

    #[test]
    fn each_sqlite_error_has_its_kind() {
        for (code, kind) in [
            (ffi::SQLITE_FULL, ErrorKind::Full),
            (ffi::SQLITE_CORRUPT, ErrorKind::Corrupt),
            (ffi::SQLITE_NOTADB, ErrorKind::Corrupt),
            (ffi::SQLITE_ERROR, ErrorKind::Corrupt),
            (ffi::SQLITE_BUSY, ErrorKind::Unavailable),
            (ffi::SQLITE_BUSY_SNAPSHOT, ErrorKind::Unavailable),
            (ffi::SQLITE_LOCKED, ErrorKind::Unavailable),
            (ffi::SQLITE_INTERRUPT, ErrorKind::Unavailable),
            (ffi::SQLITE_IOERR, ErrorKind::Unavailable),
            (ffi::SQLITE_CANTOPEN, ErrorKind::Unavailable),
            (ffi::SQLITE_READONLY, ErrorKind::Unavailable),
        ] {
            assert_eq!(kind_of(code), kind, "SQLite's code {code}");
        }
    }

    #[test]
    fn a_commit_that_failed_for_an_unknown_reason_may_have_happened() {
        let failed = |code| {
            commit_failed(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)).kind()
        };
        assert_eq!(failed(ffi::SQLITE_IOERR_FSYNC), ErrorKind::Unknown);
        assert_eq!(failed(ffi::SQLITE_CORRUPT), ErrorKind::Unknown);
        assert_eq!(failed(ffi::SQLITE_FULL), ErrorKind::Full);
        assert_eq!(failed(ffi::SQLITE_BUSY), ErrorKind::Unavailable);
    }
}
