//! The store in replicated JetStream buckets.
//!
//! * `bucket` says which buckets there are, `codec` which key a record has, `value` what stands at it.
//! * `streams` reads through the leader and writes by compare-and-set, `walk` reads many; `refusal`,
//!   `waiting`, `capacity` and `fence` are what they and the decisions stand on.
//! * `control` is the record about the store itself; `open` makes stores and opens them.
//! * `users`, `rooms`, `members`, `keys`, `rekey` are the operations, each with its order of writes:
//!   there is no transaction across buckets, so each mutation has one write by which it is done.
//! * `requests` remembers what was asked, so that a change sent twice is made once.
//! * `authorize` decides, `recent` keeps what it read of late; `export` and `import` take the store elsewhere, `intake` and
//!   `newcomers` are what a move into it needs, `sweep` cleans up.
//!
//! Nothing here knows who asks, or through what.

mod authorize;
mod bucket;
mod capacity;
mod codec;
mod control;
mod cursor;
mod export;
mod fence;
mod import;
mod intake;
mod keys;
mod members;
mod newcomers;
mod open;
mod recent;
mod refusal;
mod rekey;
mod requests;
mod rooms;
mod store;
mod streams;
mod sweep;
mod users;
mod value;
mod waiting;
mod walk;

pub use self::{
    bucket::{Bucket, Prefix, Size},
    control::{Control, ControlFile},
    intake::Marks,
    newcomers::Newcomers,
    open::{Created, init},
    store::{KvStore, Settings},
    streams::Wire,
};

/// Proves that a quorum acknowledged every record of a decision as unchanged. Only this module
/// makes one.
#[derive(Debug)]
pub struct Fence {
    /// Private, so that nobody else can write one down.
    #[expect(dead_code, reason = "it is there to be private, not to be read")]
    sealed: (),
}
