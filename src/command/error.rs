//! How a command can end early: one sentence on standard error, and an exit code.

use std::error::Error;
use std::io::{self, Write};

use thiserror::Error;

use super::exit::Exit;
use crate::membership::error::{ErrorKind, StoreError};
use crate::migration::Failure;

/// Why a command ended early.
#[derive(Debug, Error)]
pub enum CommandError {
    /// Flags, environment or a file that a flag names.
    #[error("{0}")]
    Usage(String),
    /// There is no store to ask, or it is not ours. Not the same as a missing record.
    #[error("{0}")]
    NoStore(#[source] StoreError),
    /// The store's answer.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A file or standard input that was to be read.
    #[error("{0}")]
    Input(String),
    /// What must not be done.
    #[error("{0}")]
    Refused(String),
    /// The end of a move.
    #[error("{0}")]
    Move(#[from] Failure),
    /// Standard output, or the file in its place.
    #[error("the output could not be written: {0}")]
    Output(#[from] io::Error),
}

/// The result of a command.
pub type CommandResult<T> = Result<T, CommandError>;

impl CommandError {
    /// How the program ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NoStore(error) if error.kind() == ErrorKind::NotFound => Exit::Unusable,
            Self::NoStore(error) | Self::Store(error) => Exit::of(error.kind()),
            Self::Input(_) => Exit::Unusable,
            Self::Refused(_) => Exit::Refused,
            Self::Move(failure) => failure.reason().exit_code().into(),
            Self::Output(_) => Exit::No,
        }
    }

    /// Says it, unless nobody listens, and gives the exit.
    pub fn tell(&self, to: &mut dyn Write) -> Exit {
        // `membershipd export | head` is no accident worth a word.
        if !self.is_closed_pipe() {
            let said = self.to_string();
            let cause = self.cause().map(ToString::to_string).filter(|cause| !said.contains(cause));
            let cause = cause.map_or_else(String::new, |cause| format!(" ({cause})"));
            // Whoever closed standard error does not want to know.
            let _ = writeln!(to, "membershipd: {said}{cause}");
        }
        self.exit()
    }

    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What a store or a move met, in the words of whoever said it.
    fn cause(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoStore(error) | Self::Store(error) => error.source(),
            Self::Move(failure) => failure.source().and_then(Error::source),
            Self::Usage(_) | Self::Input(_) | Self::Refused(_) | Self::Output(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: &CommandError) -> (String, u8) {
        let mut text = Vec::new();
        let exit = error.tell(&mut text);
        (String::from_utf8(text).unwrap(), exit as u8)
    }

    #[test]
    fn a_missing_store_is_told_from_a_missing_record() {
        let missing = || StoreError::new(ErrorKind::NotFound, "it is not there");
        let expected = "membershipd: it is not there\n".to_owned();
        assert_eq!(told(&CommandError::NoStore(missing())), (expected.clone(), 3));
        assert_eq!(told(&CommandError::Store(missing())), (expected, 1));
    }

    #[test]
    fn the_cause_stands_behind_the_sentence() {
        let error = StoreError::new(ErrorKind::Unavailable, "it cannot be opened")
            .caused_by(io::Error::other("disk gone"));
        let (text, exit) = told(&CommandError::Store(error));
        assert_eq!((text.as_str(), exit), ("membershipd: it cannot be opened (disk gone)\n", 4));
    }

    #[test]
    fn a_cause_that_the_sentence_names_is_not_said_twice() {
        let error = StoreError::new(ErrorKind::Unavailable, "not made: disk gone")
            .caused_by(io::Error::other("disk gone"));
        assert_eq!(told(&CommandError::Store(error)).0, "membershipd: not made: disk gone\n");
    }

    #[test]
    fn a_reader_that_went_away_is_not_told_so() {
        let closed = CommandError::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(told(&closed), (String::new(), 1));
        let full = CommandError::Output(io::ErrorKind::StorageFull.into());
        assert!(told(&full).0.contains("could not be written"));
    }
}
