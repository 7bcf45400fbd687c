//! The buckets that `migrate-to-kv` moves to: found, or made when nothing stands against the move.

use super::choice::NatsChoice;
use super::error::CommandResult;
use super::open::make;
use crate::jetstream::bucket;
use crate::jetstream::connect::{NatsOptions, Role};
use crate::membership::error::ErrorKind;
use crate::membership::kv::{KvStore, Prefix, Settings, Size};
use crate::migration::buckets::{Buckets, too_small_for};
use crate::migration::copying::{Budget, explain};
use crate::migration::prepare::Prepared;
use crate::migration::target::needs;
use crate::migration::{Failure, Outcome, Reason};

/// Where a membership is moved to.
pub struct Destination {
    options: NatsOptions,
    prefix: Prefix,
    size: Size,
    budget: bucket::Budget,
}

impl Destination {
    /// The buckets that were chosen, and how large they are made if they are not there.
    ///
    /// # Errors
    /// `Usage`.
    pub fn of(nats: &NatsChoice, size: Size, budget: Budget) -> CommandResult<Self> {
        let budget = bucket::Budget { total: budget.total, ..bucket::Budget::default() };
        let options = nats.options(Role::Migration)?;
        Ok(Self { options, prefix: nats.buckets()?, size, budget })
    }

    /// The buckets, if they are there.
    ///
    /// # Errors
    /// As [`explain`].
    pub async fn found(&self) -> Outcome<Option<Buckets>> {
        let settings = Settings { budget: self.budget, ..Settings::default() };
        match KvStore::open(&self.options, self.prefix.clone(), settings).await {
            Ok(store) => Ok(Some(Buckets::of(store))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(explain(error)),
        }
    }

    /// The buckets, made if they are not there.
    ///
    /// # Errors
    /// As [`explain`].
    pub async fn made(&self) -> Outcome<Buckets> {
        if let Some(buckets) = self.found().await? {
            return Ok(buckets);
        }
        make(&self.options, &self.prefix, self.size, self.budget).await.map_err(explain)?;
        self.found().await?.ok_or_else(|| {
            let why = "the buckets were made and are gone again: find out who deletes them";
            Failure::new(Reason::NatsUnavailable, why)
        })
    }

    /// Whether the buckets, once made, would take what there is to move.
    ///
    /// # Errors
    /// `StoreTooSmall`.
    pub fn would_take(&self, prepared: &Prepared) -> Outcome<()> {
        let staging = &prepared.staging;
        let needs = needs(staging.tallies(), |table| staging.bytes(table));
        match too_small_for(&needs, self.size.max_bytes) {
            None => Ok(()),
            Some(why) => Err(Failure::new(Reason::StoreTooSmall, why)),
        }
    }
}
