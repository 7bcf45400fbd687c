//! Fences: small messages, published into the stream of a record on the condition that the record
//! is still as it was read. The quorum's acknowledgement proves that it was, at one moment between
//! question and answer; a read alone proves nothing, since a leader that was paused answers it from
//! the past.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{sleep, timeout_at};

use super::codec::Key;
use super::error::{late, replaced, unavailable};
use super::lane::Entered;
use super::table::{ATTEMPT, PAUSE, Table};
use crate::jetstream::api::{self, ApiErrorKind, CallError, Condition};
use crate::jetstream::transport::{Request, Silence};
use crate::membership::error::StoreResult;
use crate::membership::store::Deadline;

/// How long to wait, in microseconds, after a server said that another condition on the subject is
/// in flight. Drawn anew each time, or two would meet again and again.
const BACK_OFF_MICROS: std::ops::RangeInclusive<u64> = 1000..=5000;

/// Waits as long as the back-off says.
pub(super) async fn back_off() {
    sleep(Duration::from_micros(fastrand::u64(BACK_OFF_MICROS))).await;
}

/// What a fence came to.
#[derive(Clone, Debug)]
enum Verdict {
    /// The record was as it was read.
    Held,
    /// It has changed since.
    Moved,
    /// The stream went back in time.
    Replaced,
    /// Nothing is known.
    Unproven(CallError),
}

/// One fence, asked for by everybody who wants the same proved.
pub(super) struct Flight {
    /// When the last of them gives up.
    until: Mutex<Instant>,
    verdict: watch::Sender<Option<Verdict>>,
}

impl Flight {
    fn new(deadline: Deadline) -> Self {
        let (verdict, _) = watch::channel(None);
        Self { until: Mutex::new(deadline.instant()), verdict }
    }

    fn share(&self, deadline: Deadline) {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(deadline.instant());
    }

    fn remaining(&self) -> Duration {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.saturating_duration_since(Instant::now())
    }
}

impl Table {
    /// Proves that the record under a key is still the one of this revision; 0 for none. `false`
    /// when it has changed since it was read.
    pub(super) async fn prove(
        self: &Arc<Self>,
        key: &Key,
        revision: u64,
        deadline: Deadline,
    ) -> StoreResult<bool> {
        let subject = self.subject(key.as_str());
        let mut verdict = self.flight(subject, revision, deadline).verdict.subscribe();
        let seen = timeout_at(deadline.instant().into(), verdict.wait_for(Option::is_some)).await;
        let verdict = match seen {
            Ok(Ok(verdict)) => verdict.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        match verdict {
            Some(Verdict::Held) => Ok(true),
            Some(Verdict::Moved) => Ok(false),
            Some(Verdict::Replaced) => Err(replaced(self.bucket)),
            Some(Verdict::Unproven(cause)) => Err(unavailable(self.bucket, &cause)),
            None => Err(late()),
        }
    }

    /// The fence that is still to be sent for this, or a new one.
    fn flight(self: &Arc<Self>, subject: String, revision: u64, deadline: Deadline) -> Arc<Flight> {
        let entered = self.lanes.enter(&subject);
        let mut gathering = entered.gathering();
        if let Some(flight) = gathering.get(&revision) {
            flight.share(deadline);
            return Arc::clone(flight);
        }
        let flight = Arc::new(Flight::new(deadline));
        gathering.insert(revision, Arc::clone(&flight));
        drop(gathering);
        let (table, own) = (Arc::clone(self), Arc::clone(&flight));
        tokio::spawn(async move {
            let verdict = table.fly(&entered, &subject, revision, &own).await;
            own.verdict.send_replace(Some(verdict));
        });
        flight
    }

    async fn fly(
        &self,
        entered: &Entered,
        subject: &str,
        revision: u64,
        flight: &Flight,
    ) -> Verdict {
        let turn = tokio::time::timeout(flight.remaining(), entered.fence()).await;
        // From here on it proves nothing to whoever asks now: they begin another one.
        entered.gathering().remove(&revision);
        let Ok(_turn) = turn else { return not_sent("others kept the record busy") };
        let mut last = not_sent("there was no time to ask");
        loop {
            let within = flight.remaining().min(ATTEMPT);
            if within.is_zero() {
                return last;
            }
            match self.fence_once(Some((subject, revision)), within).await {
                Ok(()) => return Verdict::Held,
                Err(Verdict::Unproven(cause)) => {
                    if matches!(cause, CallError::Rubbish(_)) {
                        return Verdict::Unproven(cause);
                    }
                    self.wait_after(&cause, entered, flight.remaining()).await;
                    last = Verdict::Unproven(cause);
                }
                Err(decided) => return decided,
            }
        }
    }

    async fn wait_after(&self, cause: &CallError, entered: &Entered, at_most: Duration) {
        let wait = async {
            if cause.api_kind() == Some(ApiErrorKind::ConditionInFlight) {
                back_off().await;
            } else {
                sleep(PAUSE).await;
            }
            entered.after_writers().await;
        };
        // What is left of the time is looked at by the caller.
        let _ = tokio::time::timeout(at_most, wait).await;
    }

    /// Publishes one fence, once.
    async fn fence_once(
        &self,
        holds: Option<(&str, u64)>,
        within: Duration,
    ) -> Result<(), Verdict> {
        if self.replaced.load(Ordering::Acquire) {
            return Err(Verdict::Replaced);
        }
        let before = self.seen.load(Ordering::Acquire);
        let request = Request::new(self.fence_subject.as_str(), "");
        let condition = Condition { other_subject_at: holds, ..Condition::default() };
        match api::publish(&*self.wire, &self.stream, request, condition, within).await {
            Ok(sequence) if sequence <= before => {
                self.replaced.store(true, Ordering::Release);
                Err(Verdict::Replaced)
            }
            Ok(sequence) => {
                self.saw(sequence);
                self.floor.fetch_max(sequence, Ordering::AcqRel);
                Ok(())
            }
            Err(cause) if cause.api_kind() == Some(ApiErrorKind::WrongLastSequence) => {
                Err(Verdict::Moved)
            }
            Err(cause) => Err(Verdict::Unproven(cause)),
        }
    }

    /// Publishes a fence without a condition: whoever answers a list of the whole bucket from now on
    /// must have it. Gives its sequence.
    pub(super) async fn raise_floor(&self, deadline: Deadline) -> StoreResult<u64> {
        loop {
            let within = deadline.remaining().min(ATTEMPT);
            if within.is_zero() {
                return Err(late());
            }
            match self.fence_once(None, within).await {
                Ok(()) => return Ok(self.floor.load(Ordering::Acquire)),
                Err(Verdict::Unproven(cause)) => self.pause_after(&cause, deadline).await?,
                Err(Verdict::Replaced | Verdict::Moved | Verdict::Held) => {
                    return Err(replaced(self.bucket));
                }
            }
        }
    }
}

fn not_sent(why: &str) -> Verdict {
    Verdict::Unproven(CallError::Silence(Silence::NotSent(why.to_owned())))
}
