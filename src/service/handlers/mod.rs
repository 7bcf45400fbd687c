//! One file a resource. Each handler names its deed at the gate first, then does one thing.

pub mod authorize;
pub mod keys;
pub mod members;
pub mod rekeys;
pub mod rooms;
pub mod users;

use serde::Deserialize;

use crate::membership::ids::{Attempt, Endpoint, Epoch, RoomId, UserKey};

/// `/v1/rooms/{room}`.
#[derive(Deserialize)]
pub struct OfRoom {
    room: RoomId,
}

/// `/v1/rooms/{room}/members/{endpoint}`.
#[derive(Deserialize)]
pub struct OfMember {
    room: RoomId,
    endpoint: Endpoint,
}

/// `/v1/rooms/{room}/keys/{epoch}`. A number in a path is text first, so that it has one spelling.
#[derive(Deserialize)]
pub struct OfKey {
    room: RoomId,
    epoch: String,
}

/// `/v1/rooms/{room}/members/{endpoint}/keys/{epoch}`.
#[derive(Deserialize)]
pub struct OfMemberKey {
    room: RoomId,
    endpoint: Endpoint,
    epoch: String,
}

/// `/v1/rooms/{room}/rekeys/{attempt}`.
#[derive(Deserialize)]
pub struct OfRekey {
    room: RoomId,
    attempt: Attempt,
}

/// `/v1/users/{key}`.
#[derive(Deserialize)]
pub struct OfUser {
    key: UserKey,
}

fn epoch(text: &str) -> super::problem::Answer<Epoch> {
    text.parse().map_err(|why: crate::membership::ids::InvalidValue| {
        super::problem::Problem::invalid(why.to_string())
    })
}
