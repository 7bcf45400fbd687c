//! The Kubernetes operator: wiring only.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use membership_operator::api::crd::crd;
use membership_operator::controller::program::{RunArgs, run};
use membership_operator::runtime::version::{Version, VersionArgs};

/// Runs a replicated membership cluster from one MembershipCluster resource
#[derive(Parser)]
#[command(
    name = "membership-operator",
    version,
    arg_required_else_help = true,
    before_help = "Examples:\n  membership-operator crd | kubectl apply --server-side -f -\n  \
                   membership-operator run\n  membership-operator version -o json"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the controller until it is told to stop
    Run(RunArgs),
    /// Print the custom resource definition as YAML, as `crds/` holds it
    Crd,
    /// Print the version
    Version(VersionArgs),
}

fn main() -> io::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(args) => return Ok(run(&args)),
        Command::Crd => print_crd(io::stdout().lock())?,
        Command::Version(args) => {
            Version::of("membership-operator").print(args.output, io::stdout().lock())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_crd(mut out: impl Write) -> io::Result<()> {
    let yaml = serde_saphyr::to_string(&crd()).map_err(io::Error::other)?;
    out.write_all(yaml.as_bytes())
}
