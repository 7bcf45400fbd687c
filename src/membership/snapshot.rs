//! A store as lines of JSON: one [`Record`] a line, as `export` writes and `import` reads them.
//!
//! Only what means the same in every store is in a record. Incarnations, attempts, revisions and
//! mutation ids are each store's own and stay at home, so that two stores with the same membership
//! export the same lines (in an order of their own: sort before comparing).

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::ids::{Endpoint, Epoch, Handle, RoomId, RoomSubject, UserKey};
use super::records::{MemberRole, SealedKey, UnixMillis, UserRole, UserStatus};

/// What a store keeps apart and an export takes in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Table {
    /// The users.
    Users,
    /// The rooms.
    Rooms,
    /// The members of all rooms.
    Members,
    /// The sealed keys of all kept epochs.
    RoomKeys,
}

impl Table {
    /// Every table, in the order in which an import must write them.
    pub const ALL: [Self; 4] = [Self::Users, Self::Rooms, Self::Members, Self::RoomKeys];
}

/// One line of an export.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", deny_unknown_fields)]
pub enum Record {
    /// A user.
    User(UserRecord),
    /// A room.
    Room(RoomRecord),
    /// A member of a room.
    Member(MemberRecord),
    /// A sealed key.
    RoomKey(RoomKeyRecord),
}

impl Record {
    /// The table that the record belongs to.
    #[must_use]
    pub const fn table(&self) -> Table {
        match self {
            Self::User(_) => Table::Users,
            Self::Room(_) => Table::Rooms,
            Self::Member(_) => Table::Members,
            Self::RoomKey(_) => Table::RoomKeys,
        }
    }
}

/// A user, as exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserRecord {
    /// The user's public key.
    pub key: UserKey,
    /// What people call the user.
    pub handle: Handle,
    /// What the user may do.
    pub role: UserRole,
    /// Whether the user may come in.
    pub status: UserStatus,
}

/// A room, as exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoomRecord {
    /// The room's name.
    pub room: RoomId,
    /// The bus subject it speaks on.
    pub subject: RoomSubject,
    /// Who made it.
    pub owner: Endpoint,
    /// Whether its members hold sealed keys.
    pub encrypted: bool,
    /// The current epoch.
    pub epoch: Epoch,
    /// When it was made.
    pub created_at: UnixMillis,
}

/// A member of a room, as exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberRecord {
    /// The room.
    pub room: RoomId,
    /// Who is in it.
    pub endpoint: Endpoint,
    /// Owner or member.
    pub role: MemberRole,
    /// Who let the endpoint in.
    pub added_by: Endpoint,
    /// When.
    pub added_at: UnixMillis,
}

/// A sealed key of a committed epoch, as exported.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoomKeyRecord {
    /// The room.
    pub room: RoomId,
    /// Whom the key is sealed for.
    pub endpoint: Endpoint,
    /// The epoch it belongs to.
    pub epoch: Epoch,
    /// The sealed bytes, in base64.
    #[serde(serialize_with = "write_sealed", deserialize_with = "read_sealed")]
    pub sealed: SealedKey,
}

fn write_sealed<S: Serializer>(sealed: &SealedKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&Zeroizing::new(BASE64.encode(sealed.expose())))
}

fn read_sealed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SealedKey, D::Error> {
    let text = Zeroizing::new(String::deserialize(deserializer)?);
    // The decoder's own error would repeat a byte of the key.
    let bytes = BASE64
        .decode(text.as_bytes())
        .map_err(|_| serde::de::Error::custom("the sealed key is not base64"))?;
    SealedKey::try_from(bytes).map_err(serde::de::Error::custom)
}
