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
/// it. Rather too little than too much: a store that was full by a guess would take things again.
const OVERHEAD: u64 = 64;

#[derive(Default)]
pub(super) struct Capacity {
    seen: Mutex<HashMap<Bucket, Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    when: Instant,
    bytes: u64,
    limit: u64,
}

impl Capacity {
    /// Counts what this process wrote since the last look.
    pub(super) fn grew(&self, bucket: Bucket, payload: usize) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.get_mut(&bucket) {
            seen.bytes += OVERHEAD + u64::try_from(payload).unwrap_or(u64::MAX / 2);
        }
    }

    /// Whether a bucket takes nothing that grows. Looks at it when the last look is old.
    ///
    /// # Errors
    /// Those of the look.
    pub(super) async fn is_full(
        &self,
        bucket: Bucket,
        look: impl Future<Output = StoreResult<StreamInfo>>,
    ) -> StoreResult<bool> {
        let known = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&bucket).copied();
        let seen = match known.filter(|seen| seen.when.elapsed() < FRESH) {
            Some(seen) => seen,
            None => {
                let info = look.await?;
                let (bytes, limit) = (info.state.bytes, growth_limit(&info));
                let seen = Seen { when: Instant::now(), bytes, limit };
                let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(bucket, seen);
                seen
            }
        };
        Ok(seen.bytes >= seen.limit)
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
