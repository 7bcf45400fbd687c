//! The operator's side of a real Kubernetes. Root and Go are needed, as for the test bed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it does not expect")]

mod admission;
mod support;
#[path = "../operator/tables.rs"]
mod tables;
