//! The one-time move of a SQLite file into the replicated buckets: safe to run, to kill and to run
//! again. It knows the membership and nothing of Kubernetes or HTTP.
//!
//! In the order of a move: [`prepare`] holds the [`source`] still, checks it, takes a [`backup`] and
//! reads it into a [`staging`] file; [`lock`] puts up the fence; [`copying`] writes the records to a
//! [`target`], which in the product are the [`buckets`], and compares. [`moving`] is that order itself, and [`marker`] decides where in it a run
//! begins. [`digest`] says what a membership amounts to, [`failure`] how a move can end early,
//! [`watch`] who looks on.

pub mod backup;
pub mod buckets;
pub mod copying;
pub mod digest;
pub mod failure;
pub mod lock;
pub mod marker;
pub mod moving;
pub mod prepare;
pub mod source;
pub mod staging;
pub mod target;
pub mod watch;

pub use failure::{ExitCode, Failure, Outcome, Reason};
