//! Short ways to say the values that tests talk about.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ed25519_dalek::SigningKey;
use membership_operator::membership::ids::{Endpoint, Epoch, RoomId, UserKey};
use membership_operator::membership::records::{SealedKey, UnixMillis, UserRole};
use membership_operator::membership::store::{
    Cursor, Deadline, EpochKey, MemberKey, NewMember, NewRoom, NewUser, PageLimit, PageRequest,
};

/// Longer than any healthy store takes on a loaded machine.
pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

pub fn room(name: &str) -> RoomId {
    name.parse().unwrap()
}

pub fn endpoint(name: &str) -> Endpoint {
    name.parse().unwrap()
}

pub fn epoch(number: u64) -> Epoch {
    number.try_into().unwrap()
}

/// The n-th user's key: a real public key, the same in every run.
pub fn user(n: u32) -> UserKey {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_bytes(&seed).verifying_key().to_bytes().try_into().unwrap()
}

/// A sealed key that differs from that of every other text.
pub fn sealed(text: &str) -> SealedKey {
    format!("sealed for {text}").into_bytes().try_into().unwrap()
}

pub fn now() -> UnixMillis {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    UnixMillis(since_1970.as_millis().try_into().unwrap())
}

pub fn plain_room(name: &str, owner: &str) -> NewRoom {
    NewRoom {
        room: room(name),
        subject: format!("bus.{name}").parse().unwrap(),
        owner: endpoint(owner),
        owner_key: None,
        now: now(),
    }
}

pub fn encrypted_room(name: &str, owner: &str) -> NewRoom {
    NewRoom { owner_key: Some(sealed(owner)), ..plain_room(name, owner) }
}

/// Somebody for a room without encryption.
pub fn guest(in_room: &str, name: &str) -> NewMember {
    NewMember {
        room: room(in_room),
        endpoint: endpoint(name),
        added_by: endpoint("owner"),
        key: None,
        now: now(),
    }
}

/// Somebody for an encrypted room, with the key of an epoch.
pub fn invited(in_room: &str, name: &str, at: u64) -> NewMember {
    NewMember { key: Some(key(at, name)), ..guest(in_room, name) }
}

pub fn key(at: u64, text: &str) -> EpochKey {
    EpochKey { epoch: epoch(at), sealed: sealed(text) }
}

pub fn member_key(name: &str, text: &str) -> MemberKey {
    MemberKey { endpoint: endpoint(name), sealed: sealed(text) }
}

pub fn new_user(n: u32, role: UserRole) -> NewUser {
    NewUser { key: user(n), handle: format!("user {n}").parse().unwrap(), role }
}

pub fn first_page(limit: u16) -> PageRequest {
    PageRequest { after: None, limit: PageLimit::try_from(limit).unwrap() }
}

pub fn next_page(after: Cursor, limit: u16) -> PageRequest {
    PageRequest { after: Some(after), ..first_page(limit) }
}
