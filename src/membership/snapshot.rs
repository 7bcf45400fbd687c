//! A store as lines of JSON: one [`Record`] a line, as `export` writes and `import` reads them.
//!
//! Only what means the same in every store is in a record. Incarnations, attempts, revisions and
//! mutation ids are each store's own and stay at home, so that two stores with the same membership
//! export the same lines (in an order of their own: sort before comparing).

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::ids::{Endpoint, Epoch, Handle, RoomId, RoomSubject, UserKey};
use super::records::{MemberRole, Room, SealedKey, UnixMillis, User, UserRole, UserStatus};

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

impl From<User> for Record {
    fn from(user: User) -> Self {
        let User { key, handle, role, status } = user;
        Self::User(UserRecord { key, handle, role, status })
    }
}

impl From<Room> for Record {
    fn from(room: Room) -> Self {
        Self::Room(RoomRecord {
            epoch: room.epochs.current().epoch,
            room: room.id,
            subject: room.subject,
            owner: room.owner,
            encrypted: room.encrypted,
            created_at: room.created_at,
        })
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

pub(super) fn write_sealed<S: Serializer>(
    sealed: &SealedKey,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&Zeroizing::new(BASE64.encode(sealed.expose())))
}

pub(super) fn read_sealed<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SealedKey, D::Error> {
    let text = Zeroizing::new(String::deserialize(deserializer)?);
    // The decoder's own error would repeat a byte of the key.
    let bytes = BASE64
        .decode(text.as_bytes())
        .map_err(|_| serde::de::Error::custom("the sealed key is not base64"))?;
    SealedKey::try_from(bytes).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn read(line: &str) -> Option<Record> {
        serde_json::from_str(line).ok()
    }

    #[test]
    fn each_kind_of_line_is_written_as_it_is_read() {
        for (line, table) in [
            (
                format!(
                    r#"{{"kind":"user","key":"{USER_KEY}","handle":"ada","role":"admin","status":"active"}}"#
                ),
                Table::Users,
            ),
            (
                r#"{"kind":"room","room":"lobby","subject":"bus.lobby","owner":"ada","encrypted":true,"epoch":3,"createdAt":7}"#.to_owned(),
                Table::Rooms,
            ),
            (
                r#"{"kind":"member","room":"lobby","endpoint":"bob","role":"member","addedBy":"ada","addedAt":7}"#.to_owned(),
                Table::Members,
            ),
            (
                r#"{"kind":"roomKey","room":"lobby","endpoint":"bob","epoch":3,"sealed":"AAEC"}"#.to_owned(),
                Table::RoomKeys,
            ),
        ] {
            let record = read(&line).unwrap();
            assert_eq!(record.table(), table);
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
    }

    #[test]
    fn a_line_that_is_not_exactly_a_record_is_refused() {
        let member = |changed: &str, to: &str| {
            r#"{"kind":"member","room":"r","endpoint":"e","role":"member","addedBy":"a","addedAt":7}"#
                .replace(changed, to)
        };
        assert!(read(&member("x", "x")).is_some(), "the line itself is right");
        for line in [
            member("\"member\",\"room\"", "\"visitor\",\"room\""),
            member("\"role\":\"member\"", "\"role\":\"Member\""),
            member("\"addedAt\":7", "\"addedAt\":-7"),
            member("\"addedAt\":7", "\"addedAt\":7.5"),
            member("\"addedAt\":7", "\"addedAt\":1e400"),
            member("\"addedAt\":7", "\"addedAt\":NaN"),
            member("\"addedAt\":7", "\"addedAt\":\"7\""),
            member("\"addedAt\":7", "\"addedAt\":7,\"more\":1"),
            member("\"addedAt\":7", "\"addedAt\":7,\"room\":\"other\""),
            member(",\"addedAt\":7", ""),
            member("\"room\":\"r\"", "\"room\":\"r \""),
            member("}", ""),
            member("}", "} x"),
            String::new(),
            "null".to_owned(),
            "[".repeat(1_000_000),
            format!("{{\"kind\":{}", "{\"a\":".repeat(100_000)),
        ] {
            assert!(read(&line).is_none(), "{}", line.get(..80).unwrap_or(&line));
        }
    }

    #[test]
    fn a_key_that_cannot_be_read_is_not_repeated() {
        let line = |sealed: &str| {
            format!(
                r#"{{"kind":"roomKey","room":"r","endpoint":"e","epoch":1,"sealed":"{sealed}"}}"#
            )
        };
        for sealed in ["", "A", "AA=", "AAE", "AAEC\n", "-_-_", "c2VjcmV0!"] {
            let error = serde_json::from_str::<Record>(&line(sealed)).err().unwrap().to_string();
            assert!(sealed.len() < 4 || !error.contains(sealed), "{error}");
        }
        let too_long = BASE64.encode(&[7; 64 * 1024 + 1]);
        assert!(read(&line(&too_long)).is_none());
        assert!(read(&line(&BASE64.encode(&[7; 64 * 1024]))).is_some());
    }
}
