//! The Kubernetes operator: wiring only.

use std::io;

use clap::{Parser, Subcommand};
use membership_operator::runtime::version::{Version, VersionArgs};

/// Runs a replicated membership cluster from one MembershipCluster resource
#[derive(Parser)]
#[command(
    name = "membership-operator",
    version,
    arg_required_else_help = true,
    before_help = "Examples:\n  membership-operator version -o json"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the version
    Version(VersionArgs),
}

fn main() -> io::Result<()> {
    match Cli::parse().command {
        Command::Version(args) => {
            Version::of("membership-operator").print(args.output, io::stdout().lock())
        }
    }
}
