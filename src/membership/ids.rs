//! The words of the domain that name things. Each can only be made by parsing, and a parsed value
//! is canonical: two equal things have one spelling.

use std::fmt;
use std::str::FromStr;

use data_encoding::{Encoding, HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use unicode_normalization::is_nfc;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// The longest token, in bytes of UTF-8. Encoded (every byte as `=XX`) it still fits a NATS subject.
pub const TOKEN_MAX_BYTES: usize = 128;

/// The longest room subject, in bytes of UTF-8.
pub const SUBJECT_MAX_BYTES: usize = 256;

/// Why a text or a number is not a value of this domain. It never repeats the value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidValue {
    /// The value has no bytes.
    #[error("{what} is empty")]
    Empty {
        /// What was parsed.
        what: &'static str,
    },
    /// The value is longer than it may be.
    #[error("{what} has {actual} bytes; at most {max} are allowed")]
    TooLong {
        /// What was parsed.
        what: &'static str,
        /// Its length in bytes.
        actual: usize,
        /// The longest allowed, in bytes.
        max: usize,
    },
    /// The value has a character that is refused: white space, control or format characters.
    #[error("{what} has a character that is not allowed (U+{character:04X})")]
    Character {
        /// What was parsed.
        what: &'static str,
        /// The first refused character, as its Unicode number.
        character: u32,
    },
    /// The same text can be written in another way: it is not in Unicode's normal form C.
    #[error("{what} is not in Unicode normal form C; send it composed")]
    NotNormalised {
        /// What was parsed.
        what: &'static str,
    },
    /// The value has the wrong form altogether.
    #[error("{what} is not valid: it must be {expected}")]
    Form {
        /// What was parsed.
        what: &'static str,
        /// What it should look like.
        expected: &'static str,
    },
}

/// Whether white space may stand inside a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spaces {
    Refused,
    Inside,
}

/// The one rule for texts that name something: look-alikes stay apart, invisible characters and
/// second spellings are refused, nothing is folded or trimmed silently.
fn check_text(
    what: &'static str,
    text: &str,
    max: usize,
    spaces: Spaces,
) -> Result<(), InvalidValue> {
    if text.is_empty() {
        return Err(InvalidValue::Empty { what });
    }
    if text.len() > max {
        return Err(InvalidValue::TooLong { what, actual: text.len(), max });
    }
    if let Some(refused) = text.chars().find(|&c| is_refused(c, spaces)) {
        return Err(InvalidValue::Character { what, character: refused.into() });
    }
    if spaces == Spaces::Inside && (text.starts_with(' ') || text.ends_with(' ')) {
        return Err(InvalidValue::Character { what, character: ' '.into() });
    }
    if !is_nfc(text) {
        return Err(InvalidValue::NotNormalised { what });
    }
    Ok(())
}

fn is_refused(c: char, spaces: Spaces) -> bool {
    if c == ' ' {
        return spaces == Spaces::Refused;
    }
    c.is_whitespace()
        || matches!(
            c.general_category(),
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::PrivateUse
                | GeneralCategory::Unassigned
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
        )
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $spaces:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text as it was parsed.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                check_text($what, &text, $max, $spaces)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type! {
    /// The name of a room: 1 to 128 bytes, no white space, control or format characters.
    RoomId, "room", TOKEN_MAX_BYTES, Spaces::Refused
}

text_type! {
    /// Somebody who can be a member of a room: 1 to 128 bytes, under the same rule as [`RoomId`].
    /// A user's endpoint is the user's key in its canonical spelling.
    Endpoint, "endpoint", TOKEN_MAX_BYTES, Spaces::Refused
}

text_type! {
    /// The bus subject that a room speaks on: 1 to 256 bytes, opaque to the store.
    RoomSubject, "subject", SUBJECT_MAX_BYTES, Spaces::Refused
}

text_type! {
    /// What people call a user: 1 to 128 bytes, spaces allowed inside. Not unique.
    Handle, "handle", TOKEN_MAX_BYTES, Spaces::Inside
}

impl From<&UserKey> for Endpoint {
    fn from(key: &UserKey) -> Self {
        Self(key.to_string())
    }
}

/// A user's Ed25519 public key. Written as 64 lower-case hexadecimal digits, read in either case.
/// A text that is no point of the curve, or one of the few points under which anybody can sign,
/// is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserKey([u8; 32]);

impl UserKey {
    /// The 32 bytes of the public key.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<[u8; 32]> for UserKey {
    type Error = InvalidValue;

    fn try_from(bytes: [u8; 32]) -> Result<Self, InvalidValue> {
        let strong =
            ed25519_dalek::VerifyingKey::from_bytes(&bytes).is_ok_and(|key| !key.is_weak());
        if strong && is_reduced(&bytes) { Ok(Self(bytes)) } else { Err(not_a_user_key()) }
    }
}

/// Whether the point's coordinate is below the field's prime, 2^255 - 19. The same point written
/// with a larger number would be a second key for one user.
fn is_reduced(bytes: &[u8; 32]) -> bool {
    let [lowest, middle @ .., highest] = bytes;
    *lowest < 0xed || middle.iter().any(|byte| *byte != 0xff) || highest & 0x7f != 0x7f
}

fn decode_hex<const N: usize>(encoding: &Encoding, text: &str) -> Option<[u8; N]> {
    encoding.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn not_a_user_key() -> InvalidValue {
    InvalidValue::Form {
        what: "user key",
        expected: "an Ed25519 public key as 64 hexadecimal digits",
    }
}

impl FromStr for UserKey {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        decode_hex::<32>(&HEXLOWER_PERMISSIVE, text).ok_or_else(not_a_user_key)?.try_into()
    }
}

impl TryFrom<String> for UserKey {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        text.parse()
    }
}

impl From<UserKey> for String {
    fn from(key: UserKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The number of a room's key generation: 1 and up, as far as SQLite counts (2^63 - 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Epoch(u64);

impl Epoch {
    /// The epoch that every room begins with.
    pub const FIRST: Self = Self(1);

    /// The number itself.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The epoch after this one; `None` at the very end of counting.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        Self::try_from(self.0 + 1).ok()
    }
}

fn not_an_epoch() -> InvalidValue {
    InvalidValue::Form {
        what: "epoch",
        expected: "a whole number from 1 to 9223372036854775807, without leading zeros",
    }
}

impl TryFrom<u64> for Epoch {
    type Error = InvalidValue;

    fn try_from(number: u64) -> Result<Self, InvalidValue> {
        if (1..=i64::MAX.unsigned_abs()).contains(&number) {
            Ok(Self(number))
        } else {
            Err(not_an_epoch())
        }
    }
}

impl From<Epoch> for u64 {
    fn from(epoch: Epoch) -> Self {
        epoch.0
    }
}

impl FromStr for Epoch {
    type Err = InvalidValue;

    /// Only the canonical decimal is read: no sign, no leading zero.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let epoch: Self = text.parse::<u64>().map_err(|_| not_an_epoch())?.try_into()?;
        if epoch.to_string() == text { Ok(epoch) } else { Err(not_an_epoch()) }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name([u8; 16]);

        impl $name {
            /// A new one, from the operating system's random source.
            ///
            /// # Errors
            /// When the operating system has no random bytes.
            pub fn random() -> Result<Self, getrandom::Error> {
                let mut bytes = [0; 16];
                getrandom::fill(&mut bytes)?;
                Ok(Self(bytes))
            }

            /// The 16 bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl From<[u8; 16]> for $name {
            fn from(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }
        }

        impl FromStr for $name {
            type Err = InvalidValue;

            /// Only the canonical spelling is read: 32 lower-case hexadecimal digits.
            fn from_str(text: &str) -> Result<Self, InvalidValue> {
                let wrong = InvalidValue::Form {
                    what: $what,
                    expected: "32 lower-case hexadecimal digits",
                };
                decode_hex(&HEXLOWER, text).map(Self).ok_or(wrong)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidValue;

            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }
    };
}

random_id! {
    /// One life of a room. Rows of another incarnation are absent, so that what a crashed create
    /// left behind never shows.
    Incarnation, "incarnation"
}

random_id! {
    /// One try to bring a room to an epoch. Keys of a try that was never committed are absent.
    Attempt, "attempt"
}

random_id! {
    /// Marks whose write a record is, so that a writer that lost its answer can recognise itself.
    MutationId, "mutation id"
}
