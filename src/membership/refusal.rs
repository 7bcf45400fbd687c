//! The refusals that every store words alike: one constructor for each, so that a caller reads the
//! same sentence whatever keeps the membership. What a single store alone can run into is worded
//! where it happens.

use super::error::{ErrorKind, StoreError};
use super::ids::{Endpoint, Epoch, InvalidValue, RoomId, UserKey};

/// There is no such room.
#[must_use]
pub fn no_room(room: &RoomId) -> StoreError {
    StoreError::new(ErrorKind::NotFound, format!("there is no room {room}"))
}

/// The endpoint is not in the room.
#[must_use]
pub fn no_member(room: &RoomId, endpoint: &Endpoint) -> StoreError {
    StoreError::new(ErrorKind::NotFound, format!("{endpoint} is not a member of room {room}"))
}

/// The room has not come to the epoch yet, or its keys are no longer kept.
#[must_use]
pub fn no_epoch(room: &RoomId, epoch: Epoch) -> StoreError {
    StoreError::new(ErrorKind::NotFound, format!("room {room} keeps no keys of epoch {epoch}"))
}

/// The member has no such key.
#[must_use]
pub fn no_key(room: &RoomId, endpoint: &Endpoint) -> StoreError {
    StoreError::new(ErrorKind::NotFound, format!("{endpoint} has no such key in room {room}"))
}

/// There is no such user.
#[must_use]
pub fn no_user(key: &UserKey) -> StoreError {
    StoreError::new(ErrorKind::NotFound, format!("there is no user with the key {key}"))
}

/// The room is there already.
#[must_use]
pub fn room_exists(room: &RoomId) -> StoreError {
    StoreError::new(ErrorKind::AlreadyExists, format!("there is a room {room} already"))
}

/// The endpoint is a member already.
#[must_use]
pub fn member_exists(room: &RoomId, endpoint: &Endpoint) -> StoreError {
    StoreError::new(
        ErrorKind::AlreadyExists,
        format!("{endpoint} is a member of room {room} already"),
    )
}

/// The member has another key of that epoch.
#[must_use]
pub fn key_exists(room: &RoomId, endpoint: &Endpoint, epoch: Epoch) -> StoreError {
    StoreError::new(
        ErrorKind::AlreadyExists,
        format!("{endpoint} has another key of epoch {epoch} in room {room} already"),
    )
}

/// The user is or was there.
#[must_use]
pub fn user_exists(key: &UserKey) -> StoreError {
    StoreError::new(
        ErrorKind::AlreadyExists,
        format!(
            "there is or was a user with the key {key}; a revoked key never comes back, so use \
             another one"
        ),
    )
}

/// The store has or had an admin.
#[must_use]
pub fn admin_exists() -> StoreError {
    StoreError::new(
        ErrorKind::AlreadyExists,
        "this store has or had an admin; only an admin can let in another one",
    )
}

/// The owner cannot be taken out.
#[must_use]
pub fn owner_stays(room: &RoomId) -> StoreError {
    StoreError::new(
        ErrorKind::Invalid,
        format!("the owner of room {room} cannot be taken out of it"),
    )
}

/// The room has no encryption, so it has no keys.
#[must_use]
pub fn not_encrypted(room: &RoomId) -> StoreError {
    StoreError::new(ErrorKind::Invalid, format!("room {room} is not encrypted: it has no keys"))
}

/// Somebody else changed the room since the rekey was begun.
#[must_use]
pub fn rekey_overtaken(room: &RoomId) -> StoreError {
    StoreError::new(
        ErrorKind::Conflict,
        format!("room {room} has changed since this rekey was begun: begin a new one"),
    )
}

/// A member has no key in the rekey that is to be committed.
#[must_use]
pub fn rekey_incomplete(room: &RoomId, endpoint: &Endpoint) -> StoreError {
    StoreError::new(
        ErrorKind::Invalid,
        format!("the rekey of room {room} has no key for {endpoint} yet: send it, then commit"),
    )
}

/// A room has counted to its last epoch.
#[must_use]
pub fn no_next_epoch(room: &RoomId) -> StoreError {
    StoreError::new(ErrorKind::Invalid, format!("room {room} has no epoch left to go to"))
}

/// A cursor of another list or another store.
#[must_use]
pub fn foreign_cursor() -> StoreError {
    StoreError::new(
        ErrorKind::Invalid,
        "this cursor is not from this list: begin with the first page again",
    )
}

/// An imported record is of a room that is not there.
#[must_use]
pub fn room_comes_first(room: &RoomId) -> StoreError {
    StoreError::new(
        ErrorKind::Invalid,
        format!("a record names room {room}, which is not there: rooms must come first"),
    )
}

/// An imported key is for somebody who never was in the room.
#[must_use]
pub fn never_a_member(room: &RoomId, endpoint: &Endpoint) -> StoreError {
    StoreError::new(
        ErrorKind::Invalid,
        format!("a key is for {endpoint}, who never was a member of room {room}"),
    )
}

/// No new id can be made.
#[must_use]
pub fn no_random_bytes(error: getrandom::Error) -> StoreError {
    StoreError::new(ErrorKind::Unavailable, "the system has no random bytes").caused_by(error)
}

/// A value that no store can keep.
#[must_use]
pub fn invalid(why: &InvalidValue) -> StoreError {
    StoreError::new(ErrorKind::Invalid, why.to_string())
}
