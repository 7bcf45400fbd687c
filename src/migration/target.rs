//! What a move needs of the store it moves into, beyond what every membership store can do.

use async_trait::async_trait;

use super::digest::Tallies;
use super::marker::{Marker, Situation};
use crate::membership::MembershipStore;
use crate::membership::error::StoreResult;
use crate::membership::records::Revision;
use crate::membership::snapshot::{Record, Table};
use crate::membership::store::{Deadline, ImportCounts, ImportMode};

/// How much is to be written of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The kind.
    pub table: Table,
    /// How many records.
    pub count: u64,
    /// How many bytes their canonical lines have.
    pub bytes: u64,
}

/// Where a membership is moved to.
#[async_trait]
pub trait Target: Send + Sync {
    /// The store itself.
    fn store(&self) -> &dyn MembershipStore;

    /// Writes records, by the one rule of imports.
    ///
    /// # Errors
    /// As every operation.
    async fn import(
        &self,
        records: Vec<Record>,
        mode: ImportMode,
        deadline: Deadline,
    ) -> StoreResult<ImportCounts> {
        self.store().import(records, mode, deadline).await
    }

    /// What the store says of itself.
    ///
    /// # Errors
    /// `NotFound` when there is no store, `ForeignStore` when there is another.
    async fn situation(&self, deadline: Deadline) -> StoreResult<Situation>;

    /// Writes the marker over the control record of this revision.
    ///
    /// # Errors
    /// `Conflict` when the control record was changed since.
    async fn mark(
        &self,
        marker: &Marker,
        over: Option<Revision>,
        deadline: Deadline,
    ) -> StoreResult<Revision>;

    /// Says in a sentence why the records would not fit; `None` when they do.
    ///
    /// # Errors
    /// As every operation.
    async fn too_small_for(
        &self,
        needs: &[Need],
        deadline: Deadline,
    ) -> StoreResult<Option<String>>;

    /// Takes away those of these records that an import wrote and that are as they were read. Gives
    /// how many it took.
    ///
    /// # Errors
    /// As every operation.
    async fn remove_imported(&self, records: Vec<Record>, deadline: Deadline) -> StoreResult<u64>;

    /// Proves that what was read between two of these calls that give the same was up to date, and
    /// that nothing was written meanwhile.
    ///
    /// # Errors
    /// As every operation.
    async fn barrier(&self, deadline: Deadline) -> StoreResult<Barrier>;
}

/// A point in the order of all writes that a quorum agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier(pub String);

/// What is needed for these records.
#[must_use]
pub fn needs(tallies: &Tallies, bytes: impl Fn(Table) -> u64) -> Vec<Need> {
    Table::ALL
        .iter()
        .map(|&table| Need { table, count: tallies.of(table).count, bytes: bytes(table) })
        .collect()
}
