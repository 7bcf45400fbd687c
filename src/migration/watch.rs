//! Who may look on while a migration goes: a person's progress bar, a log, or a test that ends the
//! process at a chosen step.

use crate::membership::snapshot::Table;

/// A step of a migration, before or after which everything may end. In the order they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The source was opened and is held still.
    Locked,
    /// The source was found whole and a membership.
    Checked,
    /// The copy is written.
    Copied,
    /// The records are read and checked against each other.
    Staged,
    /// The backup is kept.
    BackedUp,
    /// NATS was asked and the buckets can take the records.
    Admitted,
    /// The fence is up.
    Fenced,
    /// The marker says that an import goes on.
    Importing,
    /// One batch of a kind was written.
    Batch(Table),
    /// Records that the source no longer has are gone from a kind.
    Pruned(Table),
    /// The buckets were read and are what the source is.
    Verified,
    /// The fence says done.
    Concluded,
    /// The marker says done.
    Marked,
}

/// How far something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done, in a word or two.
    pub what: &'static str,
    /// Rows done.
    pub done: u64,
    /// Rows to do.
    pub of: u64,
}

/// Looks on.
pub trait Watch {
    /// A step was taken.
    fn step(&self, step: Step);

    /// More rows are done.
    fn progress(&self, progress: Progress);
}

/// Looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Watch for Nobody {
    fn step(&self, _: Step) {}

    fn progress(&self, _: Progress) {}
}
