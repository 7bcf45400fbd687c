//! The one record about the store itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bucket::{Bucket, Prefix};
use super::codec::Key;
use super::streams::{Streams, Wire};
use super::value::Slot;
use crate::membership::error::StoreResult;
use crate::membership::ids::UserKey;
use crate::membership::records::{Origin, Revision, UnixMillis, Versioned};
use crate::membership::store::Deadline;

/// What a store says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Control {
    /// The random id of the cluster whose store it is.
    pub cluster_id: String,
    /// The names of the buckets made so far. One that is listed and gone has lost its data.
    pub buckets: Vec<String>,
    /// The names of the buckets whose loss a person accepted once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses_accepted: Vec<String>,
    /// Whom the gate for the first admin was opened for. It opens once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_admin: Option<UserKey>,
    /// Since when a service has answered from the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_since: Option<UnixMillis>,
    /// When each bucket was made, once anything was kept in it, as the servers say it. One that was
    /// made at another time has lost what it held.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub born: BTreeMap<String, String>,
    /// How far a migration into the store has come, in the migration's own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Value>,
}

impl Control {
    /// Notes when buckets were made. What is noted already stays.
    pub fn note_born(&mut self, born: &BTreeMap<String, String>) {
        for (name, when) in born {
            self.born.entry(name.clone()).or_insert_with(|| when.clone());
        }
    }
}

/// The record of a store that need not be complete: for whoever makes its buckets one by one.
pub struct ControlFile {
    streams: Streams,
}

impl ControlFile {
    /// The record of the store of this prefix. Nothing is asked yet.
    #[must_use]
    pub fn new(prefix: Prefix, wire: Arc<dyn Wire>) -> Self {
        Self { streams: Streams::new(prefix, Arc::clone(&wire), wire) }
    }

    /// The record; `None` when there is none.
    ///
    /// # Errors
    /// `Unavailable`, also while there is no control bucket; `Corrupt`.
    pub async fn read(&self, deadline: Deadline) -> StoreResult<Option<Versioned<Control>>> {
        read(&self.streams, deadline).await
    }

    /// Writes the record over a revision; `None` for a store that has none yet.
    ///
    /// # Errors
    /// `Conflict` when it was changed since; `Unavailable`, `Unknown`.
    pub async fn write(
        &self,
        control: &Control,
        over: Option<Revision>,
        deadline: Deadline,
    ) -> StoreResult<Revision> {
        write(&self.streams, control, over, deadline).await
    }
}

/// The record; `None` when there is none.
///
/// # Errors
/// `Unavailable`, `Corrupt`.
pub(super) async fn read(
    streams: &Streams,
    deadline: Deadline,
) -> StoreResult<Option<Versioned<Control>>> {
    let slot: Slot<Control> = streams.get(Bucket::Control, &Key::control(), deadline).await?;
    let revision = Revision(slot.at);
    Ok(slot.value.map(|record| Versioned { record, revision }))
}

/// Writes the record over a revision; `None` for a store that has none yet.
///
/// # Errors
/// `Conflict` when it was changed since; `Unavailable`, `Unknown`.
pub(super) async fn write(
    streams: &Streams,
    control: &Control,
    over: Option<Revision>,
    deadline: Deadline,
) -> StoreResult<Revision> {
    let over = over.map_or(0, |revision| revision.0);
    let written = (Origin::Service, over);
    streams.put(Bucket::Control, &Key::control(), control, written, deadline).await.map(Revision)
}
