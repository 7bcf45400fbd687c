//! Opens the store that was chosen, or makes it.

use std::fmt;
use std::sync::Arc;

use data_encoding::HEXLOWER;

use super::choice::StoreChoice;
use super::error::{CommandError, CommandResult};
use crate::jetstream::bucket::Budget;
use crate::jetstream::connect::{NatsOptions, Role};
use crate::membership::MembershipStore;
use crate::membership::error::StoreResult;
use crate::membership::kv::{self, KvStore, Prefix, Size};
use crate::membership::refusal;
use crate::membership::sqlite::{self, SqliteStore};
use crate::membership::store::Deadline;

impl fmt::Display for StoreChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => path.display().fmt(f),
            Self::Nats(nats) => write!(f, "{}_* at {}", nats.prefix, nats.url),
        }
    }
}

impl StoreChoice {
    /// Opens the store. Makes none.
    ///
    /// # Errors
    /// `NoStore`; `Usage` for a file that cannot serve.
    pub async fn open(&self, deadline: Deadline) -> CommandResult<Arc<dyn MembershipStore>> {
        match self {
            Self::Sqlite(path) => {
                let settings = sqlite::Settings::default();
                let opened = SqliteStore::open(path, settings, deadline).await;
                Ok(Arc::new(opened.map_err(CommandError::NoStore)?))
            }
            Self::Nats(nats) => {
                let options = nats.options(Role::Membershipd)?;
                let settings = kv::Settings { budget: until(deadline), ..kv::Settings::default() };
                let opened = KvStore::open(&options, nats.buckets()?, settings).await;
                Ok(Arc::new(opened.map_err(CommandError::NoStore)?))
            }
        }
    }

    /// Makes sure that there is a store. Whether there was none before.
    ///
    /// # Errors
    /// `NoStore` when the place belongs to something else or cannot be reached; `Usage` for sizes
    /// of a file.
    pub async fn create(&self, size: SizeFlags, deadline: Deadline) -> CommandResult<bool> {
        match self {
            Self::Sqlite(_) if size != SizeFlags::default() => Err(CommandError::Usage(
                "--replicas and --max-bytes are about NATS servers, but the store is a file: leave \
                 them out, or name the servers with --nats-url"
                    .to_owned(),
            )),
            Self::Sqlite(path) => {
                let created = SqliteStore::create(path, deadline).await;
                Ok(created.map_err(CommandError::NoStore)? == sqlite::Created::New)
            }
            Self::Nats(nats) => {
                let options = nats.options(Role::Operator)?;
                let made = make(&options, &nats.buckets()?, size.size(), until(deadline)).await;
                Ok(made.map_err(CommandError::NoStore)? == kv::Created::New)
            }
        }
    }
}

/// Flags about buckets that are to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeFlags {
    /// On how many servers each is kept.
    pub replicas: Option<u8>,
    /// How many bytes each may hold.
    pub max_bytes: Option<u64>,
}

impl SizeFlags {
    /// The size, with what is usual where nothing is said.
    #[must_use]
    pub fn size(self) -> Size {
        let usual = Size::default();
        Size {
            replicas: self.replicas.unwrap_or(usual.replicas),
            max_bytes: self.max_bytes.unwrap_or(usual.max_bytes),
        }
    }
}

/// Makes the buckets of a store under a cluster id of its own.
pub(super) async fn make(
    options: &NatsOptions,
    prefix: &Prefix,
    size: Size,
    budget: Budget,
) -> StoreResult<kv::Created> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(refusal::no_random_bytes)?;
    kv::init(options, prefix, size, &HEXLOWER.encode(&id), budget).await
}

fn until(deadline: Deadline) -> Budget {
    Budget { total: deadline.remaining(), ..Budget::default() }
}
