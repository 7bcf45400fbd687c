//! What a server's refusal of one attempt says of the write, and the words for what the buckets alone
//! can run into. What every store words alike is in the membership's own `refusal`.

use super::bucket::Bucket;
use super::codec::Key;
use super::value::corrupt;
use crate::jetstream::api::{ApiErrorKind, CallError};
use crate::membership::error::{ErrorKind, StoreError};

/// What a failed attempt says.
pub(super) enum Refusal {
    /// Something else is at the key.
    Elsewhere,
    /// Nothing is decided: ask again soon.
    InFlight,
    /// It had no effect, and asking again may help.
    Nothing,
    /// It had no effect, and asking again cannot help.
    Final(ErrorKind),
    /// It may have had its effect.
    Unsure,
}

/// What an attempt's error says of the write.
pub(super) fn judge(error: &CallError) -> Refusal {
    match error {
        CallError::Silence(silence) if !silence.may_have_acted() => Refusal::Nothing,
        CallError::Silence(_) | CallError::Rubbish(_) => Refusal::Unsure,
        CallError::Refused(error) => match error.kind() {
            ApiErrorKind::WrongLastSequence => Refusal::Elsewhere,
            ApiErrorKind::ConditionInFlight => Refusal::InFlight,
            ApiErrorKind::Full => Refusal::Final(ErrorKind::Full),
            ApiErrorKind::TooLarge => Refusal::Final(ErrorKind::Invalid),
            ApiErrorKind::AtomicPublishDisabled
            | ApiErrorKind::StreamExistsOtherwise
            | ApiErrorKind::NotAllowed => Refusal::Final(ErrorKind::ForeignStore),
            ApiErrorKind::NoMessage
            | ApiErrorKind::NoStream
            | ApiErrorKind::InsufficientResources
            | ApiErrorKind::NotReady => Refusal::Nothing,
            // A number that nobody here knows says nothing about what was stored.
            ApiErrorKind::Other => Refusal::Unsure,
        },
    }
}

/// The bucket takes nothing that grows.
pub(super) fn full(bucket: Bucket) -> StoreError {
    StoreError::new(
        ErrorKind::Full,
        format!(
            "the bucket of {} is full: revoke and remove still work. Give the buckets more room \
             (maxBytes)",
            bucket.suffix()
        ),
    )
}

/// The bucket was there when the store was opened.
pub(super) fn gone(bucket: Bucket) -> StoreError {
    let bucket = bucket.suffix();
    StoreError::new(ErrorKind::Unavailable, format!("the bucket of {bucket} is gone"))
}

/// Nothing is known, and nothing was written.
pub(super) fn unavailable(bucket: Bucket, why: &str) -> StoreError {
    StoreError::new(
        ErrorKind::Unavailable,
        format!("the bucket of {} could not be asked in time: {why}", bucket.suffix()),
    )
}

/// The write that counts was made, and what follows it was not: not a failure, and not yet whole.
pub(super) fn unfinished(cause: StoreError) -> StoreError {
    StoreError::new(
        ErrorKind::Unknown,
        "the change was made, but not all that belongs to it in time: look, and do it again",
    )
    .caused_by(cause)
}

/// A damaged key: it is in the bucket and names nothing.
pub(super) fn no_name(bucket: Bucket, key: &Key) -> StoreError {
    corrupt(bucket, key, "its key names nothing")
}
