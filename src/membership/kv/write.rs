//! Compare-and-set writes. One that got no answer is sent again as it is; one that then finds
//! another record is looked up, and is a success when that record is its own. Only at the deadline
//! is its outcome unknown.

use bytes::Bytes;
use tokio::time::sleep;

use super::codec::Key;
use super::error::{full, late, too_large, unavailable, unknown};
use super::fence::back_off;
use super::table::{ATTEMPT, PAUSE, Table};
use super::value::{self, Body, Entry, Over, Stamp};
use crate::jetstream::api::{self, ApiErrorKind, CallError, Condition};
use crate::jetstream::transport::Request;
use crate::membership::error::{StoreError, StoreResult};
use crate::membership::store::Deadline;

/// What a write came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was stored, at this revision.
    Stored(u64),
    /// Somebody else's write came first; nothing of this one was stored.
    Lost,
}

/// One write, as it is sent and, if need be, sent again.
pub(super) struct Write {
    key: Key,
    request: Request,
    stamp: Stamp,
    over: Over,
}

impl Write {
    /// Writes a record.
    pub(super) fn put<B: Body>(
        table: &Table,
        key: &Key,
        record: &B,
        stamp: Stamp,
        over: Over,
    ) -> StoreResult<Self> {
        debug_assert_eq!(table.bucket, B::BUCKET);
        let payload = value::payload(key, record, stamp, over)?;
        let request = Request::new(table.subject(key.as_str()), payload);
        Ok(Self { key: key.clone(), request, stamp, over })
    }

    /// Marks a record as taken out.
    pub(super) fn mark(table: &Table, key: &Key, stamp: Stamp, over: Over) -> Self {
        let mut request = Request::new(table.subject(key.as_str()), Bytes::new());
        request.headers = value::marker(stamp, over);
        Self { key: key.clone(), request, stamp, over }
    }

    /// The message and its condition, for a batch.
    pub(super) fn into_message(self) -> (Request, Condition<'static>) {
        (self.request, Condition { subject_at: Some(self.over.revision), ..Condition::default() })
    }

    /// How large it is.
    pub(super) fn bytes(&self) -> usize {
        self.request.payload.len() + self.request.subject.len()
    }
}

/// What one attempt told.
enum Attempt {
    Stored(u64),
    /// The record is not the expected one.
    Mismatch,
    /// The bucket does not take it.
    Refused(StoreError),
    /// Nothing was stored, and the same may be sent again.
    Again(CallError),
    /// It may have been stored.
    InDoubt(CallError),
}

impl Table {
    /// Writes a record over what was read.
    pub(super) async fn put<B: Body>(
        &self,
        key: &Key,
        record: &B,
        stamp: Stamp,
        over: Over,
        deadline: Deadline,
    ) -> StoreResult<Outcome> {
        self.write::<B>(Write::put(self, key, record, stamp, over)?, deadline).await
    }

    /// Marks a record as taken out, over what was read.
    pub(super) async fn mark<B: Body>(
        &self,
        key: &Key,
        stamp: Stamp,
        over: Over,
        deadline: Deadline,
    ) -> StoreResult<Outcome> {
        self.write::<B>(Write::mark(self, key, stamp, over), deadline).await
    }

    pub(super) async fn write<B: Body>(
        &self,
        write: Write,
        deadline: Deadline,
    ) -> StoreResult<Outcome> {
        let _turn = self.lanes.enter(&write.request.subject).write();
        let mut in_doubt = false;
        loop {
            if deadline.has_passed() {
                return Err(self.given_up(in_doubt, None));
            }
            let cause = match self.attempt(&write, deadline).await {
                Attempt::Stored(sequence) => return Ok(Outcome::Stored(sequence)),
                Attempt::Mismatch | Attempt::Refused(_) if in_doubt => {
                    return self.look_up::<B>(&write, deadline).await;
                }
                Attempt::Mismatch => return Ok(Outcome::Lost),
                Attempt::Refused(error) => return Err(error),
                Attempt::Again(cause) => cause,
                Attempt::InDoubt(cause) => {
                    in_doubt = true;
                    cause
                }
            };
            let busy = cause.api_kind() == Some(ApiErrorKind::ConditionInFlight);
            if busy {
                back_off().await;
            } else if deadline.remaining() <= PAUSE {
                return Err(self.given_up(in_doubt, Some(&cause)));
            } else {
                sleep(PAUSE).await;
            }
        }
    }

    async fn attempt(&self, write: &Write, deadline: Deadline) -> Attempt {
        let condition = Condition { subject_at: Some(write.over.revision), ..Condition::default() };
        let within = deadline.remaining().min(ATTEMPT);
        let request = write.request.clone();
        let cause = match api::publish(&*self.wire, &self.stream, request, condition, within).await
        {
            Ok(sequence) => {
                self.saw(sequence);
                self.usage.wrote(write.bytes());
                return Attempt::Stored(sequence);
            }
            Err(cause) => cause,
        };
        match cause.api_kind() {
            Some(ApiErrorKind::WrongLastSequence) => Attempt::Mismatch,
            Some(ApiErrorKind::Full) => Attempt::Refused(full(self.bucket)),
            Some(ApiErrorKind::TooLarge) => Attempt::Refused(too_large(self.bucket)),
            Some(
                ApiErrorKind::ConditionInFlight
                | ApiErrorKind::NotReady
                | ApiErrorKind::NoStream
                | ApiErrorKind::InsufficientResources,
            ) => Attempt::Again(cause),
            Some(
                ApiErrorKind::AtomicPublishDisabled
                | ApiErrorKind::NoMessage
                | ApiErrorKind::StreamExistsOtherwise
                | ApiErrorKind::NotAllowed
                | ApiErrorKind::Other,
            ) => Attempt::InDoubt(cause),
            None => match &cause {
                CallError::Silence(silence) if !silence.may_have_acted() => Attempt::Again(cause),
                CallError::Silence(_) | CallError::Rubbish(_) | CallError::Refused(_) => {
                    Attempt::InDoubt(cause)
                }
            },
        }
    }

    /// Tells whether an earlier attempt, which got no answer, was the write that came first.
    async fn look_up<B: Body>(&self, write: &Write, deadline: Deadline) -> StoreResult<Outcome> {
        let found = match self.read::<B>(&write.key, deadline).await {
            Ok(found) => found,
            Err(_) => return Err(self.given_up(true, None)),
        };
        what_became(found.as_ref(), write.stamp, write.over).ok_or_else(|| unknown(self.bucket))
    }

    /// The deadline has passed. The connection goes too: it may hold the write and send it later.
    fn given_up(&self, in_doubt: bool, cause: Option<&CallError>) -> StoreError {
        if in_doubt {
            self.wire.retire();
            return unknown(self.bucket);
        }
        cause.map_or_else(late, |cause| unavailable(self.bucket, cause))
    }
}

/// What became of a write over something, told from what is there now; `None` when that does not
/// tell.
fn what_became<B>(found: Option<&Entry<B>>, stamp: Stamp, over: Over) -> Option<Outcome> {
    let found = found?;
    if found.mutation == Some(stamp.mutation) {
        return Some(Outcome::Stored(found.revision));
    }
    let before = found.over?;
    if before.mutation == Some(stamp.mutation) {
        // It happened, and was written over since.
        return Some(Outcome::Stored(before.revision));
    }
    (before.revision == over.revision).then_some(Outcome::Lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::ids::MutationId;
    use crate::membership::records::Origin;

    fn mutation(n: u8) -> MutationId {
        MutationId::from([n; 16])
    }

    fn entry(revision: u64, by: u8, over: Option<(u64, u8)>) -> Entry<()> {
        Entry {
            revision,
            time: String::new(),
            mutation: Some(mutation(by)),
            origin: Origin::Service,
            over: over.map(|(revision, by)| Over { revision, mutation: Some(mutation(by)) }),
            record: Some(()),
        }
    }

    #[test]
    fn what_is_there_tells_what_became_of_a_write() {
        let stamp = Stamp { mutation: mutation(1), origin: Origin::Service };
        let over = Over { revision: 5, mutation: Some(mutation(9)) };
        for (found, expected) in [
            (Some(entry(8, 1, Some((5, 9)))), Some(Outcome::Stored(8))),
            (Some(entry(9, 2, Some((8, 1)))), Some(Outcome::Stored(8))),
            (Some(entry(8, 2, Some((5, 9)))), Some(Outcome::Lost)),
            // Two writes since: the first of them may have been this one.
            (Some(entry(9, 2, Some((8, 3)))), None),
            (Some(entry(9, 2, None)), None),
            (None, None),
        ] {
            assert_eq!(what_became(found.as_ref(), stamp, over), expected, "{found:?}");
        }
    }
}
