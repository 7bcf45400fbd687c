//! The log of requests. There is no transaction over two buckets, so a request is recorded together
//! with the revision that its change is to be made over, and its change carries a mutation id made
//! from the request: what stands at the changed key then tells whether it happened.

use std::sync::Arc;

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::codec::Key;
use super::store::KvStore;
use super::streams::{Once, Streams};
use super::value::{RoomValue, Slot, corrupt, read};
use crate::membership::MembershipStore;
use crate::membership::error::{ErrorKind, StoreResult};
use crate::membership::ids::MutationId;
use crate::membership::records::{Origin, UnixMillis};
use crate::membership::requests::{
    Begun, Growth, Leave, NewRequest, Outcome, RequestKey, RequestLog, Target,
};
use crate::membership::store::Deadline;

/// How many requests are looked at before their successors are read.
const AT_ONCE: usize = 500;

/// A request's own fields.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestValue {
    fingerprint: String,
    recorded_at: UnixMillis,
    /// The revision that stood at the changed key when the request was recorded.
    over: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
}

#[async_trait]
impl RequestLog for KvStore {
    async fn begin_request(&self, new: NewRequest, deadline: Deadline) -> StoreResult<Begun> {
        let (streams, key) = (&self.streams, Key::request(&new.key));
        let fingerprint = HEXLOWER.encode(&new.fingerprint.0);
        loop {
            let there: Slot<RequestValue> = streams.get(Bucket::Requests, &key, deadline).await?;
            if let Some(value) = there.value {
                return known(streams, &new, &fingerprint, value, deadline).await;
            }
            match new.growth {
                Growth::Grows => streams.check_growth(&[Bucket::Requests], deadline).await?,
                Growth::Frees => {}
            }
            let value = RequestValue {
                fingerprint: fingerprint.clone(),
                recorded_at: new.now,
                over: stand(streams, &new.target, deadline).await?.at,
                outcome: None,
            };
            let written = (Origin::Service, there.at);
            match streams.put(Bucket::Requests, &key, &value, written, deadline).await {
                Ok(_) => return Ok(Begun::Fresh(Leave::of(&new, value.over))),
                Err(error) if error.kind() == ErrorKind::Conflict && !deadline.has_passed() => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn end_request(
        &self,
        key: &RequestKey,
        outcome: Outcome,
        deadline: Deadline,
    ) -> StoreResult<()> {
        let (streams, key) = (&self.streams, Key::request(key));
        let there: Slot<RequestValue> = streams.get(Bucket::Requests, &key, deadline).await?;
        let Some(value) = there.value.filter(|value| value.outcome.is_none()) else {
            return Ok(());
        };
        let value = RequestValue { outcome: Some(outcome.as_str().to_owned()), ..value };
        let written = (Origin::Service, there.at);
        match streams.put(Bucket::Requests, &key, &value, written, deadline).await {
            // Another try has ended first.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            ended => ended.map(drop),
        }
    }

    async fn forget_requests(&self, before: UnixMillis, deadline: Deadline) -> StoreResult<u64> {
        let (bucket, filter) = (Bucket::Requests, Key::all(Bucket::Requests));
        let (mut from, mut forgotten) = (Some(1), 0);
        while let Some(start) = from {
            let stretch = self.streams.walk(bucket, &filter, start, AT_ONCE, deadline).await?;
            from = stretch.next;
            for (key, message) in stretch.messages {
                let slot: Slot<RequestValue> = read(bucket, &key, &message)?;
                if slot.value.is_some_and(|value| value.recorded_at >= before) {
                    // What comes later was written later: it is young, or soon behind this one.
                    return Ok(forgotten);
                }
                self.streams.purge(bucket, &key, message.sequence, deadline).await?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    fn under(&self, leave: &Leave) -> Arc<dyn MembershipStore> {
        Arc::new(Self {
            streams: Arc::new(self.streams.under(once(leave))),
            fences: Arc::clone(&self.fences),
            recent: Arc::clone(&self.recent),
            patience: self.patience,
            born: Arc::clone(&self.born),
        })
    }
}

/// A membership comes and goes: made late, it would undo what came since. No other record comes back
/// to where a change could be made again.
fn once(leave: &Leave) -> Once {
    let member = match &leave.target {
        Target::Member(room, endpoint) => Some((Key::member(room, endpoint), leave.over)),
        Target::Room(_) | Target::Epoch(..) | Target::User(_) | Target::Nothing => None,
    };
    Once { mutation: leave.key.mutation(), member }
}

async fn known(
    streams: &Streams,
    new: &NewRequest,
    fingerprint: &str,
    value: RequestValue,
    deadline: Deadline,
) -> StoreResult<Begun> {
    if value.fingerprint != fingerprint {
        return Ok(Begun::Other);
    }
    if let Some(outcome) = value.outcome {
        let key = Key::request(&new.key);
        let unreadable = |_| corrupt(Bucket::Requests, &key, "its outcome cannot be read");
        return outcome.try_into().map(Begun::Answered).map_err(unreadable);
    }
    let there = stand(streams, &new.target, deadline).await?;
    Ok(became(&there, value.over, new))
}

/// What is at a changed key.
struct Stand {
    at: u64,
    mutation: Option<MutationId>,
    replaced: Option<u64>,
    /// The record itself says that the change was made.
    made: bool,
}

impl Stand {
    fn of<T>(slot: &Slot<T>, made: bool) -> Self {
        let mutation = slot.mark.and_then(|mark| mark.mutation);
        let replaced = slot.mark.and_then(|mark| mark.replaced);
        Self { at: slot.at, mutation, replaced, made }
    }
}

async fn stand(streams: &Streams, target: &Target, deadline: Deadline) -> StoreResult<Stand> {
    let (bucket, key) = match target {
        Target::Nothing => return Ok(Stand::of(&Slot::<()>::NOTHING, false)),
        Target::User(user) => (Bucket::Users, Key::user(user)),
        Target::Room(room) => (Bucket::Rooms, Key::room(room)),
        Target::Member(room, endpoint) => (Bucket::Members, Key::member(room, endpoint)),
        Target::Epoch(room, committed) => {
            let key = Key::room(room);
            let slot: Slot<RoomValue> = streams.get(Bucket::Rooms, &key, deadline).await?;
            let attempt =
                slot.value.as_ref().and_then(|room| room.epochs.attempt_of(committed.epoch));
            return Ok(Stand::of(&slot, attempt == Some(committed.attempt)));
        }
    };
    let slot: Slot<serde_json::Value> = streams.get(bucket, &key, deadline).await?;
    Ok(Stand::of(&slot, false))
}

/// What became of a change that was to be made over a revision, told from what stands there now.
fn became(there: &Stand, over: u64, new: &NewRequest) -> Begun {
    let made_since = there.made && there.at != over;
    if made_since || there.mutation == Some(new.key.mutation()) {
        return Begun::Committed;
    }
    // Nothing came since; or what came took the very place, so that ours never did.
    if there.at == over || there.replaced == Some(over) {
        return Begun::Pending(Leave::of(new, there.at));
    }
    Begun::InDoubt
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::membership::ids::UserKey;
    use crate::membership::requests::Fingerprint;

    #[test]
    fn what_stands_at_the_changed_key_tells_whether_the_change_happened() {
        let user = UserKey::try_from(SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
        let user = user.unwrap();
        let new = NewRequest {
            key: RequestKey { caller: user, nonce: "nonce-0123456789".parse().unwrap() },
            fingerprint: Fingerprint([0; 32]),
            growth: Growth::Frees,
            target: Target::User(user),
            now: UnixMillis(0),
        };
        let (own, other) = (new.key.mutation(), MutationId::from([2; 16]));
        let stand = |at, by, replaced| Stand {
            at,
            mutation: Some(by),
            replaced: Some(replaced),
            made: false,
        };
        let pending = |over| Begun::Pending(Leave::of(&new, over));
        for (there, expected) in [
            (stand(5, other, 3), pending(5)),
            (stand(8, own, 5), Begun::Committed),
            (stand(8, own, 7), Begun::Committed),
            (stand(8, other, 5), pending(8)),
            (stand(9, other, 8), Begun::InDoubt),
            (Stand { made: true, ..stand(9, other, 8) }, Begun::Committed),
            (Stand { made: true, ..stand(5, other, 3) }, pending(5)),
            (Stand { at: 9, mutation: None, replaced: None, made: false }, Begun::InDoubt),
        ] {
            assert_eq!(became(&there, 5, &new), expected, "{} {:?}", there.at, there.replaced);
        }
        let nothing = Stand::of(&Slot::<()>::NOTHING, false);
        assert_eq!(became(&nothing, 0, &new), pending(0));
    }
}
