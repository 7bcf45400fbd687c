//! The documents of the API. They are an interface: fields are added, never changed or taken away.
//! What a field holds is parsed into the domain's own types as it is read.

use data_encoding::BASE64;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::membership::ids::{Attempt, Endpoint, Epoch, Handle, RoomId, RoomSubject, UserKey};
use crate::membership::records::{self, MemberRole, Revision, UserRole, UserStatus};
use crate::membership::records::{SealedKey, UnixMillis};
use crate::membership::store;

/// A sealed key: base64 on the wire, never shown anywhere else.
#[derive(Clone, ToSchema)]
#[schema(value_type = String, content_encoding = "base64", min_length = 4, max_length = 87384,
    pattern = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)$")]
pub struct Sealed(pub SealedKey);

impl<'de> Deserialize<'de> for Sealed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = zeroize::Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = BASE64
            .decode(text.as_bytes())
            .map_err(|_| D::Error::custom("a sealed key is base64 with padding"))?;
        SealedKey::try_from(bytes).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Sealed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0.expose()))
    }
}

/// A room to be made. The caller becomes its owner.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewRoom {
    /// The room's name.
    #[schema(value_type = String, min_length = 1, max_length = 128, example = "lobby")]
    pub room: RoomId,
    /// The bus subject that it speaks on.
    #[schema(value_type = String, min_length = 1, max_length = 256, example = "unibus.room.lobby")]
    pub subject: RoomSubject,
    /// The owner's sealed key, in base64: present makes the room encrypted.
    pub owner_key: Option<Sealed>,
}

/// A room.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Room {
    /// Its name.
    #[schema(value_type = String)]
    pub room: RoomId,
    /// The bus subject that it speaks on.
    #[schema(value_type = String)]
    pub subject: RoomSubject,
    /// Who made it.
    #[schema(value_type = String)]
    pub owner: Endpoint,
    /// Whether its members hold sealed keys.
    pub encrypted: bool,
    /// The current epoch of its keys.
    #[schema(value_type = u64, minimum = 1, maximum = 9223372036854775807i64)]
    pub epoch: Epoch,
    /// Grows with each change of the roster.
    pub roster_revision: u64,
    /// When it was made, in milliseconds since 1970.
    #[schema(value_type = u64)]
    pub created_at: UnixMillis,
}

impl From<records::Room> for Room {
    fn from(room: records::Room) -> Self {
        Self {
            epoch: room.epochs.current().epoch,
            room: room.id,
            subject: room.subject,
            owner: room.owner,
            encrypted: room.encrypted,
            roster_revision: room.roster_revision,
            created_at: room.created_at,
        }
    }
}

/// A room as one of its members sees it in a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinedRoom {
    /// The room.
    #[serde(flatten)]
    pub room: Room,
    /// What the caller is in it.
    #[schema(value_type = Place)]
    pub role: MemberRole,
}

impl From<store::JoinedRoom> for JoinedRoom {
    fn from(joined: store::JoinedRoom) -> Self {
        Self { room: joined.room.into(), role: joined.role }
    }
}

/// What somebody is in a room.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Place {
    /// Made the room.
    Owner,
    /// Was let in.
    Member,
}

/// What a user may do at all.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Role {
    /// May manage users.
    Admin,
    /// An ordinary user.
    User,
    /// A program that may ask about others.
    Service,
}

/// Whether a user may come in.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Status {
    /// May come in.
    Active,
    /// Was sent away, for good.
    Revoked,
}

/// A sealed key with its epoch.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EpochKey {
    /// The epoch.
    #[schema(value_type = u64, minimum = 1, maximum = 9223372036854775807i64)]
    pub epoch: Epoch,
    /// The key, sealed for its holder, in base64.
    pub sealed: Sealed,
}

impl From<EpochKey> for store::EpochKey {
    fn from(key: EpochKey) -> Self {
        Self { epoch: key.epoch, sealed: key.sealed.0 }
    }
}

/// Somebody to be let into a room.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewMember {
    /// Whom; a user's endpoint is the user's key.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    pub endpoint: Endpoint,
    /// The key of the room's current epoch, sealed for the new member. Needed in an encrypted room,
    /// refused in any other.
    pub key: Option<EpochKey>,
}

/// A member of a room.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The room.
    #[schema(value_type = String)]
    pub room: RoomId,
    /// Who is in it.
    #[schema(value_type = String)]
    pub endpoint: Endpoint,
    /// Owner or member.
    #[schema(value_type = Place)]
    pub role: MemberRole,
    /// Who let the endpoint in.
    #[schema(value_type = String)]
    pub added_by: Endpoint,
    /// When, in milliseconds since 1970.
    #[schema(value_type = u64)]
    pub added_at: UnixMillis,
}

impl From<records::Member> for Member {
    fn from(member: records::Member) -> Self {
        let records::Member { room, endpoint, incarnation: _, role, added_by, added_at } = member;
        Self { room, endpoint, role, added_by, added_at }
    }
}

/// A member that was let in, and the room after it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberAdded {
    /// The membership.
    pub member: Member,
    /// The room. When its epoch is past that of the member's key, a rekey came between: give the
    /// member a key of the current epoch.
    pub room: Room,
}

/// A key to be handed to a member.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HandedKey {
    /// The key, sealed for the member, in base64.
    pub sealed: Sealed,
}

/// One of the caller's own keys.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomKey {
    /// The room.
    #[schema(value_type = String)]
    pub room: RoomId,
    /// Whom the key is sealed for.
    #[schema(value_type = String)]
    pub endpoint: Endpoint,
    /// The epoch that it belongs to.
    #[schema(value_type = u64, minimum = 1, maximum = 9223372036854775807i64)]
    pub epoch: Epoch,
    /// The sealed key, in base64.
    pub sealed: Sealed,
}

impl From<records::RoomKey> for RoomKey {
    fn from(key: records::RoomKey) -> Self {
        let records::RoomKey { room, endpoint, epoch, sealed } = key;
        Self { room, endpoint, epoch, sealed: Sealed(sealed) }
    }
}

/// A rekey that was begun. Its pages and its commit name all of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rekey {
    /// The room.
    #[schema(value_type = String)]
    pub room: RoomId,
    /// The epoch that the rekey would bring.
    #[schema(value_type = u64, minimum = 1, maximum = 9223372036854775807i64)]
    pub epoch: Epoch,
    /// This attempt at it.
    #[schema(value_type = String)]
    pub attempt: Attempt,
    /// The room's revision when it was begun.
    #[schema(value_type = u64)]
    pub revision: Revision,
}

impl From<store::Rekey> for Rekey {
    fn from(rekey: store::Rekey) -> Self {
        let store::Rekey { room, epoch, attempt, revision } = rekey;
        Self { room, epoch, attempt, revision }
    }
}

/// Some of a rekey's keys.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RekeyPage {
    /// The rekey's epoch.
    #[schema(value_type = u64, minimum = 1, maximum = 9223372036854775807i64)]
    pub epoch: Epoch,
    /// The rekey's revision.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// One key for each of some members.
    #[schema(max_items = 1000)]
    pub keys: Vec<MemberKey>,
}

/// One member's key in a rekey.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberKey {
    /// Whom the key is sealed for.
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    pub endpoint: Endpoint,
    /// The sealed key, in base64.
    pub sealed: Sealed,
}

impl From<MemberKey> for store::MemberKey {
    fn from(key: MemberKey) -> Self {
        Self { endpoint: key.endpoint, sealed: key.sealed.0 }
    }
}

/// The end of a rekey.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RekeyCommit {
    /// The rekey's epoch.
    #[schema(value_type = u64, minimum = 1, maximum = 9223372036854775807i64)]
    pub epoch: Epoch,
    /// The rekey's revision.
    #[schema(value_type = u64)]
    pub revision: Revision,
}

/// A user to be let in.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewUser {
    /// The user's Ed25519 public key, in 64 hexadecimal digits.
    #[schema(value_type = String, pattern = "^[0-9a-fA-F]{64}$")]
    pub key: UserKey,
    /// What people call the user.
    #[schema(value_type = String, min_length = 1, max_length = 128, example = "Ada Lovelace")]
    pub handle: Handle,
    /// What the user may do.
    #[schema(value_type = Role)]
    pub role: UserRole,
}

/// A user.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// The user's public key.
    #[schema(value_type = String)]
    pub key: UserKey,
    /// What people call the user.
    #[schema(value_type = String)]
    pub handle: Handle,
    /// What the user may do.
    #[schema(value_type = Role)]
    pub role: UserRole,
    /// Whether the user may come in.
    #[schema(value_type = Status)]
    pub status: UserStatus,
}

impl From<records::User> for User {
    fn from(user: records::User) -> Self {
        let records::User { key, handle, role, status } = user;
        Self { key, handle, role, status }
    }
}

/// Questions whether users may act.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Questions {
    /// The questions, answered in this order.
    #[schema(min_items = 1, max_items = 100)]
    pub questions: Vec<Question>,
}

/// May this user act, and in this room?
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Question {
    /// The user's public key.
    #[schema(value_type = String, pattern = "^[0-9a-fA-F]{64}$")]
    pub user: UserKey,
    /// The room; whether the user may come in at all when left out.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128)]
    pub room: Option<RoomId>,
}

/// Answers, one for each question and in the same order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decisions {
    /// The answers.
    pub decisions: Vec<Decision>,
}

/// Whether a user may act. It was true at a moment between question and answer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Whether the user may act. Every doubt is a no.
    pub allowed: bool,
    /// What the user is in the room that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Place>)]
    pub member: Option<MemberRole>,
    /// Why not, told to a service only: UnknownUser, Revoked, UnknownRoom, NotMember, Corrupt,
    /// Unavailable, Deadline or Moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// What to send as `after` for the next page; the list ends here when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T, U: From<T>> From<store::Page<T>> for Page<U> {
    fn from(page: store::Page<T>) -> Self {
        Self {
            items: page.items.into_iter().map(U::from).collect(),
            next: page.next.map(|cursor| cursor.0),
        }
    }
}
