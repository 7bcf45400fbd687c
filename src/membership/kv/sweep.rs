//! Taking away what nothing needs any more, and mending what a broken-off mutation left. What may
//! still be on its way, a key of a rekey or of a room that is just being made, is left alone until it
//! is old. Markers of removed members stay, or an import could bring them back.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::bucket::Bucket;
use super::codec::Key;
use super::export::{Membership, Rooms};
use super::fence::Fences;
use super::refusal::{no_name, unavailable};
use super::store::KvStore;
use super::streams::Streams;
use super::value::{JoinedValue, MemberValue, Slot, read};
use super::walk::Stretch;
use super::{members, rooms};
use crate::jetstream::message::StoredMessage;
use crate::membership::error::{ErrorKind, StoreResult};
use crate::membership::ids::{Attempt, Endpoint, Epoch};
use crate::membership::records::{Origin, Room};
use crate::membership::store::{Deadline, SweepCounts};

/// How many records are looked at before the rooms that they name are read anew.
const AT_ONCE: usize = 500;

/// One sweep under way.
struct Sweeping<'a> {
    streams: &'a Streams,
    fences: &'a Fences,
    deadline: Deadline,
    patience: Duration,
    counts: SweepCounts,
}

pub(super) async fn sweep(store: &KvStore, deadline: Deadline) -> StoreResult<SweepCounts> {
    let patience = store.patience;
    let counts = SweepCounts::default();
    let (streams, fences) = (&store.streams, &store.fences);
    let mut sweeping = Sweeping { streams, fences, deadline, patience, counts };
    sweeping.rooms().await?;
    sweeping.members().await?;
    sweeping.index().await?;
    sweeping.keys().await?;
    Ok(sweeping.counts)
}

impl Sweeping<'_> {
    /// What time it is by the clock that the bucket's messages are stamped with. This machine's own may
    /// be hours ahead, and would have what is being made swept away.
    async fn time_in(&self, bucket: Bucket) -> StoreResult<OffsetDateTime> {
        let mark = self.fences.mark(bucket, self.deadline).await?;
        let next = self.streams.next(bucket, &Key::everything(), mark, self.deadline).await?;
        let time = next.and_then(|message| time_of(&message));
        time.ok_or_else(|| unavailable(bucket, "whoever answered for it is behind"))
    }

    /// Whether nothing can still be on its way to a message. A time that cannot be read is no reason
    /// to take anything away.
    fn is_old(&self, message: &StoredMessage, now: OffsetDateTime) -> bool {
        time_of(message).is_some_and(|stored| now - stored >= self.patience)
    }

    async fn stretch(&self, bucket: Bucket, from: u64) -> StoreResult<Stretch> {
        let filter = Key::all(bucket);
        self.streams.walk(bucket, &filter, from, AT_ONCE, self.deadline).await
    }

    /// Each room's owner is in it and finds it.
    async fn rooms(&mut self) -> StoreResult<()> {
        let mut from = Some(0);
        while let Some(start) = from {
            let page = rooms::page(self.streams, start, AT_ONCE, self.deadline).await?;
            from = page.1;
            for (room, _) in page.0 {
                let room = room.record;
                let by = Origin::Service;
                members::put_owner(self.streams, &room, by, self.deadline).await?;
                self.mend_entry(&room, &room.owner).await?;
            }
        }
        Ok(())
    }

    /// Each member finds its room, and each room knows of its newest change.
    async fn members(&mut self) -> StoreResult<()> {
        let (bucket, mut from) = (Bucket::Members, Some(0));
        while let Some(start) = from {
            let stretch = self.stretch(bucket, start).await?;
            from = stretch.next;
            let mut known = Rooms::new(self.streams, self.deadline);
            for (key, message) in stretch.messages {
                let (id, endpoint) = key.as_member().ok_or_else(|| no_name(bucket, &key))?;
                let slot: Slot<MemberValue> = read(bucket, &key, &message)?;
                let Some(room) = known.get(&id).await?.cloned() else {
                    continue;
                };
                if endpoint != room.owner && slot.at > room.roster_revision {
                    let at = slot.at;
                    rooms::note_roster(self.streams, &id, at, None, self.deadline).await?;
                }
                if members::in_room(&room, &endpoint, slot).is_some() {
                    self.mend_entry(&room, &endpoint).await?;
                }
            }
        }
        Ok(())
    }

    async fn mend_entry(&mut self, room: &Room, endpoint: &Endpoint) -> StoreResult<()> {
        let (bucket, key) = (Bucket::RoomsByMember, Key::joined(endpoint, &room.id));
        let there: Slot<JoinedValue> = self.streams.get(bucket, &key, self.deadline).await?;
        let value = JoinedValue { incarnation: room.incarnation };
        if there.value.as_ref() == Some(&value) {
            return Ok(());
        }
        let written = (Origin::Service, there.at);
        match self.streams.put(bucket, &key, &value, written, self.deadline).await {
            Ok(_) => self.counts.index_repairs += 1,
            // Somebody is at it.
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Entries and markers of the index that stand for nobody go, once they are old: a member that is
    /// just being let in has its entry first.
    async fn index(&mut self) -> StoreResult<()> {
        let (bucket, mut from) = (Bucket::RoomsByMember, Some(0));
        let now = self.time_in(bucket).await?;
        while let Some(start) = from {
            let stretch = self.stretch(bucket, start).await?;
            from = stretch.next;
            let mut known = Rooms::new(self.streams, self.deadline);
            for (key, message) in stretch.messages {
                let (endpoint, id) = key.as_joined().ok_or_else(|| no_name(bucket, &key))?;
                let slot: Slot<JoinedValue> = read(bucket, &key, &message)?;
                if !self.is_old(&message, now) {
                    continue;
                }
                if slot.value.is_none() {
                    self.streams.purge(bucket, &key, message.sequence, self.deadline).await?;
                    self.counts.old_markers += 1;
                } else if known.membership(&id, &endpoint).await? != Membership::In {
                    self.take_entry(&key, slot.at).await?;
                }
            }
        }
        Ok(())
    }

    async fn take_entry(&mut self, key: &Key, at: u64) -> StoreResult<()> {
        let written = (Origin::Service, at);
        match self.streams.delete(Bucket::RoomsByMember, key, written, self.deadline).await {
            Ok(_) => self.counts.index_repairs += 1,
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn keys(&mut self) -> StoreResult<()> {
        let (bucket, mut from) = (Bucket::RoomKeys, Some(0));
        let now = self.time_in(bucket).await?;
        while let Some(start) = from {
            let stretch = self.stretch(bucket, start).await?;
            from = stretch.next;
            let mut known = Rooms::new(self.streams, self.deadline);
            for (key, message) in stretch.messages {
                let (id, _, epoch, attempt) =
                    key.as_sealed().ok_or_else(|| no_name(bucket, &key))?;
                let needless = needless(known.get(&id).await?, epoch, attempt);
                let goes = match needless {
                    Needless::No => false,
                    Needless::Uncommitted | Needless::Old => true,
                    Needless::UnlessUnderWay => self.is_old(&message, now),
                };
                if goes {
                    self.streams.purge(bucket, &key, message.sequence, self.deadline).await?;
                    let old = u64::from(needless == Needless::Old);
                    self.counts.old_keys += old;
                    self.counts.uncommitted += 1 - old;
                }
            }
        }
        Ok(())
    }
}

fn time_of(message: &StoredMessage) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(&message.time, &Rfc3339).ok()
}

/// Why a key may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needless {
    /// It counts.
    No,
    /// Its attempt lost, and no later commit can name it.
    Uncommitted,
    /// Its epoch is no longer kept.
    Old,
    /// Its room, or its attempt, may still be on its way.
    UnlessUnderWay,
}

fn needless(room: Option<&Room>, epoch: Epoch, attempt: Attempt) -> Needless {
    let Some(room) = room else {
        return Needless::UnlessUnderWay;
    };
    let oldest = room.epochs.iter().map(|committed| committed.epoch).min();
    if room.epochs.attempt_of(epoch) == Some(attempt) {
        Needless::No
    } else if epoch > room.epochs.current().epoch {
        Needless::UnlessUnderWay
    } else if oldest.is_some_and(|oldest| epoch < oldest) {
        Needless::Old
    } else {
        Needless::Uncommitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::ids::RoomId;
    use crate::membership::records::{CommittedEpoch, RecentEpochs, UnixMillis};

    fn at(epoch: u64, attempt: u8) -> CommittedEpoch {
        let epoch = Epoch::try_from(epoch).unwrap();
        CommittedEpoch { epoch, attempt: Attempt::from([attempt; 16]) }
    }

    #[test]
    fn only_keys_that_no_commit_can_name_go_at_once() {
        let id: RoomId = "lobby".parse().unwrap();
        let room = Room {
            id,
            incarnation: [1; 16].into(),
            subject: "bus.lobby".parse().unwrap(),
            owner: "owner".parse().unwrap(),
            encrypted: true,
            epochs: RecentEpochs::try_from(vec![at(5, 5), at(4, 4), at(3, 3)]).unwrap(),
            roster_revision: 1,
            created_at: UnixMillis(1),
        };
        for (place, expected) in [
            (at(5, 5), Needless::No),
            (at(3, 3), Needless::No),
            (at(2, 2), Needless::Old),
            (at(5, 9), Needless::Uncommitted),
            (at(3, 9), Needless::Uncommitted),
            (at(6, 9), Needless::UnlessUnderWay),
        ] {
            assert_eq!(needless(Some(&room), place.epoch, place.attempt), expected, "{place:?}");
            assert_eq!(needless(None, place.epoch, place.attempt), Needless::UnlessUnderWay);
        }
    }
}
