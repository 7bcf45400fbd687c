//! A real Kubernetes of N nodes on one machine, for the demo and the tests: wiring only.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use testbed::{cache::Cache, prepare, progress::Progress};

/// Run a real Kubernetes of several nodes on this machine, without Docker
#[derive(Parser)]
#[command(name = "testbed", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build what a cluster is made of, if it is not built yet
    Prepare,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Prepare => prepare(),
    }
}

fn prepare() -> ExitCode {
    match prepared() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepared() -> Result<prepare::Prepared, prepare::PrepareError> {
    prepare::prepare(&Cache::of_this_user()?, &Progress::stderr())
}
