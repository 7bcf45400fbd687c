//! A real Kubernetes of N nodes on one machine, without Docker: for the demo and the tests.
//!
//! The floor plan, from the ground up:
//!
//! * [`process`] runs a child program to its end within a deadline, and listens to it; `command`
//!   does so for the small programs that set up a cluster.
//! * [`progress`] tells a person what is going on, on stderr.
//! * [`cache`] is the one folder that outlives a cluster.
//! * [`tools`] builds the programs of the cluster from pinned Go modules into the cache.
//! * [`debian`] installs the Debian packages that a cluster stands on.
//! * [`image`] builds container images without a registry.
//! * [`prepare`] brings all of these, and [`doctor`] says what cannot be brought.
//! * `machine` is a set of namespaces with a first process, a disk and a cgroup; `network` connects
//!   machines by addresses and cables.
//! * `control_plane` and `node` are what runs on the two kinds of machine; [`kubectl`] talks to it.
//! * [`cluster`] puts a whole one up, makes it fail, and takes it down again; [`bench`] measures
//!   that.
//! * [`removal`] takes a test program's cluster down when that program is no more.
//! * [`nats`] runs nats-server processes on loopback, without any Kubernetes.
//! * [`rate`] measures how often something can be done by many callers at once.
//!
//! `main.rs` and `cli` wire these together; nothing else knows the command line.

pub mod bench;
pub mod cache;
pub mod cluster;
mod command;
mod control_plane;
pub mod debian;
pub mod doctor;
mod error;
mod files;
pub mod image;
pub mod kubectl;
mod machine;
mod name;
pub mod nats;
mod network;
mod node;
pub mod prepare;
pub mod process;
pub mod progress;
pub mod rate;
pub mod removal;
pub mod tools;
mod wait;

pub use cluster::{Cluster, UpRequest};
pub use command::CommandError;
pub use error::{Error, Result};
pub use name::ClusterName;
pub use network::{AddressPlan, MOST_NODES};
