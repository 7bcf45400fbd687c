//! Records from another store, each by the one rule of imports. Those that are new are created many
//! at a time; where that does not go through, each is looked at alone.

use std::collections::HashMap;

use super::bucket::Bucket;
use super::codec::Key;
use super::export::{Membership, Rooms};
use super::newcomers::Newcomers;
use super::store::KvStore;
use super::streams::Streams;
use super::value::{JoinedValue, KeyValue, MemberValue, RoomValue, UserValue};
use super::{keys, members, rooms, users};
use crate::jetstream::batch::BATCH_MAX;
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::{Endpoint, RoomId};
use crate::membership::records::{CommittedEpoch, MemberRole, Origin, Room, User};
use crate::membership::refusal;
use crate::membership::rules::{self, Verdict};
use crate::membership::snapshot::{
    MemberRecord, Record, RoomKeyRecord, RoomRecord, Table, UserRecord,
};
use crate::membership::store::{Deadline, ImportCounts, ImportMode};

const BY: Origin = Origin::Import;

/// One import under way.
struct Importing<'a> {
    store: &'a KvStore,
    streams: &'a Streams,
    mode: ImportMode,
    deadline: Deadline,
    /// Whom earlier imports of the same move let in, if this is one of many.
    newcomers: Option<&'a Newcomers>,
    counts: ImportCounts,
    /// The newest change of each room's roster, which its record must say in the end.
    rosters: HashMap<RoomId, u64>,
}

/// Writes the records in their order. An error leaves what was written before it.
pub(super) async fn records(
    store: &KvStore,
    records: Vec<Record>,
    mode: ImportMode,
    newcomers: Option<&Newcomers>,
    deadline: Deadline,
) -> StoreResult<ImportCounts> {
    let grows =
        [Bucket::Users, Bucket::Rooms, Bucket::Members, Bucket::RoomsByMember, Bucket::RoomKeys];
    store.streams.check_growth(&grows, deadline).await?;
    let mut importing = Importing {
        store,
        streams: &store.streams,
        mode,
        deadline,
        newcomers,
        counts: ImportCounts::default(),
        rosters: HashMap::new(),
    };
    let mut rest = records.as_slice();
    while let Some(first) = rest.first() {
        let table = first.table();
        let same = rest.iter().take(BATCH_MAX).take_while(|record| record.table() == table).count();
        let (some, others) = rest.split_at(same);
        importing.some(table, some).await?;
        rest = others;
    }
    Ok(importing.counts)
}

/// The records of one kind among some that are all of that kind.
fn of_kind<'r, T: 'r>(
    records: &'r [Record],
    kind: impl Fn(&'r Record) -> Option<&'r T>,
) -> Vec<&'r T> {
    records.iter().filter_map(kind).collect()
}

impl Importing<'_> {
    async fn some(&mut self, table: Table, records: &[Record]) -> StoreResult<()> {
        match table {
            Table::Users => {
                self.users(of_kind(records, |record| match record {
                    Record::User(user) => Some(user),
                    Record::Room(_) | Record::Member(_) | Record::RoomKey(_) => None,
                }))
                .await
            }
            Table::Rooms => {
                self.rooms(of_kind(records, |record| match record {
                    Record::Room(room) => Some(room),
                    Record::User(_) | Record::Member(_) | Record::RoomKey(_) => None,
                }))
                .await
            }
            Table::Members => {
                self.members(of_kind(records, |record| match record {
                    Record::Member(member) => Some(member),
                    Record::User(_) | Record::Room(_) | Record::RoomKey(_) => None,
                }))
                .await
            }
            Table::RoomKeys => {
                self.room_keys(of_kind(records, |record| match record {
                    Record::RoomKey(key) => Some(key),
                    Record::User(_) | Record::Room(_) | Record::Member(_) => None,
                }))
                .await
            }
        }
    }

    fn count(&mut self, verdict: Verdict) {
        self.counts.count(verdict);
    }

    fn created(&mut self, count: usize) {
        for _ in 0..count {
            self.count(Verdict::Create);
        }
    }

    async fn users(&mut self, records: Vec<&UserRecord>) -> StoreResult<()> {
        let values = records.iter().map(|record| {
            let UserRecord { key, handle, role, status } = (*record).clone();
            (Key::user(&key), UserValue { handle, role, status })
        });
        let values: Vec<(Key, UserValue)> = values.collect();
        let (bucket, streams) = (Bucket::Users, self.streams);
        if streams.create_all(bucket, &values, BY, self.deadline).await?.is_some() {
            self.created(records.len());
            return Ok(());
        }
        for record in records {
            let verdict = self.user(record).await?;
            self.count(verdict);
        }
        Ok(())
    }

    async fn user(&self, record: &UserRecord) -> StoreResult<Verdict> {
        let UserRecord { key, handle, role, status } = record.clone();
        let user = User { key, handle, role, status };
        loop {
            let slot = users::slot(self.store, &key, self.deadline).await?;
            let value = UserValue::of(&user);
            let verdict = rules::import_verdict(slot.found(|there| *there == value), self.mode);
            if !writes(verdict) {
                return Ok(verdict);
            }
            let written = (BY, slot.at);
            match users::put(self.store, user.clone(), written, self.deadline).await {
                Ok(_) => return Ok(verdict),
                Err(error) => self.look_again(error)?,
            }
        }
    }

    async fn rooms(&mut self, records: Vec<&RoomRecord>) -> StoreResult<()> {
        let made = records.iter().map(|record| new_room(record));
        let made: Vec<Room> = made.collect::<StoreResult<_>>()?;
        let (streams, deadline) = (self.streams, self.deadline);
        let index = made.iter().map(|room| {
            let value = JoinedValue { incarnation: room.incarnation };
            (Key::joined(&room.owner, &room.id), value)
        });
        let index: Vec<(Key, JoinedValue)> = index.collect();
        let values = made.iter().map(|room| (Key::room(&room.id), RoomValue::of(room)));
        let values: Vec<(Key, RoomValue)> = values.collect();
        let bucket = Bucket::RoomsByMember;
        let created = streams.create_all(bucket, &index, BY, deadline).await?.is_some()
            && streams.create_all(Bucket::Rooms, &values, BY, deadline).await?.is_some();
        if created {
            self.created(records.len());
            made.iter().for_each(|room| self.note_newcomer(&room.id, &room.owner));
            return self.owners(&made).await;
        }
        for record in records {
            let verdict = self.room(record).await?;
            self.count(verdict);
        }
        Ok(())
    }

    /// The owners' own records, in one go where they are new.
    async fn owners(&self, rooms: &[Room]) -> StoreResult<()> {
        let values = rooms.iter().map(|room| {
            let key = Key::member(&room.id, &room.owner);
            (key, members::owner_value(room))
        });
        let values: Vec<(Key, MemberValue)> = values.collect();
        let (streams, deadline) = (self.streams, self.deadline);
        if streams.create_all(Bucket::Members, &values, BY, deadline).await?.is_none() {
            for room in rooms {
                members::put_owner(streams, room, BY, deadline).await?;
            }
        }
        Ok(())
    }

    async fn room(&self, record: &RoomRecord) -> StoreResult<Verdict> {
        loop {
            let slot = rooms::slot(self.streams, &record.room, self.deadline).await?;
            let (at, found) = (slot.at, slot.found(|_| false));
            let Some(there) = slot.value else {
                let verdict = rules::import_verdict(found, self.mode);
                if !writes(verdict) {
                    return Ok(verdict);
                }
                match self.make_room(record, at).await {
                    Ok(()) => return Ok(verdict),
                    Err(error) => self.look_again(error)?,
                }
                continue;
            };
            let origin = slot.mark.map_or(Origin::Service, |mark| mark.origin);
            let there = there.room(record.room.clone());
            rules::check_same_room(&there, record)?;
            let equal = rules::equals_room(&there, record);
            let found = rules::Found::Something { equal, origin };
            let verdict = rules::import_verdict(found, self.mode);
            if !writes(verdict) {
                members::put_owner(self.streams, &there, BY, self.deadline).await?;
                return Ok(verdict);
            }
            let room = rules::overwritten_room(there, record, rooms::random_attempt()?);
            match rooms::put(self.streams, room, (BY, at), self.deadline).await {
                Ok(_) => return Ok(verdict),
                Err(error) => self.look_again(error)?,
            }
        }
    }

    async fn make_room(&self, record: &RoomRecord, at: u64) -> StoreResult<()> {
        let room = new_room(record)?;
        members::index(self.streams, &room, &room.owner, BY, self.deadline).await?;
        let room = rooms::put(self.streams, room, (BY, at), self.deadline).await?.record;
        members::put_owner(self.streams, &room, BY, self.deadline).await.map(drop)
    }

    /// The owners came with their rooms, so they are looked at one by one.
    async fn members(&mut self, records: Vec<&MemberRecord>) -> StoreResult<()> {
        let mut known = Rooms::new(self.streams, self.deadline);
        let (mut index, mut values, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            let room = known.get(&record.room).await?;
            let room = room.ok_or_else(|| refusal::room_comes_first(&record.room))?;
            rules::check_imported_member(room, record)?;
            if record.role == MemberRole::Owner {
                alone.push(record);
                continue;
            }
            let MemberRecord { room: id, endpoint, .. } = record;
            let incarnation = room.incarnation;
            index.push((Key::joined(endpoint, id), JoinedValue { incarnation }));
            values.push((record, Key::member(id, endpoint), member_value(room, record)));
        }
        let made = self.new_members(&index, &values).await?;
        if !made {
            alone.extend(values.iter().map(|(record, ..)| *record));
        }
        for record in alone {
            let verdict = self.member(&mut known, record).await?;
            self.count(verdict);
        }
        self.note_rosters().await
    }

    /// Creates members in one go; `false` when they must be looked at one by one.
    async fn new_members(
        &mut self,
        index: &[(Key, JoinedValue)],
        members: &[(&MemberRecord, Key, MemberValue)],
    ) -> StoreResult<bool> {
        let values = members.iter().map(|(_, key, value)| (key.clone(), value.clone()));
        let values: Vec<(Key, MemberValue)> = values.collect();
        let (streams, deadline) = (self.streams, self.deadline);
        let bucket = Bucket::RoomsByMember;
        if values.is_empty() || streams.create_all(bucket, index, BY, deadline).await?.is_none() {
            return Ok(values.is_empty());
        }
        let made = streams.create_all(Bucket::Members, &values, BY, deadline).await?;
        let Some(roster) = made else {
            return Ok(false);
        };
        self.created(members.len());
        members.iter().for_each(|(record, ..)| self.note_newcomer(&record.room, &record.endpoint));
        // The last one's revision is known, and the others are the numbers before it. Each room must
        // say its own newest change: one that it does not have would never be seen by a strict look.
        let others = u64::try_from(members.len()).unwrap_or(u64::MAX);
        for ((record, ..), at) in members.iter().zip(roster.saturating_sub(others) + 1..) {
            self.changed(&record.room, at);
        }
        Ok(true)
    }

    fn note_newcomer(&self, room: &RoomId, endpoint: &Endpoint) {
        if let Some(newcomers) = self.newcomers {
            newcomers.note(room, endpoint);
        }
    }

    fn is_newcomer(&self, key: &RoomKeyRecord) -> bool {
        self.newcomers.is_some_and(|newcomers| newcomers.has(&key.room, &key.endpoint))
    }

    fn changed(&mut self, room: &RoomId, roster: u64) {
        let newest = self.rosters.entry(room.clone()).or_default();
        *newest = roster.max(*newest);
    }

    /// Every rekey under way must notice; whose write the room is does not change by it.
    async fn note_rosters(&mut self) -> StoreResult<()> {
        for (room, roster) in std::mem::take(&mut self.rosters) {
            rooms::note_roster(self.streams, &room, roster, None, self.deadline).await?;
        }
        Ok(())
    }

    async fn member(
        &mut self,
        known: &mut Rooms<'_>,
        record: &MemberRecord,
    ) -> StoreResult<Verdict> {
        let room = known.get(&record.room).await?;
        let room = room.ok_or_else(|| refusal::room_comes_first(&record.room))?.clone();
        let value = member_value(&room, record);
        let MemberRecord { endpoint, .. } = record;
        loop {
            let slot = members::slot(self.streams, &room.id, endpoint, self.deadline).await?;
            let verdict = rules::import_verdict(slot.found(|there| *there == value), self.mode);
            if !writes(verdict) {
                return Ok(verdict);
            }
            members::index(self.streams, &room, endpoint, BY, self.deadline).await?;
            let (key, written) = (Key::member(&room.id, endpoint), (BY, slot.at));
            let bucket = Bucket::Members;
            match self.streams.put(bucket, &key, &value, written, self.deadline).await {
                Ok(roster) => {
                    self.changed(&room.id, roster);
                    return Ok(verdict);
                }
                Err(error) => self.look_again(error)?,
            }
        }
    }

    async fn room_keys(&mut self, records: Vec<&RoomKeyRecord>) -> StoreResult<()> {
        let mut known = Rooms::new(self.streams, self.deadline);
        let others = records.iter().filter(|record| !self.is_newcomer(record));
        known.learn(others.map(|record| (&record.room, &record.endpoint))).await?;
        let mut values = Vec::new();
        for record in records {
            match self.place(&mut known, record).await? {
                Some(place) => values.push((record, place)),
                None => self.count(Verdict::KeepNewer),
            }
        }
        let keys = values.iter().map(|(record, place)| {
            let RoomKeyRecord { room, endpoint, sealed, .. } = *record;
            let key = Key::sealed(room, endpoint, place.epoch, place.attempt);
            (key, KeyValue::of(sealed))
        });
        let keys: Vec<(Key, KeyValue)> = keys.collect();
        let (bucket, streams) = (Bucket::RoomKeys, self.streams);
        if keys.is_empty() || streams.create_all(bucket, &keys, BY, self.deadline).await?.is_some()
        {
            self.created(keys.len());
            return Ok(());
        }
        for (record, place) in values {
            let verdict = self.room_key(record, place).await?;
            self.count(verdict);
        }
        Ok(())
    }

    /// Where a key goes; `None` when it is older than what is there.
    async fn place(
        &self,
        known: &mut Rooms<'_>,
        record: &RoomKeyRecord,
    ) -> StoreResult<Option<CommittedEpoch>> {
        let room = known.get(&record.room).await?;
        let room = room.ok_or_else(|| refusal::room_comes_first(&record.room))?;
        let attempt = rules::place_of_imported_key(room, record)?;
        let epoch = record.epoch;
        let membership = if self.is_newcomer(record) {
            Membership::In
        } else {
            known.membership(&record.room, &record.endpoint).await?
        };
        match membership {
            Membership::Never => Err(refusal::never_a_member(&record.room, &record.endpoint)),
            Membership::Out => Ok(None),
            Membership::In => Ok(attempt.map(|attempt| CommittedEpoch { epoch, attempt })),
        }
    }

    async fn room_key(
        &self,
        record: &RoomKeyRecord,
        place: CommittedEpoch,
    ) -> StoreResult<Verdict> {
        let RoomKeyRecord { room, endpoint, sealed, .. } = record;
        let key = Key::sealed(room, endpoint, place.epoch, place.attempt);
        let value = KeyValue::of(sealed);
        loop {
            let slot = keys::slot(self.streams, room, endpoint, place, self.deadline).await?;
            let verdict = rules::import_verdict(slot.found(|there| there == sealed), self.mode);
            if !writes(verdict) {
                return Ok(verdict);
            }
            let (bucket, written) = (Bucket::RoomKeys, (BY, slot.at));
            match self.streams.put(bucket, &key, &value, written, self.deadline).await {
                Ok(_) => return Ok(verdict),
                Err(error) => self.look_again(error)?,
            }
        }
    }

    /// Somebody was first: what is there is looked at again, while there is time.
    fn look_again(&self, error: StoreError) -> StoreResult<()> {
        if error.kind() == ErrorKind::Conflict && !self.deadline.has_passed() {
            return Ok(());
        }
        Err(error)
    }
}

fn member_value(room: &Room, record: &MemberRecord) -> MemberValue {
    let (added_by, added_at) = (record.added_by.clone(), record.added_at);
    MemberValue { incarnation: room.incarnation, added_by, added_at }
}

const fn writes(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Create | Verdict::Overwrite => true,
        Verdict::Equal | Verdict::KeepNewer => false,
    }
}

fn new_room(record: &RoomRecord) -> StoreResult<Room> {
    let (life, attempt) = (rooms::random_incarnation()?, rooms::random_attempt()?);
    Ok(rules::imported_room(record, life, attempt, 0))
}
