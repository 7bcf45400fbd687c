//! The membership service: wiring only.

use std::io;

use clap::{Parser, Subcommand};
use membership_operator::runtime::version::{Version, VersionArgs};

/// Keeps rooms, members, sealed room keys and the users who may come in
#[derive(Parser)]
#[command(
    name = "membershipd",
    version,
    arg_required_else_help = true,
    before_help = "Examples:\n  membershipd version -o json"
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
            Version::of("membershipd").print(args.output, io::stdout().lock())
        }
    }
}
