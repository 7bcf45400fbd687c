//! One bucket as the store uses it: reads through the stream's leader, asked again until they are
//! answered or the deadline has passed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use super::bucket::{Bucket, Prefix};
use super::codec::{FENCE, Key};
use super::error::{corrupt, late, unavailable};
use super::lane::Lanes;
use super::usage::Usage;
use super::value::{self, Body, Entry};
use crate::jetstream::api::{self, CallError, StreamInfo, Wanted};
use crate::jetstream::batch::OrderedTransport;
use crate::jetstream::bucket::{stream_of, subject_of};
use crate::jetstream::message::StoredMessage;
use crate::jetstream::transport::Transport;
use crate::membership::error::StoreResult;
use crate::membership::store::Deadline;

/// How long one attempt may take. A call that reaches a server before it knows the leader is
/// dropped without an answer: then another attempt helps, and waiting does not.
pub(super) const ATTEMPT: Duration = Duration::from_secs(1);

/// How long to wait before a failed attempt is made again.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// A way to the servers that takes single requests and ordered ones.
pub trait Wire: Transport + OrderedTransport {}

impl<T: Transport + OrderedTransport> Wire for T {}

/// One bucket.
pub(super) struct Table {
    pub(super) bucket: Bucket,
    pub(super) wire: Arc<dyn Wire>,
    pub(super) stream: String,
    pub(super) name: String,
    /// The process's own fence subject.
    pub(super) fence_subject: String,
    /// The highest sequence that a server has acknowledged or shown.
    pub(super) seen: AtomicU64,
    /// The last fence of this process that was acknowledged: whoever does not have it yet is behind.
    pub(super) floor: AtomicU64,
    /// Whether the stream was seen to go back: nothing is proven from it any more.
    pub(super) replaced: AtomicBool,
    pub(super) lanes: Lanes,
    pub(super) usage: Usage,
}

impl Table {
    pub(super) fn new(bucket: Bucket, prefix: &Prefix, slot: u8, wire: Arc<dyn Wire>) -> Self {
        let name = bucket.name(prefix);
        Self {
            bucket,
            wire,
            stream: stream_of(&name),
            fence_subject: subject_of(&name, &format!("{FENCE}.{slot}")),
            name,
            seen: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            replaced: AtomicBool::new(false),
            lanes: Lanes::default(),
            usage: Usage::default(),
        }
    }

    pub(super) fn subject(&self, key: &str) -> String {
        subject_of(&self.name, key)
    }

    pub(super) fn saw(&self, sequence: u64) {
        self.seen.fetch_max(sequence, Ordering::AcqRel);
    }

    /// What lies under a key; `None` for nothing, not even a marker.
    pub(super) async fn read<B: Body>(
        &self,
        key: &Key,
        deadline: Deadline,
    ) -> StoreResult<Option<Entry<B>>> {
        let subject = self.subject(key.as_str());
        let found = self.ask(Wanted::Last(&subject), deadline).await?;
        found.map(|message| value::entry(key, &message)).transpose()
    }

    /// The first message at or past a sequence whose key matches a filter, fences included.
    pub(super) async fn next(
        &self,
        from: u64,
        filter: &str,
        deadline: Deadline,
    ) -> StoreResult<Option<StoredMessage>> {
        let filter = self.subject(filter);
        self.ask(Wanted::Next { from, filter: &filter }, deadline).await
    }

    /// The key of a message, `None` for a fence.
    pub(super) fn key_of(&self, message: &StoredMessage) -> StoreResult<Option<Key>> {
        let start = self.subject("");
        let key = message.subject.strip_prefix(&start).unwrap_or_default();
        if key.split('.').next() == Some(FENCE) {
            return Ok(None);
        }
        match Key::read(key) {
            Some(key) => Ok(Some(key)),
            None => Err(corrupt(self.bucket, "of an unknown form", "no key of ours is written so")),
        }
    }

    async fn ask(
        &self,
        wanted: Wanted<'_>,
        deadline: Deadline,
    ) -> StoreResult<Option<StoredMessage>> {
        loop {
            let within = deadline.remaining().min(ATTEMPT);
            if within.is_zero() {
                return Err(late());
            }
            match api::read(&*self.wire, &self.stream, wanted, within).await {
                Ok(found) => {
                    if let Some(message) = &found {
                        self.saw(message.sequence);
                    }
                    return Ok(found);
                }
                Err(cause) => self.pause_after(&cause, deadline).await?,
            }
        }
    }

    pub(super) async fn info(&self, deadline: Deadline) -> StoreResult<Option<StreamInfo>> {
        loop {
            let within = deadline.remaining().min(ATTEMPT);
            if within.is_zero() {
                return Err(late());
            }
            match api::stream_info(&*self.wire, &self.stream, within).await {
                Ok(info) => return Ok(info),
                Err(cause) => self.pause_after(&cause, deadline).await?,
            }
        }
    }

    /// Waits before a call that changes nothing is made again, if that can help.
    pub(super) async fn pause_after(
        &self,
        cause: &CallError,
        deadline: Deadline,
    ) -> StoreResult<()> {
        let hopeless = match cause {
            CallError::Rubbish(_) => true,
            CallError::Silence(_) | CallError::Refused(_) => false,
        };
        if hopeless || deadline.remaining() <= PAUSE {
            return Err(unavailable(self.bucket, cause));
        }
        sleep(PAUSE).await;
        Ok(())
    }
}
