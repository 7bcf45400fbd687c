//! What a move into the buckets needs of them beyond what every store can do: how much fits, proof
//! that nobody wrote meanwhile, and taking back what an import wrote.

use super::bucket::Bucket;
use super::capacity::growth_limit;
use super::codec::Key;
use super::newcomers::Newcomers;
use super::store::KvStore;
use super::streams::Streams;
use super::value::{JoinedValue, RoomValue, Slot, UserValue};
use super::{import, keys, members, rooms, users};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::records::{CommittedEpoch, Origin, Room};
use crate::membership::rules;
use crate::membership::snapshot::{MemberRecord, Record, RoomKeyRecord, RoomRecord, UserRecord};
use crate::membership::store::{Deadline, ImportCounts, ImportMode};

const BY: Origin = Origin::Import;

/// The buckets that records are in.
const RECORDS: [Bucket; 5] =
    [Bucket::Users, Bucket::Rooms, Bucket::Members, Bucket::RoomsByMember, Bucket::RoomKeys];

/// A point in each bucket's order of writes that a quorum agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks([u64; RECORDS.len()]);

impl KvStore {
    /// Whether there is, or was, any record of a membership.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn holds_records(&self, deadline: Deadline) -> StoreResult<bool> {
        for bucket in RECORDS {
            let stretch = self.streams.walk(bucket, &Key::all(bucket), 1, 1, deadline).await?;
            if !stretch.messages.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// As [`MembershipStore::import`], as one of many that are one move.
    ///
    /// [`MembershipStore::import`]: crate::membership::MembershipStore::import
    ///
    /// # Errors
    /// As there.
    pub async fn import_of_move(
        &self,
        records: Vec<Record>,
        mode: ImportMode,
        newcomers: &Newcomers,
        deadline: Deadline,
    ) -> StoreResult<ImportCounts> {
        import::records(self, records, mode, Some(newcomers), deadline).await
    }

    /// How many bytes a bucket takes before it refuses what grows.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn growth_limit(&self, bucket: Bucket, deadline: Deadline) -> StoreResult<u64> {
        let info = self.streams.info(bucket, deadline).await?;
        Ok(growth_limit(&info))
    }

    /// Marks this moment in every bucket. What was acknowledged before it stands before its marks.
    ///
    /// # Errors
    /// `Unavailable` without a quorum.
    pub async fn mark(&self, deadline: Deadline) -> StoreResult<Marks> {
        let mut marks = [0; RECORDS.len()];
        for (bucket, mark) in RECORDS.into_iter().zip(&mut marks) {
            *mark = self.fences.mark(bucket, deadline).await?;
        }
        Ok(Marks(marks))
    }

    /// Whether anybody wrote a record between two moments. Only a leader that has the later marks
    /// is believed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn was_written_between(
        &self,
        from: &Marks,
        to: &Marks,
        deadline: Deadline,
    ) -> StoreResult<bool> {
        for (bucket, (from, to)) in RECORDS.into_iter().zip(from.0.into_iter().zip(to.0)) {
            if self.was_written(bucket, from, to, deadline).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn was_written(
        &self,
        bucket: Bucket,
        from: u64,
        to: u64,
        deadline: Deadline,
    ) -> StoreResult<bool> {
        let mut at = from + 1;
        loop {
            let next = self.streams.next(bucket, &Key::everything(), at, deadline).await?;
            let message = next.ok_or_else(behind)?;
            // A mark that shares its subject with a later one is gone.
            if message.sequence >= to {
                return Ok(false);
            }
            if self.streams.key_of(bucket, &message).is_some() {
                return Ok(true);
            }
            at = message.sequence + 1;
        }
    }

    /// Takes a record away if an import wrote it and it is as it was read. Whether it did.
    ///
    /// # Errors
    /// `Unavailable`, `Unknown`, `Corrupt`.
    pub async fn remove_imported(&self, record: &Record, deadline: Deadline) -> StoreResult<bool> {
        let removed = match record {
            Record::User(user) => self.remove_user(user, deadline).await,
            Record::Room(room) => remove_room(&self.streams, room, deadline).await,
            Record::Member(member) => remove_member(&self.streams, member, deadline).await,
            Record::RoomKey(key) => remove_key(&self.streams, key, deadline).await,
        };
        match removed {
            // Somebody else changed it, so it is no longer as it was read.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
            ended => ended,
        }
    }

    async fn remove_user(&self, record: &UserRecord, deadline: Deadline) -> StoreResult<bool> {
        let UserRecord { key, handle, role, status } = record.clone();
        let slot = users::slot(self, &key, deadline).await?;
        let imported = UserValue { handle, role, status };
        let Some(at) = imported_at(&slot, |there| *there == imported) else { return Ok(false) };
        self.streams.delete(Bucket::Users, &Key::user(&key), (BY, at), deadline).await?;
        Ok(true)
    }
}

async fn remove_room(
    streams: &Streams,
    record: &RoomRecord,
    deadline: Deadline,
) -> StoreResult<bool> {
    let slot = rooms::slot(streams, &record.room, deadline).await?;
    let equal = |there: &_| rules::equals_room(&room_of(there, record), record);
    let Some(at) = imported_at(&slot, equal) else { return Ok(false) };
    streams.delete(Bucket::Rooms, &Key::room(&record.room), (BY, at), deadline).await?;
    Ok(true)
}

fn room_of(value: &RoomValue, record: &RoomRecord) -> Room {
    value.clone().room(record.room.clone())
}

/// The member goes first, then the entry by which it finds the room, as when the service removes it.
async fn remove_member(
    streams: &Streams,
    record: &MemberRecord,
    deadline: Deadline,
) -> StoreResult<bool> {
    let MemberRecord { room, endpoint, added_by, added_at, .. } = record;
    let slot = members::slot(streams, room, endpoint, deadline).await?;
    let equal =
        imported_at(&slot, |there| (&there.added_by, &there.added_at) == (added_by, added_at));
    let Some(at) = equal else { return Ok(false) };
    let entry = Key::joined(endpoint, room);
    let indexed: Slot<JoinedValue> = streams.get(Bucket::RoomsByMember, &entry, deadline).await?;
    let key = Key::member(room, endpoint);
    let roster = streams.delete(Bucket::Members, &key, (BY, at), deadline).await?;
    rooms::note_roster(streams, room, roster, None, deadline).await?;
    if indexed.value.is_some() {
        streams.delete(Bucket::RoomsByMember, &entry, (BY, indexed.at), deadline).await?;
    }
    Ok(true)
}

async fn remove_key(
    streams: &Streams,
    record: &RoomKeyRecord,
    deadline: Deadline,
) -> StoreResult<bool> {
    let RoomKeyRecord { room, endpoint, epoch, sealed } = record;
    let found = rooms::find(streams, room, deadline).await?;
    let attempt = found.and_then(|room| room.record.epochs.attempt_of(*epoch));
    // A key without its room shows nowhere.
    let Some(attempt) = attempt else { return Ok(false) };
    let place = CommittedEpoch { epoch: *epoch, attempt };
    let slot = keys::slot(streams, room, endpoint, place, deadline).await?;
    let Some(at) = imported_at(&slot, |there| there == sealed) else { return Ok(false) };
    let key = Key::sealed(room, endpoint, *epoch, attempt);
    streams.delete(Bucket::RoomKeys, &key, (BY, at), deadline).await?;
    Ok(true)
}

/// The revision of a record that an import wrote and that is the one that is meant.
fn imported_at<T>(slot: &Slot<T>, equal: impl FnOnce(&T) -> bool) -> Option<u64> {
    let meant = slot.origin() == BY && slot.value.as_ref().is_some_and(equal);
    meant.then_some(slot.at)
}

fn behind() -> StoreError {
    StoreError::new(
        ErrorKind::Unavailable,
        "a bucket was read from a server that is behind: try again",
    )
}
