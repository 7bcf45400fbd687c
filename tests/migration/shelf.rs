//! A place to move to that needs no servers: a store in a file, with its marker in another. What is
//! tested against it is the order of a move, not NATS.

use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use membership_operator::membership::MembershipStore;
use membership_operator::membership::error::{ErrorKind, StoreError, StoreResult};
use membership_operator::membership::records::Revision;
use membership_operator::membership::snapshot::{Record, Table};
use membership_operator::membership::sqlite::{Settings, SqliteStore};
use membership_operator::membership::store::{Deadline, PageRequest};
use membership_operator::migration::marker::{Marker, Situation};
use membership_operator::migration::target::{Barrier, Need, Target};
use rusqlite::Connection;

use crate::sources::soon;

/// The most records that a shelf takes.
pub const SHELF_MAX: u64 = 1_500_000;

pub struct Shelf {
    store: SqliteStore,
    path: PathBuf,
}

impl Shelf {
    pub async fn at(path: &Path) -> Self {
        SqliteStore::create(path, soon()).await.unwrap();
        let store = SqliteStore::open(path, Settings::default(), soon()).await.unwrap();
        Self { store, path: path.to_owned() }
    }

    fn marker_path(&self) -> PathBuf {
        self.path.with_extension("marker")
    }

    pub fn marker(&self) -> Option<(Marker, Revision)> {
        let text = fs::read(self.marker_path()).ok()?;
        let (revision, marker) = serde_json::from_slice(&text).unwrap();
        Some((marker, revision))
    }

    fn count(&self, sql: &str) -> u64 {
        Connection::open(&self.path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Every record as a line, sorted.
    pub async fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for table in Table::ALL {
            let mut request = PageRequest::default();
            loop {
                let page = self.store.export(table, request.clone(), soon()).await.unwrap();
                lines
                    .extend(page.items.iter().map(|record| serde_json::to_string(record).unwrap()));
                let Some(next) = page.next else { break };
                request.after = Some(next);
            }
        }
        lines.sort();
        lines
    }
}

#[async_trait]
impl Target for Shelf {
    fn store(&self) -> &dyn MembershipStore {
        &self.store
    }

    async fn situation(&self, _: Deadline) -> StoreResult<Situation> {
        let foreign = self.count("SELECT count(*) FROM users WHERE origin = 'service'") > 0;
        Ok(Situation { marker: self.marker(), foreign, ..Situation::default() })
    }

    async fn mark(
        &self,
        marker: &Marker,
        over: Option<Revision>,
        _: Deadline,
    ) -> StoreResult<Revision> {
        let there = self.marker().map(|(_, revision)| revision);
        if there != over {
            return Err(StoreError::new(ErrorKind::Conflict, "the marker was changed"));
        }
        let revision = Revision(there.map_or(1, |revision| revision.0 + 1));
        let text = serde_json::to_vec(&(revision, marker)).unwrap();
        let fresh = self.path.with_extension("marker.new");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.marker_path()).unwrap();
        Ok(revision)
    }

    async fn too_small_for(&self, needs: &[Need], _: Deadline) -> StoreResult<Option<String>> {
        let total: u64 = needs.iter().map(|need| need.count).sum();
        Ok((total > SHELF_MAX).then(|| format!("{total} records do not fit")))
    }

    async fn remove_imported(&self, records: Vec<Record>, _: Deadline) -> StoreResult<u64> {
        let connection = Connection::open(&self.path).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        let mut removed = 0;
        for record in records {
            removed += match record {
                Record::User(user) => connection.execute(
                    "DELETE FROM users WHERE user_key = ?1 AND origin = 'import'",
                    [user.key.to_string()],
                ),
                Record::Room(room) => connection.execute(
                    "DELETE FROM rooms WHERE room = ?1 AND origin = 'import'",
                    [room.room.as_str()],
                ),
                Record::Member(member) => connection.execute(
                    "DELETE FROM members WHERE room = ?1 AND endpoint = ?2 AND origin = 'import'",
                    [member.room.as_str(), member.endpoint.as_str()],
                ),
                Record::RoomKey(key) => connection.execute(
                    "DELETE FROM room_keys WHERE room = ?1 AND endpoint = ?2 AND epoch = ?3
                     AND origin = 'import'",
                    (key.room.as_str(), key.endpoint.as_str(), key.epoch.get()),
                ),
            }
            .unwrap() as u64;
        }
        Ok(removed)
    }

    async fn barrier(&self, _: Deadline) -> StoreResult<Barrier> {
        Ok(Barrier(self.count("SELECT revision FROM control").to_string()))
    }
}
