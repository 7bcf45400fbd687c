//! The records on their way into the buckets: written page by page, compared, and taken away again
//! where the source no longer has them. Every call is made again within a budget, as each does the
//! same when it is made twice.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio::time::sleep;

use super::digest::{Tallies, canonical};
use super::failure::{Failure, Outcome, Reason};
use super::staging::Staging;
use super::target::{Barrier, Target};
use super::watch::{Progress, Step, Watch};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::snapshot::{Record, Table};
use crate::membership::store::{Deadline, ImportCounts, ImportMode, PageLimit, PageRequest};

/// Records in one page: one atomic batch of the buckets.
const PAGE: usize = 500;

/// How many pages of one kind are under way at once, so that the servers never wait for the next one.
/// What comes before what, between kinds, stays as it is.
const AT_ONCE: usize = 3;

/// How long to wait before a failed call is made again.
const PAUSE: Duration = Duration::from_millis(250);

/// How often the comparison is begun anew when somebody writes meanwhile.
const COMPARISONS: usize = 3;

/// How long NATS is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// One call.
    pub call: Duration,
    /// All calls for one thing.
    pub total: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self { call: Duration::from_secs(10), total: Duration::from_secs(120) }
    }
}

impl Budget {
    /// Makes a call, again and again while it may yet succeed.
    ///
    /// # Errors
    /// As [`explain`].
    pub async fn call<T, F>(&self, call: impl Fn(Deadline) -> F) -> Outcome<T>
    where
        F: Future<Output = StoreResult<T>>,
    {
        self.answer(call).await.map_err(explain)
    }

    /// The same, with the store's own error at the end.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn answer<T, F>(&self, call: impl Fn(Deadline) -> F) -> StoreResult<T>
    where
        F: Future<Output = StoreResult<T>>,
    {
        let until = Instant::now() + self.total;
        loop {
            match call(Deadline::after(self.call)).await {
                Ok(answer) => return Ok(answer),
                Err(error) if passes(&error) && Instant::now() < until => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }
}

fn passes(error: &StoreError) -> bool {
    [ErrorKind::Unavailable, ErrorKind::Unknown].contains(&error.kind())
}

/// What an error of the buckets means for a move.
#[must_use]
pub fn explain(error: StoreError) -> Failure {
    let reason = match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::NotFound => {
            Reason::NatsUnavailable
        }
        ErrorKind::Full => Reason::StoreTooSmall,
        ErrorKind::ForeignStore | ErrorKind::AlreadyExists => Reason::StoreNotEmpty,
        ErrorKind::Conflict => Reason::OtherMigration,
        ErrorKind::Invalid | ErrorKind::Corrupt => Reason::VerificationFailed,
    };
    Failure::new(reason, error.to_string()).caused_by(error)
}

/// Writes all records.
///
/// # Errors
/// As [`explain`].
pub async fn import(
    staging: &Staging,
    target: &dyn Target,
    mode: ImportMode,
    budget: Budget,
    watch: &dyn Watch,
) -> Outcome<ImportCounts> {
    let mut counts = ImportCounts::default();
    let (mut done, of) = (0, staging.tallies().total());
    for table in Table::ALL {
        let writes = stream::iter(pages(staging, table))
            .map(|page| async move { write(page?, target, mode, budget).await })
            .buffered(AT_ONCE);
        let mut writes = pin!(writes);
        while let Some((count, written)) = writes.try_next().await? {
            add(&mut counts, written);
            done += count;
            watch.step(Step::Batch(table));
            watch.progress(Progress { what: "import", done, of });
        }
    }
    Ok(counts)
}

/// The records of a kind, page by page.
fn pages(staging: &Staging, table: Table) -> impl Iterator<Item = Outcome<Vec<Record>>> {
    let mut after = 0;
    std::iter::from_fn(move || {
        let page = match staging.page(table, after, PAGE) {
            Ok(page) => page,
            Err(failure) => return Some(Err(failure)),
        };
        after = page.last()?.id;
        Some(Ok(page.into_iter().map(|staged| staged.record).collect()))
    })
}

/// Writes a page. Gives how many records it had, and what was done with them.
async fn write(
    page: Vec<Record>,
    target: &dyn Target,
    mode: ImportMode,
    budget: Budget,
) -> Outcome<(u64, ImportCounts)> {
    let written = budget.call(|deadline| target.import(page.clone(), mode, deadline)).await?;
    Ok((page.len() as u64, written))
}

fn add(counts: &mut ImportCounts, more: ImportCounts) {
    counts.created += more.created;
    counts.equal += more.equal;
    counts.overwritten += more.overwritten;
    counts.kept_newer += more.kept_newer;
}

/// What the buckets hold beside what the source held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Records that are the same.
    pub equal: u64,
    /// Records of the source that the buckets have in another state: the service wrote them since.
    pub newer: u64,
    /// Records of the source that the buckets do not have: the service took them away since.
    pub missing: u64,
    /// Records that the source does not have.
    pub extra: u64,
}

/// Reads all that the buckets hold, and compares.
pub struct Comparing<'m> {
    staging: &'m Staging,
    target: &'m dyn Target,
    budget: Budget,
    watch: &'m dyn Watch,
}

impl<'m> Comparing<'m> {
    /// A comparison of the two.
    #[must_use]
    pub fn of(
        staging: &'m Staging,
        target: &'m dyn Target,
        budget: Budget,
        watch: &'m dyn Watch,
    ) -> Self {
        Self { staging, target, budget, watch }
    }

    /// Compares once, from reads that are proven to be up to date.
    ///
    /// # Errors
    /// As [`explain`]; `NatsUnavailable` when somebody goes on writing.
    pub async fn compare(&self) -> Outcome<(Comparison, Tallies)> {
        match self.look().await? {
            (found, true) => Ok(found),
            (_, false) => Err(Failure::new(
                Reason::NatsUnavailable,
                "somebody went on writing while the buckets were compared: try again",
            )),
        }
    }

    /// The same in buckets that are served from: whoever goes on writing may do so, and what is found
    /// is then of no one moment.
    ///
    /// # Errors
    /// As [`explain`].
    pub async fn compare_served(&self) -> Outcome<Comparison> {
        let ((comparison, _), _) = self.look().await?;
        Ok(comparison)
    }

    /// What is there, and whether nobody wrote meanwhile.
    async fn look(&self) -> Outcome<((Comparison, Tallies), bool)> {
        let mut tries = 1;
        loop {
            let before = self.barrier().await?;
            let found = self.read().await?;
            let still = self.barrier().await? == before;
            if still || tries == COMPARISONS {
                return Ok((found, still));
            }
            tries += 1;
        }
    }

    async fn barrier(&self) -> Outcome<Barrier> {
        self.budget.call(|deadline| self.target.barrier(deadline)).await
    }

    /// Takes away what earlier runs imported and the source no longer has. Gives how many.
    ///
    /// # Errors
    /// As [`explain`].
    pub async fn prune(&self) -> Outcome<u64> {
        let mut pruned = 0;
        // What hangs on a room goes before the room.
        for table in Table::ALL.into_iter().rev() {
            let mut request = page_request();
            loop {
                let page = self
                    .budget
                    .call(|deadline| self.target.store().export(table, request.clone(), deadline))
                    .await?;
                let mut extra = Vec::new();
                for record in page.items {
                    if !self.staging.has(&record)? {
                        extra.push(record);
                    }
                }
                if !extra.is_empty() {
                    pruned += self
                        .budget
                        .call(|deadline| self.target.remove_imported(extra.clone(), deadline))
                        .await?;
                }
                let Some(next) = page.next else { break };
                request.after = Some(next);
            }
            self.watch.step(Step::Pruned(table));
        }
        Ok(pruned)
    }

    async fn read(&self) -> Outcome<(Comparison, Tallies)> {
        let (mut comparison, mut tallies) = (Comparison::default(), Tallies::default());
        let of = self.staging.tallies().total();
        for table in Table::ALL {
            let mut request = page_request();
            loop {
                let page = self
                    .budget
                    .call(|deadline| self.target.store().export(table, request.clone(), deadline))
                    .await?;
                for record in &page.items {
                    self.count(record, &mut comparison, &mut tallies)?;
                }
                self.watch.progress(Progress { what: "verify", done: tallies.total(), of });
                let Some(next) = page.next else { break };
                request.after = Some(next);
            }
        }
        comparison.missing = of.saturating_sub(comparison.equal + comparison.newer);
        Ok((comparison, tallies))
    }

    fn count(
        &self,
        record: &Record,
        comparison: &mut Comparison,
        tallies: &mut Tallies,
    ) -> Outcome<()> {
        let line = canonical(record).map_err(|error| {
            Failure::new(Reason::VerificationFailed, "a record cannot be written as JSON")
                .caused_by(error)
        })?;
        tallies.of_mut(record.table()).count(&line);
        match self.staging.is_equal(record, &line)? {
            Some(true) => comparison.equal += 1,
            Some(false) => comparison.newer += 1,
            None => comparison.extra += 1,
        }
        Ok(())
    }
}

fn page_request() -> PageRequest {
    PageRequest { after: None, limit: PageLimit::MAX }
}
