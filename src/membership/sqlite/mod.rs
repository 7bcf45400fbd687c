//! The store in one SQLite file: the embedded default.

/// Proves that all records of a decision were read in one transaction. Only this module makes one.
#[derive(Debug)]
#[expect(dead_code, reason = "the store that makes it comes next")]
pub struct SqliteTxn {
    sealed: (),
}
