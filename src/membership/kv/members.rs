//! The members of rooms, and the index by which an endpoint finds its rooms. The index is derived: it
//! is written first and taken back last, and what it says is checked against the members.

use super::bucket::Bucket;
use super::codec::Key;
use super::cursor::{self, List};
use super::refusal::{no_name, unavailable, unfinished};
use super::store::KvStore;
use super::streams::{PAUSE, Streams};
use super::value::{JoinedValue, MemberValue, Slot, read};
use super::{keys, rooms};
use crate::membership::error::{ErrorKind, StoreResult};
use crate::membership::ids::{Endpoint, RoomId};
use crate::membership::records::{Member, MemberRole, Origin, Room};
use crate::membership::store::{Deadline, MemberAdded, NewMember, Page, PageLimit, PageRequest};
use crate::membership::{refusal, rules};

/// What is at a member's key.
pub(super) async fn slot(
    streams: &Streams,
    room: &RoomId,
    endpoint: &Endpoint,
    deadline: Deadline,
) -> StoreResult<Slot<MemberValue>> {
    streams.get(Bucket::Members, &Key::member(room, endpoint), deadline).await
}

/// The member that a slot holds in a room: of this life of the room, and the owner even without a
/// record of its own.
pub(super) fn in_room(room: &Room, endpoint: &Endpoint, slot: Slot<MemberValue>) -> Option<Member> {
    let value = slot.value.filter(|member| member.incarnation == room.incarnation);
    match (value, rules::role_of(room, endpoint)) {
        (Some(value), _) => Some(value.member(room, endpoint.clone())),
        (None, MemberRole::Owner) => Some(owner(room)),
        (None, MemberRole::Member) => None,
    }
}

fn owner(room: &Room) -> Member {
    owner_value(room).member(room, room.owner.clone())
}

/// The owner's membership as the room's making wrote it.
pub(super) fn owner_value(room: &Room) -> MemberValue {
    MemberValue {
        incarnation: room.incarnation,
        added_by: room.owner.clone(),
        added_at: room.created_at,
    }
}

pub(super) async fn get(
    store: &KvStore,
    room: &RoomId,
    endpoint: &Endpoint,
    deadline: Deadline,
) -> StoreResult<Member> {
    let room = rooms::get(&store.streams, room, deadline).await?.record;
    let slot = slot(&store.streams, &room.id, endpoint, deadline).await?;
    in_room(&room, endpoint, slot).ok_or_else(|| refusal::no_member(&room.id, endpoint))
}

/// The first page begins with the owner, whose own record is passed over.
pub(super) async fn list(
    store: &KvStore,
    room: &RoomId,
    request: &PageRequest,
    deadline: Deadline,
) -> StoreResult<Page<Member>> {
    let room = rooms::get(&store.streams, room, deadline).await?.record;
    let list = List::MembersOf(room.id.to_string());
    let from = cursor::start(&list, request)?;
    let mut items = Vec::new();
    if request.after.is_none() {
        let slot = slot(&store.streams, &room.id, &room.owner, deadline).await?;
        items.extend(in_room(&room, &room.owner, slot));
    }
    let limit = request.limit.get() - items.len();
    let (bucket, filter) = (Bucket::Members, Key::members_of(&room.id));
    let stretch = store.streams.walk(bucket, &filter, from.max(1), limit, deadline).await?;
    for (key, message) in stretch.messages {
        let (_, endpoint) = key.as_member().ok_or_else(|| no_name(bucket, &key))?;
        let slot: Slot<MemberValue> = read(bucket, &key, &message)?;
        if endpoint != room.owner {
            items.extend(in_room(&room, &endpoint, slot));
        }
    }
    cursor::page(list, items, stretch.next)
}

/// A room's members but for its owner, and how far the look at them came.
pub(super) struct Roster {
    pub(super) others: Vec<Endpoint>,
    /// The newest change among them, removals too.
    pub(super) newest: u64,
    /// The same with the owner's own record.
    seen: u64,
}

/// All members but the owner, by one strict look: every change that the room knows of is in it, or
/// whoever answered is behind and is asked again.
pub(super) async fn all_others(
    streams: &Streams,
    room: &Room,
    deadline: Deadline,
) -> StoreResult<Roster> {
    loop {
        let roster = roster(streams, room, deadline).await?;
        if roster.seen >= room.roster_revision {
            return Ok(roster);
        }
        if deadline.remaining() <= PAUSE {
            return Err(unavailable(Bucket::Members, "whoever answered for it is behind"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn roster(streams: &Streams, room: &Room, deadline: Deadline) -> StoreResult<Roster> {
    let (bucket, filter) = (Bucket::Members, Key::members_of(&room.id));
    let mut roster = Roster { others: Vec::new(), newest: 0, seen: 0 };
    let mut from = Some(1);
    while let Some(start) = from {
        let stretch = streams.walk(bucket, &filter, start, PageLimit::MAX.get(), deadline).await?;
        from = stretch.next;
        for (key, message) in stretch.messages {
            let (_, endpoint) = key.as_member().ok_or_else(|| no_name(bucket, &key))?;
            let slot: Slot<MemberValue> = read(bucket, &key, &message)?;
            roster.seen = slot.at;
            if endpoint == room.owner {
                continue;
            }
            roster.newest = slot.at;
            if in_room(room, &endpoint, slot).is_some() {
                roster.others.push(endpoint);
            }
        }
    }
    Ok(roster)
}

/// Counts a change that whoever made it may not have lived to count.
async fn count_again(
    streams: &Streams,
    room: &Room,
    change: u64,
    deadline: Deadline,
) -> StoreResult<()> {
    if change > room.roster_revision {
        rooms::note_roster(streams, &room.id, change, None, deadline).await?;
    }
    Ok(())
}

pub(super) async fn add(
    store: &KvStore,
    new: NewMember,
    deadline: Deadline,
) -> StoreResult<MemberAdded> {
    let streams = &store.streams;
    let room = rooms::get(streams, &new.room, deadline).await?.record;
    rules::check_new_member_key(&room, new.key.as_ref())?;
    let there = slot(streams, &room.id, &new.endpoint, deadline).await?;
    let at = there.at;
    if in_room(&room, &new.endpoint, there).is_some() {
        if new.endpoint != room.owner {
            count_again(streams, &room, at, deadline).await?;
        }
        return Err(refusal::member_exists(&room.id, &new.endpoint));
    }
    let grows = [Bucket::Members, Bucket::RoomsByMember, Bucket::RoomKeys];
    streams.check_growth(&grows, deadline).await?;
    let by = Origin::Service;
    index(streams, &room, &new.endpoint, by, deadline).await?;
    if let Some(key) = &new.key {
        let place = room.epochs.current();
        keys::put(streams, &room.id, &new.endpoint, place, &key.sealed, by, deadline).await?;
    }
    let value =
        MemberValue { incarnation: room.incarnation, added_by: new.added_by, added_at: new.now };
    let key = Key::member(&room.id, &new.endpoint);
    let written = streams.put(Bucket::Members, &key, &value, (by, at), deadline).await;
    let roster = written
        .map_err(|error| error.on_conflict(|| refusal::member_exists(&room.id, &new.endpoint)))?;
    let counted = async {
        if let Some(key) = &new.key {
            // Somebody who came too late to let the same endpoint in may have put another key here.
            let place = room.epochs.current();
            keys::put(streams, &room.id, &new.endpoint, place, &key.sealed, by, deadline).await?;
        }
        rooms::note_roster(streams, &room.id, roster, Some(by), deadline).await
    };
    let counted = counted.await.map_err(unfinished)?;
    Ok(MemberAdded { member: value.member(&room, new.endpoint), room: counted })
}

/// "There is no such member" is proven like a denial: a leader that is none any more does not know
/// who came since, and whoever hears it believes that nobody is left to send away.
pub(super) async fn remove(
    store: &KvStore,
    room: &RoomId,
    endpoint: &Endpoint,
    deadline: Deadline,
) -> StoreResult<()> {
    let streams = &store.streams;
    let room = rooms::get_proven(store, room, deadline).await?.record;
    match rules::role_of(&room, endpoint) {
        MemberRole::Owner => return Err(refusal::owner_stays(&room.id)),
        MemberRole::Member => {}
    }
    let entry = Key::joined(endpoint, &room.id);
    let indexed: Slot<JoinedValue> = streams.get(Bucket::RoomsByMember, &entry, deadline).await?;
    let (by, key) = (Origin::Service, Key::member(&room.id, endpoint));
    let roster = loop {
        let there = slot(streams, &room.id, endpoint, deadline).await?;
        let at = there.at;
        if in_room(&room, endpoint, there).is_none() {
            if !store.stood(Bucket::Members, &key, at, deadline).await? {
                continue;
            }
            count_again(streams, &room, at, deadline).await?;
            return Err(refusal::no_member(&room.id, endpoint));
        }
        match streams.delete(Bucket::Members, &key, (by, at), deadline).await {
            Ok(roster) => break roster,
            // Another try of the same mutation may have been it.
            Err(error) if error.kind() == ErrorKind::Conflict && streams.is_one_mutation() => {
                return Err(error);
            }
            Err(error) if error.kind() == ErrorKind::Conflict && !deadline.has_passed() => {}
            Err(error) => return Err(error),
        }
    };
    let counted = rooms::note_roster(streams, &room.id, roster, Some(by), deadline).await;
    counted.map_err(unfinished)?;
    if indexed.value.is_some() {
        let over = (by, indexed.at);
        // Somebody who lets the endpoint in again has rewritten it; and left as it is, it is hidden.
        let _ = streams.delete(Bucket::RoomsByMember, &entry, over, deadline).await;
    }
    Ok(())
}

/// Writes the entry by which the endpoint finds the room, whatever was there.
pub(super) async fn index(
    streams: &Streams,
    room: &Room,
    endpoint: &Endpoint,
    by: Origin,
    deadline: Deadline,
) -> StoreResult<()> {
    let (bucket, key) = (Bucket::RoomsByMember, Key::joined(endpoint, &room.id));
    let value = JoinedValue { incarnation: room.incarnation };
    loop {
        let there: Slot<JoinedValue> = streams.get(bucket, &key, deadline).await?;
        match streams.put(bucket, &key, &value, (by, there.at), deadline).await {
            Err(error) if error.kind() == ErrorKind::Conflict && !deadline.has_passed() => {}
            ended => return ended.map(drop),
        }
    }
}

/// Writes the owner's own record, unless it is there.
pub(super) async fn put_owner(
    streams: &Streams,
    room: &Room,
    by: Origin,
    deadline: Deadline,
) -> StoreResult<bool> {
    let there = slot(streams, &room.id, &room.owner, deadline).await?;
    if there.value.as_ref().is_some_and(|value| value.incarnation == room.incarnation) {
        return Ok(false);
    }
    let key = Key::member(&room.id, &room.owner);
    let value = owner_value(room);
    match streams.put(Bucket::Members, &key, &value, (by, there.at), deadline).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(false),
        Err(error) => Err(error),
    }
}
