//! What a store answers when it cannot do what was asked. One closed list of kinds, each of which
//! tells the caller what is known about the world afterwards.

use std::error::Error;

use thiserror::Error;

/// What went wrong, as a caller may act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no such record. The one kind for every "not there".
    NotFound,
    /// A create found the record already there.
    AlreadyExists,
    /// Somebody else changed the record first: read again and decide again.
    Conflict,
    /// The store has no room for a growing operation. Revoke and remove still work.
    Full,
    /// The request itself is wrong; sending it again cannot help.
    Invalid,
    /// The store could not be asked. Nothing is known and nothing was written.
    Unavailable,
    /// A write was sent and its outcome is not known: it may or may not have happened, and it may
    /// still happen.
    Unknown,
    /// A record is there but is unreadable, of a newer schema, or sits under another record's key.
    /// It never counts as absent.
    Corrupt,
    /// The buckets or the file belong to something else. Nothing was written.
    ForeignStore,
}

impl ErrorKind {
    /// Every kind, for tables and completeness tests.
    pub const ALL: [Self; 9] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::Conflict,
        Self::Full,
        Self::Invalid,
        Self::Unavailable,
        Self::Unknown,
        Self::Corrupt,
        Self::ForeignStore,
    ];

    /// The kind as one stable word, for logs, metrics and problem documents.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Full => "Full",
            Self::Invalid => "Invalid",
            Self::Unavailable => "Unavailable",
            Self::Unknown => "Unknown",
            Self::Corrupt => "Corrupt",
            Self::ForeignStore => "ForeignStore",
        }
    }
}

/// An [`ErrorKind`] with the sentence that says what happened, why, and what to do next.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct StoreError {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of a kind, said in a whole sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error; when somebody else's change stood in the way, the word for it here.
    #[must_use]
    pub fn on_conflict(self, word: impl FnOnce() -> Self) -> Self {
        if self.kind == ErrorKind::Conflict { word() } else { self }
    }

    /// The kind, to match on.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// The result of every store operation.
pub type StoreResult<T> = Result<T, StoreError>;
