//! The rooms. A room is there from the moment its own record is; everything else of it names the
//! room's life, so that what a broken create left behind never shows.

use futures_util::future::{try_join, try_join_all};

use super::bucket::Bucket;
use super::codec::Key;
use super::cursor::{self, List};
use super::refusal::{no_name, unfinished};
use super::store::KvStore;
use super::streams::Streams;
use super::value::{JoinedValue, MemberValue, RoomValue, Slot, read};
use super::walk::Stretch;
use super::{keys, members};
use crate::jetstream::message::StoredMessage;
use crate::membership::error::{ErrorKind, StoreResult};
use crate::membership::ids::{Attempt, Endpoint, Epoch, Incarnation, RoomId};
use crate::membership::records::{
    CommittedEpoch, MemberRole, Origin, RecentEpochs, Revision, Room, Versioned,
};
use crate::membership::store::{Deadline, JoinedRoom, NewRoom, Page, PageRequest};
use crate::membership::{refusal, rules};

/// What is at a room's key.
pub(super) async fn slot(
    streams: &Streams,
    room: &RoomId,
    deadline: Deadline,
) -> StoreResult<Slot<RoomValue>> {
    streams.get(Bucket::Rooms, &Key::room(room), deadline).await
}

pub(super) async fn find(
    streams: &Streams,
    id: &RoomId,
    deadline: Deadline,
) -> StoreResult<Option<Versioned<Room>>> {
    let Slot { at, value, .. } = slot(streams, id, deadline).await?;
    let revision = Revision(at);
    Ok(value.map(|value| Versioned { record: value.room(id.clone()), revision }))
}

pub(super) async fn get(
    streams: &Streams,
    id: &RoomId,
    deadline: Deadline,
) -> StoreResult<Versioned<Room>> {
    find(streams, id, deadline).await?.ok_or_else(|| refusal::no_room(id))
}

/// As [`get`], but nobody's mere word that there is no such room is believed.
pub(super) async fn get_proven(
    store: &KvStore,
    id: &RoomId,
    deadline: Deadline,
) -> StoreResult<Versioned<Room>> {
    loop {
        let Slot { at, value, .. } = slot(&store.streams, id, deadline).await?;
        if let Some(value) = value {
            return Ok(Versioned { record: value.room(id.clone()), revision: Revision(at) });
        }
        if store.stood(Bucket::Rooms, &Key::room(id), at, deadline).await? {
            return Err(refusal::no_room(id));
        }
    }
}

/// Writes a room over a revision.
pub(super) async fn put(
    streams: &Streams,
    room: Room,
    written: (Origin, u64),
    deadline: Deadline,
) -> StoreResult<Versioned<Room>> {
    let (key, value) = (Key::room(&room.id), RoomValue::of(&room));
    let at = streams.put(Bucket::Rooms, &key, &value, written, deadline).await?;
    Ok(Versioned { record: room, revision: Revision(at) })
}

/// The owner's key and index come first, then the room, by which it is there; the owner's membership
/// is written last, and until then the room's own word stands for it.
pub(super) async fn create(
    store: &KvStore,
    new: NewRoom,
    deadline: Deadline,
) -> StoreResult<Versioned<Room>> {
    let streams = &store.streams;
    if slot(streams, &new.room, deadline).await?.at > 0 {
        return Err(refusal::room_exists(&new.room));
    }
    let grows = [Bucket::Rooms, Bucket::Members, Bucket::RoomsByMember, Bucket::RoomKeys];
    streams.check_growth(&grows, deadline).await?;
    let first = CommittedEpoch { epoch: Epoch::FIRST, attempt: random_attempt()? };
    let room = Room {
        id: new.room,
        incarnation: random_incarnation()?,
        subject: new.subject,
        owner: new.owner,
        encrypted: new.owner_key.is_some(),
        epochs: RecentEpochs::ending_at(first),
        roster_revision: 0,
        created_at: new.now,
    };
    let by = Origin::Service;
    if let Some(sealed) = &new.owner_key {
        keys::put(streams, &room.id, &room.owner, first, sealed, by, deadline).await?;
    }
    members::index(streams, &room, &room.owner, by, deadline).await?;
    let id = room.id.clone();
    let room = put(streams, room, (by, 0), deadline)
        .await
        .map_err(|error| error.on_conflict(|| refusal::room_exists(&id)))?;
    members::put_owner(streams, &room.record, by, deadline).await.map_err(unfinished)?;
    Ok(room)
}

/// Makes the room say that its roster changed at this revision of the members' bucket. Whoever finds
/// a later one there has nothing to do: that write knew of this one.
pub(super) async fn note_roster(
    streams: &Streams,
    id: &RoomId,
    roster: u64,
    by: Option<Origin>,
    deadline: Deadline,
) -> StoreResult<Versioned<Room>> {
    loop {
        let slot = slot(streams, id, deadline).await?;
        let (at, origin) = (slot.at, slot.origin());
        let room = slot.value.ok_or_else(|| refusal::no_room(id))?.room(id.clone());
        if room.roster_revision >= roster {
            return Ok(Versioned { record: room, revision: Revision(at) });
        }
        let room = Room { roster_revision: roster, ..room };
        match put(streams, room, (by.unwrap_or(origin), at), deadline).await {
            Err(error) if error.kind() == ErrorKind::Conflict && !deadline.has_passed() => {}
            ended => return ended,
        }
    }
}

pub(super) async fn of_endpoint(
    store: &KvStore,
    endpoint: &Endpoint,
    request: &PageRequest,
    deadline: Deadline,
) -> StoreResult<Page<JoinedRoom>> {
    let list = List::RoomsOf(endpoint.to_string());
    let from = cursor::start(&list, request)?;
    let (bucket, limit) = (Bucket::RoomsByMember, request.limit.get());
    let filter = Key::joined_by(endpoint);
    let Stretch { messages, next } =
        store.streams.walk(bucket, &filter, from, limit, deadline).await?;
    let mut entries = Vec::with_capacity(messages.len());
    for (key, message) in messages {
        let (_, room) = key.as_joined().ok_or_else(|| no_name(bucket, &key))?;
        let slot: Slot<JoinedValue> = read(bucket, &key, &message)?;
        entries.extend(slot.value.map(|_| room));
    }
    let joined = entries.iter().map(|room| joined(&store.streams, room, endpoint, deadline));
    let items = try_join_all(joined).await?.into_iter().flatten().collect();
    cursor::page(list, items, next)
}

/// An entry of the index shows only what the room and the membership say.
async fn joined(
    streams: &Streams,
    room: &RoomId,
    endpoint: &Endpoint,
    deadline: Deadline,
) -> StoreResult<Option<JoinedRoom>> {
    let (room, member) =
        try_join(find(streams, room, deadline), members::slot(streams, room, endpoint, deadline))
            .await?;
    Ok(room.and_then(|Versioned { record: room, .. }| {
        let role = rules::role_of(&room, endpoint);
        is_in(&room, role, &member).then_some(JoinedRoom { room, role })
    }))
}

/// The owner is in by the room's word, everybody else by a membership of this life of the room.
pub(super) fn is_in(room: &Room, role: MemberRole, member: &Slot<MemberValue>) -> bool {
    match role {
        MemberRole::Owner => true,
        MemberRole::Member => {
            member.value.as_ref().is_some_and(|member| member.incarnation == room.incarnation)
        }
    }
}

/// A page of all rooms, with where it goes on.
pub(super) async fn page(
    streams: &Streams,
    from: u64,
    limit: usize,
    deadline: Deadline,
) -> StoreResult<(Vec<(Versioned<Room>, Origin)>, Option<u64>)> {
    let filter = Key::all(Bucket::Rooms);
    let stretch = streams.walk(Bucket::Rooms, &filter, from, limit, deadline).await?;
    let mut rooms = Vec::with_capacity(stretch.messages.len());
    for (key, message) in stretch.messages {
        rooms.extend(room(&key, &message)?);
    }
    Ok((rooms, stretch.next))
}

fn room(key: &Key, message: &StoredMessage) -> StoreResult<Option<(Versioned<Room>, Origin)>> {
    let id = key.as_room().ok_or_else(|| no_name(Bucket::Rooms, key))?;
    let slot: Slot<RoomValue> = read(Bucket::Rooms, key, message)?;
    let (origin, revision) = (slot.origin(), Revision(slot.at));
    Ok(slot.value.map(|value| (Versioned { record: value.room(id), revision }, origin)))
}

pub(super) fn random_attempt() -> StoreResult<Attempt> {
    Attempt::random().map_err(refusal::no_random_bytes)
}

pub(super) fn random_incarnation() -> StoreResult<Incarnation> {
    Incarnation::random().map_err(refusal::no_random_bytes)
}
