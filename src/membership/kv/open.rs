//! Finding a store, and making one. Opening makes nothing; whatever is not certainly ours is left
//! as it is.

use std::sync::Arc;

use serde_json::Value;

use super::bucket::{Bucket, Prefix};
use super::control::{Control, ControlRecord};
use super::store::KvStore;
use super::table::{Table, Wire};
use super::value::no_random;
use crate::jetstream::api::StreamInfo;
use crate::jetstream::bucket::{self, BucketError, Budget};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::MutationId;
use crate::membership::records::Versioned;
use crate::membership::store::Deadline;

/// How many fence subjects a bucket has at most.
const FENCE_SLOTS: u8 = 64;

/// What a store is opened for, which says what the servers let this program do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// All operations of a membership store.
    Serve,
    /// Moving a membership into it: the requests that were answered are none of its business.
    Migrate,
}

impl Purpose {
    fn buckets(self) -> impl Iterator<Item = Bucket> {
        Bucket::ALL.into_iter().filter(move |bucket| match self {
            Self::Serve => true,
            Self::Migrate => *bucket != Bucket::Requests,
        })
    }
}

/// What making a store came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// There was none, or an unfinished one.
    New,
    /// It was there already and was left as it is.
    Existing,
}

/// How a store is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStore {
    /// What its buckets are named after.
    pub prefix: Prefix,
    /// How many servers keep each bucket.
    pub replicas: u8,
    /// The most bytes that each bucket may hold.
    pub max_bytes: u64,
    /// The store's id; random when `None`.
    pub cluster_id: Option<String>,
}

impl KvStore {
    /// Opens the store under a prefix. Makes nothing.
    ///
    /// # Errors
    /// `NotFound` when there is none or it is not complete yet, `ForeignStore` for buckets of this
    /// name that are not ours, `Corrupt` for a newer schema or a bucket that was lost.
    pub async fn open(
        wire: Arc<dyn Wire>,
        prefix: &Prefix,
        purpose: Purpose,
        deadline: Deadline,
    ) -> StoreResult<Self> {
        let slot = fastrand::u8(..FENCE_SLOTS);
        let tables =
            Bucket::ALL.map(|bucket| Arc::new(Table::new(bucket, prefix, slot, Arc::clone(&wire))));
        let store = Self::over(tables);
        let mut found = Vec::new();
        for bucket in purpose.buckets() {
            found.push((bucket, store.table(bucket).info(deadline).await?));
        }
        let record = our_record(&store.control(), &found, deadline).await?;
        let record = record.ok_or_else(|| {
            StoreError::new(
                ErrorKind::NotFound,
                format!("there is no store {prefix}_*: make it with `membershipd init`"),
            )
        })?;
        for (bucket, info) in &found {
            check_bucket(*bucket, info.as_ref(), &record.record, prefix)?;
        }
        Ok(store)
    }

    /// Makes sure that there is a store under a prefix: by short attempts, within the budget.
    ///
    /// # Errors
    /// As [`KvStore::open`]; `Unavailable` when the budget is spent.
    pub async fn init(wire: Arc<dyn Wire>, new: &NewStore, budget: Budget) -> StoreResult<Created> {
        let deadline = Deadline::after(budget.total);
        let NewStore { prefix, .. } = new;
        let mut found = Vec::new();
        for bucket in Bucket::ALL {
            let info = bucket::info(&*wire, &bucket.name(prefix), budget).await;
            found.push((bucket, info.map_err(not_done)?));
        }
        let control = Control::new(Arc::clone(&wire), prefix);
        let there = match &found[..] {
            [(Bucket::Control, Some(_)), ..] => our_record(&control, &found, deadline).await?,
            _ if found.iter().any(|(_, info)| info.is_some()) => return Err(foreign(prefix)),
            _ => None,
        };
        let was_complete =
            there.as_ref().is_some_and(|there| there.record.made.len() == Bucket::ALL.len());
        if there.is_none() && found.iter().all(|(_, info)| info.is_none()) {
            create(&*wire, Bucket::Control, new, budget).await?;
        }
        let record = match there {
            Some(record) => record,
            None => first_record(&control, new, deadline).await?,
        };
        for (bucket, info) in &found {
            match (record.record.made.contains(bucket), info) {
                (true, None) if *bucket != Bucket::Control => return Err(lost(*bucket, prefix)),
                (false, None) => create(&*wire, *bucket, new, budget).await?,
                (true, None) => {}
                (made, Some(info)) => check_found(*bucket, info, made, prefix)?,
            }
        }
        record_all(&control, record, deadline).await?;
        Ok(if was_complete { Created::Existing } else { Created::New })
    }
}

async fn create(
    wire: &dyn Wire,
    bucket: Bucket,
    new: &NewStore,
    budget: Budget,
) -> StoreResult<()> {
    let settings = bucket.settings(&new.prefix, new.replicas, new.max_bytes);
    bucket::create(wire, &settings, budget).await.map(|_| ()).map_err(not_done)
}

fn not_done(error: BucketError) -> StoreError {
    StoreError::new(ErrorKind::Unavailable, error.to_string()).caused_by(error)
}

/// The control record, as long as what is there can be ours; `None` when it is still to be written.
async fn our_record(
    control: &Control,
    found: &[(Bucket, Option<StreamInfo>)],
    deadline: Deadline,
) -> StoreResult<Option<Versioned<ControlRecord>>> {
    let there = |wanted: Bucket| {
        found.iter().find(|(bucket, _)| *bucket == wanted).and_then(|(_, info)| info.as_ref())
    };
    let others = found.iter().any(|(bucket, info)| *bucket != Bucket::Control && info.is_some());
    let Some(info) = there(Bucket::Control) else {
        return if others { Err(no_control()) } else { Ok(None) };
    };
    let record = control.read(deadline).await?;
    if record.is_none() && (others || info.state.messages > 0) {
        return Err(no_control());
    }
    Ok(record)
}

async fn first_record(
    control: &Control,
    new: &NewStore,
    deadline: Deadline,
) -> StoreResult<Versioned<ControlRecord>> {
    let cluster_id = match &new.cluster_id {
        Some(id) => id.clone(),
        None => MutationId::random().map_err(no_random)?.to_string(),
    };
    let record = ControlRecord::new(cluster_id);
    match control.write(&record, None, deadline).await {
        Ok(revision) => Ok(Versioned { record, revision }),
        // Somebody else is making the same store.
        Err(error) if error.kind() == ErrorKind::Conflict => {
            control.read(deadline).await?.ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// Says in the control record that every bucket was made.
async fn record_all(
    control: &Control,
    mut there: Versioned<ControlRecord>,
    deadline: Deadline,
) -> StoreResult<()> {
    loop {
        if Bucket::ALL.iter().all(|bucket| there.record.made.contains(bucket)) {
            return Ok(());
        }
        there.record.made.extend(Bucket::ALL);
        match control.write(&there.record, Some(there.revision), deadline).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                there = control.read(deadline).await?.ok_or(error)?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether a bucket is what the control record says it is.
fn check_bucket(
    bucket: Bucket,
    info: Option<&StreamInfo>,
    record: &ControlRecord,
    prefix: &Prefix,
) -> StoreResult<()> {
    match (record.made.contains(&bucket), info) {
        (true, Some(info)) => check_settings(bucket, &info.config, prefix),
        (true, None) => Err(lost(bucket, prefix)),
        (false, _) => Err(StoreError::new(
            ErrorKind::NotFound,
            format!(
                "the store {prefix}_* has no bucket {} yet: the operator makes it, or \
                 `membershipd init`",
                bucket.name(prefix)
            ),
        )),
    }
}

/// Whether a bucket that is there may become, or is, one of ours.
fn check_found(bucket: Bucket, info: &StreamInfo, made: bool, prefix: &Prefix) -> StoreResult<()> {
    if !made && info.state.messages > 0 {
        return Err(foreign(prefix));
    }
    check_settings(bucket, &info.config, prefix)
}

fn check_settings(bucket: Bucket, config: &Value, prefix: &Prefix) -> StoreResult<()> {
    let breaches = bucket.settings(prefix, 1, 0).breaches(config);
    if breaches.is_empty() {
        return Ok(());
    }
    Err(StoreError::new(
        ErrorKind::ForeignStore,
        format!(
            "the bucket {} has other settings than ours ({}): it belongs to something else, or \
             somebody changed them",
            bucket.name(prefix),
            breaches.join(", ")
        ),
    ))
}

fn foreign(prefix: &Prefix) -> StoreError {
    StoreError::new(
        ErrorKind::ForeignStore,
        format!(
            "there are buckets {prefix}_* that no control record of ours speaks for: they belong \
             to something else. Nothing was written; choose another prefix"
        ),
    )
}

fn no_control() -> StoreError {
    StoreError::new(
        ErrorKind::ForeignStore,
        "there are buckets of this prefix without a control record of ours: they belong to \
         something else. Nothing was written; choose another prefix",
    )
}

fn lost(bucket: Bucket, prefix: &Prefix) -> StoreError {
    StoreError::new(
        ErrorKind::Corrupt,
        format!(
            "the bucket {} held data and is gone: it is not made again, find out what became of it",
            bucket.name(prefix)
        ),
    )
}
