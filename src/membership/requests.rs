//! Requests that change something, each remembered under its caller's nonce, so that one sent twice
//! is done once, whichever replica it reaches.
//!
//! A request is recorded before its mutation and its outcome after it. What a crash leaves between
//! the two is a pending request, which the next try of it resolves: the mutation is done under the
//! request itself, so that it can happen once only.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::error::StoreResult;
use super::ids::{Endpoint, InvalidValue, MutationId, RoomId, UserKey};
use super::records::{CommittedEpoch, UnixMillis};
use super::store::{Deadline, MembershipStore};

/// The longest outcome that is kept, in bytes. Answers to changes are two records at most, which the
/// longest names make 3 KiB; written into a bucket's record, each byte may become two.
pub const OUTCOME_MAX_BYTES: usize = 7 * 1024;

/// What a caller marks a request with: 16 to 64 characters of `A-Z a-z 0-9 - _`, never used twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(String);

impl Nonce {
    /// The nonce as it was sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Nonce {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (16..=64).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidValue::Form { what: "nonce", expected: "16 to 64 of A-Z a-z 0-9 - and _" })
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which request it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// Who sent it.
    pub caller: UserKey,
    /// The caller's own mark of it.
    pub nonce: Nonce,
}

impl RequestKey {
    /// The id that the request's mutation carries: the same for every try of it, wherever it is
    /// made.
    #[must_use]
    pub fn mutation(&self) -> MutationId {
        let text = format!("{}\n{}", self.caller, self.nonce);
        let digest: [u8; 32] = Sha256::digest(text).into();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        MutationId::from(id)
    }
}

/// The one record by which a request's change is made, for a store that must look there to know
/// whether it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A room that is made.
    Room(RoomId),
    /// A membership that begins or ends.
    Member(RoomId, Endpoint),
    /// A room that comes to an epoch.
    Epoch(RoomId, CommittedEpoch),
    /// A user that is let in or sent away.
    User(UserKey),
    /// None: doing it twice is doing it once.
    Nothing,
}

/// What the request asks for, as a SHA-256 over method, target and body: the same nonce with
/// another fingerprint is another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// Whether what is asked for makes the store grow for good. What frees or revokes is recorded even
/// in a store that is full for everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// It adds something.
    Grows,
    /// It takes something away.
    Frees,
}

/// A request to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRequest {
    /// Which one.
    pub key: RequestKey,
    /// What it asks for.
    pub fingerprint: Fingerprint,
    /// Whether it makes the store grow.
    pub growth: Growth,
    /// Where its change is made.
    pub target: Target,
    /// Now.
    pub now: UnixMillis,
}

/// Leave to make a recorded request's mutation, for the log saw that it has not happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leave {
    /// Which request's.
    pub key: RequestKey,
    /// Where it is made.
    pub target: Target,
    /// The revision that stood there, and over which alone it may be made; 0 in a store that tells by
    /// itself whether it happened.
    pub over: u64,
}

impl Leave {
    /// Leave to do what is asked for over a revision.
    #[must_use]
    pub fn of(new: &NewRequest, over: u64) -> Self {
        Self { key: new.key.clone(), target: new.target.clone(), over }
    }
}

/// How a request ended, as its answerer wrote it down: opaque here, and never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome(String);

impl Outcome {
    /// The text as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Outcome {
    type Error = InvalidValue;

    fn try_from(text: String) -> Result<Self, InvalidValue> {
        let (what, actual, max) = ("outcome", text.len(), OUTCOME_MAX_BYTES);
        match actual {
            0 => Err(InvalidValue::Empty { what }),
            _ if actual > max => Err(InvalidValue::TooLong { what, actual, max }),
            _ => Ok(Self(text)),
        }
    }
}

/// What the log knows of a request that comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It is new, and now recorded.
    Fresh(Leave),
    /// It came before, and its mutation has not happened. Do it under the request.
    Pending(Leave),
    /// It came before and its mutation happened; only its outcome was not written down.
    Committed,
    /// It came before, and whether its mutation happened can no longer be told: others have changed
    /// the same record since.
    InDoubt,
    /// It came before and ended so.
    Answered(Outcome),
    /// Its nonce came before with another fingerprint.
    Other,
}

/// The memory of requests beside a membership store.
#[async_trait]
pub trait RequestLog: Send + Sync {
    /// Records a request create-only, or tells what is known of it.
    ///
    /// # Errors
    /// `Full` for a growing request when four fifths of the room are used. After any error the
    /// request's mutation must not be tried.
    async fn begin_request(&self, new: NewRequest, deadline: Deadline) -> StoreResult<Begun>;

    /// Writes down how a recorded request ended. The first outcome stays.
    ///
    /// # Errors
    /// As every operation.
    async fn end_request(
        &self,
        key: &RequestKey,
        outcome: Outcome,
        deadline: Deadline,
    ) -> StoreResult<()>;

    /// Forgets requests that were recorded before a moment, and tells how many.
    ///
    /// # Errors
    /// As every operation.
    async fn forget_requests(&self, before: UnixMillis, deadline: Deadline) -> StoreResult<u64>;

    /// The store for the one mutation of a recorded request: it happens under the request once at
    /// most, whoever else tries it, however late. A try that came second ends as if the state were
    /// against it; the log then tells what became of the first.
    fn under(&self, leave: &Leave) -> Arc<dyn MembershipStore>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_short_plain_and_not_guessed_by_accident() {
        for good in ["0123456789abcdef", "A-Z_a-z_0-9_----", &"x".repeat(64)] {
            assert_eq!(good.parse::<Nonce>().unwrap().as_str(), good);
        }
        for bad in ["", "0123456789abcde", &"x".repeat(65), "0123456789abcde ", "0123456789abcdé"]
        {
            assert!(bad.parse::<Nonce>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_outcome_is_bounded() {
        assert!(Outcome::try_from(String::new()).is_err());
        assert!(Outcome::try_from("x".repeat(OUTCOME_MAX_BYTES)).is_ok());
        assert!(Outcome::try_from("x".repeat(OUTCOME_MAX_BYTES + 1)).is_err());
    }
}
