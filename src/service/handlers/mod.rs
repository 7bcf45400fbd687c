//! One file a resource. Each handler names its deed at the gate first, then does one thing.

pub mod authorize;
pub mod keys;
pub mod members;
pub mod rekeys;
pub mod rooms;
pub mod users;

use serde::Deserialize;
use utoipa::IntoParams;

use crate::membership::ids::{Attempt, Endpoint, Epoch, RoomId, UserKey};

/// `/v1/rooms/{room}`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfRoom {
    /// The room's name.
    #[param(value_type = String, min_length = 1, max_length = 128, example = "lobby")]
    room: RoomId,
}

/// `/v1/rooms/{room}/members/{endpoint}`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfMember {
    /// The room's name.
    #[param(value_type = String, min_length = 1, max_length = 128, example = "lobby")]
    room: RoomId,
    /// Who is or shall be in the room; a user's endpoint is the user's key.
    #[param(value_type = String, min_length = 1, max_length = 128)]
    endpoint: Endpoint,
}

/// `/v1/rooms/{room}/keys/{epoch}`. A number in a path is text first, so that it has one spelling.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfKey {
    /// The room's name.
    #[param(value_type = String, min_length = 1, max_length = 128, example = "lobby")]
    room: RoomId,
    /// The epoch.
    #[param(value_type = u64, minimum = 1, maximum = 9223372036854775807i64)]
    epoch: String,
}

/// `/v1/rooms/{room}/members/{endpoint}/keys/{epoch}`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfMemberKey {
    /// The room's name.
    #[param(value_type = String, min_length = 1, max_length = 128, example = "lobby")]
    room: RoomId,
    /// Who is or shall be in the room; a user's endpoint is the user's key.
    #[param(value_type = String, min_length = 1, max_length = 128)]
    endpoint: Endpoint,
    /// The epoch.
    #[param(value_type = u64, minimum = 1, maximum = 9223372036854775807i64)]
    epoch: String,
}

/// `/v1/rooms/{room}/rekeys/{attempt}`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfRekey {
    /// The room's name.
    #[param(value_type = String, min_length = 1, max_length = 128, example = "lobby")]
    room: RoomId,
    /// The rekey's attempt.
    #[param(value_type = String, pattern = "^[0-9a-f]{32}$")]
    attempt: Attempt,
}

/// `/v1/users/{key}`.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct OfUser {
    /// The user's public key.
    #[param(value_type = String, pattern = "^[0-9a-fA-F]{64}$")]
    key: UserKey,
}

fn epoch(text: &str) -> super::problem::Answer<Epoch> {
    text.parse().map_err(|why: crate::membership::ids::InvalidValue| {
        super::problem::Problem::invalid(why.to_string())
    })
}
