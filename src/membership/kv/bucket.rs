// STOP: read /work/wt/kv/READ-ME-FIRST.txt before you go on.
//! The buckets of a store, their names and their settings: the one place that says them, for the
//! operator, `init` and the migration.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::jetstream::bucket::BucketSettings;
use crate::membership::ids::InvalidValue;

/// The longest prefix, in bytes.
const PREFIX_MAX_BYTES: usize = 32;

/// The largest message that carries a sealed key or an answer: 64 KiB grow by a third in base64.
const LARGE_MESSAGE_BYTES: u32 = 128 * 1024;

/// The largest message elsewhere: names, encoded twice over, and a few words.
const SMALL_MESSAGE_BYTES: u32 = 16 * 1024;

/// What a bucket says about itself, so that a person sees whose it is.
const METADATA: (&str, &str) = ("unibus-membership", "1");

/// What a store's buckets are named after: a letter, then letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(String);

impl FromStr for Prefix {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let right = text.len() <= PREFIX_MAX_BYTES
            && text.starts_with(|first: char| first.is_ascii_alphabetic())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if right {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidValue::Form {
            what: "bucket prefix",
            expected: "a letter and then letters, digits and hyphens, 32 at most",
        })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One of a store's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// What is true of the whole store. Made first, so that nothing exists that it could not speak
    /// for.
    Control,
    /// Rooms.
    Rooms,
    /// Members by room.
    Members,
    /// Rooms by member: an index.
    RoomsByMember,
    /// Sealed keys.
    RoomKeys,
    /// Users.
    Users,
    /// Requests that were answered.
    Requests,
}

impl Bucket {
    /// Every bucket, in the order in which they are made.
    pub const ALL: [Self; 7] = [
        Self::Control,
        Self::Rooms,
        Self::Members,
        Self::RoomsByMember,
        Self::RoomKeys,
        Self::Users,
        Self::Requests,
    ];

    /// The part of the name after the prefix.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Rooms => "rooms",
            Self::Members => "members",
            Self::RoomsByMember => "rooms_by_member",
            Self::RoomKeys => "room_keys",
            Self::Users => "users",
            Self::Requests => "requests",
        }
    }

    /// The bucket's name under a prefix.
    #[must_use]
    pub fn name(self, prefix: &Prefix) -> String {
        format!("{prefix}_{}", self.suffix())
    }

    /// Whether a sweeper takes old records out of it.
    #[must_use]
    pub const fn swept(self) -> bool {
        match self {
            Self::Members | Self::RoomsByMember | Self::RoomKeys | Self::Requests => true,
            Self::Control | Self::Rooms | Self::Users => false,
        }
    }

    const fn max_message_bytes(self) -> u32 {
        match self {
            Self::RoomKeys | Self::Requests => LARGE_MESSAGE_BYTES,
            Self::Control | Self::Rooms | Self::Members | Self::RoomsByMember | Self::Users => {
                SMALL_MESSAGE_BYTES
            }
        }
    }

    /// The settings that the bucket is made with, whoever makes it.
    #[must_use]
    pub fn settings(self, prefix: &Prefix, replicas: u8, max_bytes: u64) -> BucketSettings {
        let (name, value) = METADATA;
        BucketSettings {
            name: self.name(prefix),
            replicas,
            max_bytes,
            max_message_bytes: self.max_message_bytes(),
            deny_purge: !self.swept(),
            metadata: BTreeMap::from([(name.to_owned(), value.to_owned())]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_letter_and_then_letters_digits_and_hyphens() {
        for right in ["U", "UNIBUS", "a-1", &"x".repeat(32)] {
            assert_eq!(right.parse::<Prefix>().unwrap().to_string(), right);
        }
        for wrong in ["", "1a", "-a", "a_b", "a.b", "a b", "*", ">", "é", &"x".repeat(33)] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_swept_buckets_may_be_purged() {
        let prefix: Prefix = "U".parse().unwrap();
        let denying: Vec<String> = Bucket::ALL
            .map(|bucket| bucket.settings(&prefix, 1, 1 << 20))
            .into_iter()
            .filter(|settings| settings.deny_purge)
            .map(|settings| settings.name)
            .collect();
        assert_eq!(denying, ["U_control", "U_rooms", "U_users"]);
    }
}
