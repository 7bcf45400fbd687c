//! How full a bucket is, as far as this process knows: asked anew when the last answer is old, or
//! when much was written since. A fifth of the room is kept for what must always fit.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::full;
use super::table::Table;
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::store::Deadline;

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(1);

/// The part of the room that may be written before an answer no longer counts.
const FRESH_PART: u64 = 100;

/// What the server counts for a message beside its payload and key.
const OVERHEAD_BYTES: u64 = 64;

#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    used: u64,
    room: u64,
    written_since: u64,
}

impl Sample {
    fn counts(&self) -> bool {
        self.at.elapsed() < FRESH && self.written_since < self.room / FRESH_PART
    }

    /// Whether four fifths are used.
    const fn is_full(&self) -> bool {
        self.used + self.written_since >= self.room / 5 * 4
    }
}

/// The last answer.
#[derive(Default)]
pub(super) struct Usage(Mutex<Option<Sample>>);

impl Usage {
    fn last(&self) -> Option<Sample> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, sample: Sample) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sample);
    }

    /// Counts what this process has written.
    pub(super) fn wrote(&self, bytes: usize) {
        if let Some(sample) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            sample.written_since =
                sample.written_since.saturating_add(bytes).saturating_add(OVERHEAD_BYTES);
        }
    }
}

impl Table {
    /// Refuses growth of a bucket that is four fifths full.
    pub(super) async fn check_growth(&self, deadline: Deadline) -> StoreResult<()> {
        let sample = match self.usage.last().filter(Sample::counts) {
            Some(sample) => sample,
            None => self.sample(deadline).await?,
        };
        if sample.is_full() { Err(full(self.bucket)) } else { Ok(()) }
    }

    async fn sample(&self, deadline: Deadline) -> StoreResult<Sample> {
        let info = self.info(deadline).await?.ok_or_else(|| {
            let message = format!("the bucket {} is gone", self.bucket.suffix());
            StoreError::new(ErrorKind::Unavailable, message)
        })?;
        let room = info.config["max_bytes"].as_i64().unwrap_or(-1);
        // A bucket without a limit has one of its server's, which nobody tells.
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        let sample = Sample { at: Instant::now(), used: info.state.bytes, room, written_since: 0 };
        self.usage.keep(sample);
        Ok(sample)
    }

    /// How many bytes the bucket may still grow by.
    pub(super) async fn room_left(&self, deadline: Deadline) -> StoreResult<u64> {
        let sample = self.sample(deadline).await?;
        Ok((sample.room / 5 * 4).saturating_sub(sample.used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_fifths_are_full_and_a_hundredth_is_news() {
        let sample =
            |used, written_since| Sample { at: Instant::now(), used, room: 1000, written_since };
        assert!(!sample(799, 0).is_full());
        assert!(sample(800, 0).is_full());
        assert!(sample(795, 5).is_full());
        assert!(sample(0, 9).counts());
        assert!(!sample(0, 10).counts());
        let old = Sample { at: Instant::now().checked_sub(FRESH).unwrap(), ..sample(0, 0) };
        assert!(!old.counts());
    }
}
