//! Thought: every decision about a cluster, as pure functions of data.
//!
//! * [`validate`] turns a spec into what is wanted, [`names`] names its children and [`build`]
//!   makes them.
//! * [`migration`] is what is wanted and seen of a move from SQLite.
//! * [`serving`] is what is wanted and seen of the membership service.
//! * [`world`] is what one look at Kubernetes and NATS found, [`plan`] what follows from it and
//!   [`status`] what users read of it.
//! * [`sample`] is what the servers said; [`settled`] judges the meta group by it and [`equal`] the
//!   replicas of a bucket.
//!
//! No client, no async, no clock and no randomness may enter: time and random values are passed
//! in, so that each decision can be tested as a table.

pub mod build;
pub mod equal;
pub mod migration;
pub mod names;
pub mod plan;
pub mod sample;
pub mod serving;
pub mod settled;
pub mod status;
pub mod validate;
pub mod world;
