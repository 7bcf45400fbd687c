//! The command line of `membershipd`, as the real program in folders of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what must be; clippy's own exception reaches no helper functions"
)]

mod buckets;
mod files;
mod hostile;
mod manual;
mod program;
mod transfer;
mod users;
