//! The seven buckets and how each is made. The operator, `init` and a standalone migration all make
//! them by this one function.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::jetstream::bucket::{BucketSettings, stream_of, subject_of};
use crate::membership::ids::InvalidValue;
use crate::membership::records::SEALED_KEY_MAX_BYTES;

/// A record with its envelope, its subject and its headers: 4 KiB are more than the longest names
/// take. Sealed keys come in base64, which takes a third more.
const RECORD_MAX_BYTES: usize = 16 * 1024;
const KEY_RECORD_MAX_BYTES: usize = SEALED_KEY_MAX_BYTES / 3 * 4 + RECORD_MAX_BYTES;

/// What a store keeps apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bucket {
    /// The rooms.
    Rooms,
    /// The members, by room.
    Members,
    /// The members, by endpoint: derived.
    RoomsByMember,
    /// The sealed keys.
    RoomKeys,
    /// The users.
    Users,
    /// The one record about the store itself.
    Control,
    /// What was asked for and what came of it.
    Requests,
}

impl Bucket {
    /// Every bucket, in the order in which they are made.
    pub const ALL: [Self; 7] = [
        Self::Control,
        Self::Users,
        Self::Rooms,
        Self::Members,
        Self::RoomsByMember,
        Self::RoomKeys,
        Self::Requests,
    ];

    /// What a bucket's name ends in.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Rooms => "rooms",
            Self::Members => "members",
            Self::RoomsByMember => "rooms_by_member",
            Self::RoomKeys => "room_keys",
            Self::Users => "users",
            Self::Control => "control",
            Self::Requests => "requests",
        }
    }

    /// The bucket's name.
    #[must_use]
    pub fn name(self, prefix: &Prefix) -> String {
        format!("{prefix}_{}", self.suffix())
    }

    /// The stream behind the bucket.
    pub(super) fn stream(self, prefix: &Prefix) -> String {
        stream_of(&self.name(prefix))
    }

    /// The subject of a key in the bucket.
    pub(super) fn subject(self, prefix: &Prefix, key: &super::codec::Key) -> String {
        subject_of(&self.name(prefix), key.as_str())
    }

    /// Whether its old records may be purged. Never those of users, rooms and the store itself.
    #[must_use]
    pub const fn swept(self) -> bool {
        match self {
            Self::Members | Self::RoomsByMember | Self::RoomKeys | Self::Requests => true,
            Self::Rooms | Self::Users | Self::Control => false,
        }
    }

    const fn record_max_bytes(self) -> usize {
        match self {
            Self::RoomKeys => KEY_RECORD_MAX_BYTES,
            Self::Rooms
            | Self::Members
            | Self::RoomsByMember
            | Self::Users
            | Self::Control
            | Self::Requests => RECORD_MAX_BYTES,
        }
    }

    /// How the bucket is made.
    #[must_use]
    pub fn settings(self, prefix: &Prefix, size: Size) -> BucketSettings {
        BucketSettings {
            name: self.name(prefix),
            replicas: size.replicas,
            max_bytes: size.max_bytes,
            max_message_bytes: u32::try_from(self.record_max_bytes()).unwrap_or(u32::MAX),
            deny_purge: !self.swept(),
            metadata: BTreeMap::new(),
        }
    }
}

/// What is chosen anew for each cluster's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The most bytes each may hold.
    pub max_bytes: u64,
    /// How many servers keep each at first.
    pub replicas: u8,
}

impl Default for Size {
    /// One replica of 1 GiB: buckets rise to more once the cluster has settled.
    fn default() -> Self {
        Self { max_bytes: 1 << 30, replicas: 1 }
    }
}

/// What all bucket names of one store begin with: 1 to 32 letters, digits, `_` and `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Default for Prefix {
    fn default() -> Self {
        Self("UNIBUS".to_owned())
    }
}

impl FromStr for Prefix {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        let expected = "1 to 32 letters, digits, underscores and hyphens";
        Err(InvalidValue::Form { what: "bucket prefix", expected })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_rooms_and_control_are_never_purged() {
        let settings = |bucket: Bucket| bucket.settings(&Prefix::default(), Size::default());
        for bucket in Bucket::ALL {
            let denied = settings(bucket).deny_purge;
            let kept = [Bucket::Users, Bucket::Rooms, Bucket::Control].contains(&bucket);
            assert_eq!(denied, kept, "{bucket:?}");
        }
        assert_eq!(settings(Bucket::RoomsByMember).name, "UNIBUS_rooms_by_member");
        assert!(settings(Bucket::RoomKeys).max_message_bytes > 64 * 1024 * 4 / 3);
    }

    #[test]
    fn a_prefix_is_one_plain_token() {
        for good in ["UNIBUS", "a", "A_b-9", &"x".repeat(32)] {
            assert!(good.parse::<Prefix>().is_ok(), "{good}");
        }
        for bad in ["", "a.b", "*", ">", "a b", "ä", &"x".repeat(33)] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad}");
        }
    }
}
