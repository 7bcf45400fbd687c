//! Which records a write of this process waits for. A fence on such a record is held back: while one
//! condition on a subject is in flight, the servers refuse every other one, and a crowd of fences
//! would keep a revocation waiting.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::membership::store::Deadline;

/// How often a held-back fence looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

#[derive(Default)]
pub(super) struct Waiting {
    writes: Mutex<HashMap<String, usize>>,
}

/// A write that waits, until this is dropped.
pub(super) struct Write<'a> {
    waiting: &'a Waiting,
    subject: String,
}

impl Waiting {
    pub(super) fn write(&self, subject: String) -> Write<'_> {
        let mut writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        *writes.entry(subject.clone()).or_default() += 1;
        drop(writes);
        Write { waiting: self, subject }
    }

    fn has_write(&self, subject: &str) -> bool {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).contains_key(subject)
    }

    /// Returns once no write waits for a record any more, or at the deadline.
    pub(super) async fn until_none(&self, subject: &str, deadline: Deadline) {
        while self.has_write(subject) && !deadline.has_passed() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        let mut writes = self.waiting.writes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = writes.get_mut(&self.subject) {
            *count -= 1;
            if *count == 0 {
                writes.remove(&self.subject);
            }
        }
    }
}
