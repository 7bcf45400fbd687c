//! `membershipd` over HTTP: who asks, whether they may, and what the store says to it.
//!
//! * [`signature`] is the strict profile of HTTP Message Signatures, [`digest`] the body's part of
//!   it, [`policy`] who may do what, and [`problem`] how a refusal is worded. All are pure.
//! * [`wire`] is the documents, [`reply`] how an answer is sent and remembered, [`extract`] how
//!   paths and queries are read, [`refusals`] what each operation can be refused with.
//! * [`admission`] is the one gate: a handler comes to the store through it and no other way.
//! * [`change`] is everything that can be changed, as data, and [`once`] does each once.
//! * [`handlers`] is one file a resource, [`router`] puts them together with their document,
//!   [`observe`] counts and logs what was answered.
//!
//! Only the membership is known here: no Kubernetes, no migration, no command line.

pub mod admission;
pub mod change;
pub mod digest;
pub mod extract;
pub mod handlers;
pub mod limits;
pub mod observe;
pub mod once;
pub mod policy;
pub mod problem;
pub mod readiness;
pub mod refusals;
pub mod reply;
pub mod router;
pub mod signature;
pub mod sweeper;
pub mod wire;
