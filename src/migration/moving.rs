//! The move, in its one order: nothing is written to the buckets before the fence is up and the
//! marker says so, and nobody serves from them before everything was read back.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use super::copying::{Budget, Comparing, Comparison, explain, import};
use super::digest::Tallies;
use super::failure::{Failure, Outcome, Reason};
use super::lock::Fenced;
use super::marker::{Course, MarkedSource, Marker, Phase, Situation, course};
use super::prepare::{Notes, PrepareTimes, Prepared, SourceOptions, prepare};
use super::source::header::Identity;
use super::source::schema::SourceKind;
use super::staging::Staging;
use super::target::{Target, needs};
use super::watch::{Step, Watch};
use crate::membership::error::ErrorKind;
use crate::membership::ids::MutationId;
use crate::membership::records::Revision;
use crate::membership::sqlite::fence::FenceState;
use crate::membership::store::{ImportCounts, ImportMode};

/// What is chosen about a move.
#[derive(Clone, Debug)]
pub struct MoveOptions {
    /// The source.
    pub source: SourceOptions,
    /// Whether records of the service are written over.
    pub mode: ImportMode,
    /// How long NATS is tried.
    pub budget: Budget,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// The membership has moved in this run.
    Done,
    /// It had moved before; nothing was written.
    AlreadyDone,
    /// It could be moved; nothing was written.
    DryRun,
}

/// What a run did, for people and for the operator.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// What it came to.
    pub state: State,
    /// Whose file it was.
    pub source: SourceKind,
    /// Which membership it is.
    pub digest: String,
    /// What the source held.
    pub counts: Tallies,
    /// What stayed behind or was spelled anew.
    pub notes: Notes,
    /// Where the backup is.
    pub backup: Option<PathBuf>,
    /// What was done with the records.
    pub imported: ImportCounts,
    /// Records of an earlier run that the source no longer has, and that were taken away.
    pub pruned: u64,
    /// The buckets beside the source, once they were read.
    pub comparison: Option<Comparison>,
    /// How long the parts took.
    pub milliseconds: Times,
}

/// How long the parts took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Until the backup was there.
    #[serde(flatten)]
    pub prepare: PrepareTimes,
    /// Putting up the fence.
    pub fence: u64,
    /// Writing the records.
    pub import: u64,
    /// Reading them back.
    pub verify: u64,
}

/// Moves a membership.
///
/// # Errors
/// Every [`Reason`].
pub async fn run(
    options: &MoveOptions,
    target: &dyn Target,
    watch: &dyn Watch,
) -> Outcome<Summary> {
    move_prepared(options, prepare(&options.source, watch)?, target, watch).await
}

/// Moves a membership whose source was made ready.
///
/// # Errors
/// Every [`Reason`] that has to do with the buckets or a change of the source.
pub async fn move_prepared(
    options: &MoveOptions,
    prepared: Prepared,
    target: &dyn Target,
    watch: &dyn Watch,
) -> Outcome<Summary> {
    let fence = prepared.lock.fence()?;
    let budget = options.budget;
    let situation = budget.call(|deadline| target.situation(deadline)).await?;
    let summary = Summary::of(&prepared);
    let course = course(&summary.digest, fence, &situation)?;
    let run = Run { options, target, watch, summary };
    match course {
        Course::Compare => run.compare(prepared).await,
        Course::Begin | Course::Continue | Course::TakeOver | Course::Conclude => {
            run.fits(&prepared).await?;
            watch.step(Step::Admitted);
            if options.source.dry_run {
                return Ok(run.summary);
            }
            run.carry_out(prepared, course, situation, fence).await
        }
    }
}

impl Summary {
    /// What there is to move, before anything was written.
    #[must_use]
    pub fn of(prepared: &Prepared) -> Self {
        Self {
            state: State::DryRun,
            source: prepared.schema.kind.clone(),
            digest: prepared.staging.tallies().digest().to_string(),
            counts: *prepared.staging.tallies(),
            notes: prepared.notes,
            backup: prepared.backup.clone(),
            imported: ImportCounts::default(),
            pruned: 0,
            comparison: None,
            milliseconds: Times { prepare: prepared.times, ..Times::default() },
        }
    }
}

/// One run under way.
struct Run<'m> {
    options: &'m MoveOptions,
    target: &'m dyn Target,
    watch: &'m dyn Watch,
    summary: Summary,
}

impl Run<'_> {
    async fn fits(&self, prepared: &Prepared) -> Outcome<()> {
        let staging = &prepared.staging;
        let needs = needs(staging.tallies(), |table| staging.bytes(table));
        let call = |deadline| self.target.too_small_for(&needs, deadline);
        match self.options.budget.call(call).await? {
            None => Ok(()),
            Some(why) => Err(Failure::new(Reason::StoreTooSmall, why)),
        }
    }

    async fn compare(mut self, prepared: Prepared) -> Outcome<Summary> {
        let comparison = self.comparing(&prepared).compare_served().await?;
        self.summary.comparison = Some(comparison);
        self.summary.state = State::AlreadyDone;
        Ok(self.summary)
    }

    fn comparing<'p>(&'p self, prepared: &'p Prepared) -> Comparing<'p> {
        Comparing::of(&prepared.staging, self.target, self.options.budget, self.watch)
    }

    async fn carry_out(
        mut self,
        prepared: Prepared,
        course: Course,
        situation: Situation,
        fence: Option<FenceState>,
    ) -> Outcome<Summary> {
        let began = Instant::now();
        let (fenced, records) = raise(prepared)?;
        self.summary.milliseconds.fence = millis(began);
        self.watch.step(Step::Fenced);
        let (marker, revision) = self.importing(course, situation).await?;
        self.watch.step(Step::Importing);
        if course != Course::Conclude {
            self.import(&records).await?;
        }
        self.verify(&records, course).await?;
        self.watch.step(Step::Verified);
        records.identity.check()?;
        self.still_ours(&marker).await?;
        if fence != Some(FenceState::Done) {
            fenced.conclude()?;
        }
        self.watch.step(Step::Concluded);
        self.mark_done(marker, revision).await?;
        self.watch.step(Step::Marked);
        self.summary.state = State::Done;
        Ok(self.summary)
    }

    /// The marker under which this run imports.
    async fn importing(&self, course: Course, situation: Situation) -> Outcome<(Marker, Revision)> {
        if let (Course::Continue | Course::Conclude, Some(marker)) = (course, &situation.marker) {
            return Ok(marker.clone());
        }
        let attempt = MutationId::random().map_err(|error| {
            Failure::new(Reason::NatsUnavailable, "the system has no random bytes").caused_by(error)
        })?;
        let marker = Marker {
            phase: Phase::Importing,
            attempt,
            digest: self.summary.digest.clone(),
            source: marked(&self.summary),
        };
        let over = situation.marker.map(|(_, revision)| revision).or(situation.control);
        let revision = self.mark(&marker, over).await?;
        Ok((marker, revision))
    }

    /// Writes a marker. When the answer was lost, the marker that is there tells whose it is.
    async fn mark(&self, marker: &Marker, over: Option<Revision>) -> Outcome<Revision> {
        let budget = self.options.budget;
        let marked = budget.answer(|deadline| self.target.mark(marker, over, deadline)).await;
        let error = match marked {
            Ok(revision) => return Ok(revision),
            Err(error) if error.kind() == ErrorKind::Conflict => error,
            Err(error) => return Err(explain(error)),
        };
        let now = budget.call(|deadline| self.target.situation(deadline)).await?;
        match now.marker {
            // Ours, or that of a run beside this one which moves the same membership.
            Some((there, revision))
                if there.digest == marker.digest
                    && (there.phase == marker.phase || there.phase == Phase::Done) =>
            {
                Ok(revision)
            }
            Some(_) | None => Err(explain(error)),
        }
    }

    async fn import(&mut self, records: &Records) -> Outcome<()> {
        let began = Instant::now();
        let Self { options, target, watch, .. } = *self;
        self.summary.imported =
            import(&records.staging, target, options.mode, options.budget, watch).await?;
        self.summary.milliseconds.import = millis(began);
        Ok(())
    }

    /// Reads everything back. Records that only an earlier run knew are taken away, once.
    async fn verify(&mut self, records: &Records, course: Course) -> Outcome<()> {
        let began = Instant::now();
        let Self { options, target, watch, .. } = *self;
        let comparing = Comparing::of(&records.staging, target, options.budget, watch);
        let (mut comparison, mut tallies) = comparing.compare().await?;
        if comparison.extra > 0 && course != Course::Conclude {
            self.summary.pruned = comparing.prune().await?;
            (comparison, tallies) = comparing.compare().await?;
        }
        self.summary.comparison = Some(comparison);
        self.summary.milliseconds.verify = millis(began);
        let kept = self.summary.imported.kept_newer;
        let same = tallies == *records.staging.tallies() && comparison.extra == 0;
        let explained = kept > 0 && comparison.newer + comparison.missing <= kept;
        if same || explained {
            return Ok(());
        }
        Err(Failure::new(
            Reason::VerificationFailed,
            format!(
                "the buckets do not hold what the source held: {} records are equal, {} differ, {} \
                 are missing, {} are too many. Nobody serves from them; run this again",
                comparison.equal, comparison.newer, comparison.missing, comparison.extra
            ),
        ))
    }

    /// A run of another source may have taken the marker over. Then this source has not moved, and
    /// must not say that it has.
    async fn still_ours(&self, marker: &Marker) -> Outcome<()> {
        let budget = self.options.budget;
        let now = budget.call(|deadline| self.target.situation(deadline)).await?;
        if now.marker.is_some_and(|(now, _)| now.digest == marker.digest) {
            return Ok(());
        }
        Err(Failure::new(
            Reason::OtherMigration,
            "another membership is being moved into these buckets: this one was not",
        ))
    }

    async fn mark_done(&self, marker: Marker, over: Revision) -> Outcome<()> {
        let done = Marker { phase: Phase::Done, ..marker };
        self.mark(&done, Some(over)).await?;
        Ok(())
    }
}

/// What is left of a source once the fence holds it still.
struct Records {
    identity: Identity,
    staging: Staging,
}

/// Puts the fence up.
fn raise(prepared: Prepared) -> Outcome<(Fenced, Records)> {
    prepared.identity.check()?;
    let Prepared { lock, identity, schema, staging, .. } = prepared;
    Ok((lock.raise(&schema)?, Records { identity, staging }))
}

fn marked(summary: &Summary) -> MarkedSource {
    let kind = match summary.source {
        SourceKind::Ours => "ours",
        SourceKind::Legacy { .. } => "legacy",
    };
    MarkedSource {
        kind: kind.to_owned(),
        users: summary.counts.users.count,
        rooms: summary.counts.rooms.count,
        members: summary.counts.members.count,
        room_keys: summary.counts.room_keys.count,
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
