//! `membershipd init`.

use std::io::Write;

use serde::Serialize;

use super::choice::of_process;
use super::cli::InitArgs;
use super::error::CommandResult;
use super::open::SizeFlags;
use super::show;
use crate::runtime::version::OutputFormat;

/// Makes a store and says whether it was there already.
///
/// # Errors
/// As [`StoreChoice::create`](super::choice::StoreChoice::create).
pub async fn run(args: &InitArgs, out: &mut dyn Write) -> CommandResult<()> {
    #[derive(Serialize)]
    struct Answer {
        store: String,
        created: bool,
    }
    let choice = args.store.choose(&of_process)?;
    let size = SizeFlags { replicas: args.replicas, max_bytes: args.max_bytes };
    let created = choice.create(size, args.store.deadline()).await?;
    match (args.output, created) {
        (OutputFormat::Json, _) => {
            show::json(out, &Answer { store: choice.to_string(), created })?;
        }
        (OutputFormat::Text, true) => writeln!(out, "made a store in {choice}")?,
        (OutputFormat::Text, false) => {
            writeln!(out, "there is a store in {choice} already; it was left as it is")?;
        }
    }
    Ok(())
}
