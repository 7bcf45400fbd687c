//! The records of the domain, as every store gives them back. How a store writes them down is the
//! store's own affair.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

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

impl UnixMillis {
    /// By the system's clock.
    #[must_use]
    pub fn now() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A room key, sealed for one endpoint. Opaque to us: never parsed and never printed, so it has
/// neither `Debug` nor `Display`, and its bytes are wiped when it goes.
///
/// ```compile_fail,E0277
/// fn told(key: membership_operator::membership::records::SealedKey) -> String {
///     format!("{key:?}")
/// }
/// ```
///
/// ```compile_fail,E0277
/// fn told(key: membership_operator::membership::records::SealedKey) -> String {
///     format!("{key}")
/// }
/// ```
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

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(epoch: u64, attempt: u8) -> CommittedEpoch {
        CommittedEpoch {
            epoch: Epoch::try_from(epoch).unwrap(),
            attempt: Attempt::from([attempt; 16]),
        }
    }

    fn numbers(epochs: &RecentEpochs) -> Vec<u64> {
        epochs.iter().map(|committed| committed.epoch.get()).collect()
    }

    #[test]
    fn a_sealed_key_has_1_byte_to_64_kib() {
        for size in [1, SEALED_KEY_MAX_BYTES] {
            assert_eq!(SealedKey::try_from(vec![7; size]).ok().unwrap().expose().len(), size);
        }
        let refused = |size| SealedKey::try_from(vec![7; size]).err().unwrap();
        assert_eq!(refused(0), InvalidValue::Empty { what: "sealed key" });
        for actual in [SEALED_KEY_MAX_BYTES + 1, (1 << 20) + 1] {
            let max = SEALED_KEY_MAX_BYTES;
            assert_eq!(refused(actual), InvalidValue::TooLong { what: "sealed key", actual, max });
        }
    }

    #[test]
    fn a_room_keeps_its_last_three_epochs() {
        let mut epochs = RecentEpochs::ending_at(committed(1, 1));
        assert_eq!(numbers(&epochs), [1]);
        for (attempt, expected) in [(2, vec![2, 1]), (3, vec![3, 2, 1]), (4, vec![4, 3, 2])] {
            epochs = epochs.advanced(Attempt::from([attempt; 16])).unwrap();
            assert_eq!(numbers(&epochs), expected);
            assert_eq!(epochs.current().attempt, Attempt::from([attempt; 16]));
        }
        assert_eq!(epochs.attempt_of(Epoch::try_from(3).unwrap()), Some(Attempt::from([3; 16])));
        assert_eq!(epochs.attempt_of(Epoch::FIRST), None, "it fell out");
        assert_eq!(epochs.attempt_of(Epoch::try_from(5).unwrap()), None, "it is still to come");
    }

    #[test]
    fn an_imported_room_keeps_as_many_epochs_as_one_that_came_there_by_itself() {
        for (epoch, expected) in [(1, vec![1]), (2, vec![2, 1]), (9, vec![9, 8, 7])] {
            let epochs = RecentEpochs::ending_at(committed(epoch, 1));
            assert_eq!(numbers(&epochs), expected);
            let again = RecentEpochs::try_from(Vec::from(epochs.clone())).unwrap();
            assert_eq!(again, epochs);
        }
        let last = RecentEpochs::ending_at(committed(i64::MAX.unsigned_abs(), 1));
        assert_eq!(last.iter().count(), KEPT_EPOCHS);
        assert_eq!(last.advanced(Attempt::from([2; 16])), None, "there is no epoch to go to");
    }

    #[test]
    fn epochs_with_a_gap_a_repetition_or_none_at_all_are_refused() {
        for epochs in [
            vec![],
            vec![committed(1, 1), committed(2, 2)],
            vec![committed(3, 1), committed(1, 2)],
            vec![committed(2, 1), committed(2, 2)],
            vec![committed(4, 1), committed(3, 2), committed(2, 3), committed(1, 4)],
        ] {
            assert!(RecentEpochs::try_from(epochs.clone()).is_err(), "{epochs:?}");
        }
    }

    #[test]
    fn each_word_is_read_as_it_is_written_and_no_other() {
        for role in [UserRole::Admin, UserRole::User, UserRole::Service] {
            assert_eq!(role.as_str().parse::<UserRole>().unwrap(), role);
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
        }
        for text in ["", "Admin", "ADMIN", "admin ", "root", "true", "1"] {
            assert!(text.parse::<UserRole>().is_err(), "{text:?}");
            assert!(text.parse::<UserStatus>().is_err(), "{text:?}");
        }
    }
}
