//! Atomic batches: messages to one stream that are stored together, each on its own condition, or
//! not at all (servers from 2.12). The server keeps a batch under way for some seconds and forgets it
//! when its end does not come, so a try that broke off leaves nothing behind.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use data_encoding::HEXLOWER;

use super::api::{self, CallError, Condition};
use super::transport::{Request, Silence};

/// The most messages that one batch takes. The server's own limit is 1000; half of it keeps one
/// Raft entry of large records small enough to replicate in time.
pub const BATCH_MAX: usize = 500;

/// The header that says which batch a message belongs to; at most 64 bytes.
const BATCH_ID: &str = "Nats-Batch-Id";

/// The header with a message's place in its batch, from 1.
const BATCH_SEQUENCE: &str = "Nats-Batch-Sequence";

/// The header on the last message.
const BATCH_COMMIT: &str = "Nats-Batch-Commit";

/// A way to the servers that keeps an order.
#[async_trait]
pub trait OrderedTransport: Send + Sync {
    /// Sends all over one connection, in their order, and waits for the answer to the last one.
    ///
    /// # Errors
    /// [`Silence`] when there is none. What was sent before the last message waits for it in vain.
    async fn request_after(
        &self,
        before: Vec<Request>,
        last: Request,
        within: Duration,
    ) -> Result<Bytes, Silence>;
}

/// Messages that are stored together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    messages: Vec<Request>,
}

impl Batch {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it takes no more messages.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.messages.len() >= BATCH_MAX
    }

    /// How many messages it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Adds a message on a condition. No subject may be in a batch twice: the server refuses the
    /// second one as a condition in flight. Gives the message back when the batch is full.
    ///
    /// # Errors
    /// The message.
    pub fn push(&mut self, mut message: Request, condition: Condition<'_>) -> Result<(), Request> {
        if self.is_full() {
            return Err(message);
        }
        condition.write(&mut message.headers);
        self.messages.push(message);
        Ok(())
    }

    /// Publishes it into a stream. Gives the sequence of its last message; the others are the
    /// numbers before it, in their order. Asks exactly once; sent again, it is another batch.
    ///
    /// # Errors
    /// [`CallError`]; after any error that the server answered, nothing of the batch is stored. An
    /// empty batch is one, too.
    pub async fn publish(
        mut self,
        transport: &dyn OrderedTransport,
        stream: &str,
        within: Duration,
    ) -> Result<u64, CallError> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| Silence::NotSent(error.to_string()))?;
        let id = HEXLOWER.encode(&id);
        for (place, message) in (1_usize..).zip(&mut self.messages) {
            message.headers.insert(BATCH_ID, id.as_str());
            message.headers.insert(BATCH_SEQUENCE, place.to_string());
        }
        let count = self.messages.len();
        let Some(mut last) = self.messages.pop() else {
            return Err(CallError::Rubbish("a batch without messages"));
        };
        last.headers.insert(BATCH_COMMIT, "1");
        let answer = transport.request_after(self.messages, last, within).await?;
        api::batch_acknowledged(&answer, stream, &id, count)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Keeps what it is given, and acknowledges it.
    #[derive(Default)]
    struct Notes(Mutex<Vec<Request>>);

    #[async_trait]
    impl OrderedTransport for Notes {
        async fn request_after(
            &self,
            before: Vec<Request>,
            last: Request,
            _: Duration,
        ) -> Result<Bytes, Silence> {
            let id = last.headers.get(BATCH_ID).unwrap().to_string();
            let count = before.len() + 1;
            self.0.lock().unwrap().extend(before.into_iter().chain([last]));
            let answer =
                serde_json::json!({"stream": "KV_U", "seq": 9, "batch": id, "count": count});
            Ok(answer.to_string().into())
        }
    }

    fn message() -> Request {
        Request::new("$KV.U.a", "x")
    }

    #[tokio::test]
    async fn the_messages_of_a_batch_are_numbered_and_the_last_one_ends_it() {
        let notes = Notes::default();
        let mut batch = Batch::new();
        let fresh = Condition { subject_at: Some(0), ..Condition::default() };
        for _ in 0..3 {
            batch.push(message(), fresh).unwrap();
        }
        let end = batch.publish(&notes, "KV_U", Duration::from_secs(1)).await.unwrap();
        assert_eq!(end, 9);
        let sent = notes.0.lock().unwrap();
        let header = |n: usize, name: &str| sent[n].headers.get(name).map(ToString::to_string);
        for n in 0..3 {
            assert_eq!(header(n, BATCH_SEQUENCE), Some((n + 1).to_string()));
            assert_eq!(header(n, BATCH_ID), header(0, BATCH_ID));
            assert_eq!(header(n, BATCH_COMMIT), (n == 2).then(|| "1".to_owned()));
            assert_eq!(header(n, "Nats-Expected-Last-Subject-Sequence"), Some("0".to_owned()));
        }
    }

    #[tokio::test]
    async fn a_batch_is_never_empty_and_never_too_large() {
        let mut batch = Batch::new();
        let notes = Notes::default();
        assert!(batch.clone().publish(&notes, "KV_U", Duration::from_secs(1)).await.is_err());
        while !batch.is_full() {
            batch.push(message(), Condition::default()).unwrap();
        }
        assert_eq!(batch.len(), BATCH_MAX);
        assert!(batch.push(message(), Condition::default()).is_err());
    }
}
