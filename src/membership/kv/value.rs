//! What stands in the buckets, as JSON: an envelope that says what it is and whose write it was,
//! around the record's own fields. What cannot be read as exactly that is corrupt, never absent.

use data_encoding::BASE64;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::bucket::Bucket;
use super::codec::Key;
use crate::jetstream::message::{KV_OPERATION, StoredMessage};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::{
    Endpoint, Handle, Incarnation, MutationId, RoomId, RoomSubject, UserKey,
};
use crate::membership::records::{
    Member, Origin, RecentEpochs, Room, SealedKey, UnixMillis, User, UserRole, UserStatus,
};
use crate::membership::{refusal, rules};

/// The schema of the envelope and of everything in it.
pub(super) const SCHEMA: u32 = 1;

/// The headers by which a deletion marker says whose it is; it has no payload.
pub(super) const MUTATION_HEADER: &str = "Membership-Mutation";
pub(super) const ORIGIN_HEADER: &str = "Membership-Origin";
pub(super) const REPLACED_HEADER: &str = "Membership-Replaced";

/// Around every record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<T> {
    schema: u32,
    /// The record's own key: a record under another's key is not believed.
    key: String,
    mutation: MutationId,
    origin: Origin,
    /// The revision that this one took the place of; 0 for none.
    replaced: u64,
    value: T,
}

/// Whose write something is, and what it took the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// `None` on a marker that another program wrote.
    pub(super) mutation: Option<MutationId>,
    pub(super) origin: Origin,
    pub(super) replaced: Option<u64>,
}

/// What is at a key.
#[derive(Clone)]
pub(super) struct Slot<T> {
    /// The revision; 0 when there never was anything.
    pub(super) at: u64,
    /// Whose it is; `None` when there never was anything.
    pub(super) mark: Option<Mark>,
    /// The record; `None` when there is none, or a deletion marker.
    pub(super) value: Option<T>,
}

impl<T> Slot<T> {
    pub(super) const NOTHING: Self = Self { at: 0, mark: None, value: None };

    /// Who wrote it last. A marker that does not say was written by the service.
    pub(super) fn origin(&self) -> Origin {
        self.mark.map_or(Origin::Service, |mark| mark.origin)
    }

    /// What an import finds here.
    pub(super) fn found(&self, equal: impl FnOnce(&T) -> bool) -> rules::Found {
        if self.at == 0 {
            return rules::Found::Nothing;
        }
        let equal = self.value.as_ref().is_some_and(equal);
        rules::Found::Something { equal, origin: self.origin() }
    }
}

/// A record as it is sent.
pub(super) fn write<T: Serialize>(key: &Key, mark: &Written, value: &T) -> StoreResult<Vec<u8>> {
    let envelope = Envelope {
        schema: SCHEMA,
        key: key.as_str().to_owned(),
        mutation: mark.mutation,
        origin: mark.origin,
        replaced: mark.replaced,
        value,
    };
    serde_json::to_vec(&envelope).map_err(|error| {
        StoreError::new(ErrorKind::Invalid, "the record cannot be written as JSON").caused_by(error)
    })
}

/// What is known of one's own write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) mutation: MutationId,
    pub(super) origin: Origin,
    pub(super) replaced: u64,
}

impl Written {
    /// A new mutation over a revision.
    pub(super) fn new(origin: Origin, replaced: u64) -> StoreResult<Self> {
        let mutation = MutationId::random().map_err(refusal::no_random_bytes)?;
        Ok(Self { mutation, origin, replaced })
    }
}

/// A stored message as what is at its key.
///
/// # Errors
/// `Corrupt`.
pub(super) fn read<T: DeserializeOwned>(
    bucket: Bucket,
    key: &Key,
    message: &StoredMessage,
) -> StoreResult<Slot<T>> {
    let at = message.sequence;
    if message.header(KV_OPERATION).is_some() {
        return Ok(Slot { at, mark: Some(marker(message)), value: None });
    }
    let corrupt = |why: &str| corrupt(bucket, key, why);
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    // The decoder's own error could repeat a part of a sealed key.
    let version: Version = serde_json::from_slice(&message.payload)
        .map_err(|_| corrupt("it is not one of this program's records"))?;
    if version.schema != SCHEMA {
        let schema = version.schema;
        return Err(corrupt(&format!("it has schema {schema}, this program knows {SCHEMA}")));
    }
    let envelope: Envelope<T> =
        serde_json::from_slice(&message.payload).map_err(|_| corrupt("it cannot be read"))?;
    if envelope.key != key.as_str() {
        return Err(corrupt("it is another key's record"));
    }
    let Envelope { mutation, origin, replaced, value, .. } = envelope;
    let mark = Mark { mutation: Some(mutation), origin, replaced: Some(replaced) };
    Ok(Slot { at, mark: Some(mark), value: Some(value) })
}

/// Whose a deletion marker is.
fn marker(message: &StoredMessage) -> Mark {
    let header = |name: &str| message.header(name);
    Mark {
        mutation: header(MUTATION_HEADER).and_then(|text| text.parse().ok()),
        origin: header(ORIGIN_HEADER).and_then(|text| text.parse().ok()).unwrap_or(Origin::Service),
        replaced: header(REPLACED_HEADER).and_then(|text| text.parse().ok()),
    }
}

/// A record that is there and is not to be believed.
pub(super) fn corrupt(bucket: Bucket, key: &Key, why: &str) -> StoreError {
    StoreError::new(
        ErrorKind::Corrupt,
        format!(
            "the record {key} in the bucket of {} is damaged: {why}. It counts neither as there \
             nor as absent",
            bucket.suffix()
        ),
    )
}

/// A room's own fields.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RoomValue {
    pub(super) incarnation: Incarnation,
    pub(super) subject: RoomSubject,
    pub(super) owner: Endpoint,
    pub(super) encrypted: bool,
    pub(super) epochs: RecentEpochs,
    /// The newest change of the roster: its revision in the bucket of members.
    pub(super) roster: u64,
    pub(super) created_at: UnixMillis,
}

impl RoomValue {
    pub(super) fn of(room: &Room) -> Self {
        Self {
            incarnation: room.incarnation,
            subject: room.subject.clone(),
            owner: room.owner.clone(),
            encrypted: room.encrypted,
            epochs: room.epochs.clone(),
            roster: room.roster_revision,
            created_at: room.created_at,
        }
    }

    pub(super) fn room(self, id: RoomId) -> Room {
        Room {
            id,
            incarnation: self.incarnation,
            subject: self.subject,
            owner: self.owner,
            encrypted: self.encrypted,
            epochs: self.epochs,
            roster_revision: self.roster,
            created_at: self.created_at,
        }
    }
}

/// A member's own fields. What it is in the room, the room says.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MemberValue {
    pub(super) incarnation: Incarnation,
    pub(super) added_by: Endpoint,
    pub(super) added_at: UnixMillis,
}

impl MemberValue {
    pub(super) fn member(self, room: &Room, endpoint: Endpoint) -> Member {
        Member {
            room: room.id.clone(),
            incarnation: self.incarnation,
            role: rules::role_of(room, &endpoint),
            endpoint,
            added_by: self.added_by,
            added_at: self.added_at,
        }
    }
}

/// An entry of the reverse index.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct JoinedValue {
    pub(super) incarnation: Incarnation,
}

/// A sealed key in base64, wiped when it goes.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KeyValue {
    sealed: Zeroizing<String>,
}

impl KeyValue {
    pub(super) fn of(sealed: &SealedKey) -> Self {
        Self { sealed: Zeroizing::new(BASE64.encode(sealed.expose())) }
    }

    /// The key; `None` when it is none.
    pub(super) fn sealed(&self) -> Option<SealedKey> {
        BASE64.decode(self.sealed.as_bytes()).ok()?.try_into().ok()
    }
}

/// A user's own fields.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UserValue {
    pub(super) handle: Handle,
    pub(super) role: UserRole,
    pub(super) status: UserStatus,
}

impl UserValue {
    pub(super) fn of(user: &User) -> Self {
        Self { handle: user.handle.clone(), role: user.role, status: user.status }
    }

    pub(super) fn user(self, key: UserKey) -> User {
        User { key, handle: self.handle, role: self.role, status: self.status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn key() -> Key {
        Key::user(&USER.parse().unwrap())
    }

    fn message(payload: &[u8], headers: &[(&str, &str)]) -> StoredMessage {
        StoredMessage {
            subject: format!("$KV.U_users.{USER}"),
            sequence: 7,
            time: String::new(),
            headers: headers.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
            payload: Zeroizing::new(payload.to_vec()),
        }
    }

    fn value() -> UserValue {
        let handle = "ada".parse().unwrap();
        UserValue { handle, role: UserRole::User, status: UserStatus::Active }
    }

    fn kind(payload: &str) -> ErrorKind {
        let read = read::<UserValue>(Bucket::Users, &key(), &message(payload.as_bytes(), &[]));
        read.err().expect(payload).kind()
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let written = Written::new(Origin::Import, 5).unwrap();
        let payload = write(&key(), &written, &value()).unwrap();
        let slot: Slot<UserValue> = read(Bucket::Users, &key(), &message(&payload, &[])).unwrap();
        assert_eq!(slot.at, 7);
        assert!(slot.value.clone().unwrap() == value());
        let mark = slot.mark.unwrap();
        assert_eq!((mark.mutation, mark.replaced), (Some(written.mutation), Some(5)));
        assert_eq!(slot.origin(), Origin::Import);
    }

    #[test]
    fn a_record_that_is_not_what_it_should_be_is_corrupt() {
        let written = Written::new(Origin::Service, 0).unwrap();
        let good = String::from_utf8(write(&key(), &written, &value()).unwrap()).unwrap();
        for damaged in [
            String::new(),
            "{".into(),
            "[]".into(),
            "null".into(),
            good.replace("\"schema\":1", "\"schema\":2"),
            good.replace(USER, &USER.replace('d', "e")),
            good.replace("\"role\"", "\"rolle\""),
            good.replace("active", "alive"),
            good.replacen('{', "{\"more\":1,", 1),
            good.replace("\"handle\":\"ada\",", ""),
        ] {
            assert_ne!(damaged, good);
            assert_eq!(kind(&damaged), ErrorKind::Corrupt, "{damaged}");
        }
    }

    #[test]
    fn a_marker_is_the_services_unless_it_says_otherwise() {
        let deleted = (KV_OPERATION, "DEL");
        for (headers, origin) in [
            (vec![deleted], Origin::Service),
            (vec![deleted, (ORIGIN_HEADER, "import")], Origin::Import),
            (vec![deleted, (ORIGIN_HEADER, "rubbish")], Origin::Service),
            (vec![(KV_OPERATION, "PURGE")], Origin::Service),
        ] {
            let slot: Slot<UserValue> =
                read(Bucket::Users, &key(), &message(b"", &headers)).unwrap();
            assert!(slot.value.is_none());
            assert_eq!(slot.origin(), origin, "{headers:?}");
        }
    }
}
