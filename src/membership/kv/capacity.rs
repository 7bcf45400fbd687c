//! How full the buckets are. What grows is refused at four fifths of a bucket: a full one would
//! refuse even the deletion marker of a removed member.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use crate::jetstream::api::StreamInfo;
use crate::membership::error::StoreResult;

/// How old a look at a bucket may be.
const FRESH: Duration = Duration::from_millis(250);

/// What a message takes beside its payload at least: subject, headers and the server's own record of
/// it.
const OVERHEAD: u64 = 64;

#[derive(Default)]
pub(super) struct Capacity {
    seen: Mutex<HashMap<Bucket, Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    when: Instant,
    bytes: u64,
    /// What this process wrote since: too much where a record was written over.
    written: u64,
    limit: u64,
}

impl Seen {
    const fn is_full(&self) -> bool {
        self.bytes.saturating_add(self.written) >= self.limit
    }

    /// Nothing is refused by a guess: the bucket would take things again.
    fn is_enough(&self) -> bool {
        self.when.elapsed() < FRESH && (self.written == 0 || !self.is_full())
    }
}

impl Capacity {
    /// Counts what this process wrote since the last look.
    pub(super) fn grew(&self, bucket: Bucket, payload: usize) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.get_mut(&bucket) {
            let message = OVERHEAD.saturating_add(u64::try_from(payload).unwrap_or(u64::MAX));
            seen.written = seen.written.saturating_add(message);
        }
    }

    /// Whether a bucket takes nothing that grows. Looks at it when the last look is old, and before it
    /// says so of what was only counted.
    ///
    /// # Errors
    /// Those of the look.
    pub(super) async fn is_full(
        &self,
        bucket: Bucket,
        look: impl Future<Output = StoreResult<StreamInfo>>,
    ) -> StoreResult<bool> {
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&bucket).copied();
        let seen = match known.filter(Seen::is_enough) {
            Some(seen) => seen,
            None => {
                let info = look.await?;
                let (bytes, limit) = (info.state.bytes, growth_limit(&info));
                let seen = Seen { when: Instant::now(), bytes, written: 0, limit };
                let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(bucket, seen);
                seen
            }
        };
        Ok(seen.is_full())
    }
}

/// How many bytes a bucket takes before it refuses what grows.
pub(super) fn growth_limit(info: &StreamInfo) -> u64 {
    // Without a limit the server says -1: then only the server's own room ends.
    four_fifths(info.config["max_bytes"].as_u64().unwrap_or(u64::MAX))
}

const fn four_fifths(max: u64) -> u64 {
    max / 5 * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_only_counted_refuses_nothing_before_another_look() {
        for (bytes, written, enough, full) in [
            (79, 0, true, false),
            (80, 0, true, true),
            (70, 9, true, false),
            (70, 10, false, true),
            (u64::MAX, 1, false, true),
        ] {
            let seen = Seen { when: Instant::now(), bytes, written, limit: 80 };
            assert_eq!((seen.is_enough(), seen.is_full()), (enough, full), "{bytes} + {written}");
        }
    }

    #[test]
    fn a_bucket_is_full_at_four_fifths() {
        for (bytes, max, full) in [
            (0, 100, false),
            (79, 100, false),
            (80, 100, true),
            (100, 100, true),
            (u64::MAX / 2, u64::MAX, false),
        ] {
            assert_eq!(bytes >= four_fifths(max), full, "{bytes} of {max}");
        }
    }
}
