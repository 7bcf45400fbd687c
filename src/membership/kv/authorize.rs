//! May this user act? All records are read first, then a quorum acknowledges fences on those that can
//! change: the user, and the membership. A committed room's life and owner never change, so the room,
//! which everybody in it shares, needs none.
//!
//! The user may have been read for an earlier question: a fence proves a record however long ago it was
//! read, as revisions only grow.
//!
//! Denials that name a record's state are proven in the same way: a stale copy must not send away a
//! user who was let in.

use futures_util::future::{try_join, try_join_all};

use super::Fence;
use super::bucket::Bucket;
use super::codec::Key;
use super::fence::Stand;
use super::store::KvStore;
use super::value::{MemberValue, Slot, UserValue};
use super::{members, rooms};
use crate::membership::authorize::{
    Admit, AuthorizeRequest, Decision, Evidence, Place, Proof, judge,
};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::{Endpoint, RoomId, UserKey};
use crate::membership::records::{Member, Revision, Room, User, Versioned};
use crate::membership::store::Deadline;

/// What was read, and what must have stood.
struct Seen {
    evidence: Evidence,
    stands: Vec<Stand>,
}

/// Reads, judges and proves until what was judged has stood.
pub(super) async fn decide(
    store: &KvStore,
    request: &AuthorizeRequest,
    deadline: Deadline,
) -> StoreResult<Decision> {
    while !deadline.has_passed() {
        let seen = look(store, request, deadline).await?;
        let judged = judge(&request.user, &seen.evidence);
        let Some(fence) = prove(store, &seen.stands, deadline).await? else {
            store.recent.forget(&request.user);
            continue;
        };
        return Ok(match judged {
            Ok(standing) => Decision::Admit(Admit::proven(standing, Proof::Fence(fence))),
            Err(deny) => Decision::Deny(deny),
        });
    }
    Err(StoreError::new(ErrorKind::Unavailable, "the records changed until the time was over"))
}

/// `None` when one of the records has changed since it was read.
async fn prove(
    store: &KvStore,
    stands: &[Stand],
    deadline: Deadline,
) -> StoreResult<Option<Fence>> {
    let stood = stands.iter().map(|stand| store.fences.stood(stand, deadline));
    let all_stood = try_join_all(stood).await?.into_iter().all(|stood| stood);
    Ok(all_stood.then_some(Fence { sealed: () }))
}

async fn look(
    store: &KvStore,
    request: &AuthorizeRequest,
    deadline: Deadline,
) -> StoreResult<Seen> {
    let user = user(store, &request.user, deadline);
    let Some(room) = &request.room else {
        let (user, stand) = user.await?;
        return Ok(Seen { evidence: Evidence { user, place: None }, stands: vec![stand] });
    };
    let place = place(store, room, &request.user, deadline);
    let ((user, user_stands), (place, member_stands)) = try_join(user, place).await?;
    let evidence = Evidence { user, place: Some(place) };
    Ok(Seen { evidence, stands: vec![user_stands, member_stands] })
}

async fn user(
    store: &KvStore,
    key: &UserKey,
    deadline: Deadline,
) -> StoreResult<(Option<Versioned<User>>, Stand)> {
    let place = Key::user(key);
    let slot = match store.recent.user(key) {
        Some(slot) => slot,
        None => {
            let slot: Slot<UserValue> = store.streams.get(Bucket::Users, &place, deadline).await?;
            store.recent.keep(*key, &slot);
            slot
        }
    };
    let (stand, revision) = (store.stand(Bucket::Users, &place, slot.at), Revision(slot.at));
    let user = slot.value.map(|value| Versioned { record: value.user(*key), revision });
    Ok((user, stand))
}

async fn place(
    store: &KvStore,
    room: &RoomId,
    user: &UserKey,
    deadline: Deadline,
) -> StoreResult<(Place, Stand)> {
    let endpoint = Endpoint::from(user);
    let key = Key::member(room, &endpoint);
    let (room, member) = try_join(
        rooms::find(&store.streams, room, deadline),
        members::slot(&store.streams, room, &endpoint, deadline),
    )
    .await?;
    let stand = store.stand(Bucket::Members, &key, member.at);
    let member = room.as_ref().and_then(|room| membership(&room.record, member, endpoint));
    Ok((Place { room, member }, stand))
}

fn membership(
    room: &Room,
    slot: Slot<MemberValue>,
    endpoint: Endpoint,
) -> Option<Versioned<Member>> {
    let revision = Revision(slot.at);
    slot.value.map(|value| Versioned { record: value.member(room, endpoint), revision })
}
