//! The records of the domain, as every store gives them back. How a store writes them down is the
//! store's own affair.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ids::{
    Attempt, Endpoint, Epoch, Handle, Incarnation, InvalidValue, RoomId, RoomSubject, UserKey,
};

/// An enum each of whose values is one stable word, in JSON, in tables for people and in a store.
macro_rules! words {
    (
        $(#[$doc:meta])* $name:ident, $what:literal, $expected:literal,
        { $($(#[$value_doc:meta])* $value:ident = $word:literal,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$value_doc])* #[serde(rename = $word)] $value,)+
        }

        impl $name {
            /// The value's word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                match text {
                    $($word => Ok(Self::$value),)+
                    _ => Err(InvalidValue::Form { what: $what, expected: $expected }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// The largest sealed key, in bytes.
pub const SEALED_KEY_MAX_BYTES: usize = 64 * 1024;

/// How many of a room's newest epochs are kept; keys of older ones are swept.
pub const KEPT_EPOCHS: usize = 3;

/// A moment, in milliseconds since 1970 (UTC). Information for people: no decision reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

/// A room key, sealed for one endpoint. Opaque to us: never parsed and never printed, so it has
/// neither `Debug` nor `Display`, and its bytes are wiped when it goes.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey(Zeroizing<Vec<u8>>);

impl SealedKey {
    /// The sealed bytes, for writing them to the store or to their owner and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for SealedKey {
    type Error = InvalidValue;

    fn try_from(bytes: Vec<u8>) -> Result<Self, InvalidValue> {
        const WHAT: &str = "sealed key";
        let bytes = Zeroizing::new(bytes);
        match bytes.len() {
            0 => Err(InvalidValue::Empty { what: WHAT }),
            actual if actual > SEALED_KEY_MAX_BYTES => {
                Err(InvalidValue::TooLong { what: WHAT, actual, max: SEALED_KEY_MAX_BYTES })
            }
            _ => Ok(Self(bytes)),
        }
    }
}

/// Where a record stands in its store's own order of writes. Opaque; equal means unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// A record together with the revision it was read at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub record: T,
    /// The revision it was read at.
    pub revision: Revision,
}

words! {
    /// Who wrote a record last. A migration may overwrite what a migration wrote, never what the
    /// service wrote.
    Origin, "origin", "service or import",
    {
        /// The membership service, on somebody's request.
        Service = "service",
        /// An import or a migration.
        Import = "import",
    }
}

/// An epoch that was committed, with the one attempt whose keys count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommittedEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// The attempt that won it.
    pub attempt: Attempt,
}

/// A room's committed epochs, newest first: at least one and at most [`KEPT_EPOCHS`], each one less
/// than the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<CommittedEpoch>", into = "Vec<CommittedEpoch>")]
pub struct RecentEpochs(Vec<CommittedEpoch>);

impl RecentEpochs {
    /// The epochs of a room that stands at this one, with as many before it as are kept. An
    /// imported room brings keys of them all, and one attempt serves for them together.
    #[must_use]
    pub fn ending_at(current: CommittedEpoch) -> Self {
        let newest = current.epoch.get();
        let epochs = (0..newest).rev().take(KEPT_EPOCHS).filter_map(|before| {
            let epoch = Epoch::try_from(before + 1).ok()?;
            Some(CommittedEpoch { epoch, ..current })
        });
        Self(epochs.collect())
    }

    /// The current epoch.
    #[must_use]
    pub fn current(&self) -> CommittedEpoch {
        self.0[0]
    }

    /// The attempt that was committed for an epoch; `None` when the epoch never was or is too old.
    #[must_use]
    pub fn attempt_of(&self, epoch: Epoch) -> Option<Attempt> {
        self.iter().find(|committed| committed.epoch == epoch).map(|committed| committed.attempt)
    }

    /// The kept epochs, newest first.
    pub fn iter(&self) -> impl Iterator<Item = CommittedEpoch> + '_ {
        self.0.iter().copied()
    }

    /// The epochs after committing an attempt at the next epoch; the oldest may fall out. `None`
    /// when there is no next epoch to count to.
    #[must_use]
    pub fn advanced(&self, attempt: Attempt) -> Option<Self> {
        let newest = CommittedEpoch { epoch: self.current().epoch.next()?, attempt };
        Some(Self(std::iter::once(newest).chain(self.iter()).take(KEPT_EPOCHS).collect()))
    }
}

impl TryFrom<Vec<CommittedEpoch>> for RecentEpochs {
    type Error = InvalidValue;

    fn try_from(epochs: Vec<CommittedEpoch>) -> Result<Self, InvalidValue> {
        let falls_by_one =
            epochs.windows(2).all(|pair| pair[1].epoch.next() == Some(pair[0].epoch));
        if (1..=KEPT_EPOCHS).contains(&epochs.len()) && falls_by_one {
            Ok(Self(epochs))
        } else {
            Err(InvalidValue::Form {
                what: "a room's epochs",
                expected: "one to three committed epochs, newest first, without a gap",
            })
        }
    }
}

impl From<RecentEpochs> for Vec<CommittedEpoch> {
    fn from(epochs: RecentEpochs) -> Self {
        epochs.0
    }
}

/// A room. Its owner and incarnation never change once it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// The room's name.
    pub id: RoomId,
    /// This life of the room.
    pub incarnation: Incarnation,
    /// The bus subject it speaks on.
    pub subject: RoomSubject,
    /// Who made it. Always a member.
    pub owner: Endpoint,
    /// Whether its members hold sealed keys.
    pub encrypted: bool,
    /// The committed epochs, newest first.
    pub epochs: RecentEpochs,
    /// Grows with each change of the roster.
    pub roster_revision: u64,
    /// When it was made.
    pub created_at: UnixMillis,
}

words! {
    /// What a member may do in its room.
    MemberRole, "member role", "owner or member",
    {
        /// The one who made the room.
        Owner = "owner",
        /// Everybody else in it.
        Member = "member",
    }
}

/// A member of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The room.
    pub room: RoomId,
    /// Who is in it.
    pub endpoint: Endpoint,
    /// The room's life that the membership belongs to.
    pub incarnation: Incarnation,
    /// Owner or member.
    pub role: MemberRole,
    /// Who let the endpoint in.
    pub added_by: Endpoint,
    /// When.
    pub added_at: UnixMillis,
}

/// A sealed key of one endpoint in one committed epoch of a room.
#[derive(Clone, PartialEq, Eq)]
pub struct RoomKey {
    /// The room.
    pub room: RoomId,
    /// Whom the key is sealed for.
    pub endpoint: Endpoint,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// The sealed bytes.
    pub sealed: SealedKey,
}

words! {
    /// What a user may do at all.
    UserRole, "user role", "admin, user or service",
    {
        /// May manage users.
        Admin = "admin",
        /// An ordinary user.
        User = "user",
        /// A program that may ask about others.
        Service = "service",
    }
}

words! {
    /// Whether a user may come in.
    UserStatus, "user status", "active or revoked",
    {
        /// May come in.
        Active = "active",
        /// Was sent away, for good.
        Revoked = "revoked",
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The user's public key.
    pub key: UserKey,
    /// What people call the user.
    pub handle: Handle,
    /// What the user may do.
    pub role: UserRole,
    /// Whether the user may come in.
    pub status: UserStatus,
}
