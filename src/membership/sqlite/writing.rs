//! A write transaction and what all records written in it have in common.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::error::{commit_failed, late};
use super::fence;
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::MutationId;
use crate::membership::records::{Origin, Revision, UnixMillis};
use crate::membership::refusal;
use crate::membership::store::Deadline;

/// One mutation at work. Its records carry its revision, its id and where it came from.
pub(super) struct Writing<'t> {
    pub(super) txn: &'t Transaction<'t>,
    pub(super) revision: Revision,
    pub(super) mutation: MutationId,
    pub(super) origin: Origin,
}

/// Does a mutation in one transaction: all of it happens, or nothing.
pub(super) fn write<T>(
    connection: &mut Connection,
    origin: Origin,
    deadline: Deadline,
    work: impl FnOnce(&Writing<'_>) -> StoreResult<T>,
) -> StoreResult<T> {
    let mutation = MutationId::random().map_err(refusal::no_random_bytes)?;
    let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    fence::check(&txn)?;
    let before: i64 = txn.query_row("SELECT revision FROM control", [], |row| row.get(0))?;
    let next = before.saturating_add(1);
    let revision = Revision(next.unsigned_abs());
    let changes_before = txn.total_changes();
    let value = work(&Writing { txn: &txn, revision, mutation, origin })?;
    if txn.total_changes() != changes_before {
        txn.execute("UPDATE control SET revision = ?1", [next])?;
    }
    // Later than this the caller would be told that the outcome is unknown, though it need not be.
    if deadline.has_passed() {
        return Err(late());
    }
    txn.commit().map_err(commit_failed)?;
    Ok(value)
}

impl Writing<'_> {
    /// The revision as SQLite counts.
    pub(super) fn revision_number(&self) -> i64 {
        revision_number(self.revision)
    }

    /// Refuses a mutation that makes the file grow once four fifths of its pages are in use, so
    /// that revoking and removing always find room.
    pub(super) fn check_growth(&self) -> StoreResult<()> {
        let pages = |name: &str| -> rusqlite::Result<i64> {
            self.txn.pragma_query_value(None, name, |row| row.get(0))
        };
        let used = pages("page_count")?.saturating_sub(pages("freelist_count")?);
        if used < pages("max_page_count")? / 5 * 4 {
            return Ok(());
        }
        Err(StoreError::new(
            ErrorKind::Full,
            "the store is full: four fifths of its room is used. Revoke and remove still work; \
             give it more room to add anything",
        ))
    }
}

/// A revision as SQLite counts; one that no store of ours gave out is one that never stands.
pub(super) fn revision_number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(-1)
}

/// A moment as SQLite counts.
pub(super) fn moment_number(moment: UnixMillis) -> StoreResult<i64> {
    i64::try_from(moment.0)
        .map_err(|_| StoreError::new(ErrorKind::Invalid, "a time is later than any store can keep"))
}
