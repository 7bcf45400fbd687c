//! The membership service: wiring only.

use std::process::ExitCode;

use clap::Parser;
use membership_operator::command::{self, cli::Cli};

fn main() -> ExitCode {
    command::run(Cli::parse())
}
