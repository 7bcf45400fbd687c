//! The one-time move of a SQLite file into the replicated buckets: safe to run, to kill and to run
//! again. It knows the membership and nothing of Kubernetes or HTTP.
//!
//! In the order of a move: [`prepare`] holds the [`source`] still, checks it, takes a [`backup`] and
//! reads it into a [`staging`] file; [`lock`] puts up the fence. [`digest`] says what a
//! membership amounts to, [`failure`] how a move can end early, [`watch`] who looks on.

pub mod backup;
pub mod digest;
pub mod failure;
pub mod lock;
pub mod prepare;
pub mod source;
pub mod staging;
pub mod watch;

pub use failure::{ExitCode, Failure, Outcome, Reason};
