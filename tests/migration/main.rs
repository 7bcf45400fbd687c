//! The move of a SQLite file into the buckets, on real files and real servers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what must be; clippy's own exception reaches no helper functions"
)]

mod batches;
mod catalogue;
mod command;
mod environment;
mod fence;
mod figures;
mod fuzz;
mod healed;
mod killed;
mod last_words;
mod memory;
mod moving;
mod odd_files;
mod odd_rows;
mod preparing;
mod program;
mod scale;
mod shelf;
mod sources;
mod target;
