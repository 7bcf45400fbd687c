//! The membership domain: rooms, their members, sealed room keys by epoch, and the users who may
//! come in at all.
//!
//! * [`ids`] and [`records`] are the words. Parsing is the only way to make one, so whoever holds a
//!   value may trust it.
//! * [`store`] is what can be done with them: the [`MembershipStore`] trait, which [`sqlite`] (one
//!   file, the embedded default) and [`kv`] (replicated JetStream buckets) both implement.
//! * [`rules`] and [`refusal`] are what both must decide and word alike.
//! * [`authorize`] is the one question that must never be answered wrongly: may this user act?
//! * [`requests`] remembers what was asked, so that a change sent twice is made once.
//! * [`snapshot`] is a store as lines of JSON, for export, import and migration.
//!
//! Nothing here knows Kubernetes or HTTP.

pub mod authorize;
mod cursor;
pub mod error;
pub mod ids;
pub mod kv;
pub mod records;
pub mod refusal;
pub mod requests;
pub mod rules;
pub mod snapshot;
pub mod sqlite;
pub mod store;

pub use authorize::{AuthorizeRequest, Consistency, Decision, DenyReason};
pub use error::{ErrorKind, StoreError};
pub use store::MembershipStore;
