//! Names as keys of a bucket, one to one. A token keeps `[A-Za-z0-9-]`; every other byte becomes
//! `=XX` in upper-case hexadecimal. So two names never share a key, and a key has one spelling.

use std::fmt;

use super::bucket::Bucket;
use crate::membership::ids::{Attempt, Endpoint, Epoch, RoomId, TOKEN_MAX_BYTES, UserKey};
use crate::membership::requests::RequestKey;

/// No encoded token begins with it: what does is ours, and no record.
const OURS: char = '_';

/// Where fences are published.
const FENCES: &str = "_fence";

/// A key of a bucket, or a filter over keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn control() -> Self {
        Self("control".to_owned())
    }

    pub(super) fn user(user: &UserKey) -> Self {
        Self(user.to_string())
    }

    pub(super) fn request(request: &RequestKey) -> Self {
        let RequestKey { caller, nonce } = request;
        Self(format!("{caller}.{}", encode(nonce.as_str())))
    }

    pub(super) fn room(room: &RoomId) -> Self {
        Self(encode(room.as_str()))
    }

    pub(super) fn member(room: &RoomId, endpoint: &Endpoint) -> Self {
        Self(format!("{}.{}", encode(room.as_str()), encode(endpoint.as_str())))
    }

    pub(super) fn members_of(room: &RoomId) -> Self {
        Self(format!("{}.*", encode(room.as_str())))
    }

    pub(super) fn joined(endpoint: &Endpoint, room: &RoomId) -> Self {
        Self(format!("{}.{}", encode(endpoint.as_str()), encode(room.as_str())))
    }

    pub(super) fn joined_by(endpoint: &Endpoint) -> Self {
        Self(format!("{}.*", encode(endpoint.as_str())))
    }

    pub(super) fn sealed(
        room: &RoomId,
        endpoint: &Endpoint,
        epoch: Epoch,
        attempt: Attempt,
    ) -> Self {
        let (room, endpoint) = (encode(room.as_str()), encode(endpoint.as_str()));
        Self(format!("{room}.{endpoint}.{epoch}.{attempt}"))
    }

    /// A filter over everything in a bucket, fences too.
    pub(super) fn everything() -> Self {
        Self(">".to_owned())
    }

    /// A filter over every record of a bucket. It lets fences through where they have as many tokens.
    pub(super) fn all(bucket: Bucket) -> Self {
        let tokens = match bucket {
            Bucket::Rooms | Bucket::Users | Bucket::Control => "*",
            Bucket::Members | Bucket::RoomsByMember | Bucket::Requests => "*.*",
            Bucket::RoomKeys => "*.*.*.*",
        };
        Self(tokens.to_owned())
    }

    /// The key that a process publishes its fences to.
    pub(super) fn fence(slot: u8) -> Self {
        Self(format!("{FENCES}.{slot}"))
    }

    /// The key of a record, as it was read; `None` for what is ours.
    pub(super) fn of_record(text: &str) -> Option<Self> {
        (!text.starts_with(OURS)).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The names in the key, if each is spelled in the one way there is.
    fn names(&self) -> Option<Vec<String>> {
        self.0.split('.').map(decode).collect()
    }

    pub(super) fn as_user(&self) -> Option<UserKey> {
        let user: UserKey = self.0.parse().ok()?;
        (Self::user(&user) == *self).then_some(user)
    }

    pub(super) fn as_room(&self) -> Option<RoomId> {
        let [room] = <[String; 1]>::try_from(self.names()?).ok()?;
        room.parse().ok()
    }

    pub(super) fn as_member(&self) -> Option<(RoomId, Endpoint)> {
        let [room, endpoint] = <[String; 2]>::try_from(self.names()?).ok()?;
        Some((room.parse().ok()?, endpoint.parse().ok()?))
    }

    pub(super) fn as_joined(&self) -> Option<(Endpoint, RoomId)> {
        let [endpoint, room] = <[String; 2]>::try_from(self.names()?).ok()?;
        Some((endpoint.parse().ok()?, room.parse().ok()?))
    }

    pub(super) fn as_sealed(&self) -> Option<(RoomId, Endpoint, Epoch, Attempt)> {
        let [room, endpoint, epoch, attempt] = <[String; 4]>::try_from(self.names()?).ok()?;
        let sealed = (
            room.parse().ok()?,
            endpoint.parse().ok()?,
            epoch.parse().ok()?,
            attempt.parse().ok()?,
        );
        let (room, endpoint, epoch, attempt) = &sealed;
        (Self::sealed(room, endpoint, *epoch, *attempt) == *self).then_some(sealed)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const fn stays(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

/// Names are never empty and never longer than [`TOKEN_MAX_BYTES`]: their types see to it.
fn encode(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if stays(byte) {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("={byte:02X}"));
        }
    }
    token
}

/// The name that a token stands for; `None` for a token that [`encode`] never writes.
fn decode(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'=' => {
                let escaped = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
                if stays(escaped) {
                    return None;
                }
                bytes.push(escaped);
            }
            byte if stays(byte) => bytes.push(byte),
            _ => return None,
        }
    }
    let fits = (1..=TOKEN_MAX_BYTES).contains(&bytes.len());
    fits.then(|| String::from_utf8(bytes).ok())?
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dangerous_names_become_harmless_tokens() {
        for (name, token) in [
            ("lobby-1", "lobby-1"),
            ("a.b", "a=2Eb"),
            ("*", "=2A"),
            (">", "=3E"),
            ("_fence", "=5Ffence"),
            ("=", "=3D"),
            ("ä", "=C3=A4"),
            ("$KV.x", "=24KV=2Ex"),
        ] {
            assert_eq!(encode(name), token);
            assert_eq!(decode(token).as_deref(), Some(name));
        }
    }

    #[test]
    fn a_second_spelling_of_a_name_is_refused() {
        for token in ["", "=2e", "=61", "=2", "=", "a=", "_", "a_b", "a b", "=FF", "=2D", "=G0"] {
            assert_eq!(decode(token), None, "{token:?}");
        }
        assert_eq!(decode(&"x".repeat(TOKEN_MAX_BYTES + 1)), None);
    }

    #[test]
    fn an_epoch_or_a_key_of_another_spelling_is_no_record() {
        let attempt = "0".repeat(32);
        let sealed = |epoch: &str| Key(format!("r.e.{epoch}.{attempt}")).as_sealed();
        assert!(sealed("1").is_some());
        for epoch in ["0", "01", "+1", "-1", "1e3", "=31", ""] {
            assert_eq!(sealed(epoch), None, "{epoch:?}");
        }
        let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert!(Key(key.to_owned()).as_user().is_some());
        assert_eq!(Key(key.to_uppercase()).as_user(), None);
    }

    #[test]
    fn a_fence_is_no_record() {
        assert_eq!(Key::of_record(Key::fence(3).as_str()), None);
        assert!(Key::of_record("lobby").is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_name_comes_back_and_no_two_share_a_token(one in "\\PC{1,32}", two in "\\PC{1,32}") {
            prop_assert_eq!(decode(&encode(&one)), Some(one.clone()));
            prop_assert_eq!(encode(&one) == encode(&two), one == two);
        }

        #[test]
        fn whatever_can_be_decoded_is_spelled_in_the_one_way(token in "[A-Za-z0-9=_.\\-]{0,24}") {
            if let Some(name) = decode(&token) {
                prop_assert_eq!(encode(&name), token);
            }
        }
    }
}
