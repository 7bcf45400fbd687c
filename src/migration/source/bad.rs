//! Rows that are no membership records: counted by class, and the first few named by table, place
//! and column. A value is never repeated: it may be a key, or as long as a book.

use std::collections::BTreeMap;

use serde::Serialize;

/// How many bad rows are named one by one.
pub const NAMED_MAX: usize = 20;

/// What is wrong with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum BadClass {
    /// A column that must hold something holds NULL.
    Null,
    /// A column holds another type than it must: a number where a text belongs, and the like.
    WrongType,
    /// A text is not UTF-8.
    NotUtf8,
    /// A value is longer than it may be.
    TooLarge,
    /// A text is no id, role or status, or a number no epoch or time.
    Invalid,
    /// A yes-or-no column holds something other than 0 or 1.
    NotABoolean,
    /// The row speaks of a room that is not there.
    NoSuchRoom,
    /// A member and the room disagree about who owns it.
    OwnerMismatch,
    /// A sealed key of a room without encryption.
    KeyOfOpenRoom,
    /// A sealed key of an epoch that the room has not come to.
    KeyOfFutureEpoch,
    /// A second row about the same thing.
    Duplicate,
}

/// One bad row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BadRow {
    /// The source's table.
    pub table: &'static str,
    /// Which row, counted from 1 in the order of the scan.
    pub row: u64,
    /// The column, where one column is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<&'static str>,
    /// What is wrong.
    pub class: BadClass,
    /// The same in words.
    pub why: String,
}

/// All bad rows of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BadRows {
    /// How many there are of each class.
    pub counts: BTreeMap<BadClass, u64>,
    /// The first of them.
    pub first: Vec<BadRow>,
}

impl BadRows {
    /// Counts one in.
    pub fn add(&mut self, row: BadRow) {
        *self.counts.entry(row.class).or_default() += 1;
        if self.first.len() < NAMED_MAX {
            self.first.push(row);
        }
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}
