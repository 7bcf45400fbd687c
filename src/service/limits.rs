//! What one caller, and all callers together, may cost.

use std::time::Duration;

use crate::membership::store::PageLimit;

/// The limits of a service. Those of its connections are the listener's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes a body may have: two of the largest sealed keys in base64, and some more.
    pub body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_time: Duration,
    /// How long an answer may take once the request is there, all work of the store included.
    pub answer_time: Duration,
    /// How many requests are worked on at once.
    pub requests: usize,
    /// How long a request waits for its turn.
    pub turn_time: Duration,
    /// The largest page, and that of who does not say.
    pub page: PageLimit,
    /// How many questions one `authorize` may ask.
    pub questions: usize,
    /// Refusals are sent at multiples of this after the request came, so that their time does not
    /// tell what was found: several times what the store takes.
    pub refusal_beat: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 256 * 1024,
            body_time: Duration::from_secs(10),
            answer_time: Duration::from_secs(10),
            requests: 256,
            turn_time: Duration::from_secs(1),
            page: PageLimit::default(),
            questions: 100,
            refusal_beat: Duration::from_millis(25),
        }
    }
}
