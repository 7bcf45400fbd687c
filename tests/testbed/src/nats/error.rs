//! Why servers cannot be had, or do not do what a test asked of them.

use std::{io, path::PathBuf, time::Duration};

use crate::{cache::CacheError, tools::ToolError};

/// What can go wrong around the servers. A test only ever shows it.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// The server program could not be had.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The folder of the port locks cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A file, a port or a process could not be had.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// No port of the range is free.
    #[error("no free port from {first} to {last}: end what holds them")]
    NoPort {
        /// The first port tried.
        first: u16,
        /// The last port tried.
        last: u16,
    },
    /// A key pair could not be made.
    #[error("a key pair could not be made: {0}")]
    Key(#[from] nkeys::error::Error),
    /// The server is not in the state that the operation needs.
    #[error("server {server} cannot {operation}: it is {state}")]
    WrongState {
        /// Which server.
        server: usize,
        /// What was asked.
        operation: &'static str,
        /// What it is instead.
        state: &'static str,
    },
    /// The server ended by itself.
    #[error("server {server} ended by itself ({status}); its log ends:\n{log}")]
    Died {
        /// Which server.
        server: usize,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: String,
    },
    /// No connection to a server.
    #[error("no connection as {role}: {source}")]
    Connect {
        /// As whom.
        role: &'static str,
        /// What the client said.
        source: async_nats::ConnectError,
    },
    /// A server refused a request.
    #[error("{request} was refused: {answer}")]
    Refused {
        /// The subject.
        request: String,
        /// The answer.
        answer: String,
    },
    /// What was waited for did not come.
    #[error("{what} did not come within {within:?}; the last that was seen: {last}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// The last state or error seen.
        last: String,
    },
    /// A server's configuration could not be written as JSON.
    #[error("the configuration {path} could not be written: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What the serializer said.
        source: serde_json::Error,
    },
}

impl NatsError {
    /// Makes a mapper for `map_err` that says what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
