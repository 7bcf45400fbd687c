//! How `membershipd` ends, in one table that `--help` prints and the manual repeats.

use std::fmt::Write;

use crate::membership::error::ErrorKind;
use crate::migration;

macro_rules! exits {
    ($($(#[$doc:meta])* $name:ident = $code:literal: $meaning:literal,)+) => {
        /// How a command ended, as a shell and a Kubernetes Job see it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Exit {
            $($(#[$doc])* $name = $code,)+
        }

        impl Exit {
            /// Every exit with its code and its meaning in a few words.
            pub const TABLE: &[(Self, u8, &str)] = &[$((Self::$name, $code, $meaning),)+];
        }
    };
}

exits! {
    /// Done.
    Done = 0: "done, or there was nothing left to do",
    /// The answer is no.
    No = 1: "no: there is no such record, there is one already, or somebody changed it first; \
             or the output could not be written",
    /// The command line is wrong.
    Usage = 2: "the command line is wrong",
    /// What was named cannot be used.
    Unusable = 3: "the store, the source or the input cannot be used as it is: trying again does \
                   not help",
    /// Try again.
    Unavailable = 4: "the store did not answer in time, or somebody holds it: try again",
    /// Not verified.
    NotVerified = 5: "what was moved is not what there was, or the source changed meanwhile",
    /// Refused.
    Refused = 6: "refused: it must not be done here, or the store is full",
}

impl Exit {
    /// What an answer of a store that was opened ends in.
    #[must_use]
    pub const fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound | ErrorKind::AlreadyExists | ErrorKind::Conflict => Self::No,
            ErrorKind::Invalid | ErrorKind::Corrupt | ErrorKind::ForeignStore => Self::Unusable,
            ErrorKind::Unavailable | ErrorKind::Unknown => Self::Unavailable,
            ErrorKind::Full => Self::Refused,
        }
    }

    /// The table, for the end of `--help`.
    #[must_use]
    pub fn help() -> String {
        let mut help = String::from("Exit codes:");
        for (_, code, meaning) in Self::TABLE {
            // A string takes everything.
            let _ = write!(help, "\n  {code}  {meaning}");
        }
        help
    }
}

impl From<migration::ExitCode> for Exit {
    fn from(code: migration::ExitCode) -> Self {
        match code {
            migration::ExitCode::Done => Self::Done,
            migration::ExitCode::Usage => Self::Usage,
            migration::ExitCode::SourceUnusable => Self::Unusable,
            migration::ExitCode::Unavailable => Self::Unavailable,
            migration::ExitCode::NotVerified => Self::NotVerified,
            migration::ExitCode::Refused => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_answer_has_its_exit_code() {
        for (kind, code) in [
            (ErrorKind::NotFound, 1),
            (ErrorKind::AlreadyExists, 1),
            (ErrorKind::Conflict, 1),
            (ErrorKind::Full, 6),
            (ErrorKind::Invalid, 3),
            (ErrorKind::Unavailable, 4),
            (ErrorKind::Unknown, 4),
            (ErrorKind::Corrupt, 3),
            (ErrorKind::ForeignStore, 3),
        ] {
            assert_eq!(Exit::of(kind) as u8, code, "{}", kind.label());
        }
    }

    #[test]
    fn a_move_ends_in_the_codes_of_its_own_table() {
        for reason in migration::Reason::ALL {
            let code = reason.exit_code();
            assert_eq!(Exit::from(code) as u8, code as u8, "{}", reason.label());
        }
    }
}
