//! What every store must decide alike, as pure functions of records that were read: nothing here
//! reads or writes. A store that asks these in the same order refuses the same things.

use super::error::{ErrorKind, StoreError, StoreResult};
use super::ids::{Attempt, Endpoint, Epoch, Incarnation};
use super::records::{CommittedEpoch, MemberRole, Origin, RecentEpochs, Room};
use super::refusal;
use super::snapshot::{MemberRecord, RoomKeyRecord, RoomRecord};
use super::store::{EpochKey, ImportMode};

/// Whether a new member's key is what the room asks for. Asked after the room was found and before
/// it is looked up whether the endpoint is a member already.
///
/// # Errors
/// `Invalid` for a key too many or too few, `Conflict` for one of another epoch.
pub fn check_new_member_key(room: &Room, key: Option<&EpochKey>) -> StoreResult<()> {
    let current = room.epochs.current().epoch;
    match key {
        None if room.encrypted => Err(StoreError::new(
            ErrorKind::Invalid,
            format!("room {} is encrypted: a new member needs its sealed key", room.id),
        )),
        Some(_) if !room.encrypted => Err(refusal::not_encrypted(&room.id)),
        Some(key) if key.epoch != current => Err(StoreError::new(
            ErrorKind::Conflict,
            format!(
                "room {} is at epoch {current}, the key is of epoch {}: seal it anew",
                room.id, key.epoch
            ),
        )),
        None | Some(_) => Ok(()),
    }
}

/// The attempt under which a room's keys of an epoch are found.
///
/// # Errors
/// `Invalid` in a room without encryption, `NotFound` for an epoch that it does not keep.
pub fn committed_attempt(room: &Room, epoch: Epoch) -> StoreResult<Attempt> {
    if !room.encrypted {
        return Err(refusal::not_encrypted(&room.id));
    }
    room.epochs.attempt_of(epoch).ok_or_else(|| refusal::no_epoch(&room.id, epoch))
}

/// What an endpoint is in a room that it is in.
#[must_use]
pub fn role_of(room: &Room, endpoint: &Endpoint) -> MemberRole {
    if room.owner == *endpoint { MemberRole::Owner } else { MemberRole::Member }
}

/// What an import found where it wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, and no deletion marker either.
    Nothing,
    /// A record or a deletion marker.
    Something {
        /// Whether it is the very record that is imported. A deletion marker never is.
        equal: bool,
        /// Who wrote it. A marker that does not say was written by the service.
        origin: Origin,
    },
}

/// What an import does with one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it: there was nothing.
    Create,
    /// Leave it: it is there.
    Equal,
    /// Write it over what is there.
    Overwrite,
    /// Leave what is there: the service wrote or deleted it.
    KeepNewer,
}

/// The one rule of imports.
#[must_use]
pub const fn import_verdict(found: Found, mode: ImportMode) -> Verdict {
    match (found, mode) {
        (Found::Nothing, _) => Verdict::Create,
        (Found::Something { equal: true, .. }, _) => Verdict::Equal,
        (Found::Something { origin: Origin::Service, .. }, ImportMode::KeepNewer) => {
            Verdict::KeepNewer
        }
        (Found::Something { .. }, ImportMode::KeepNewer | ImportMode::Force) => Verdict::Overwrite,
    }
}

/// Whether a room that is there may become the imported one. Its owner and its encryption never
/// change, not even by force: memberships and keys hang on them.
///
/// # Errors
/// `Conflict` when it is another room of the same name.
pub fn check_same_room(room: &Room, record: &RoomRecord) -> StoreResult<()> {
    if room.owner == record.owner && room.encrypted == record.encrypted {
        return Ok(());
    }
    Err(StoreError::new(
        ErrorKind::Conflict,
        format!(
            "there is another room {} with another owner or encryption: import into an empty \
             store, or leave this room out",
            room.id
        ),
    ))
}

/// Whether a room is the imported one.
#[must_use]
pub fn equals_room(room: &Room, record: &RoomRecord) -> bool {
    *record
        == RoomRecord {
            room: room.id.clone(),
            subject: room.subject.clone(),
            owner: room.owner.clone(),
            encrypted: room.encrypted,
            epoch: room.epochs.current().epoch,
            created_at: room.created_at,
        }
}

/// A room as an import makes it, in a new life.
#[must_use]
pub fn imported_room(
    record: &RoomRecord,
    incarnation: Incarnation,
    attempt: Attempt,
    roster_revision: u64,
) -> Room {
    Room {
        id: record.room.clone(),
        incarnation,
        subject: record.subject.clone(),
        owner: record.owner.clone(),
        encrypted: record.encrypted,
        epochs: RecentEpochs::ending_at(CommittedEpoch { epoch: record.epoch, attempt }),
        roster_revision,
        created_at: record.created_at,
    }
}

/// A room that an import writes over. What hangs on it is kept: its life, and its keys unless the
/// epoch changes; then those to come lie under this attempt.
#[must_use]
pub fn overwritten_room(there: Room, record: &RoomRecord, attempt: Attempt) -> Room {
    let epochs = if there.epochs.current().epoch == record.epoch {
        there.epochs
    } else {
        RecentEpochs::ending_at(CommittedEpoch { epoch: record.epoch, attempt })
    };
    let (subject, created_at) = (record.subject.clone(), record.created_at);
    Room { epochs, subject, created_at, ..there }
}

/// Whether an imported member can be in the room it names.
///
/// # Errors
/// `Invalid` when it says to be the owner and the room says otherwise, or the other way round.
pub fn check_imported_member(room: &Room, record: &MemberRecord) -> StoreResult<()> {
    if record.role == role_of(room, &record.endpoint) {
        return Ok(());
    }
    Err(StoreError::new(
        ErrorKind::Invalid,
        format!("{} and room {} disagree about who owns the room", record.endpoint, room.id),
    ))
}

/// Where an imported key goes: the attempt to write it under, or `None` when the room has left the
/// key's epoch behind, so that the key is kept out as older than what is there.
///
/// # Errors
/// `Invalid` in a room without encryption, or for an epoch that the room has not come to.
pub fn place_of_imported_key(room: &Room, record: &RoomKeyRecord) -> StoreResult<Option<Attempt>> {
    if !room.encrypted {
        return Err(refusal::not_encrypted(&room.id));
    }
    let current = room.epochs.current().epoch;
    if record.epoch > current {
        return Err(StoreError::new(
            ErrorKind::Invalid,
            format!("a key is of epoch {}, but room {} is at {current}", record.epoch, room.id),
        ));
    }
    Ok(room.epochs.attempt_of(record.epoch))
}
