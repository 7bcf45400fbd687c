//! How what servers answer, or do not answer, is said to callers of the store.

use std::fmt::Display;

use super::bucket::Bucket;
use crate::jetstream::api::CallError;
use crate::membership::error::{ErrorKind, StoreError};

/// A record is there and cannot be used. The value itself is never repeated.
pub(super) fn corrupt(bucket: Bucket, key: &str, why: &str) -> StoreError {
    StoreError::new(
        ErrorKind::Corrupt,
        format!("the record {key} in the bucket {} cannot be used: {why}", bucket.suffix()),
    )
}

/// The servers could not be asked in time; nothing was written.
pub(super) fn unavailable(bucket: Bucket, cause: &CallError) -> StoreError {
    StoreError::new(
        ErrorKind::Unavailable,
        format!(
            "the bucket {} could not be used in time ({cause}); nothing was done: try again",
            bucket.suffix()
        ),
    )
    .caused_by(cause.clone())
}

/// The deadline passed before anything was sent.
pub(super) fn late() -> StoreError {
    StoreError::new(
        ErrorKind::Unavailable,
        "the time ran out before the servers were asked; nothing was done: try again",
    )
}

/// A write was sent and the deadline passed without its outcome.
pub(super) fn unknown(bucket: Bucket) -> StoreError {
    StoreError::new(
        ErrorKind::Unknown,
        format!(
            "the time ran out while the bucket {} was being written: the change may or may not \
             have happened, so look before trying again",
            bucket.suffix()
        ),
    )
}

/// A mutation was committed, and what belongs to it was not finished in time.
pub(super) fn unfinished(cause: StoreError) -> StoreError {
    StoreError::new(
        ErrorKind::Unknown,
        "the change was made, but not everything that belongs to it in time: look, and try again",
    )
    .caused_by(cause)
}

/// A bucket takes no more growth.
pub(super) fn full(bucket: Bucket) -> StoreError {
    StoreError::new(
        ErrorKind::Full,
        format!(
            "the bucket {} is full: four fifths of its room is used. Revoke and remove still \
             work; give it more room to add anything",
            bucket.suffix()
        ),
    )
}

/// A record is larger than its bucket takes.
pub(super) fn too_large(bucket: Bucket) -> StoreError {
    StoreError::new(
        ErrorKind::Invalid,
        format!("a record is too large for the bucket {}", bucket.suffix()),
    )
}

/// Somebody else was always faster.
pub(super) fn overtaken(what: &dyn Display) -> StoreError {
    StoreError::new(
        ErrorKind::Conflict,
        format!("{what} was changed by somebody else at the same time: read it again"),
    )
}

/// The stream under the store went back in time: it was made anew or restored from a copy.
pub(super) fn replaced(bucket: Bucket) -> StoreError {
    StoreError::new(
        ErrorKind::Unavailable,
        format!(
            "the bucket {} was replaced by an older one while it was in use: nobody is admitted \
             from it any more. Find out why, then restart",
            bucket.suffix()
        ),
    )
}
