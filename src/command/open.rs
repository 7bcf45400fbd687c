//! Opens the store that was chosen, or makes it.

use std::fmt;
use std::sync::Arc;

use super::choice::StoreChoice;
use super::error::{CommandError, CommandResult};
use crate::membership::MembershipStore;
use crate::membership::error::{ErrorKind, StoreError};
use crate::membership::sqlite::{Created, Settings, SqliteStore};
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
    /// `NoStore`.
    pub async fn open(&self, deadline: Deadline) -> CommandResult<Arc<dyn MembershipStore>> {
        match self {
            Self::Sqlite(path) => {
                let opened = SqliteStore::open(path, Settings::default(), deadline).await;
                Ok(Arc::new(opened.map_err(CommandError::NoStore)?))
            }
            Self::Nats(_) => Err(no_servers_yet()),
        }
    }

    /// Makes sure that there is a store.
    ///
    /// # Errors
    /// `NoStore` when the place belongs to something else or cannot be reached; `Usage` for
    /// replicas of a file.
    pub async fn create(&self, replicas: Option<u8>, deadline: Deadline) -> CommandResult<Created> {
        match self {
            Self::Sqlite(_) if replicas.is_some() => Err(CommandError::Usage(
                "--replicas is about NATS servers, but the store is a file: leave it out, or name \
                 the servers with --nats-url"
                    .to_owned(),
            )),
            Self::Sqlite(path) => {
                SqliteStore::create(path, deadline).await.map_err(CommandError::NoStore)
            }
            Self::Nats(_) => Err(no_servers_yet()),
        }
    }
}

fn no_servers_yet() -> CommandError {
    CommandError::NoStore(StoreError::new(
        ErrorKind::Unavailable,
        "this version keeps a membership in a SQLite file only: name one with --db",
    ))
}
