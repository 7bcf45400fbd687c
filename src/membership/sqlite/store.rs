//! [`MembershipStore`] over one file: each method sends its transaction down a lane.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, TransactionBehavior};
use tokio::task;
use tokio::time::timeout_at;

use super::error::late;
use super::lane::{Lane, Purpose};
use super::open::{self, Created, Opened, Settings};
use super::writing::{self, Writing};
use super::{authorize, export, import, keys, members, rekey, requests, rooms, sweep, users};
use crate::membership::authorize::{AuthorizeRequest, Decision, conclude};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::{Endpoint, Epoch, Handle, RoomId, UserKey};
use crate::membership::records::{
    Member, Origin, Room, RoomKey, UnixMillis, User, UserRole, Versioned,
};
use crate::membership::requests::{Begun, Leave, NewRequest, Outcome, RequestKey, RequestLog};
use crate::membership::snapshot::{Record, Table};
use crate::membership::store::{
    Deadline, EpochKey, ImportCounts, ImportMode, JoinedRoom, MemberAdded, MemberKey,
    MembershipStore, NewMember, NewRoom, NewUser, Page, PageRequest, Rekey, SweepCounts,
};

/// How many reads go on at once. A read takes tens of microseconds; more connections than a small
/// machine has cores bring nothing.
const READERS: usize = 4;

/// A store in one SQLite file. Several programs may use the same file at once.
pub struct SqliteStore {
    reading: Arc<Lane>,
    writing: Arc<Lane>,
    /// Under which request everything is written.
    request: Option<RequestKey>,
}

impl SqliteStore {
    /// Makes sure that there is a store at the path: a new file, readable by its owner only, or
    /// the store that is there.
    ///
    /// # Errors
    /// `ForeignStore` when the path holds something else, which is left as it is.
    pub async fn create(path: &Path, deadline: Deadline) -> StoreResult<Created> {
        let path = path.to_owned();
        blocking(deadline, move || open::create(&path, deadline)).await
    }

    /// Opens the store at the path, bringing an older schema to the newest. Makes none.
    ///
    /// # Errors
    /// `NotFound` without a store, `ForeignStore` for somebody else's file, `Corrupt` for a newer
    /// schema or a damaged file.
    pub async fn open(path: &Path, settings: Settings, deadline: Deadline) -> StoreResult<Self> {
        let path = path.to_owned();
        let work = move || open::open(&path, settings, READERS, deadline);
        let Opened { identity, writer, readers } = blocking(deadline, work).await?;
        Ok(Self {
            reading: Lane::new(Purpose::Read, identity.clone(), readers),
            writing: Lane::new(Purpose::Write, identity, vec![writer]),
            request: None,
        })
    }

    async fn read<T, W>(&self, deadline: Deadline, work: W) -> StoreResult<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> StoreResult<T> + Send + 'static,
    {
        let transaction = move |connection: &mut Connection| {
            let txn = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
            work(&txn)
        };
        self.reading.run(deadline, transaction).await
    }

    async fn write<T, W>(&self, deadline: Deadline, work: W) -> StoreResult<T>
    where
        T: Send + 'static,
        W: FnOnce(&Writing<'_>) -> StoreResult<T> + Send + 'static,
    {
        self.write_as(Origin::Service, deadline, work).await
    }

    async fn write_as<T, W>(&self, origin: Origin, deadline: Deadline, work: W) -> StoreResult<T>
    where
        T: Send + 'static,
        W: FnOnce(&Writing<'_>) -> StoreResult<T> + Send + 'static,
    {
        let request = self.request.clone();
        let mutation = move |connection: &mut Connection| {
            writing::write(connection, origin, deadline, |w| {
                if let Some(request) = &request {
                    requests::claim(w, request)?;
                }
                work(w)
            })
        };
        self.writing.run(deadline, mutation).await
    }
}

async fn blocking<T, W>(deadline: Deadline, work: W) -> StoreResult<T>
where
    T: Send + 'static,
    W: FnOnce() -> StoreResult<T> + Send + 'static,
{
    match timeout_at(deadline.instant().into(), task::spawn_blocking(work)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(panicked)) => {
            Err(StoreError::new(ErrorKind::Unavailable, "the work on the database file broke off")
                .caused_by(panicked))
        }
        Err(_) => Err(late()),
    }
}

#[async_trait]
impl MembershipStore for SqliteStore {
    async fn create_room(&self, new: NewRoom, deadline: Deadline) -> StoreResult<Versioned<Room>> {
        self.write(deadline, move |w| rooms::create(w, new)).await
    }

    async fn room(&self, room: &RoomId, deadline: Deadline) -> StoreResult<Versioned<Room>> {
        let room = room.clone();
        self.read(deadline, move |txn| rooms::get(txn, &room)).await
    }

    async fn rooms_of(
        &self,
        endpoint: &Endpoint,
        page: PageRequest,
        deadline: Deadline,
    ) -> StoreResult<Page<JoinedRoom>> {
        let endpoint = endpoint.clone();
        self.read(deadline, move |txn| rooms::of_endpoint(txn, &endpoint, &page)).await
    }

    async fn add_member(&self, new: NewMember, deadline: Deadline) -> StoreResult<MemberAdded> {
        self.write(deadline, move |w| members::add(w, &new)).await
    }

    async fn remove_member(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<()> {
        let (room, endpoint) = (room.clone(), endpoint.clone());
        self.write(deadline, move |w| members::remove(w, &room, &endpoint)).await
    }

    async fn member(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<Member> {
        let (room, endpoint) = (room.clone(), endpoint.clone());
        self.read(deadline, move |txn| members::get(txn, &room, &endpoint)).await
    }

    async fn members(
        &self,
        room: &RoomId,
        page: PageRequest,
        deadline: Deadline,
    ) -> StoreResult<Page<Member>> {
        let room = room.clone();
        self.read(deadline, move |txn| members::list(txn, &room, &page)).await
    }

    async fn put_key(
        &self,
        room: &RoomId,
        key: EpochKey,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<()> {
        let (room, endpoint) = (room.clone(), endpoint.clone());
        self.write(deadline, move |w| keys::give(w, &room, &endpoint, &key)).await
    }

    async fn latest_key(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<RoomKey> {
        let (room, endpoint) = (room.clone(), endpoint.clone());
        self.read(deadline, move |txn| keys::latest(txn, &room, &endpoint)).await
    }

    async fn key(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        epoch: Epoch,
        deadline: Deadline,
    ) -> StoreResult<RoomKey> {
        let (room, endpoint) = (room.clone(), endpoint.clone());
        self.read(deadline, move |txn| keys::get(txn, &room, &endpoint, epoch)).await
    }

    async fn begin_rekey(&self, room: &RoomId, deadline: Deadline) -> StoreResult<Rekey> {
        let room = room.clone();
        self.write(deadline, move |w| rekey::begin(w, &room, UnixMillis::now())).await
    }

    async fn put_rekey_keys(
        &self,
        rekey: &Rekey,
        keys: Vec<MemberKey>,
        deadline: Deadline,
    ) -> StoreResult<()> {
        let rekey = rekey.clone();
        self.write(deadline, move |w| rekey::put_keys(w, &rekey, &keys)).await
    }

    async fn commit_rekey(
        &self,
        rekey: &Rekey,
        deadline: Deadline,
    ) -> StoreResult<Versioned<Room>> {
        let rekey = rekey.clone();
        self.write(deadline, move |w| rekey::commit(w, &rekey)).await
    }

    async fn add_user(&self, new: NewUser, deadline: Deadline) -> StoreResult<Versioned<User>> {
        self.write(deadline, move |w| users::add(w, new)).await
    }

    async fn add_first_admin(
        &self,
        key: UserKey,
        handle: Handle,
        deadline: Deadline,
    ) -> StoreResult<Versioned<User>> {
        let new = NewUser { key, handle, role: UserRole::Admin };
        self.write(deadline, move |w| users::add_first_admin(w, new)).await
    }

    async fn user(&self, key: &UserKey, deadline: Deadline) -> StoreResult<Versioned<User>> {
        let key = *key;
        self.read(deadline, move |txn| users::get(txn, &key)).await
    }

    async fn users(&self, page: PageRequest, deadline: Deadline) -> StoreResult<Page<User>> {
        self.read(deadline, move |txn| users::list(txn, &page)).await
    }

    async fn revoke_user(&self, key: &UserKey, deadline: Deadline) -> StoreResult<Versioned<User>> {
        let key = *key;
        self.write(deadline, move |w| users::revoke(w, &key)).await
    }

    async fn has_admin(&self, deadline: Deadline) -> StoreResult<bool> {
        self.read(deadline, users::has_admin).await
    }

    async fn authorize(&self, request: AuthorizeRequest, deadline: Deadline) -> Decision {
        let decide = move |connection: &mut Connection| authorize::decide(connection, &request);
        conclude(self.reading.run(deadline, decide).await, deadline)
    }

    async fn export(
        &self,
        table: Table,
        page: PageRequest,
        deadline: Deadline,
    ) -> StoreResult<Page<Record>> {
        self.read(deadline, move |txn| export::page(txn, table, &page)).await
    }

    async fn import(
        &self,
        records: Vec<Record>,
        mode: ImportMode,
        deadline: Deadline,
    ) -> StoreResult<ImportCounts> {
        self.write_as(Origin::Import, deadline, move |w| import::records(w, &records, mode)).await
    }

    async fn sweep(&self, deadline: Deadline) -> StoreResult<SweepCounts> {
        self.write(deadline, |w| sweep::forget_dead_rekeys(w, UnixMillis::now())).await?;
        let mut total = SweepCounts::default();
        let mut after: Option<RoomId> = None;
        loop {
            let swept = self.write(deadline, move |w| sweep::next_room(w, after.as_ref())).await?;
            let Some((room, counts)) = swept else {
                return Ok(total);
            };
            total.old_keys += counts.old_keys;
            total.uncommitted += counts.uncommitted;
            after = Some(room);
        }
    }
}

#[async_trait]
impl RequestLog for SqliteStore {
    async fn begin_request(&self, new: NewRequest, deadline: Deadline) -> StoreResult<Begun> {
        self.write(deadline, move |w| requests::begin(w, &new)).await
    }

    async fn end_request(
        &self,
        key: &RequestKey,
        outcome: Outcome,
        deadline: Deadline,
    ) -> StoreResult<()> {
        let key = key.clone();
        self.write(deadline, move |w| requests::end(w, &key, &outcome, UnixMillis::now())).await
    }

    async fn forget_requests(&self, before: UnixMillis, deadline: Deadline) -> StoreResult<u64> {
        self.write(deadline, move |w| requests::forget(w, before)).await
    }

    fn under(&self, leave: &Leave) -> Arc<dyn MembershipStore> {
        Arc::new(Self {
            reading: Arc::clone(&self.reading),
            writing: Arc::clone(&self.writing),
            request: Some(leave.key.clone()),
        })
    }
}
