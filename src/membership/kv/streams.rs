//! The buckets' streams: reads through the leader, and writes that land once or say why they did not.
//! What the records mean is decided elsewhere.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::bucket::{Bucket, Prefix};
use super::capacity::Capacity;
use super::codec::Key;
use super::refusal::{Refusal, full, gone, judge, unavailable};
use super::value::{MUTATION_HEADER, ORIGIN_HEADER, REPLACED_HEADER, Slot, Written, read, write};
use super::waiting::Waiting;
use crate::jetstream::api::{self, CallError, Condition, StreamInfo, Wanted};
use crate::jetstream::batch::{Batch, OrderedTransport};
use crate::jetstream::message::{KV_DELETE, KV_OPERATION, StoredMessage};
use crate::jetstream::transport::{Request, Transport};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::MutationId;
use crate::membership::records::Origin;
use crate::membership::store::Deadline;

/// How long one attempt may take. A request that meets no leader is dropped without an answer; a
/// longer one would only wait for it.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How long to wait before asking again.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// A way to the servers for single requests and for batches.
pub trait Wire: Transport + OrderedTransport {}

impl<T: Transport + OrderedTransport> Wire for T {}

/// What a store stands on.
#[derive(Clone)]
pub(super) struct Streams {
    prefix: Prefix,
    /// For what may be asked again without harm.
    reads: Arc<dyn Wire>,
    /// For writes alone: it is given up when a write's outcome is not known.
    writes: Arc<dyn Wire>,
    pub(super) capacity: Arc<Capacity>,
    pub(super) waiting: Arc<Waiting>,
    /// Whose writes these are; each has a mutation of its own when nobody says.
    once: Option<Once>,
}

/// A mutation that must happen once only, however often it is tried.
#[derive(Clone)]
pub(super) struct Once {
    pub(super) mutation: MutationId,
    /// The member's record by which it is made, and the revision over which alone that may be.
    pub(super) member: Option<(Key, u64)>,
}

impl Once {
    /// Whether a write would be made over something that came since.
    fn is_late(&self, bucket: Bucket, key: &Key, replaced: u64) -> bool {
        let member =
            self.member.as_ref().filter(|(member, _)| (bucket, key) == (Bucket::Members, member));
        member.is_some_and(|(_, over)| *over != replaced)
    }
}

/// A write on its way.
struct Draft<'a> {
    bucket: Bucket,
    key: &'a Key,
    written: Written,
    request: Request,
}

impl Streams {
    pub(super) fn new(prefix: Prefix, reads: Arc<dyn Wire>, writes: Arc<dyn Wire>) -> Self {
        let (capacity, waiting) = (Arc::default(), Arc::default());
        Self { prefix, reads, writes, capacity, waiting, once: None }
    }

    /// The same streams, all writes to which are one mutation's.
    pub(super) fn under(&self, once: Once) -> Self {
        Self { once: Some(once), ..self.clone() }
    }

    /// Whether all writes are one mutation's, which must happen once only.
    pub(super) const fn is_one_mutation(&self) -> bool {
        self.once.is_some()
    }

    fn written(
        &self,
        bucket: Bucket,
        key: &Key,
        (origin, replaced): (Origin, u64),
    ) -> StoreResult<Written> {
        match &self.once {
            Some(once) if once.is_late(bucket, key, replaced) => Err(overtaken(key)),
            Some(Once { mutation, .. }) => Ok(Written { mutation: *mutation, origin, replaced }),
            None => Written::new(origin, replaced),
        }
    }

    pub(super) const fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    pub(super) fn reads(&self) -> &dyn Transport {
        &*self.reads
    }

    fn stream(&self, bucket: Bucket) -> String {
        bucket.stream(&self.prefix)
    }

    pub(super) fn subject(&self, bucket: Bucket, key: &Key) -> String {
        bucket.subject(&self.prefix, key)
    }

    /// What is at a key, by the leader's word.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        bucket: Bucket,
        key: &Key,
        deadline: Deadline,
    ) -> StoreResult<Slot<T>> {
        let (stream, subject) = (self.stream(bucket), self.subject(bucket, key));
        let found = patiently(bucket, deadline, async |within| {
            api::read(&*self.reads, &stream, Wanted::Last(&subject), within).await
        });
        match found.await? {
            None => Ok(Slot::NOTHING),
            Some(message) => read(bucket, key, &message),
        }
    }

    /// The first message from a sequence on whose key matches a filter.
    pub(super) async fn next(
        &self,
        bucket: Bucket,
        filter: &Key,
        from: u64,
        deadline: Deadline,
    ) -> StoreResult<Option<StoredMessage>> {
        let (stream, filter) = (self.stream(bucket), self.subject(bucket, filter));
        patiently(bucket, deadline, async |within| {
            api::read(&*self.reads, &stream, Wanted::Next { from, filter: &filter }, within).await
        })
        .await
    }

    /// The key of a record; `None` for a fence.
    pub(super) fn key_of(&self, bucket: Bucket, message: &StoredMessage) -> Option<Key> {
        let before = self.subject(bucket, &Key::all(Bucket::Users)).len() - 1;
        Key::of_record(message.subject.get(before..)?)
    }

    /// Writes a record over a revision; 0 for a key that never held anything. Gives the new revision.
    ///
    /// # Errors
    /// `Conflict` when something else is there; `Full`, `Unavailable`, `Unknown`.
    pub(super) async fn put<T: Serialize>(
        &self,
        bucket: Bucket,
        key: &Key,
        value: &T,
        over: (Origin, u64),
        deadline: Deadline,
    ) -> StoreResult<u64> {
        let written = self.written(bucket, key, over)?;
        let request = Request::new(self.subject(bucket, key), write(key, &written, value)?);
        self.land(Draft { bucket, key, written, request }, deadline).await
    }

    /// Puts a deletion marker over a revision. Gives the marker's revision.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub(super) async fn delete(
        &self,
        bucket: Bucket,
        key: &Key,
        over: (Origin, u64),
        deadline: Deadline,
    ) -> StoreResult<u64> {
        let written = self.written(bucket, key, over)?;
        let mut request = Request::new(self.subject(bucket, key), Vec::new());
        request.headers.insert(KV_OPERATION, KV_DELETE);
        request.headers.insert(MUTATION_HEADER, written.mutation.to_string());
        request.headers.insert(ORIGIN_HEADER, written.origin.as_str());
        request.headers.insert(REPLACED_HEADER, written.replaced.to_string());
        self.land(Draft { bucket, key, written, request }, deadline).await
    }

    /// Sends the same write until its outcome is known.
    async fn land(&self, draft: Draft<'_>, deadline: Deadline) -> StoreResult<u64> {
        let _waiting = self.waiting.write(draft.request.subject.clone());
        // Once an attempt may have had its effect, a refusal of the next one proves nothing alone.
        let mut unsure = false;
        loop {
            match self.attempt(&draft, deadline).await {
                Ok(at) => {
                    self.capacity.grew(draft.bucket, draft.request.payload.len());
                    return Ok(at);
                }
                Err(error) => match judge(&error) {
                    Refusal::Elsewhere => return self.whose(&draft, unsure, deadline).await,
                    Refusal::InFlight => {
                        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=5))).await;
                    }
                    Refusal::Final(kind) if !unsure => return Err(refused(&draft, kind, error)),
                    Refusal::Nothing | Refusal::Final(_) => tokio::time::sleep(PAUSE).await,
                    Refusal::Unsure => {
                        unsure = true;
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
            if deadline.has_passed() {
                return Err(self.give_up(&draft, unsure));
            }
        }
    }

    async fn attempt(&self, draft: &Draft<'_>, deadline: Deadline) -> Result<u64, CallError> {
        let stream = self.stream(draft.bucket);
        let over = Condition { subject_at: Some(draft.written.replaced), ..Condition::default() };
        let within = ATTEMPT.min(deadline.remaining());
        api::publish(&*self.writes, &stream, draft.request.clone(), over, within).await
    }

    /// Something else than what was to be replaced is there: our own write, or somebody else's.
    async fn whose(&self, draft: &Draft<'_>, unsure: bool, deadline: Deadline) -> StoreResult<u64> {
        if !unsure {
            return Err(overtaken(draft.key));
        }
        let there: StoreResult<Slot<serde_json::Value>> =
            self.get(draft.bucket, draft.key, deadline).await;
        let Ok(Slot { at, mark: Some(mark), .. }) = there else {
            return Err(self.give_up(draft, true));
        };
        if mark.mutation == Some(draft.written.mutation) {
            return Ok(at);
        }
        if mark.replaced == Some(draft.written.replaced) {
            // It took the place of what ours was to replace, so ours never landed.
            return Err(overtaken(draft.key));
        }
        Err(self.give_up(draft, true))
    }

    fn give_up(&self, draft: &Draft<'_>, unsure: bool) -> StoreError {
        let bucket = draft.bucket.suffix();
        if unsure {
            // Its client would send what it still holds by itself, long after this answer.
            self.writes.retire();
            return StoreError::new(
                ErrorKind::Unknown,
                format!(
                    "a write to the bucket of {bucket} was not acknowledged in time: it may or may \
                     not have happened. Read before you repeat it"
                ),
            );
        }
        unavailable(draft.bucket, "no write was taken in time")
    }

    /// Creates records that never were, all or none. Gives the last one's revision; `None` when one of
    /// them, or a marker, is there, or the outcome is not known: each must be looked at alone then.
    ///
    /// # Errors
    /// `Full`, `Unavailable`.
    pub(super) async fn create_all<T: Serialize>(
        &self,
        bucket: Bucket,
        records: &[(Key, T)],
        origin: Origin,
        deadline: Deadline,
    ) -> StoreResult<Option<u64>> {
        let keys: HashSet<&Key> = records.iter().map(|(key, _)| key).collect();
        if keys.len() < records.len() {
            // Of two messages on one subject a batch's second one waits for the first for ever.
            return Ok(None);
        }
        let mut batch = Batch::new();
        let mut bytes = 0;
        let nothing = Condition { subject_at: Some(0), ..Condition::default() };
        for (key, value) in records {
            let payload = write(key, &self.written(bucket, key, (origin, 0))?, value)?;
            bytes += payload.len();
            let request = Request::new(self.subject(bucket, key), payload);
            if batch.push(request, nothing).is_err() {
                return Ok(None);
            }
        }
        let stream = self.stream(bucket);
        loop {
            let within = ATTEMPT.min(deadline.remaining());
            let published = batch.clone().publish(&*self.writes, &stream, within).await;
            let error = match published {
                Ok(last) => {
                    self.capacity.grew(bucket, bytes);
                    return Ok(Some(last));
                }
                Err(error) => error,
            };
            match judge(&error) {
                Refusal::Final(ErrorKind::Full) => return Err(full(bucket)),
                Refusal::Elsewhere | Refusal::Unsure | Refusal::Final(_) => return Ok(None),
                Refusal::InFlight | Refusal::Nothing => tokio::time::sleep(PAUSE).await,
            }
            if deadline.has_passed() {
                return Err(unavailable(bucket, &error.to_string()));
            }
        }
    }

    /// Publishes a fence once: on condition that a record is still at a revision, or on none.
    pub(super) async fn fence(
        &self,
        bucket: Bucket,
        record: Option<(&str, u64)>,
        slot: u8,
        within: Duration,
    ) -> Result<u64, CallError> {
        let condition = Condition { other_subject_at: record, ..Condition::default() };
        let request = Request::new(self.subject(bucket, &Key::fence(slot)), Vec::new());
        api::publish(&*self.reads, &self.stream(bucket), request, condition, within).await
    }

    /// Takes what is at a key of a swept bucket up to a revision out for good; what came since stays.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) async fn purge(
        &self,
        bucket: Bucket,
        key: &Key,
        through: u64,
        deadline: Deadline,
    ) -> StoreResult<()> {
        let (stream, subject) = (self.stream(bucket), self.subject(bucket, key));
        patiently(bucket, deadline, async |within| {
            api::purge_subject(&*self.writes, &stream, &subject, through, within).await
        })
        .await
        .map(drop)
    }

    /// How a bucket stands.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) async fn info(&self, bucket: Bucket, deadline: Deadline) -> StoreResult<StreamInfo> {
        let stream = self.stream(bucket);
        let found = patiently(bucket, deadline, async |within| {
            api::stream_info(&*self.reads, &stream, within).await
        });
        found.await?.ok_or_else(|| gone(bucket))
    }

    /// Makes sure that buckets have room for a growing operation.
    ///
    /// # Errors
    /// `Full`, `Unavailable`.
    pub(super) async fn check_growth(
        &self,
        buckets: &[Bucket],
        deadline: Deadline,
    ) -> StoreResult<()> {
        for &bucket in buckets {
            if self.capacity.is_full(bucket, self.info(bucket, deadline)).await? {
                return Err(full(bucket));
            }
        }
        Ok(())
    }
}

fn refused(draft: &Draft<'_>, kind: ErrorKind, error: CallError) -> StoreError {
    if kind == ErrorKind::Full {
        return full(draft.bucket);
    }
    let bucket = draft.bucket.suffix();
    StoreError::new(kind, format!("the bucket of {bucket} does not take the record"))
        .caused_by(error)
}

fn overtaken(key: &Key) -> StoreError {
    StoreError::new(
        ErrorKind::Conflict,
        format!("somebody else changed {key} first: read it again"),
    )
}

/// Asks in short attempts until there is an answer.
async fn patiently<T, F>(
    bucket: Bucket,
    deadline: Deadline,
    mut attempt: impl FnMut(Duration) -> F,
) -> StoreResult<T>
where
    F: Future<Output = Result<T, CallError>>,
{
    loop {
        let error = match attempt(ATTEMPT.min(deadline.remaining())).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if deadline.remaining() <= PAUSE {
            return Err(unavailable(bucket, &error.to_string()).caused_by(error));
        }
        tokio::time::sleep(PAUSE).await;
    }
}
