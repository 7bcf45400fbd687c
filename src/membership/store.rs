//! What can be done with a membership, whatever keeps it.
//!
//! Every operation is bounded by a [`Deadline`]. A write whose outcome is not known at its deadline
//! ends in [`ErrorKind::Unknown`](super::ErrorKind::Unknown), never in an error that says it failed.
//! Whether the caller may ask at all is not decided here: that is policy, and [`authorize`] is its
//! ground.
//!
//! [`authorize`]: MembershipStore::authorize

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::authorize::{AuthorizeRequest, Decision};
use super::error::StoreResult;
use super::ids::{Attempt, Endpoint, Epoch, Handle, InvalidValue, RoomId, RoomSubject, UserKey};
use super::records::{
    Member, MemberRole, Revision, Room, RoomKey, SealedKey, UnixMillis, User, UserRole, Versioned,
};
use super::rules::Verdict;
use super::snapshot::{Record, Table};

/// When an operation must have ended, on the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline this long from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// The moment itself.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// What is left of it; zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }
}

/// How many items a page may have: 1 to [`PageLimit::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct PageLimit(u16);

impl PageLimit {
    /// The largest page.
    pub const MAX: Self = Self(1000);

    /// The number of items.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u16> for PageLimit {
    type Error = InvalidValue;

    fn try_from(limit: u16) -> Result<Self, InvalidValue> {
        if (1..=Self::MAX.0).contains(&limit) {
            Ok(Self(limit))
        } else {
            Err(InvalidValue::Form { what: "page limit", expected: "a number from 1 to 1000" })
        }
    }
}

impl From<PageLimit> for u16 {
    fn from(limit: PageLimit) -> Self {
        limit.0
    }
}

/// Where the next page begins. Opaque: each store has its own, and one store's is
/// [`Invalid`](super::ErrorKind::Invalid) in another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// Which page is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// The previous page's [`Page::next`]; `None` for the first page.
    pub after: Option<Cursor>,
    /// How many items at most.
    pub limit: PageLimit,
}

/// A part of a list. A record that stood during the whole listing is in it; one that changed
/// meanwhile may come twice. The order is the store's own. A page may be shorter than asked, even
/// empty, and still have a next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where to go on; `None` when this was the last page.
    pub next: Option<Cursor>,
}

/// A room to be made. Its owner becomes its first member, its epoch is [`Epoch::FIRST`].
#[derive(Clone)]
pub struct NewRoom {
    /// The room's name.
    pub room: RoomId,
    /// The bus subject it speaks on.
    pub subject: RoomSubject,
    /// Who makes it.
    pub owner: Endpoint,
    /// The owner's sealed key: present makes the room encrypted.
    pub owner_key: Option<SealedKey>,
    /// Now.
    pub now: UnixMillis,
}

/// An endpoint to be let into a room.
#[derive(Clone)]
pub struct NewMember {
    /// The room.
    pub room: RoomId,
    /// Whom to let in.
    pub endpoint: Endpoint,
    /// Who lets the endpoint in.
    pub added_by: Endpoint,
    /// The endpoint's sealed key and the epoch it was sealed in: required by an encrypted room,
    /// which refuses another epoch than its current one as a conflict, and refused by any other.
    pub key: Option<EpochKey>,
    /// Now.
    pub now: UnixMillis,
}

/// A sealed key with the epoch it belongs to.
#[derive(Clone, PartialEq, Eq)]
pub struct EpochKey {
    /// The epoch.
    pub epoch: Epoch,
    /// The sealed bytes.
    pub sealed: SealedKey,
}

/// What letting a member in came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberAdded {
    /// The membership.
    pub member: Member,
    /// The room after it. When its epoch is past the key's, a rekey came between: the member has no
    /// key of the current epoch yet and should be given one with
    /// [`put_key`](MembershipStore::put_key).
    pub room: Versioned<Room>,
}

/// A room as one of its members sees it in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedRoom {
    /// The room.
    pub room: Room,
    /// What the endpoint is in it.
    pub role: MemberRole,
}

/// A rekey that was begun: what its pages and its commit must name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rekey {
    /// The room.
    pub room: RoomId,
    /// The epoch that the rekey would bring.
    pub epoch: Epoch,
    /// This attempt at it.
    pub attempt: Attempt,
    /// The room's revision when it was begun. Any change of roster or epoch since then makes the
    /// commit a conflict.
    pub revision: Revision,
}

/// One endpoint's key in a rekey.
#[derive(Clone, PartialEq, Eq)]
pub struct MemberKey {
    /// Whom the key is sealed for.
    pub endpoint: Endpoint,
    /// The sealed bytes.
    pub sealed: SealedKey,
}

/// A user to be let in at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// The user's public key.
    pub key: UserKey,
    /// What people call the user.
    pub handle: Handle,
    /// What the user may do.
    pub role: UserRole,
}

/// Whether an import may write over what the service wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImportMode {
    /// Keep what the service wrote.
    #[default]
    KeepNewer,
    /// Write over it.
    Force,
}

/// What an import did, record by record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImportCounts {
    /// Records that were not there before.
    pub created: u64,
    /// Records that were there and equal.
    pub equal: u64,
    /// Records of an earlier import that were written over.
    pub overwritten: u64,
    /// Records, or deletions, of the service that were kept.
    pub kept_newer: u64,
}

impl ImportCounts {
    /// Counts what was done with one record.
    pub const fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Create => self.created += 1,
            Verdict::Equal => self.equal += 1,
            Verdict::Overwrite => self.overwritten += 1,
            Verdict::KeepNewer => self.kept_newer += 1,
        }
    }
}

/// What a sweep took away or mended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SweepCounts {
    /// Rows that no committed mutation stands behind: of a create, an add or a rekey that never
    /// ended.
    pub uncommitted: u64,
    /// Keys of epochs older than the kept ones.
    pub old_keys: u64,
    /// Entries of the reverse index that were rewritten or taken out.
    pub index_repairs: u64,
    /// Deletion markers that nothing needs any more.
    pub old_markers: u64,
}

/// A membership store. Errors are those of [`ErrorKind`](super::ErrorKind); each method names the
/// ones that mean something particular.
#[async_trait]
pub trait MembershipStore: Send + Sync {
    /// Makes a room, its owner's membership and, in an encrypted room, the owner's key.
    ///
    /// # Errors
    /// `AlreadyExists` when the room is there.
    async fn create_room(&self, new: NewRoom, deadline: Deadline) -> StoreResult<Versioned<Room>>;

    /// A room.
    ///
    /// # Errors
    /// `NotFound` when there is none of this name.
    async fn room(&self, room: &RoomId, deadline: Deadline) -> StoreResult<Versioned<Room>>;

    /// The rooms that an endpoint is in.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list.
    async fn rooms_of(
        &self,
        endpoint: &Endpoint,
        page: PageRequest,
        deadline: Deadline,
    ) -> StoreResult<Page<JoinedRoom>>;

    /// Lets an endpoint into a room.
    ///
    /// # Errors
    /// `NotFound` without the room, `AlreadyExists` for a member, `Conflict` for a key of another
    /// epoch, `Invalid` for a key too many or too few.
    async fn add_member(&self, new: NewMember, deadline: Deadline) -> StoreResult<MemberAdded>;

    /// Takes an endpoint out of a room. Its keys do not show while it is out; let in again, it has
    /// those of the kept epochs again.
    ///
    /// # Errors
    /// `NotFound` without the room or the member, `Invalid` for the room's owner, who never leaves.
    async fn remove_member(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<()>;

    /// One member of a room.
    ///
    /// # Errors
    /// `NotFound` without the room or the member.
    async fn member(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<Member>;

    /// The members of a room, its owner among them.
    ///
    /// # Errors
    /// `NotFound` without the room.
    async fn members(
        &self,
        room: &RoomId,
        page: PageRequest,
        deadline: Deadline,
    ) -> StoreResult<Page<Member>>;

    /// Gives a member the key of a committed epoch that it has none of.
    ///
    /// # Errors
    /// `NotFound` without the room, the member or the epoch; `AlreadyExists` when the member has
    /// another key of that epoch; `Invalid` in a room without encryption.
    async fn put_key(
        &self,
        room: &RoomId,
        key: EpochKey,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<()>;

    /// A member's key of the newest epoch that it has one of.
    ///
    /// # Errors
    /// `NotFound` without the room, the member or a key.
    async fn latest_key(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> StoreResult<RoomKey>;

    /// A member's key of one epoch, as long as the epoch is kept.
    ///
    /// # Errors
    /// `NotFound` without the room, the member, the epoch or the key.
    async fn key(
        &self,
        room: &RoomId,
        endpoint: &Endpoint,
        epoch: Epoch,
        deadline: Deadline,
    ) -> StoreResult<RoomKey>;

    /// Begins to bring an encrypted room to its next epoch. Writes nothing that shows.
    ///
    /// # Errors
    /// `NotFound` without the room, `Invalid` in a room without encryption.
    async fn begin_rekey(&self, room: &RoomId, deadline: Deadline) -> StoreResult<Rekey>;

    /// Brings some of a rekey's keys. Nobody sees them before the commit; sending a page again is
    /// harmless, and a key for somebody who is no member never shows.
    ///
    /// # Errors
    /// `Conflict` when the room has changed since the rekey was begun.
    async fn put_rekey_keys(
        &self,
        rekey: &Rekey,
        keys: Vec<MemberKey>,
        deadline: Deadline,
    ) -> StoreResult<()>;

    /// Brings the room to the new epoch, once every member has a key of it.
    ///
    /// # Errors
    /// `Conflict` when the room has changed since the rekey was begun: begin anew. `Invalid` while
    /// a member still lacks its key.
    async fn commit_rekey(&self, rekey: &Rekey, deadline: Deadline)
    -> StoreResult<Versioned<Room>>;

    /// Lets a user in at all.
    ///
    /// # Errors
    /// `AlreadyExists` for a user that is or was there: a revoked key never comes back.
    async fn add_user(&self, new: NewUser, deadline: Deadline) -> StoreResult<Versioned<User>>;

    /// Lets in the very first admin of a store that has none and never had one.
    ///
    /// # Errors
    /// `AlreadyExists` when there is or was an admin.
    async fn add_first_admin(
        &self,
        key: UserKey,
        handle: Handle,
        deadline: Deadline,
    ) -> StoreResult<Versioned<User>>;

    /// A user.
    ///
    /// # Errors
    /// `NotFound` when there is none of this key.
    async fn user(&self, key: &UserKey, deadline: Deadline) -> StoreResult<Versioned<User>>;

    /// All users, the revoked ones too.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list.
    async fn users(&self, page: PageRequest, deadline: Deadline) -> StoreResult<Page<User>>;

    /// Sends a user away, for good. Once this has returned `Ok`, nobody is admitted under the key
    /// any more. Revoking again is no error.
    ///
    /// # Errors
    /// `NotFound` when there is none of this key.
    async fn revoke_user(&self, key: &UserKey, deadline: Deadline) -> StoreResult<Versioned<User>>;

    /// Whether there is an active admin, proven as strictly as an admission.
    ///
    /// # Errors
    /// Any doubt is an error; a gate must take an error as a refusal.
    async fn has_admin(&self, deadline: Deadline) -> StoreResult<bool>;

    /// May this user act, and in this room? Any doubt denies, within the deadline.
    async fn authorize(&self, request: AuthorizeRequest, deadline: Deadline) -> Decision;

    /// A page of what the store holds in one table, committed records only.
    ///
    /// # Errors
    /// `Invalid` for a cursor of another list. A record that cannot be read is `Corrupt`.
    async fn export(
        &self,
        table: Table,
        page: PageRequest,
        deadline: Deadline,
    ) -> StoreResult<Page<Record>>;

    /// Writes records, each create-only: one that is there is left when equal, written over when an
    /// import wrote it, and kept when the service wrote or deleted it, unless forced. Rooms must
    /// come before their members, members before their keys. A room brings its owner's membership
    /// with it; a key of an endpoint that is out of the room, or of an epoch that the room keeps no
    /// longer, counts as kept newer.
    ///
    /// # Errors
    /// `Invalid` for a member or key of a room that is not there, a key of an endpoint that never
    /// was a member, or a record that the room contradicts; `Conflict` for a room of another owner
    /// or encryption. Records before the refused one may have been written.
    async fn import(
        &self,
        records: Vec<Record>,
        mode: ImportMode,
        deadline: Deadline,
    ) -> StoreResult<ImportCounts>;

    /// Takes away what nothing needs any more and mends the reverse index. Safe beside every other
    /// operation and when run twice.
    ///
    /// # Errors
    /// As every operation.
    async fn sweep(&self, deadline: Deadline) -> StoreResult<SweepCounts>;
}
