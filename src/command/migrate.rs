//! `membershipd migrate-to-kv`: the move itself is in [`crate::migration`]; here it is chosen,
//! watched and summed up.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::choice::{DEFAULT_DB, Environment, NatsArgs, NatsChoice, of_process, text};
use super::cli::{replicas, size};
use super::destination::Destination;
use super::error::{CommandError, CommandResult};
use super::open::SizeFlags;
use super::progress::Teller;
use super::show;
use crate::membership::store::ImportMode;
use crate::migration::copying::Budget;
use crate::migration::lock::{Lifted, Lock, PATIENCE};
use crate::migration::moving::{MoveOptions, State, Summary, move_prepared};
use crate::migration::prepare::{Backup, SourceOptions, prepare};
use crate::migration::source::bad::BadRows;
use crate::migration::source::schema::SourceKind;
use crate::migration::{Failure, Outcome};
use crate::runtime::version::OutputFormat;

/// The longest that one call of the buckets may take, whatever the budget is.
const CALL_MAX: Duration = Duration::from_secs(10);

/// Arguments of `migrate-to-kv`.
#[derive(Args, Clone, Debug)]
#[command(before_help = "\
Examples:
  membershipd migrate-to-kv --db membership.db --nats-url nats://127.0.0.1:4222 --dry-run
  membershipd migrate-to-kv --db membership.db --nats-url nats://127.0.0.1:4222
  membershipd migrate-to-kv --db membership.db --unfence")]
pub struct MigrateArgs {
    /// The SQLite file to move [default: membership.db] [env: MEMBERSHIPD_DB]
    #[arg(long, value_name = "PATH")]
    db: Option<PathBuf>,
    /// The servers to move it to, with commas between [env: MEMBERSHIPD_NATS_URL, NATS_URL]
    #[arg(long, value_name = "URL")]
    nats_url: Option<String>,
    #[command(flatten)]
    nats: NatsArgs,
    /// On how many servers each bucket is kept, if this makes the buckets
    #[arg(long, value_name = "1|3|5", default_value = "1", value_parser = replicas)]
    replicas: u8,
    /// How many bytes each bucket may hold, if this makes the buckets [default: 1Gi]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_bytes: Option<u64>,
    /// The folder that the backup is kept in [default: backups, beside the file]
    #[arg(long, value_name = "DIR", conflicts_with = "no_backup")]
    backup_dir: Option<PathBuf>,
    /// Keep no backup
    #[arg(long)]
    no_backup: bool,
    /// Check everything and write nothing, neither to the file nor to the buckets
    #[arg(long)]
    dry_run: bool,
    /// Write over what the service wrote since, and take an old file without any row for the right
    /// one
    #[arg(long)]
    force: bool,
    /// Take down the fence of a move that did not end, so that the file can be written again
    #[arg(long, conflicts_with_all = ["nats_url", "dry_run", "force", "backup_dir", "no_backup"])]
    unfence: bool,
    /// Write the outcome as a short JSON document to this file, too: for whoever runs this as a Job
    #[arg(long, value_name = "FILE", conflicts_with = "unfence")]
    summary_file: Option<PathBuf>,
    /// How long NATS is tried before it is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 120,
        value_parser = clap::value_parser!(u16).range(1..=3600))]
    timeout: u16,
    /// How to print the summary
    #[arg(short, long, value_enum, default_value_t)]
    output: OutputFormat,
}

/// Moves a file, or takes its fence down.
///
/// # Errors
/// `Usage`, and every way in which a move can end early.
pub async fn run(args: &MigrateArgs, out: &mut dyn Write) -> CommandResult<()> {
    let ended = if args.unfence { unfence(args, out) } else { migrate(args, out).await };
    if let (Err(error), Some(file)) = (&ended, &args.summary_file) {
        // What happened is said anyhow, and is what matters.
        let _ = LastWords::of(error).write(file);
    }
    if let (Err(CommandError::Move(failure)), OutputFormat::Json) = (&ended, args.output) {
        show::json(out, &Failed::of(failure))?;
    }
    ended
}

async fn migrate(args: &MigrateArgs, out: &mut dyn Write) -> CommandResult<()> {
    let (options, nats) = args.options(&of_process)?;
    let size = SizeFlags { replicas: Some(args.replicas), max_bytes: args.max_bytes }.size();
    let destination = Destination::of(&nats, size, options.budget)?;
    let teller = Teller::stderr();
    if args.no_backup && !args.dry_run {
        teller.say("WARNING: no backup will be kept; afterwards the old state is in no file");
    }
    let summary = move_it(&options, &destination, &teller).await?;
    if let Some(file) = &args.summary_file {
        LastWords::of_summary(&summary).write(file)?;
    }
    Ok(print(&summary, out, args.output)?)
}

async fn move_it(
    options: &MoveOptions,
    destination: &Destination,
    teller: &Teller,
) -> Outcome<Summary> {
    let prepared = prepare(&options.source, teller)?;
    // Only now: buckets are not made for a file that cannot be moved.
    let target = if options.source.dry_run {
        destination.found().await?
    } else {
        Some(destination.made().await?)
    };
    match target {
        Some(target) => move_prepared(options, prepared, &target, teller).await,
        None => destination.would_take(&prepared).map(|()| Summary::of(&prepared)),
    }
}

fn unfence(args: &MigrateArgs, out: &mut dyn Write) -> CommandResult<()> {
    #[derive(Serialize)]
    struct Answer {
        state: &'static str,
    }
    let lifted = Lock::take(&args.source(&of_process), PATIENCE)?.lift()?;
    let (state, words) = match lifted {
        Lifted::Lifted => ("unfenced", "the fence is down: the file can be written again"),
        Lifted::NoneThere => ("notFenced", "there is no fence: the file can be written"),
    };
    match args.output {
        OutputFormat::Json => show::json(out, &Answer { state })?,
        OutputFormat::Text => writeln!(out, "{words}")?,
    }
    Ok(())
}

impl MigrateArgs {
    fn source(&self, env: Environment<'_>) -> PathBuf {
        let from_env = || env("MEMBERSHIPD_DB").map(PathBuf::from);
        self.db.clone().or_else(from_env).unwrap_or_else(|| DEFAULT_DB.into())
    }

    /// What is moved where, and how.
    fn options(&self, env: Environment<'_>) -> CommandResult<(MoveOptions, NatsChoice)> {
        let url = match &self.nats_url {
            Some(url) => Some(url.clone()),
            None => text(env, "MEMBERSHIPD_NATS_URL")?.or(text(env, "NATS_URL")?),
        };
        let url = url.ok_or_else(|| {
            CommandError::Usage("no servers to move to: name them with --nats-url".to_owned())
        })?;
        let path = self.source(env);
        let source = SourceOptions {
            backup: self.backup(&path),
            path,
            dry_run: self.dry_run,
            allow_empty: self.force,
            patience: PATIENCE,
        };
        let mode = if self.force { ImportMode::Force } else { ImportMode::KeepNewer };
        let total = Duration::from_secs(self.timeout.into());
        let budget = Budget { call: total.min(CALL_MAX), total };
        Ok((MoveOptions { source, mode, budget }, self.nats.choose(url, env)?))
    }

    fn backup(&self, source: &Path) -> Backup {
        let folder = match source.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        match &self.backup_dir {
            Some(folder) => Backup::In(folder.clone()),
            // What is not kept needs a place until the end all the same.
            None if self.no_backup || self.dry_run => Backup::None(folder),
            None => Backup::In(folder.join("backups")),
        }
    }
}

/// A move that ended early, as one JSON document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed<'f> {
    state: &'static str,
    reason: &'static str,
    exit_code: u8,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_rows: Option<&'f BadRows>,
}

impl<'f> Failed<'f> {
    fn of(failure: &'f Failure) -> Self {
        Self {
            state: "failed",
            reason: failure.reason().label(),
            exit_code: failure.reason().exit_code() as u8,
            message: failure.to_string(),
            bad_rows: failure.bad_rows(),
        }
    }
}

/// The outcome for a place that takes little, such as a container's termination message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LastWords {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backup: Option<String>,
}

/// As much of a message as is written: a termination message takes 4096 bytes.
const MESSAGE_CHARS: usize = 700;

impl LastWords {
    fn of(error: &CommandError) -> Self {
        let reason = if let CommandError::Move(failure) = error {
            Some(failure.reason().label())
        } else {
            None
        };
        let message = error.to_string().chars().take(MESSAGE_CHARS).collect();
        Self { state: "failed", reason, message: Some(message), backup: None }
    }

    fn of_summary(summary: &Summary) -> Self {
        let state = match summary.state {
            State::Done => "done",
            State::AlreadyDone => "alreadyDone",
            State::DryRun => "dryRun",
        };
        let backup = summary.backup.as_ref().map(|path| path.display().to_string());
        Self { state, reason: None, message: None, backup }
    }

    fn write(&self, file: &Path) -> std::io::Result<()> {
        std::fs::write(file, serde_json::to_vec(self)?)
    }
}

fn print(summary: &Summary, out: &mut dyn Write, output: OutputFormat) -> std::io::Result<()> {
    match output {
        OutputFormat::Json => show::json(out, summary),
        OutputFormat::Text => show::pairs(out, &rows(summary)),
    }
}

/// The summary for people; what is nothing is left out.
fn rows(summary: &Summary) -> Vec<(&'static str, String)> {
    let Summary {
        state, source, digest, counts, notes, backup, imported, pruned, comparison, ..
    } = summary;
    let mut rows = vec![
        ("STATE", words(*state).to_owned()),
        ("SOURCE", source_words(source)),
        ("DIGEST", digest.clone()),
        ("USERS", counts.users.count.to_string()),
        ("ROOMS", counts.rooms.count.to_string()),
        ("MEMBERS", counts.members.count.to_string()),
        ("SEALED KEYS", counts.room_keys.count.to_string()),
    ];
    let found = comparison.unwrap_or_default();
    let numbers = [
        ("CREATED", imported.created),
        ("WERE THERE", imported.equal),
        ("OVERWRITTEN", imported.overwritten),
        ("KEPT NEWER", imported.kept_newer),
        ("TAKEN AWAY", *pruned),
        ("EQUAL", found.equal),
        ("NEWER", found.newer),
        ("MISSING", found.missing),
        ("TOO MANY", found.extra),
        ("OLD KEYS LEFT", notes.keys_of_old_epochs),
        ("KEYS OF NO MEMBER LEFT", notes.keys_of_non_members),
        ("OWNERS MADE MEMBERS", notes.owners_made_members),
        ("KEYS RESPELLED", notes.respelled),
    ];
    let told = numbers.into_iter().filter(|(_, number)| *number > 0);
    rows.extend(told.map(|(name, number)| (name, number.to_string())));
    rows.extend(backup.as_ref().map(|path| ("BACKUP", path.display().to_string())));
    rows
}

const fn words(state: State) -> &'static str {
    match state {
        State::Done => "moved",
        State::AlreadyDone => "moved before; nothing was written",
        State::DryRun => "could be moved; nothing was written",
    }
}

fn source_words(source: &SourceKind) -> String {
    match source {
        SourceKind::Ours => "our own file".to_owned(),
        SourceKind::Legacy { extras } if extras.is_empty() => "the old program's file".to_owned(),
        SourceKind::Legacy { extras } => {
            format!("the old program's file; these stay behind: {}", extras.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: MigrateArgs,
    }

    fn options(line: &str, env: &[(&str, &str)]) -> CommandResult<(MoveOptions, NatsChoice)> {
        let env = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let words = std::iter::once("migrate-to-kv").chain(line.split_whitespace());
        Line::try_parse_from(words)
            .map_err(|error| CommandError::Usage(error.to_string()))?
            .args
            .options(&env)
    }

    #[test]
    fn what_is_moved_and_where_the_backup_goes_is_said_by_flags() {
        let beside = |folder: &str| Backup::In(folder.into());
        for (line, path, backup) in [
            ("", "membership.db", beside("./backups")),
            ("--db /v/a.db", "/v/a.db", beside("/v/backups")),
            ("--db /v/a.db --backup-dir b", "/v/a.db", beside("b")),
            ("--db /v/a.db --no-backup", "/v/a.db", Backup::None("/v".into())),
            ("--db /v/a.db --dry-run", "/v/a.db", Backup::None("/v".into())),
        ] {
            let (options, nats) = options(&format!("{line} --nats-url h:1"), &[]).unwrap();
            assert_eq!(options.source.path, Path::new(path), "{line}");
            assert_eq!(options.source.backup, backup, "{line}");
            assert_eq!((nats.url.as_str(), nats.prefix.as_str()), ("h:1", "UNIBUS"));
            assert_eq!(options.source.dry_run, line.contains("dry-run"));
            assert_eq!((options.mode, options.source.allow_empty), (ImportMode::KeepNewer, false));
        }
        let (options, _) = options("--nats-url h:1 --force --timeout 3", &[]).unwrap();
        assert_eq!((options.mode, options.source.allow_empty), (ImportMode::Force, true));
        assert_eq!(options.budget.call, Duration::from_secs(3));
    }

    #[test]
    fn a_flag_beats_the_environment() {
        let env =
            [("MEMBERSHIPD_DB", "e.db"), ("MEMBERSHIPD_NATS_URL", "e:1"), ("NATS_URL", "n:1")];
        let chosen = |line, env: &[_]| {
            let (options, nats) = options(line, env).unwrap();
            (options.source.path, nats.url)
        };
        assert_eq!(chosen("", &env), ("e.db".into(), "e:1".to_owned()));
        assert_eq!(chosen("", &env[2..]), ("membership.db".into(), "n:1".to_owned()));
        assert_eq!(chosen("--db f.db --nats-url f:1", &env), ("f.db".into(), "f:1".to_owned()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "--nats-url h:1 --replicas 2",
            "--nats-url h:1 --backup-dir b --no-backup",
            "--nats-url h:1 --unfence",
            "--unfence --dry-run",
            "--nats-url h:1 --timeout 0",
            "--nats-url u:p@h:1",
        ] {
            assert!(options(line, &[]).is_err(), "{line}");
        }
    }
}
