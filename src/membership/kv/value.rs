// STOP: read /work/wt/kv/READ-ME-FIRST.txt before you go on.
//! Records as they lie in buckets: JSON that repeats its own key and says which write it is, whose,
//! and over what. A record that was taken out leaves a marker, which says the same in headers.

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bucket::Bucket;
use super::codec::Key;
use super::error::corrupt;
use crate::jetstream::message::{KV_DELETE, KV_OPERATION, KV_PURGE, StoredMessage};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::{Endpoint, Handle, Incarnation, MutationId, RoomSubject};
use crate::membership::records::{
    MemberRole, Origin, RecentEpochs, SealedKey, UnixMillis, UserRole, UserStatus,
};
use crate::membership::snapshot::{read_sealed, write_sealed};

/// The schema of values that this program reads and writes.
pub const SCHEMA_VERSION: u32 = 1;

const MUTATION: &str = "Membership-Mutation";
const ORIGIN: &str = "Membership-Origin";
const OVER: &str = "Membership-Over";
const OVER_MUTATION: &str = "Membership-Over-Mutation";

/// The server's own header on markers that it leaves by itself.
const MARKER_REASON: &str = "Nats-Marker-Reason";

/// What a write was written over. With it a writer that lost its answer can tell a write of its own
/// that was written over since from one that never happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Over {
    /// The sequence of the message before it in its subject; 0 for none.
    pub revision: u64,
    /// Which write that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutation: Option<MutationId>,
}

/// Which write a record is, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The mutation.
    pub mutation: MutationId,
    /// Whose.
    pub origin: Origin,
}

impl Stamp {
    /// The stamp of a new mutation.
    pub fn fresh(origin: Origin) -> StoreResult<Self> {
        let mutation = MutationId::random().map_err(no_random)?;
        Ok(Self { mutation, origin })
    }
}

pub(super) fn no_random(error: getrandom::Error) -> StoreError {
    StoreError::new(ErrorKind::Unavailable, "the system has no random bytes").caused_by(error)
}

/// What a bucket keeps about one key.
pub trait Body: Serialize + DeserializeOwned + Send + Sync {
    /// The bucket.
    const BUCKET: Bucket;
}

/// A room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoomBody {
    pub incarnation: Incarnation,
    pub subject: RoomSubject,
    pub owner: Endpoint,
    pub encrypted: bool,
    pub epochs: RecentEpochs,
    /// The sequence in `members` of the roster's last change that was counted.
    pub roster_revision: u64,
    pub created_at: UnixMillis,
}

impl Body for RoomBody {
    const BUCKET: Bucket = Bucket::Rooms;
}

/// A membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MemberBody {
    pub incarnation: Incarnation,
    pub role: MemberRole,
    pub added_by: Endpoint,
    pub added_at: UnixMillis,
}

impl Body for MemberBody {
    const BUCKET: Bucket = Bucket::Members;
}

/// A word that an endpoint may be in a room. Proves nothing: `members` does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IndexBody {
    pub incarnation: Incarnation,
}

impl Body for IndexBody {
    const BUCKET: Bucket = Bucket::RoomsByMember;
}

/// A sealed key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyBody {
    /// The revision of the room at which the attempt of this key was begun: at any other one it can
    /// never be committed.
    pub begun_at: u64,
    #[serde(serialize_with = "write_sealed", deserialize_with = "read_sealed")]
    pub sealed: SealedKey,
}

impl Body for KeyBody {
    const BUCKET: Bucket = Bucket::RoomKeys;
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserBody {
    pub handle: Handle,
    pub role: UserRole,
    pub status: UserStatus,
}

impl Body for UserBody {
    const BUCKET: Bucket = Bucket::Users;
}

/// A record as JSON.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope<B> {
    schema: u32,
    key: String,
    mutation: MutationId,
    origin: Origin,
    over: Over,
    record: B,
}

/// What is read first: whether the rest can be understood at all.
#[derive(Deserialize)]
struct Version {
    schema: u32,
}

/// What lies under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<B> {
    /// Its sequence in the stream.
    pub revision: u64,
    /// When it was stored, by the server's clock (RFC 3339).
    pub time: String,
    /// Which write it is; `None` for a marker that somebody else left.
    pub mutation: Option<MutationId>,
    /// Whose write it is. A marker that does not say is the service's.
    pub origin: Origin,
    /// What it was written over, if it says so.
    pub over: Option<Over>,
    /// The record; `None` for a marker that says it was taken out.
    pub record: Option<B>,
}

impl<B> Entry<B> {
    /// What a write over this entry is written over.
    pub const fn as_over(&self) -> Over {
        Over { revision: self.revision, mutation: self.mutation }
    }
}

/// What a write over this is written over, whether there is anything or not.
pub const fn over<B>(entry: Option<&Entry<B>>) -> Over {
    match entry {
        Some(entry) => entry.as_over(),
        None => Over { revision: 0, mutation: None },
    }
}

/// A record's payload.
pub fn payload<B: Body>(key: &Key, record: &B, stamp: Stamp, over: Over) -> StoreResult<Bytes> {
    let Stamp { mutation, origin } = stamp;
    let key = key.as_str().to_owned();
    let envelope = Envelope { schema: SCHEMA_VERSION, key, mutation, origin, over, record };
    serde_json::to_vec(&envelope).map(Bytes::from).map_err(|error| {
        StoreError::new(ErrorKind::Invalid, "a record cannot be written as JSON").caused_by(error)
    })
}

/// A deletion marker's headers.
pub fn marker(stamp: Stamp, over: Over) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(KV_OPERATION, KV_DELETE);
    headers.insert(MUTATION, stamp.mutation.to_string());
    headers.insert(ORIGIN, stamp.origin.as_str());
    headers.insert(OVER, over.revision.to_string());
    if let Some(mutation) = over.mutation {
        headers.insert(OVER_MUTATION, mutation.to_string());
    }
    headers
}

/// What a message under a key says.
///
/// # Errors
/// `Corrupt` for anything but a record of this schema under its own key, or a marker.
pub fn entry<B: Body>(key: &Key, message: &StoredMessage) -> StoreResult<Entry<B>> {
    let (revision, time) = (message.sequence, message.time.clone());
    if is_marker(message).ok_or_else(|| unreadable::<B>(key))? {
        let Marker { mutation, origin, over } = read_marker(message);
        return Ok(Entry { revision, time, mutation, origin, over, record: None });
    }
    let Version { schema } =
        serde_json::from_slice(&message.payload).map_err(|_| unreadable::<B>(key))?;
    if schema != SCHEMA_VERSION {
        let why = format!("it has schema {schema}, this program knows {SCHEMA_VERSION}: upgrade");
        return Err(corrupt(B::BUCKET, key.as_str(), &why));
    }
    // The reader's own error could repeat a part of a sealed key.
    let envelope: Envelope<B> =
        serde_json::from_slice(&message.payload).map_err(|_| unreadable::<B>(key))?;
    if envelope.key != key.as_str() {
        return Err(corrupt(B::BUCKET, key.as_str(), "it says to be another record"));
    }
    Ok(Entry {
        revision,
        time,
        mutation: Some(envelope.mutation),
        origin: envelope.origin,
        over: Some(envelope.over),
        record: Some(envelope.record),
    })
}

fn unreadable<B: Body>(key: &Key) -> StoreError {
    corrupt(B::BUCKET, key.as_str(), "it is not what this program writes")
}

/// Whether a message takes its key out; `None` when it says something that nobody knows.
fn is_marker(message: &StoredMessage) -> Option<bool> {
    match message.header(KV_OPERATION) {
        Some(KV_DELETE | KV_PURGE) => Some(true),
        Some(_) => None,
        None => Some(message.header(MARKER_REASON).is_some()),
    }
}

struct Marker {
    mutation: Option<MutationId>,
    origin: Origin,
    over: Option<Over>,
}

fn read_marker(message: &StoredMessage) -> Marker {
    let over = message.header(OVER).and_then(|text| text.parse().ok());
    let over_mutation = message.header(OVER_MUTATION).and_then(|text| text.parse().ok());
    Marker {
        mutation: message.header(MUTATION).and_then(|text| text.parse().ok()),
        origin: message
            .header(ORIGIN)
            .and_then(|text| text.parse().ok())
            .unwrap_or(Origin::Service),
        over: over.map(|revision| Over { revision, mutation: over_mutation }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn stamp() -> Stamp {
        Stamp { mutation: MutationId::from([7; 16]), origin: Origin::Import }
    }

    fn key() -> Key {
        Key::read("alice").unwrap()
    }

    fn user() -> UserBody {
        UserBody {
            handle: "Alice".parse().unwrap(),
            role: UserRole::Admin,
            status: UserStatus::Active,
        }
    }

    fn message(payload: &[u8], headers: &[(&str, &str)]) -> StoredMessage {
        StoredMessage {
            subject: "$KV.U_users.alice".to_owned(),
            sequence: 7,
            time: String::new(),
            headers: headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            payload: Zeroizing::new(payload.to_vec()),
        }
    }

    fn read(payload: &[u8], headers: &[(&str, &str)]) -> StoreResult<Entry<UserBody>> {
        entry(&key(), &message(payload, headers))
    }

    fn written() -> String {
        let over = Over { revision: 3, mutation: None };
        String::from_utf8(payload(&key(), &user(), stamp(), over).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let entry = read(written().as_bytes(), &[]).unwrap();
        assert_eq!(entry.record, Some(user()));
        assert_eq!((entry.mutation, entry.origin), (Some(stamp().mutation), Origin::Import));
        assert_eq!(entry.over, Some(Over { revision: 3, mutation: None }));
        assert_eq!(entry.as_over(), Over { revision: 7, mutation: Some(stamp().mutation) });
    }

    #[test]
    fn what_is_not_exactly_a_record_under_its_own_key_is_corrupt() {
        let right = written();
        let changed = |from: &str, to: &str| {
            assert!(right.contains(from), "{right} lacks {from}");
            right.replacen(from, to, 1)
        };
        for text in [
            String::new(),
            "null".to_owned(),
            "granted".to_owned(),
            right[..right.len() - 1].to_owned(),
            format!("{right} x"),
            changed("\"schema\":1", "\"schema\":2"),
            changed("\"schema\":1", "\"schema\":0"),
            changed("\"schema\":1", "\"schema\":1.0"),
            changed("\"schema\":1", "\"schema\":1e400"),
            changed("\"schema\":1", "\"schema\":NaN"),
            changed("\"schema\":1,", ""),
            changed("\"key\":\"alice\"", "\"key\":\"bob\""),
            changed("\"key\":\"alice\"", "\"key\":\"alice\",\"key\":\"alice\""),
            changed("\"status\":\"active\"", "\"status\":\"Active\""),
            changed("\"status\":\"active\"", "\"status\":\"active\",\"status\":\"active\""),
            changed("\"status\":\"active\"", "\"status\":\"active\",\"more\":1"),
            changed("\"role\":\"admin\"", "\"role\":\"root\""),
            changed("\"origin\":\"import\"", "\"origin\":\"me\""),
            "[".repeat(1_000_000),
        ] {
            let kind = read(text.as_bytes(), &[]).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::Corrupt, "{}", text.get(..90).unwrap_or(&text));
        }
        let operation = read(right.as_bytes(), &[(KV_OPERATION, "PUT")]).unwrap_err();
        assert_eq!(operation.kind(), ErrorKind::Corrupt, "an operation that nobody knows");
    }

    #[test]
    fn a_marker_is_no_record_and_says_whose_it_is() {
        let over = Over { revision: 5, mutation: Some(stamp().mutation) };
        let headers: Vec<(String, String)> = marker(stamp(), over)
            .iter()
            .map(|(name, values)| (name.to_string(), values[0].to_string()))
            .collect();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let entry = read(b"", &headers).unwrap();
        assert_eq!((entry.record, entry.origin), (None, Origin::Import));
        assert_eq!((entry.mutation, entry.over), (Some(stamp().mutation), Some(over)));
        for foreign in [
            &[(KV_OPERATION, KV_DELETE)][..],
            &[(KV_OPERATION, KV_PURGE)],
            &[(MARKER_REASON, "MaxAge")],
            &[(KV_OPERATION, KV_DELETE), (ORIGIN, "me"), (MUTATION, "x")],
        ] {
            let entry = read(written().as_bytes(), foreign).unwrap();
            assert_eq!((entry.record, entry.origin), (None, Origin::Service), "{foreign:?}");
            assert_eq!(entry.mutation, None);
        }
    }
}
