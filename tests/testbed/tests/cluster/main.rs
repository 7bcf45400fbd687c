//! The test bed's own tests: a real cluster, its faults, and what it leaves behind (nothing). They
//! take root and what `testbed prepare` brings.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it does not expect")]

mod bad_input;
mod lifecycle;
mod nats;
mod readme;
#[path = "../../../readme/commands.rs"]
mod readme_commands;
mod snapshot;
mod support;
mod workloads;
