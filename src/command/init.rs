//! `membershipd init`.

use std::io::Write;

use serde::Serialize;

use super::choice::of_process;
use super::cli::InitArgs;
use super::error::CommandResult;
use super::show;
use crate::membership::sqlite::Created;
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
    let created = choice.create(args.replicas, args.store.deadline()).await?;
    let answer = Answer { store: choice.to_string(), created: created == Created::New };
    match (args.output, created) {
        (OutputFormat::Json, _) => show::json(out, &answer)?,
        (OutputFormat::Text, Created::New) => writeln!(out, "made a store in {choice}")?,
        (OutputFormat::Text, Created::Existing) => {
            writeln!(out, "there is a store in {choice} already; it was left as it is")?;
        }
    }
    Ok(())
}
