//! `membershipd` over HTTP: who asks, whether they may, and what the store says to it.
//!
//! * [`signature`] is the strict profile of HTTP Message Signatures, [`digest`] the body's part of
//!   it, [`policy`] who may do what, and [`problem`] how a refusal is worded. All are pure.
//!
//! Only the membership is known here: no Kubernetes, no migration, no command line.

pub mod digest;
pub mod policy;
pub mod problem;
pub mod signature;
