//! `testbed bench`.

use std::process::ExitCode;

use clap::Args;
use testbed::bench;
use testbed::cache::Cache;
use testbed::progress::Progress;

use super::{Outcome, prepared, show};

#[derive(Args)]
pub(super) struct BenchArgs {
    /// How many clusters to start and stop, each on new and on kept disks
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    #[command(flatten)]
    output: show::OutputArgs,
}

pub(super) fn run(args: &BenchArgs) -> Outcome {
    let (cache, name) = (Cache::of_this_user()?, "bench".parse()?);
    let figures = bench::measure(&name, args.rounds, &cache, &prepared()?, &Progress::stderr())?;
    show::figures(&figures, &args.output)?;
    Ok(ExitCode::SUCCESS)
}
