//! Fences: small messages that a quorum only acknowledges while a record is still as it was read.
//! The acknowledgement proves that the record stood at that moment; a leader's word alone proves
//! nothing, because a paused old leader gives it too.
//!
//! At most one fence a record is under way in a process. Whoever asks before it is sent shares it:
//! their records were read before it, so it proves them as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout_at;

use super::bucket::Bucket;
use super::streams::Streams;
use crate::jetstream::api::{ApiErrorKind, CallError};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::store::Deadline;

/// Fences of one process share a subject, so that a bucket keeps at most this many.
const SLOTS: u8 = 64;

/// How long one fence is tried. Whoever has more time asks for another one.
const PATIENCE: Duration = Duration::from_secs(2);

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stand {
    pub(super) bucket: Bucket,
    pub(super) subject: String,
    pub(super) at: u64,
}

/// What a fence came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The record stood after everybody who shares the fence had read it.
    Stood,
    /// It has changed: read again.
    Changed,
    /// Nobody answered.
    Nothing,
}

type Answer = watch::Receiver<Option<Verdict>>;

#[derive(Default)]
struct Turn {
    /// Held while a fence on the record is under way.
    under_way: Arc<tokio::sync::Mutex<()>>,
    /// The fence that is not sent yet.
    waiting: Option<Answer>,
}

pub(super) struct Fences {
    streams: Arc<Streams>,
    slot: u8,
    turns: Mutex<HashMap<Stand, Turn>>,
    /// The newest acknowledged revision of each bucket, which no later one of it may be below.
    seen: [AtomicU64; Bucket::ALL.len()],
    went_back: AtomicBool,
}

impl Fences {
    pub(super) fn new(streams: Arc<Streams>) -> Arc<Self> {
        Arc::new(Self {
            streams,
            slot: fastrand::u8(..SLOTS),
            turns: Mutex::default(),
            seen: Default::default(),
            went_back: AtomicBool::new(false),
        })
    }

    /// Whether a record stood at some moment after this call; `false` when it has changed.
    ///
    /// # Errors
    /// `Unavailable` when no quorum says so in time.
    pub(super) async fn stood(
        self: &Arc<Self>,
        stand: &Stand,
        deadline: Deadline,
    ) -> StoreResult<bool> {
        while !deadline.has_passed() && !self.went_back.load(Ordering::Acquire) {
            let mut answer = self.ask(stand);
            let answer = answer.wait_for(Option::is_some);
            let Ok(Ok(verdict)) = timeout_at(deadline.instant().into(), answer).await else {
                break;
            };
            match *verdict {
                Some(Verdict::Stood) => return Ok(true),
                Some(Verdict::Changed) => return Ok(false),
                Some(Verdict::Nothing) | None => {}
            }
        }
        Err(unproven())
    }

    /// Publishes a fence on no condition, and gives its revision: whoever has it has everything before
    /// it.
    ///
    /// # Errors
    /// `Unavailable` when no quorum takes it in time.
    pub(super) async fn mark(&self, bucket: Bucket, deadline: Deadline) -> StoreResult<u64> {
        while !deadline.has_passed() && !self.went_back.load(Ordering::Acquire) {
            let within = PATIENCE.min(deadline.remaining());
            let seen = self.seen(bucket).load(Ordering::Acquire);
            match self.streams.fence(bucket, None, self.slot, within).await {
                Ok(at) if at <= seen => self.went_back.store(true, Ordering::Release),
                Ok(at) => {
                    self.seen(bucket).fetch_max(at, Ordering::AcqRel);
                    return Ok(at);
                }
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(unproven())
    }

    /// Joins the fence that is not sent yet, or makes one.
    fn ask(self: &Arc<Self>, stand: &Stand) -> Answer {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = turns.entry(stand.clone()).or_default();
        if let Some(answer) = &turn.waiting {
            return answer.clone();
        }
        let (tell, answer) = watch::channel(None);
        turn.waiting = Some(answer.clone());
        let under_way = Arc::clone(&turn.under_way);
        drop(turns);
        let (fences, stand) = (Arc::clone(self), stand.clone());
        tokio::spawn(async move {
            let _turn = under_way.lock().await;
            let verdict = fences.carry_out(&stand).await;
            tell.send_replace(Some(verdict));
            fences.forget(&stand);
        });
        answer
    }

    async fn carry_out(&self, stand: &Stand) -> Verdict {
        let deadline = Deadline::after(PATIENCE);
        self.streams.waiting.until_none(&stand.subject, deadline).await;
        // From here on nobody joins: what they read would be newer than the fence.
        self.close(stand);
        loop {
            let seen = self.seen(stand.bucket).load(Ordering::Acquire);
            let record = Some((stand.subject.as_str(), stand.at));
            let within = deadline.remaining();
            match self.streams.fence(stand.bucket, record, self.slot, within).await {
                Ok(at) => return self.acknowledged(stand, at, seen),
                Err(error) => match in_flight_or(&error) {
                    Some(verdict) => return verdict,
                    None if deadline.has_passed() => return Verdict::Nothing,
                    None => {
                        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=5))).await;
                    }
                },
            }
        }
    }

    /// Revisions only grow. One that does not is of a stream that was made anew or put back: nothing
    /// that was read from it may let anybody in.
    fn acknowledged(&self, stand: &Stand, at: u64, seen: u64) -> Verdict {
        if at <= seen || at <= stand.at {
            self.went_back.store(true, Ordering::Release);
            return Verdict::Nothing;
        }
        self.seen(stand.bucket).fetch_max(at, Ordering::AcqRel);
        Verdict::Stood
    }

    /// Each bucket is a stream with revisions of its own.
    const fn seen(&self, bucket: Bucket) -> &AtomicU64 {
        &self.seen[bucket as usize]
    }

    fn close(&self, stand: &Stand) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get_mut(stand) {
            turn.waiting = None;
        }
    }

    /// Forgets a record that nobody waits for.
    fn forget(&self, stand: &Stand) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.get(stand).is_some_and(|turn| turn.waiting.is_none()) {
            turns.remove(stand);
        }
    }
}

/// `None` while another condition on the record is in flight: then nothing is decided.
fn in_flight_or(error: &CallError) -> Option<Verdict> {
    match error.api_kind() {
        Some(ApiErrorKind::ConditionInFlight) => None,
        Some(ApiErrorKind::WrongLastSequence) => Some(Verdict::Changed),
        Some(_) | None => Some(Verdict::Nothing),
    }
}

fn unproven() -> StoreError {
    StoreError::new(
        ErrorKind::Unavailable,
        "no quorum of the NATS servers says that the records still stand: nobody is let in",
    )
}
