//! The store in replicated JetStream buckets.
//!
//! There is no transaction across buckets: each mutation writes several records in one order, and
//! one of them commits it. What an unfinished mutation leaves is hidden on reading and swept later.
//!
//! * [`codec`] is keys, [`value`] is records as they lie in a bucket, [`bucket`] names the buckets
//!   and is the one place of their settings.
//! * [`open`] finds a store or makes one, [`control`] is the record about the whole of it.
//! * [`table`] reads one bucket, [`write`] writes it by compare-and-set, [`usage`] keeps it from
//!   growing full, [`fence`] proves that a record still stands; [`lane`] keeps fences and writes of
//!   one subject out of each other's way.
//! * The files named after records hold the operations on them.

#![expect(dead_code, reason = "the operations come next")]

mod bucket;
mod codec;
mod control;
mod error;
mod fence;
mod lane;
mod open;
mod store;
mod table;
mod usage;
mod value;
mod write;

pub use bucket::{Bucket, Prefix};
pub use codec::Key;
pub use control::{Control, ControlRecord};
pub use open::{Created, NewStore, Purpose};
pub use store::KvStore;
pub use table::Wire;
pub use value::SCHEMA_VERSION;

/// Proves that a quorum acknowledged every record of a decision as unchanged. Only this module
/// makes one.
#[derive(Debug)]
pub struct Fence {
    sealed: (),
}
