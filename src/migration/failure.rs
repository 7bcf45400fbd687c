//! Why a migration did not come to its end, and the exit code that says so to a script. Each reason
//! is one stable word: the operator and the documentation speak of it by that word.

use thiserror::Error;

use super::source::bad::BadRows;

/// How the program ends, as a shell and a Kubernetes Job see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitCode {
    /// Done, or there was nothing left to do.
    Done = 0,
    /// The command line is wrong.
    Usage = 2,
    /// The source cannot be migrated as it is: trying again does not help.
    SourceUnusable = 3,
    /// NATS could not be reached in time, or somebody holds the source: try again.
    Unavailable = 4,
    /// What was written is not what was read, or the source changed meanwhile.
    NotVerified = 5,
    /// The migration must not be made here.
    Refused = 6,
}

/// A reason with its word and its exit code, in one table.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $exit:ident,)+) => {
        /// Why a migration ended early.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// Every reason, for tables and completeness tests.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The reason as one stable word.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The exit code that the reason ends in.
            #[must_use]
            pub const fn exit_code(self) -> ExitCode {
                match self {
                    $(Self::$name => ExitCode::$exit,)+
                }
            }
        }
    };
}

reasons! {
    /// There is no such file, or its mode or its folder keeps us out.
    SourceNotReadable => SourceUnusable,
    /// The file can be read but not written, so the fence cannot be put up.
    SourceNotWritable => SourceUnusable,
    /// The file system ignores locks.
    LocksIgnored => SourceUnusable,
    /// The file is no SQLite database.
    NotADatabase => SourceUnusable,
    /// The file, or a value in it, is larger than any membership can be.
    TooLarge => SourceUnusable,
    /// The file belongs to another program.
    ForeignDatabase => SourceUnusable,
    /// A newer program wrote the file.
    NewerSchema => SourceUnusable,
    /// The tables are not those of a membership.
    SchemaMismatch => SourceUnusable,
    /// The file is damaged.
    IntegrityCheckFailed => SourceUnusable,
    /// A crash of another program left the file in a state that only that program can mend.
    SourceNotClean => SourceUnusable,
    /// The file took longer to check than any file of its size should.
    TooSlow => SourceUnusable,
    /// There is nothing in the file.
    EmptySource => SourceUnusable,
    /// Rows that are no membership records.
    BadRows => SourceUnusable,
    /// Two rows speak of the same thing.
    ConflictingRows => SourceUnusable,
    /// The backup could not be written, or is not what it should be.
    BackupFailed => SourceUnusable,
    /// The disk has no room for the backup.
    NoSpace => SourceUnusable,
    /// Another program holds the file.
    SourceBusy => Unavailable,
    /// NATS, or a part of it, could not be reached in time.
    NatsUnavailable => Unavailable,
    /// Something that was true of the source at the start no longer is.
    SourceChanged => NotVerified,
    /// The buckets do not hold what the source held.
    VerificationFailed => NotVerified,
    /// The buckets have served, or hold somebody else's records.
    StoreNotEmpty => Refused,
    /// The source does not fit into the buckets.
    StoreTooSmall => Refused,
    /// Another source was or is being moved into these buckets.
    OtherMigration => Refused,
    /// The source was moved away for good, so its fence stays.
    AlreadyMoved => Refused,
}

/// A migration that ended early.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct Failure {
    reason: Reason,
    message: String,
    bad_rows: Option<Box<BadRows>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Failure {
    /// A failure, said in a whole sentence: what happened, why, and what to do next.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), bad_rows: None, source: None }
    }

    /// The same failure with what caused it.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same failure with the rows that are to blame.
    #[must_use]
    pub fn blaming(mut self, bad_rows: BadRows) -> Self {
        self.bad_rows = Some(Box::new(bad_rows));
        self
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The rows that are to blame, where rows are.
    #[must_use]
    pub fn bad_rows(&self) -> Option<&BadRows> {
        self.bad_rows.as_deref()
    }
}

/// The result of every step of a migration.
pub type Outcome<T> = Result<T, Failure>;
