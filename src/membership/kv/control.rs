//! The control bucket: one record about the whole store, and the create-only record of who was its
//! first admin. The operator and the migration write it too, each by compare-and-set.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, Prefix};
use super::codec::Key;
use super::error::{corrupt, overtaken};
use super::table::{Table, Wire};
use super::value::{Body, Entry, Over, SCHEMA_VERSION, Stamp};
use super::write::Outcome;
use crate::membership::error::StoreResult;
use crate::membership::ids::{Handle, UserKey};
use crate::membership::records::{Origin, Revision, UnixMillis, Versioned};
use crate::membership::store::Deadline;

/// What is true of the whole store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ControlRecord {
    /// The schema of all its records.
    pub schema_version: u32,
    /// Random, made once: tells this store from every other.
    pub cluster_id: String,
    /// The buckets that were made, and may hold data since.
    pub made: BTreeSet<Bucket>,
    /// The buckets whose loss a person accepted once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub losses_accepted: BTreeSet<Bucket>,
    /// How far a migration into this store has come, in the migration's own words; `None` when
    /// there never was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<serde_json::Value>,
    /// When a service first answered from this store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_since: Option<UnixMillis>,
}

impl ControlRecord {
    /// The record of a store of which only the control bucket was made.
    #[must_use]
    pub fn new(cluster_id: String) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            cluster_id,
            made: [Bucket::Control].into(),
            losses_accepted: BTreeSet::new(),
            migration: None,
            served_since: None,
        }
    }
}

impl Body for ControlRecord {
    const BUCKET: Bucket = Bucket::Control;
}

/// Who came in through the gate for the first admin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct FirstAdmin {
    pub(super) key: UserKey,
    pub(super) handle: Handle,
}

impl Body for FirstAdmin {
    const BUCKET: Bucket = Bucket::Control;
}

/// The key of the one record.
fn record_key() -> Key {
    Key::own("store")
}

/// The key of the first admin's record.
pub(super) fn first_admin_key() -> Key {
    Key::own("first-admin")
}

/// The control bucket of a store, whether or not the rest of it is there.
#[derive(Clone)]
pub struct Control {
    table: Arc<Table>,
}

impl Control {
    /// The control bucket under a prefix. Nothing is asked yet.
    #[must_use]
    pub fn new(wire: Arc<dyn Wire>, prefix: &Prefix) -> Self {
        Self::over(Arc::new(Table::new(Bucket::Control, prefix, 0, wire)))
    }

    pub(super) const fn over(table: Arc<Table>) -> Self {
        Self { table }
    }

    /// The record; `None` when there is none yet.
    ///
    /// # Errors
    /// `Corrupt` for a record that was deleted, cannot be read or is of a newer schema.
    pub async fn read(&self, deadline: Deadline) -> StoreResult<Option<Versioned<ControlRecord>>> {
        let key = record_key();
        let Some(entry) = self.table.read::<ControlRecord>(&key, deadline).await? else {
            return Ok(None);
        };
        let Entry { revision, record: Some(record), .. } = entry else {
            return Err(corrupt(Bucket::Control, key.as_str(), "somebody deleted it"));
        };
        if record.schema_version != SCHEMA_VERSION {
            let why = format!(
                "the store has schema {}, this program knows {SCHEMA_VERSION}: upgrade",
                record.schema_version
            );
            return Err(corrupt(Bucket::Control, key.as_str(), &why));
        }
        Ok(Some(Versioned { record, revision: Revision(revision) }))
    }

    /// Writes the record over the one of this revision; `None` when there must be none yet.
    ///
    /// # Errors
    /// `Conflict` when somebody else wrote it since.
    pub async fn write(
        &self,
        record: &ControlRecord,
        over: Option<Revision>,
        deadline: Deadline,
    ) -> StoreResult<Revision> {
        let key = record_key();
        let over = Over { revision: over.map_or(0, |over| over.0), mutation: None };
        let stamp = Stamp::fresh(Origin::Service)?;
        match self.table.put(&key, record, stamp, over, deadline).await? {
            Outcome::Stored(revision) => Ok(Revision(revision)),
            Outcome::Lost => Err(overtaken(&"the control record")),
        }
    }
}
