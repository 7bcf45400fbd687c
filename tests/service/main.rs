//! The membership over HTTP: the real program on a real socket, spoken to by hand-written requests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what must be; clippy's own exception reaches no helper functions"
)]

mod after;
mod buckets;
mod conformance;
mod document;
mod faults;
mod fenced;
mod figures;
mod first;
mod hostile;
mod http;
mod once;
mod policy;
mod program;
mod rolling;
mod running;
mod signatures;
mod signer;
mod walk;
