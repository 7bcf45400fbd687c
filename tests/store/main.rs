//! The membership stores, tested from outside.
//!
//! `contract` holds what every store must do, as functions over any of them; each backend adds a
//! factory and runs them all. Beside it lie the tests of one backend or one front alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what must be; clippy's own exception reaches no helper functions"
)]

mod bootstrap;
mod checker;
mod contract;
mod faults;
mod figures;
mod ids;
mod kv;
mod sqlite;
mod words;
