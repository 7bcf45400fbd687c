//! Real nats-server processes on loopback, for tests and benches: one alone or a cluster, with the
//! users and permissions that the product gives them, and with every fault a test may want.
//!
//! * [`config`] says a server's configuration in types; nats-server reads the JSON it becomes.
//! * [`users`] is who may connect and what each may do.
//! * [`ports`] finds ports that no other test takes.
//! * [`link`] is a wire that can be held or cut, between two servers or a client and a server.
//! * [`server`] is one process: start, stop, kill, freeze, wipe.
//! * [`cluster`] puts these together; [`admin`] asks the servers who leads and makes leaders step
//!   down.
//!
//! What the servers are used for, buckets and records, is not known here.
//!
//! ```no_run
//! # async fn example() -> Result<(), testbed::nats::NatsError> {
//! use std::time::Duration;
//! use testbed::nats::{Nats, NatsOptions, Role};
//!
//! let nats = Nats::started(NatsOptions::cluster_of(3)).await?;
//! let leader = nats.meta_leader(Duration::from_secs(10)).await?;
//! nats.kill(leader)?;
//! let client = nats.connect(Role::Membershipd).await?;
//! # Ok(()) }
//! ```

pub mod admin;
pub mod cluster;
pub mod config;
mod error;
pub mod link;
pub mod ports;
pub mod server;
pub mod users;

pub use self::{
    cluster::{Nats, NatsOptions},
    error::NatsError,
    link::{Link, LinkState},
    users::{Permissions, Role, Users},
};
