//! The store in one SQLite file: the contract, and what only a file can go through.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use membership_operator::membership::MembershipStore;
use membership_operator::membership::sqlite::{Created, Settings, SqliteStore};
use tempfile::TempDir;

use crate::contract::{Backend, Fresh, contract_tests};
use crate::words::soon;

/// Each store in a file in a folder of its own.
pub struct Files;

/// What a store in a file lives by: the folder goes when the test ends.
pub struct Home {
    folder: TempDir,
    settings: Settings,
}

impl Home {
    fn new(settings: Settings) -> Self {
        Self { folder: TempDir::new().unwrap(), settings }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("membership.db")
    }

    pub async fn open(&self) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(&self.path(), self.settings, soon()).await.unwrap())
    }
}

pub async fn made(settings: Settings) -> (Home, Arc<SqliteStore>) {
    let home = Home::new(settings);
    let created = SqliteStore::create(&home.path(), soon()).await.unwrap();
    assert_eq!(created, Created::New);
    let store = home.open().await;
    (home, store)
}

#[async_trait]
impl Backend for Files {
    async fn fresh(&self) -> Fresh {
        let (home, store) = made(Settings::default()).await;
        Fresh { log: store.clone(), store, home: Box::new(home) }
    }

    async fn small(&self, max_bytes: u64) -> Fresh {
        let (home, store) = made(Settings { max_bytes: NonZeroU64::new(max_bytes) }).await;
        Fresh { log: store.clone(), store, home: Box::new(home) }
    }

    async fn beside(&self, fresh: &Fresh) -> Arc<dyn MembershipStore> {
        fresh.home.downcast_ref::<Home>().unwrap().open().await
    }
}

mod files;

mod contract {
    use super::{Files, contract_tests};

    contract_tests!(Files);
}
