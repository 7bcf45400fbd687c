//! One request, one answer, in time: what everything towards NATS goes through. A test may put
//! itself between by implementing [`Transport`]; the programs use a [`Link`](super::link::Link).

use std::time::Duration;

use async_nats::HeaderMap;
use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// The subject it is published to.
    pub subject: String,
    /// Its headers; empty for none.
    pub headers: HeaderMap,
    /// Its payload.
    pub payload: Bytes,
}

impl Request {
    /// A request without headers.
    pub fn new(subject: impl Into<String>, payload: impl Into<Bytes>) -> Self {
        Self { subject: subject.into(), headers: HeaderMap::new(), payload: payload.into() }
    }
}

/// Why there is no answer, as far as it says whether the request may have had an effect.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Silence {
    /// It never left this process.
    #[error("not connected: {0}")]
    NotSent(String),
    /// A server said that nobody is there to take it: it had no effect.
    #[error("no responders: no leader took the request")]
    NoResponders,
    /// Nothing came back in time. It may have had its effect, and may still have it.
    #[error("no answer in time")]
    NoAnswer,
}

impl Silence {
    /// Whether the request may have had an effect all the same.
    #[must_use]
    pub const fn may_have_acted(&self) -> bool {
        match self {
            Self::NoAnswer => true,
            Self::NotSent(_) | Self::NoResponders => false,
        }
    }
}

/// A way to the servers.
#[async_trait]
pub trait Transport: Send + Sync {
    /// Asks once and waits for the one answer, at most this long.
    ///
    /// # Errors
    /// [`Silence`] when there is none.
    async fn request(&self, request: Request, within: Duration) -> Result<Bytes, Silence>;

    /// Gives up the connection that is in use. What it has not sent is never sent; the next request
    /// makes a new one.
    fn retire(&self);
}
