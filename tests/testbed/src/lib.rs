//! A real Kubernetes of N nodes on one machine, without Docker: for the demo and the tests.
//!
//! The floor plan, from the ground up:
//!
//! * [`process`] runs a child program to its end within a deadline.
//! * [`progress`] tells a person what is going on, on stderr.
//! * [`cache`] is the one folder that outlives a cluster.
//! * [`tools`] builds the programs of the cluster from pinned Go modules into the cache.
//! * [`debian`] installs the Debian packages that a cluster stands on.
//! * [`image`] builds container images without a registry.
//! * [`prepare`] brings all of these, and [`doctor`] says what cannot be brought.
//!
//! `main.rs` and `cli` wire these together; nothing else knows the command line.

pub mod cache;
pub mod debian;
pub mod doctor;
pub mod image;
pub mod prepare;
pub mod process;
pub mod progress;
pub mod tools;
