//! The store as a whole: what it stands on, and each operation's way to where it is done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout_at;

use super::bucket::{Bucket, Prefix};
use super::codec::Key;
use super::control::{self, Control};
use super::cursor::List;
use super::fence::{Fences, Stand};
use super::recent::Recent;
use super::streams::{Streams, Wire};
use super::{authorize, export, import, keys, members, open, rekey, rooms, sweep, users};
use crate::jetstream::bucket::Budget;
use crate::jetstream::connect::{NatsOptions, Role};
use crate::membership::authorize::{AuthorizeRequest, Decision, DenyReason, conclude};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::{Endpoint, Epoch, Handle, RoomId, UserKey};
use crate::membership::records::{Member, Revision, Room, RoomKey, User, UserRole, Versioned};
use crate::membership::snapshot::{Record, Table};
use crate::membership::store::{
    Deadline, EpochKey, ImportCounts, ImportMode, JoinedRoom, MemberAdded, MemberKey,
    MembershipStore, NewMember, NewRoom, NewUser, Page, PageRequest, Rekey, SweepCounts,
};

/// What is chosen about a store that is opened.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long buckets are waited for.
    pub budget: Budget,
    /// How old a record that nothing stands behind must be before a sweep takes it: longer than any
    /// mutation or rekey can take.
    pub patience: Duration,
    /// Whether the bucket of answered requests is a part of it, which only a service needs: the
    /// migration's role may not even look at it.
    pub with_requests: bool,
}

impl Default for Settings {
    /// The budget of every bucket call, and an hour.
    fn default() -> Self {
        let patience = Duration::from_secs(60 * 60);
        Self { budget: Budget::default(), patience, with_requests: true }
    }
}

/// A membership in replicated buckets.
pub struct KvStore {
    pub(super) streams: Arc<Streams>,
    pub(super) fences: Arc<Fences>,
    pub(super) recent: Arc<Recent>,
    pub(super) patience: Duration,
    pub(super) born: Arc<BTreeMap<String, String>>,
}

impl KvStore {
    /// Opens a store over connections of its own. Waits for the buckets by short attempts; never
    /// makes one.
    ///
    /// # Errors
    /// `NotFound` when there is none, `ForeignStore`, `Corrupt`, `Unavailable`.
    pub async fn open(
        options: &NatsOptions,
        prefix: Prefix,
        settings: Settings,
    ) -> StoreResult<Self> {
        let with_requests = settings.with_requests && options.role() != Role::Migration;
        let settings = Settings { with_requests, ..settings };
        Self::of(open::streams(options, prefix), settings).await
    }

    /// Opens a store over these ways to the servers, the second one for writes alone.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_through(
        reads: Arc<dyn Wire>,
        writes: Arc<dyn Wire>,
        prefix: Prefix,
        settings: Settings,
    ) -> StoreResult<Self> {
        Self::of(Streams::new(prefix, reads, writes), settings).await
    }

    async fn of(streams: Streams, settings: Settings) -> StoreResult<Self> {
        let born = open::check(&streams, settings.budget, settings.with_requests).await?;
        let streams = Arc::new(streams);
        let fences = Fences::new(Arc::clone(&streams));
        let (recent, patience) = (Arc::default(), settings.patience);
        Ok(Self { streams, fences, recent, patience, born: Arc::new(born) })
    }

    /// A record as it was read.
    pub(super) fn stand(&self, bucket: Bucket, key: &Key, at: u64) -> Stand {
        Stand { bucket, subject: self.streams.subject(bucket, key), at }
    }

    /// Whether a record, as it was read, stood at some moment after this call.
    pub(super) async fn stood(
        &self,
        bucket: Bucket,
        key: &Key,
        at: u64,
        deadline: Deadline,
    ) -> StoreResult<bool> {
        self.fences.stood(&self.stand(bucket, key, at), deadline).await
    }

    /// When the buckets were made that the store was opened on.
    #[must_use]
    pub fn born(&self) -> &BTreeMap<String, String> {
        &self.born
    }

    /// What the store says of itself.
    ///
    /// # Errors
    /// `Corrupt` when it no longer says anything; `Unavailable`.
    pub async fn control(&self, deadline: Deadline) -> StoreResult<Versioned<Control>> {
        let found = control::read(&self.streams, deadline).await?;
        found.ok_or_else(|| {
            StoreError::new(ErrorKind::Corrupt, "the record that says whose store it is has gone")
        })
    }

    /// Writes what the store says of itself over a revision.
    ///
    /// # Errors
    /// `Conflict` when it was changed since; `Unavailable`, `Unknown`.
    pub async fn set_control(
        &self,
        control: &Control,
        over: Revision,
        deadline: Deadline,
    ) -> StoreResult<Revision> {
        control::write(&self.streams, control, Some(over), deadline).await
    }
}

#[async_trait]
impl MembershipStore for KvStore {
    async fn create_room(&self, new: NewRoom, deadline: Deadline) -> StoreResult<Versioned<Room>> {
        rooms::create(self, new, deadline).await
    }

    async fn room(&self, room: &RoomId, deadline: Deadline) -> StoreResult<Versioned<Room>> {
        rooms::get(&self.streams, room, deadline).await
    }

    async fn rooms_of(
        &self,
        endpoint: &Endpoint,
        page: PageRequest,
        deadline: Deadline,
    ) -> StoreResult<Page<JoinedRoom>> {
        rooms::of_endpoint(self, endpoint, &page, deadline).await
    }

    async fn add_member(&self, new: NewMember, deadline: Deadline) -> StoreResult<MemberAdded> {
        members::add(self, new, deadline).await
    }

    async fn remove_member(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<()> {
        members::remove(self, room, endpoint, deadline).await
    }

    async fn member(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<Member> {
        members::get(self, room, endpoint, deadline).await
    }

    async fn members(
        &self,
        room: &RoomId,
        page: PageRequest,
        deadline: Deadline,
    ) -> StoreResult<Page<Member>> {
        members::list(self, room, &page, deadline).await
    }

    async fn put_key(
        &self,
        room: &RoomId,
        key: EpochKey,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<()> {
        keys::give(self, room, endpoint, &key, deadline).await
    }

    async fn latest_key(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<RoomKey> {
        keys::latest(self, room, endpoint, deadline).await
    }

    async fn key(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        epoch: Epoch,
        deadline: Deadline,
    ) -> StoreResult<RoomKey> {
        keys::get(self, room, endpoint, epoch, deadline).await
    }

    async fn begin_rekey(&self, room: &RoomId, deadline: Deadline) -> StoreResult<Rekey> {
        rekey::begin(self, room, deadline).await
    }

    async fn put_rekey_keys(
        &self,
        rekey: &Rekey,
        keys: Vec<MemberKey>,
        deadline: Deadline,
    ) -> StoreResult<()> {
        rekey::put_keys(self, rekey, keys, deadline).await
    }

    async fn commit_rekey(
        &self,
        rekey: &Rekey,
        deadline: Deadline,
    ) -> StoreResult<Versioned<Room>> {
        rekey::commit(self, rekey, deadline).await
    }

    async fn add_user(&self, new: NewUser, deadline: Deadline) -> StoreResult<Versioned<User>> {
        users::add(self, new, deadline).await
    }

    async fn add_first_admin(
        &self,
        key: UserKey,
        handle: Handle,
        deadline: Deadline,
    ) -> StoreResult<Versioned<User>> {
        let new = NewUser { key, handle, role: UserRole::Admin };
        users::add_first_admin(self, new, deadline).await
    }

    async fn user(&self, key: &UserKey, deadline: Deadline) -> StoreResult<Versioned<User>> {
        users::get(self, key, deadline).await
    }

    async fn users(&self, page: PageRequest, deadline: Deadline) -> StoreResult<Page<User>> {
        users::page(self, List::Users, &page, deadline).await
    }

    async fn revoke_user(&self, key: &UserKey, deadline: Deadline) -> StoreResult<Versioned<User>> {
        users::revoke(self, key, deadline).await
    }

    async fn has_admin(&self, deadline: Deadline) -> StoreResult<bool> {
        let asked = users::has_admin(self, deadline);
        timeout_at(deadline.instant().into(), asked).await.unwrap_or_else(|_| Err(late()))
    }

    async fn authorize(&self, request: AuthorizeRequest, deadline: Deadline) -> Decision {
        let decided = authorize::decide(self, &request, deadline);
        match timeout_at(deadline.instant().into(), decided).await {
            Ok(decided) => conclude(decided, deadline),
            Err(_) => Decision::deny(DenyReason::Deadline, None),
        }
    }

    async fn export(
        &self,
        table: Table,
        page: PageRequest,
        deadline: Deadline,
    ) -> StoreResult<Page<Record>> {
        export::page(self, table, &page, deadline).await
    }

    async fn import(
        &self,
        records: Vec<Record>,
        mode: ImportMode,
        deadline: Deadline,
    ) -> StoreResult<ImportCounts> {
        import::records(self, records, mode, None, deadline).await
    }

    async fn sweep(&self, deadline: Deadline) -> StoreResult<SweepCounts> {
        sweep::sweep(self, deadline).await
    }
}

fn late() -> StoreError {
    StoreError::new(ErrorKind::Unavailable, "the servers did not answer in time")
}
