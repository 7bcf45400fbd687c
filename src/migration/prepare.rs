//! Everything before NATS is asked for anything: the source is held still, checked, copied, read
//! and backed up. Nothing is changed here but the folder for backups.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::backup::{Copy, PrivateFolder};
use super::failure::{Failure, Outcome, Reason};
use super::lock::Lock;
use super::source::bad::{BadClass, BadRow, BadRows};
use super::source::guard::{self, Access};
use super::source::header::{self, Header, Identity};
use super::source::rows::{self, SourceRow};
use super::source::schema::{self, Schema, SourceKind};
use super::staging::{Offered, Staging};
use super::watch::{Progress, Step, Watch};
use crate::membership::snapshot::{Record, Table};

/// How often rows are reported.
const ROWS_BETWEEN_REPORTS: u64 = 10_000;

/// What becomes of the copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backup {
    /// It is kept in this folder.
    In(PathBuf),
    /// It is thrown away at the end; until then it lies in this folder.
    None(PathBuf),
}

impl Backup {
    const fn folder(&self) -> &PathBuf {
        match self {
            Self::In(folder) | Self::None(folder) => folder,
        }
    }
}

/// What is chosen about the source.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// The file.
    pub path: PathBuf,
    /// What becomes of the copy.
    pub backup: Backup,
    /// Whether nothing is to be kept.
    pub dry_run: bool,
    /// Whether an old program's file without any row is what was meant.
    pub allow_empty: bool,
    /// How long a writer is waited for.
    pub patience: Duration,
}

/// What stayed behind on purpose or was spelled anew, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notes {
    /// Keys of epochs that a membership no longer keeps.
    pub keys_of_old_epochs: u64,
    /// Keys of endpoints that are out of the room.
    pub keys_of_non_members: u64,
    /// Owners that had no membership of their own room and were given one.
    pub owners_made_members: u64,
    /// Rows with a user's key in capitals, which is now in small letters.
    pub respelled: u64,
}

/// How long the parts took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PrepareTimes {
    /// Until the lock was held.
    pub lock: u64,
    /// Checking that the file is whole.
    pub check: u64,
    /// Copying it.
    pub copy: u64,
    /// Reading it and checking the records.
    pub read: u64,
}

/// A source that is ready to be moved: held still and known.
pub struct Prepared {
    /// Holds it.
    pub lock: Lock,
    /// Which file it is.
    pub identity: Identity,
    /// Whose file it is.
    pub schema: Schema,
    /// Its records.
    pub staging: Staging,
    /// What stayed behind.
    pub notes: Notes,
    /// Where the backup is; `None` without one.
    pub backup: Option<PathBuf>,
    /// How long it took.
    pub times: PrepareTimes,
    /// The copy, as long as it is neither kept nor thrown away.
    _copy: Option<Copy>,
}

/// Makes a source ready.
///
/// # Errors
/// Every reason of exit code 3, and `SourceBusy`.
pub fn prepare(options: &SourceOptions, watch: &dyn Watch) -> Outcome<Prepared> {
    let mut times = PrepareTimes::default();
    let mut clock = Clock::start();
    let Header { identity, bytes } = header::look(&options.path)?;
    let lock = Lock::take(&options.path, options.patience)?;
    watch.step(Step::Locked);
    times.lock = clock.lap();
    let schema = check_source(&options.path, bytes)?;
    watch.step(Step::Checked);
    times.check = clock.lap();
    let folder = PrivateFolder::in_home(options.backup.folder(), bytes)?;
    let copy = Copy::of(&options.path, bytes, folder)?;
    identity.check()?;
    watch.step(Step::Copied);
    times.copy = clock.lap();
    copy.remove_fence(&schema)?;
    let fingerprint = copy.fingerprint()?;
    let (staging, notes) = stage(&copy, &schema, options, watch)?;
    watch.step(Step::Staged);
    times.read = clock.lap();
    let (backup, copy) = match &options.backup {
        Backup::In(_) if !options.dry_run => {
            (Some(copy.keep(&staging.tallies().digest(), fingerprint)?), None)
        }
        Backup::In(_) | Backup::None(_) => (None, Some(copy)),
    };
    watch.step(Step::BackedUp);
    Ok(Prepared { lock, identity, schema, staging, notes, backup, times, _copy: copy })
}

/// The schema is looked at first: checking a file that has virtual tables would run their code.
fn check_source(path: &Path, bytes: u64) -> Outcome<Schema> {
    let connection = guard::open(path, bytes, Access::Schema)?;
    let schema = schema::read(&connection)?;
    guard::check_integrity(&connection)?;
    Ok(schema)
}

fn stage(
    copy: &Copy,
    schema: &Schema,
    options: &SourceOptions,
    watch: &dyn Watch,
) -> Outcome<(Staging, Notes)> {
    let connection = copy.open(Access::Rows(schema.tables.clone()))?;
    guard::check_integrity(&connection)?;
    let mut reader = Reader {
        kind: &schema.kind,
        staging: Staging::in_folder(copy.folder())?,
        notes: Notes::default(),
        bad: BadRows::default(),
        done: 0,
        of: 0,
    };
    for table in Table::ALL {
        reader.of += rows::count(&connection, &schema.kind, table)?;
    }
    for table in Table::ALL {
        rows::for_each(&connection, &schema.kind, table, |row| reader.take(table, row, watch))?;
        if table == Table::Members {
            reader.add_owners()?;
        }
    }
    watch.progress(reader.progress());
    reader.conclude(options)
}

/// Reads rows into the staging file and counts what does not go in.
struct Reader<'k> {
    kind: &'k SourceKind,
    staging: Staging,
    notes: Notes,
    bad: BadRows,
    done: u64,
    of: u64,
}

impl Reader<'_> {
    const fn progress(&self) -> Progress {
        Progress { what: "read", done: self.done, of: self.of }
    }

    fn take(&mut self, table: Table, row: SourceRow, watch: &dyn Watch) -> Outcome<()> {
        self.done += 1;
        if self.done.is_multiple_of(ROWS_BETWEEN_REPORTS) {
            watch.progress(self.progress());
        }
        self.notes.respelled += u64::from(row.respelled);
        match row.record {
            Ok(record) => {
                let offered = self.staging.offer(&record)?;
                self.count(table, row.number, offered);
            }
            Err(bad) => self.bad.add(bad),
        }
        Ok(())
    }

    fn count(&mut self, table: Table, row: u64, offered: Offered) {
        match offered {
            Offered::Taken => {}
            Offered::OldEpoch => self.notes.keys_of_old_epochs += 1,
            Offered::NotAMember => self.notes.keys_of_non_members += 1,
            Offered::Bad(class, why) => {
                self.bad.add(rows::contradiction(self.kind, table, row, class, why));
            }
        }
    }

    fn add_owners(&mut self) -> Outcome<()> {
        let mut after = 0;
        loop {
            let (owners, last) = self.staging.owners_without_membership(after)?;
            for owner in owners {
                self.notes.owners_made_members += 1;
                self.staging.offer(&Record::Member(owner))?;
            }
            let Some(last) = last else { return Ok(()) };
            after = last;
        }
    }

    fn conclude(self, options: &SourceOptions) -> Outcome<(Staging, Notes)> {
        let Self { kind, staging, notes, bad, .. } = self;
        if bad.total() > 0 {
            return Err(blame(bad));
        }
        let empty = staging.tallies().total() == 0;
        let vouched = options.allow_empty || *kind == SourceKind::Ours;
        if empty && !vouched {
            return Err(Failure::new(
                Reason::EmptySource,
                "the database has no row: is it the right file? If it is, say so with --force",
            ));
        }
        Ok((staging, notes))
    }
}

fn blame(bad: BadRows) -> Failure {
    let duplicates = bad.counts.get(&BadClass::Duplicate).copied().unwrap_or(0);
    let reason = if duplicates > 0 { Reason::ConflictingRows } else { Reason::BadRows };
    let named: Vec<String> = bad.first.iter().map(describe).collect();
    Failure::new(
        reason,
        format!(
            "the database has {} rows that cannot be moved; nothing was. Mend them, then run this \
             again. The first of them: {}",
            bad.total(),
            named.join("; ")
        ),
    )
    .blaming(bad)
}

fn describe(row: &BadRow) -> String {
    let column = row.column.map_or_else(String::new, |column| format!(", {column}"));
    format!("{} row {}{column}: {}", row.table, row.row, row.why)
}

struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    /// Milliseconds since the last lap.
    fn lap(&mut self) -> u64 {
        let elapsed = self.0.elapsed();
        self.0 = Instant::now();
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }
}
