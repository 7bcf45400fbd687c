//! The store as records that mean the same everywhere, page by page.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join_all;

use super::bucket::Bucket;
use super::codec::Key;
use super::cursor::{self, List};
use super::refusal::no_name;
use super::store::KvStore;
use super::streams::Streams;
use super::value::{KeyValue, MemberValue, Slot, read};
use super::{keys, members, rooms, users};
use crate::membership::error::StoreResult;
use crate::membership::ids::{Attempt, Endpoint, Epoch, RoomId};
use crate::membership::records::{Member, Room};
use crate::membership::snapshot::{MemberRecord, Record, RoomKeyRecord, Table};
use crate::membership::store::{Deadline, Page, PageRequest};

/// How many memberships are asked for at once.
const AT_ONCE: usize = 64;

pub(super) async fn page(
    store: &KvStore,
    table: Table,
    request: &PageRequest,
    deadline: Deadline,
) -> StoreResult<Page<Record>> {
    match table {
        Table::Users => {
            let page = users::page(store, List::ExportedUsers, request, deadline).await?;
            let items = page.items.into_iter().map(Record::from).collect();
            Ok(Page { items, next: page.next })
        }
        Table::Rooms => all_rooms(&store.streams, request, deadline).await,
        Table::Members => all_members(&store.streams, request, deadline).await,
        Table::RoomKeys => all_keys(&store.streams, request, deadline).await,
    }
}

async fn all_rooms(
    streams: &Streams,
    request: &PageRequest,
    deadline: Deadline,
) -> StoreResult<Page<Record>> {
    let list = List::ExportedRooms;
    let from = cursor::start(&list, request)?;
    let (rooms, next) = rooms::page(streams, from, request.limit.get(), deadline).await?;
    let items = rooms.into_iter().map(|(room, _)| room.record.into()).collect();
    cursor::page(list, items, next)
}

async fn all_members(
    streams: &Streams,
    request: &PageRequest,
    deadline: Deadline,
) -> StoreResult<Page<Record>> {
    let (list, bucket) = (List::ExportedMembers, Bucket::Members);
    let from = cursor::start(&list, request)?;
    let (filter, limit) = (Key::all(bucket), request.limit.get());
    let stretch = streams.walk(bucket, &filter, from, limit, deadline).await?;
    let mut rooms = Rooms::new(streams, deadline);
    let mut items = Vec::new();
    for (key, message) in stretch.messages {
        let (id, endpoint) = key.as_member().ok_or_else(|| no_name(bucket, &key))?;
        let slot: Slot<MemberValue> = read(bucket, &key, &message)?;
        if let (Some(value), Some(room)) = (slot.value, rooms.get(&id).await?) {
            let is_in = value.incarnation == room.incarnation;
            items.extend(is_in.then(|| member_record(value.member(room, endpoint))));
        }
    }
    cursor::page(list, items, stretch.next)
}

fn member_record(member: Member) -> Record {
    let Member { room, endpoint, role, added_by, added_at, .. } = member;
    Record::Member(MemberRecord { room, endpoint, role, added_by, added_at })
}

async fn all_keys(
    streams: &Streams,
    request: &PageRequest,
    deadline: Deadline,
) -> StoreResult<Page<Record>> {
    let (list, bucket) = (List::ExportedKeys, Bucket::RoomKeys);
    let from = cursor::start(&list, request)?;
    let (filter, limit) = (Key::all(bucket), request.limit.get());
    let stretch = streams.walk(bucket, &filter, from, limit, deadline).await?;
    let mut rooms = Rooms::new(streams, deadline);
    let mut committed = Vec::new();
    for (key, message) in stretch.messages {
        let (room, endpoint, epoch, attempt) =
            key.as_sealed().ok_or_else(|| no_name(bucket, &key))?;
        let slot = keys::opened(&key, read::<KeyValue>(bucket, &key, &message)?)?;
        let Some(sealed) = slot.value else {
            continue;
        };
        if rooms.has_committed(&room, epoch, attempt).await? {
            committed.push(RoomKeyRecord { room, endpoint, epoch, sealed });
        }
    }
    rooms.learn(committed.iter().map(|key| (&key.room, &key.endpoint))).await?;
    let mut items = Vec::with_capacity(committed.len());
    for record in committed {
        if rooms.membership(&record.room, &record.endpoint).await? == Membership::In {
            items.push(Record::RoomKey(record));
        }
    }
    cursor::page(list, items, stretch.next)
}

/// The rooms and memberships that a page asks about again and again, each read once.
pub(super) struct Rooms<'a> {
    streams: &'a Streams,
    deadline: Deadline,
    rooms: HashMap<RoomId, Option<Room>>,
    members: HashMap<(RoomId, Endpoint), Membership>,
}

impl<'a> Rooms<'a> {
    pub(super) fn new(streams: &'a Streams, deadline: Deadline) -> Self {
        Self { streams, deadline, rooms: HashMap::new(), members: HashMap::new() }
    }

    pub(super) async fn get(&mut self, id: &RoomId) -> StoreResult<Option<&Room>> {
        if !self.rooms.contains_key(id) {
            let found = rooms::find(self.streams, id, self.deadline).await?;
            self.rooms.insert(id.clone(), found.map(|room| room.record));
        }
        Ok(self.rooms.get(id).and_then(Option::as_ref))
    }

    async fn has_committed(
        &mut self,
        id: &RoomId,
        epoch: Epoch,
        attempt: Attempt,
    ) -> StoreResult<bool> {
        let room = self.get(id).await?;
        Ok(room.is_some_and(|room| room.epochs.attempt_of(epoch) == Some(attempt)))
    }

    /// What an endpoint is to a room.
    pub(super) async fn membership(
        &mut self,
        id: &RoomId,
        endpoint: &Endpoint,
    ) -> StoreResult<Membership> {
        let place = (id.clone(), endpoint.clone());
        if let Some(known) = self.members.get(&place) {
            return Ok(*known);
        }
        let slot = members::slot(self.streams, id, endpoint, self.deadline).await?;
        self.note(place, slot).await
    }

    /// Reads the memberships that are not known yet, many at once: asked for one by one they would
    /// take longer than all else that is done with a page.
    pub(super) async fn learn<'p>(
        &mut self,
        places: impl Iterator<Item = (&'p RoomId, &'p Endpoint)>,
    ) -> StoreResult<()> {
        let places: HashSet<_> =
            places.map(|(id, endpoint)| (id.clone(), endpoint.clone())).collect();
        let unknown: Vec<_> =
            places.into_iter().filter(|place| !self.members.contains_key(place)).collect();
        for some in unknown.chunks(AT_ONCE) {
            let slots = some
                .iter()
                .map(|(id, endpoint)| members::slot(self.streams, id, endpoint, self.deadline));
            for (place, slot) in some.iter().zip(try_join_all(slots).await?) {
                self.note(place.clone(), slot).await?;
            }
        }
        Ok(())
    }

    /// What is at a member's key, beside the room.
    async fn note(
        &mut self,
        place: (RoomId, Endpoint),
        slot: Slot<MemberValue>,
    ) -> StoreResult<Membership> {
        let (id, endpoint) = &place;
        let ever = slot.at > 0;
        let room = self.get(id).await?;
        let member = room.and_then(|room| members::in_room(room, endpoint, slot));
        let membership = match (member, ever) {
            (Some(_), _) => Membership::In,
            (None, true) => Membership::Out,
            (None, false) => Membership::Never,
        };
        self.members.insert(place, membership);
        Ok(membership)
    }
}

/// What an endpoint is to a room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Membership {
    In,
    Out,
    Never,
}
