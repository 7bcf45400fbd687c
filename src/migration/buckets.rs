//! The replicated buckets as the place that a membership is moved to.

use async_trait::async_trait;
use tokio::sync::Mutex;

use super::marker::{Marker, Situation};
use super::target::{Barrier, Need, Target};
use crate::membership::MembershipStore;
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::kv::{Bucket, Control, KvStore, Marks, Newcomers};
use crate::membership::records::{Revision, Versioned};
use crate::membership::snapshot::{Record, Table};
use crate::membership::store::{Deadline, ImportCounts, ImportMode};

/// What a record takes beside its own fields: its subject and its key once more, whose write it is,
/// and the server's own record of it.
const OVERHEAD_BYTES: u64 = 512;

/// Buckets that are there and ours.
pub struct Buckets {
    store: KvStore,
    newcomers: Newcomers,
    /// The last barrier: where the buckets stood, and how often somebody wrote until then.
    last: Mutex<Option<(Marks, u64)>>,
}

impl Buckets {
    /// The buckets of this store.
    #[must_use]
    pub fn of(store: KvStore) -> Self {
        Self { store, newcomers: Newcomers::default(), last: Mutex::new(None) }
    }
}

#[async_trait]
impl Target for Buckets {
    fn store(&self) -> &dyn MembershipStore {
        &self.store
    }

    async fn import(
        &self,
        records: Vec<Record>,
        mode: ImportMode,
        deadline: Deadline,
    ) -> StoreResult<ImportCounts> {
        self.store.import_of_move(records, mode, &self.newcomers, deadline).await
    }

    async fn situation(&self, deadline: Deadline) -> StoreResult<Situation> {
        let Versioned { record, revision } = self.store.control(deadline).await?;
        let marker = record.migration.map(read_marker).transpose()?;
        let foreign = marker.is_none() && self.store.holds_records(deadline).await?;
        Ok(Situation {
            marker: marker.map(|marker| (marker, revision)),
            control: Some(revision),
            served: record.served_since.is_some(),
            foreign,
        })
    }

    async fn mark(
        &self,
        marker: &Marker,
        over: Option<Revision>,
        deadline: Deadline,
    ) -> StoreResult<Revision> {
        let Versioned { record, revision } = self.store.control(deadline).await?;
        if over != Some(revision) {
            return Err(StoreError::new(
                ErrorKind::Conflict,
                "the buckets' control record was changed during the move: run it again",
            ));
        }
        let migration = serde_json::to_value(marker).map_err(|error| {
            StoreError::new(ErrorKind::Invalid, "the marker cannot be written").caused_by(error)
        })?;
        let mut control = Control { migration: Some(migration), ..record };
        control.note_born(self.store.born());
        self.store.set_control(&control, revision, deadline).await
    }

    async fn too_small_for(
        &self,
        needs: &[Need],
        deadline: Deadline,
    ) -> StoreResult<Option<String>> {
        for need in needs {
            for bucket in buckets_of(need.table) {
                let limit = self.store.growth_limit(*bucket, deadline).await?;
                if let Some(why) = does_not_fit(need, *bucket, limit) {
                    return Ok(Some(why));
                }
            }
        }
        Ok(None)
    }

    async fn remove_imported(&self, records: Vec<Record>, deadline: Deadline) -> StoreResult<u64> {
        let mut removed = 0;
        for record in records {
            removed += u64::from(self.store.remove_imported(&record, deadline).await?);
        }
        Ok(removed)
    }

    async fn barrier(&self, deadline: Deadline) -> StoreResult<Barrier> {
        let mut last = self.last.lock().await;
        let now = self.store.mark(deadline).await?;
        let writes = match &*last {
            None => 0,
            Some((then, writes)) => {
                let written = self.store.was_written_between(then, &now, deadline).await?;
                writes + u64::from(written)
            }
        };
        *last = Some((now, writes));
        Ok(Barrier(writes.to_string()))
    }
}

fn read_marker(value: serde_json::Value) -> StoreResult<Marker> {
    serde_json::from_value(value).map_err(|error| {
        StoreError::new(
            ErrorKind::Corrupt,
            "the buckets' marker of a migration is of a program newer than this one: use that one",
        )
        .caused_by(error)
    })
}

/// The buckets that records of a kind go to.
const fn buckets_of(table: Table) -> &'static [Bucket] {
    match table {
        Table::Users => &[Bucket::Users],
        Table::Rooms => &[Bucket::Rooms],
        Table::Members => &[Bucket::Members, Bucket::RoomsByMember],
        Table::RoomKeys => &[Bucket::RoomKeys],
    }
}

/// Says why records of a kind do not fit into a bucket that takes so many bytes.
fn does_not_fit(need: &Need, bucket: Bucket, limit: u64) -> Option<String> {
    let needed = need.bytes.saturating_add(need.count.saturating_mul(OVERHEAD_BYTES));
    (needed > limit).then(|| {
        format!(
            "{} records need about {needed} bytes, but the bucket of {} takes {limit}: give the \
             buckets more room (maxBytes)",
            need.count,
            bucket.suffix()
        )
    })
}

/// Says why records would not fit into new buckets of so many bytes each.
#[must_use]
pub fn too_small_for(needs: &[Need], max_bytes: u64) -> Option<String> {
    let limit = max_bytes / 5 * 4;
    needs.iter().find_map(|need| {
        buckets_of(need.table).iter().find_map(|bucket| does_not_fit(need, *bucket, limit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_fit_up_to_four_fifths_of_a_bucket() {
        let need = |count, bytes| Need { table: Table::Members, count, bytes };
        for (count, bytes, max, fits) in [
            (0, 0, 1 << 20, true),
            (1000, 100_000, 1 << 20, true),
            (1000, 326_000, 1 << 20, true),
            (1000, 327_000, 1 << 20, false),
            (1639, 0, 1 << 20, false),
            (u64::MAX, u64::MAX, u64::MAX, false),
        ] {
            let why = too_small_for(&[need(count, bytes)], max);
            assert_eq!(why.is_none(), fits, "{count} records of {bytes} bytes in {max}: {why:?}");
        }
    }
}
