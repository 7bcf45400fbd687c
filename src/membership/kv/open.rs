//! Making a store and opening one. Opening never makes or changes anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bucket::{Bucket, Prefix, Size};
use super::control::{self, Control};
use super::streams::{Streams, Wire};
use crate::jetstream::api::StreamInfo;
use crate::jetstream::bucket::{self, BucketError, Budget};
use crate::jetstream::connect::NatsOptions;
use crate::jetstream::link::Link;
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::records::Versioned;
use crate::membership::store::Deadline;

/// What making a store came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// There was none.
    New,
    /// It was there already; at most missing buckets were added.
    Existing,
}

/// Connections of a store's own, one for reads and one for writes.
#[must_use]
pub(super) fn streams(options: &NatsOptions, prefix: Prefix) -> Streams {
    let link = || -> Arc<dyn Wire> { Arc::new(Link::new(options.clone())) };
    Streams::new(prefix, link(), link())
}

/// Makes the buckets of a store, as short attempts within the budget, and then the record that says
/// that they are ours. Safe to run again after any crash, and beside itself.
///
/// # Errors
/// `ForeignStore` when buckets of these names hold something that is not ours: then nothing was
/// written. `Corrupt` when a bucket that held data is gone. `Unavailable`, `Invalid`.
pub async fn init(
    options: &NatsOptions,
    prefix: &Prefix,
    size: Size,
    cluster_id: &str,
    budget: Budget,
) -> StoreResult<Created> {
    let streams = streams(options, prefix.clone());
    let deadline = Deadline::after(budget.total);
    let found = look(&streams, budget, Bucket::ALL).await?;
    let control = match found.has(Bucket::Control) {
        true => control::read(&streams, deadline).await?,
        false => None,
    };
    match &control {
        Some(control) => found.check_lost(&control.record, Bucket::ALL)?,
        None => found.check_foreign()?,
    }
    for bucket in Bucket::ALL {
        let settings = bucket.settings(prefix, size);
        if !found.has(bucket) {
            bucket::create(streams.reads(), &settings, budget).await.map_err(not_made)?;
        }
    }
    let names: Vec<String> = Bucket::ALL.iter().map(|bucket| bucket.name(prefix)).collect();
    match control {
        Some(Versioned { record, .. }) if record.buckets == names => Ok(Created::Existing),
        Some(Versioned { record, revision }) => {
            let record = Control { buckets: names, ..record };
            control::write(&streams, &record, Some(revision), deadline).await?;
            Ok(Created::Existing)
        }
        None => first_record(&streams, cluster_id, names, deadline).await,
    }
}

async fn first_record(
    streams: &Streams,
    cluster_id: &str,
    buckets: Vec<String>,
    deadline: Deadline,
) -> StoreResult<Created> {
    let control = Control {
        cluster_id: cluster_id.to_owned(),
        buckets,
        losses_accepted: Vec::new(),
        first_admin: None,
        served_since: None,
        born: BTreeMap::new(),
        migration: None,
    };
    match control::write(streams, &control, None, deadline).await {
        Ok(_) => Ok(Created::New),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(Created::Existing),
        Err(error) => Err(error),
    }
}

/// Checks that a store is there and ours. Gives when its buckets were made.
///
/// # Errors
/// `NotFound` when there is none, `ForeignStore`, `Corrupt`, `Unavailable`.
pub(super) async fn check(
    streams: &Streams,
    budget: Budget,
    with_requests: bool,
) -> StoreResult<BTreeMap<String, String>> {
    let wanted = || Bucket::ALL.into_iter().filter(|b| with_requests || *b != Bucket::Requests);
    let found = look(streams, budget, wanted()).await?;
    let control = match found.has(Bucket::Control) {
        true => control::read(streams, Deadline::after(budget.total)).await?,
        false => None,
    };
    let Some(control) = control else {
        found.check_foreign()?;
        return Err(not_there(streams.prefix()));
    };
    found.check_lost(&control.record, wanted())?;
    if let Some(missing) = wanted().find(|bucket| !found.has(*bucket)) {
        return Err(StoreError::new(
            ErrorKind::NotFound,
            format!(
                "the bucket {} was not made yet: run `membershipd init`, or let the operator make \
                 it",
                missing.name(streams.prefix())
            ),
        ));
    }
    found.check_settings()?;
    let born = found.buckets.iter();
    Ok(born.map(|(bucket, info)| (bucket.name(found.prefix), info.created.clone())).collect())
}

fn not_there(prefix: &Prefix) -> StoreError {
    StoreError::new(
        ErrorKind::NotFound,
        format!(
            "there is no membership in buckets {prefix}_*: make one with `membershipd init`, or \
             let the operator make it"
        ),
    )
}

/// The buckets that there are.
struct Found<'a> {
    prefix: &'a Prefix,
    buckets: Vec<(Bucket, StreamInfo)>,
}

async fn look(
    streams: &Streams,
    budget: Budget,
    wanted: impl IntoIterator<Item = Bucket>,
) -> StoreResult<Found<'_>> {
    let mut found = Found { prefix: streams.prefix(), buckets: Vec::new() };
    for bucket in wanted {
        let name = bucket.name(found.prefix);
        let info = bucket::info(streams.reads(), &name, budget).await.map_err(not_made)?;
        found.buckets.extend(info.map(|info| (bucket, info)));
    }
    Ok(found)
}

impl Found<'_> {
    fn has(&self, bucket: Bucket) -> bool {
        self.buckets.iter().any(|(found, _)| *found == bucket)
    }

    /// Without the record that they are ours, only empty buckets of the very settings may be: those
    /// of an `init` that broke off.
    fn check_foreign(&self) -> StoreResult<()> {
        let used = self.buckets.iter().find(|(_, info)| info.state.messages > 0);
        match used {
            None => self.check_settings(),
            Some((bucket, _)) => Err(StoreError::new(
                ErrorKind::ForeignStore,
                format!(
                    "the bucket {} holds records, and nothing says that they are a membership of \
                     ours: choose another bucket prefix. Nothing was written",
                    bucket.name(self.prefix)
                ),
            )),
        }
    }

    fn check_lost(
        &self,
        control: &Control,
        wanted: impl IntoIterator<Item = Bucket>,
    ) -> StoreResult<()> {
        let lost = |bucket: &Bucket| {
            let name = bucket.name(self.prefix);
            match self.buckets.iter().find(|(found, _)| found == bucket) {
                None => control.buckets.contains(&name),
                // Somebody put a new one in its place, in which nobody is.
                Some((_, info)) => {
                    control.born.get(&name).is_some_and(|born| *born != info.created)
                }
            }
        };
        match wanted.into_iter().find(lost) {
            None => Ok(()),
            Some(bucket) => Err(StoreError::new(
                ErrorKind::Corrupt,
                format!(
                    "the bucket {} is gone with what it held: bring it back from a backup",
                    bucket.name(self.prefix)
                ),
            )),
        }
    }

    fn check_settings(&self) -> StoreResult<()> {
        for (bucket, info) in &self.buckets {
            let breaches = bucket.settings(self.prefix, Size::default()).breaches(&info.config);
            if !breaches.is_empty() {
                return Err(StoreError::new(
                    ErrorKind::ForeignStore,
                    format!(
                        "the bucket {} was made with other settings ({}): it cannot keep a \
                         membership safely",
                        bucket.name(self.prefix),
                        breaches.join(", ")
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn not_made(error: BucketError) -> StoreError {
    StoreError::new(ErrorKind::Unavailable, error.to_string()).caused_by(error)
}
