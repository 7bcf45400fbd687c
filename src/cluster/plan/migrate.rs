//! The one-time move of a SQLite file: when a Job is made, when it is waited for, when it is tried
//! again, and what stands against it. That everything has moved is only ever believed of the control
//! record.

use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;

use super::look::{Look, Stage, act, go_on, wait};
use super::wait::Trouble;
use super::{Step, Wait, serve, undo};
use crate::api::v1alpha1::MigrationState;
use crate::cluster::migration::{Backup, Job, JobEnd, JobFailure, Mark, SourceUser, Wanted};
use crate::cluster::serving::Source;

/// For so long a Job may have ended well before the control record is expected to say so: what NATS
/// said may be older than the Job's end.
const RECORD_FOLLOWS: SignedDuration = SignedDuration::from_secs(30);

/// The first pause before the same is tried again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A Job to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobPlan {
    /// Its number.
    pub number: u32,
    /// The image of `membershipd`.
    pub image: String,
    /// The digest of what it is asked for.
    pub asked: String,
    /// The digest of the circumstances.
    pub circumstances: String,
    /// How many Jobs in a row were asked for the same, this one included.
    pub tries: u32,
    /// The service over the file goes on beside it, on the same node.
    pub beside: bool,
}

/// What a migration waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationWait {
    /// A Job that was just made or is about to be.
    Beginning,
    /// A Job.
    Running {
        /// Its name.
        job: String,
        /// Why its pod does not run.
        trouble: Option<String>,
    },
    /// A Job that is not wanted any more to be gone.
    Ending {
        /// Its name.
        job: String,
    },
    /// A Job of a move that is given up: to rest, or to take the fence down.
    GivingUp {
        /// Its name.
        job: String,
    },
    /// The pause before a Job that failed is tried again.
    Pause(JobFailure),
}

/// What only a person can mend about a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationTrouble {
    /// There is no such claim.
    ClaimMissing {
        /// Its name.
        claim: String,
    },
    /// The source's claim has no volume.
    ClaimNotBound {
        /// Its name.
        claim: String,
    },
    /// The source's claim is not released to this resource.
    ClaimNotReleased {
        /// Its name.
        claim: String,
        /// Whom it is released to.
        to: Option<String>,
    },
    /// A pod uses the source.
    SourceInUse {
        /// The claim.
        claim: String,
        /// The pod.
        pod: String,
    },
    /// A pod that used the source is on a node that nobody hears of.
    SourceOnLostNode {
        /// The pod.
        pod: String,
        /// The node.
        node: String,
    },
    /// Another source was named after the move had begun.
    Changed {
        /// What is being moved.
        from: String,
        /// What the spec names, if it names anything.
        to: Option<String>,
    },
    /// A Job failed.
    Failed(JobFailure),
}

/// What is wanted of a migration is done. All buckets are as wanted here.
pub(super) fn is_as_wanted(look: &Look<'_>) -> Stage {
    let Some(record) = look.nats().and_then(|nats| nats.control.present()) else {
        return wait(Wait::Nats);
    };
    match (&record.migration, look.cluster.to_move()) {
        (Some(Mark { done: true, .. }), _) => ended_jobs_are_gone(look),
        // What is left of a move that was given up is the file's service's business.
        (_, None) if look.cluster.serves_file() => go_on(),
        (Some(_), wanted) => {
            source_is_kept(look, wanted)?;
            wanted.map_or_else(go_on, |wanted| has_run(look, wanted))
        }
        (None, Some(wanted)) => has_run(look, wanted),
        (None, None) => no_job_is_left(look),
    }
}

/// Everything has moved: Jobs go once their results are in the status.
fn ended_jobs_are_gone(look: &Look<'_>) -> Stage {
    let told = look.world.resource.status.migration.as_ref();
    let is_told = |job: &Job| {
        let backup = job.words.as_ref().is_some_and(|words| words.backup.is_some());
        told.is_some_and(|told| {
            told.state == MigrationState::Done && (!backup || told.backup.is_some())
        })
    };
    let jobs = look.world.migration.ours();
    let ended = jobs.filter(|job| job.end.is_some() && !job.deleting && is_told(job));
    let steps: Vec<Step> = ended.map(|job| Step::DeleteJob { job: job.id.clone() }).collect();
    if steps.is_empty() { go_on() } else { act(steps, Wait::Nothing) }
}

/// Nothing is to be moved any more.
pub(super) fn no_job_is_left(look: &Look<'_>) -> Stage {
    let seen = &look.world.migration;
    let newest = seen.newest().or_else(|| seen.newest_unfence());
    newest.map_or_else(go_on, |newest| end(look, newest))
}

/// Lets all Jobs end; `newest` is named.
fn end(look: &Look<'_>, newest: &Job) -> Stage {
    let seen = &look.world.migration;
    let jobs = seen.ours().chain(seen.our_unfences()).filter(|job| !job.deleting);
    let steps = jobs.map(|job| Step::DeleteJob { job: job.id.clone() }).collect();
    act(steps, Wait::Migration(MigrationWait::Ending { job: newest.id.name.clone() }))
}

/// From the first record on, the source is the one that it was.
fn source_is_kept(look: &Look<'_>, wanted: Option<&Wanted>) -> Stage {
    let told = look.world.resource.status.migration.as_ref().and_then(|told| told.source.clone());
    let from = told.or_else(|| look.world.migration.newest()?.source.clone());
    let to = wanted.map(|wanted| wanted.source.to_string());
    match from {
        Some(from) if to.as_ref() != Some(&from) => trouble(MigrationTrouble::Changed { from, to }),
        Some(_) | None => go_on(),
    }
}

fn trouble<T>(trouble: MigrationTrouble) -> Stage<T> {
    wait(Wait::Person(Trouble::Migration(trouble)))
}

/// A Job has done the move; the control record does not say so yet.
fn has_run(look: &Look<'_>, wanted: &Wanted) -> Stage {
    let seen = &look.world.migration;
    let Some(newest) = seen.newest() else {
        return begin(look, wanted, (1, 1));
    };
    if newest.suspended && newest.end.is_none() {
        // It was given up in the middle, and that was taken back.
        if newest.working {
            return wait(Wait::Migration(MigrationWait::Ending { job: newest.id.name.clone() }));
        }
        return begin(look, wanted, (newest.number.saturating_add(1), 1));
    }
    let job = newest.id.name.clone();
    if newest.deleting {
        return wait(Wait::Migration(MigrationWait::Ending { job }));
    }
    let same = newest.asked.as_ref() == Some(&asked(look, wanted, image(look, wanted, newest)));
    let Some(end_of_it) = &newest.end else {
        if same {
            let trouble = newest.trouble.clone();
            return wait(Wait::Migration(MigrationWait::Running { job, trouble }));
        }
        return end(look, newest);
    };
    if same {
        may_try_again(look, wanted, newest, end_of_it)?;
    }
    let tries = if same { newest.tries.saturating_add(1) } else { 1 };
    begin(look, wanted, (newest.number.saturating_add(1), tries))
}

fn asked(look: &Look<'_>, wanted: &Wanted, image: &str) -> String {
    wanted.asked(image, look.world.resource.retry_migration.as_deref())
}

/// The image that a Job should have. One that works keeps its own where none is set: the operator may
/// be upgraded in the middle of a move.
fn image<'a>(look: &Look<'a>, wanted: &'a Wanted, job: &'a Job) -> &'a str {
    let works = job.end.is_none() && job.trouble.is_none();
    let own = job.image.as_ref().filter(|_| works);
    wanted.pod.image.as_ref().or(own).unwrap_or(&look.given.default_membershipd_image)
}

/// Whether the same is to be tried again after a Job that ended: at once when its circumstances
/// changed, after a pause when it may succeed by itself, else only for another wish.
fn may_try_again(look: &Look<'_>, wanted: &Wanted, job: &Job, end: &JobEnd) -> Stage {
    let since = look.given.now.duration_since(end.at);
    if end.succeeded && since < RECORD_FOLLOWS {
        return wait(Wait::Migration(MigrationWait::Beginning));
    }
    let failure = job.failure(end);
    let refused = matches!(end.exit_code, Some(2 | 5 | 6));
    if refused {
        // Nobody tries again by himself: until then, a service over the file takes changes again.
        if look.world.membershipd.file.ours().is_some() {
            undo::fence_is_down(look, wanted, job.number)?;
        }
        return trouble(MigrationTrouble::Failed(failure));
    }
    let seen = &look.world.migration;
    let changed = job.circumstances.as_ref() != Some(&seen.circumstances());
    let due = SignedDuration::try_from(pause(job.tries)).is_ok_and(|pause| since >= pause);
    if changed || due {
        return go_on();
    }
    match end.exit_code {
        Some(3) => trouble(MigrationTrouble::Failed(failure)),
        Some(_) | None => wait(Wait::Migration(MigrationWait::Pause(failure))),
    }
}

/// How long after the n-th try of the same the next one follows.
pub(super) fn pause(tries: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(LONGEST_PAUSE)
}

/// Makes a Job of this number and try, unless something stands against it.
fn begin(look: &Look<'_>, wanted: &Wanted, (number, tries): (u32, u32)) -> Stage {
    claims_are_there(look, wanted)?;
    nobody_else_is_there(look, wanted)?;
    let beside = server_makes_room(look)?;
    if let Some(job) = look.world.migration.our_unfences().find(|job| job.working) {
        return wait(Wait::Migration(MigrationWait::GivingUp { job: job.id.name.clone() }));
    }
    if !look.is_fresh() {
        return wait(Wait::Migration(MigrationWait::Beginning));
    }
    let image = wanted.pod.image.as_ref().unwrap_or(&look.given.default_membershipd_image);
    let seen = &look.world.migration;
    // What took down a fence is older than what puts it up again.
    let after = seen.newest_unfence().map_or(0, |job| job.number).saturating_add(1);
    let plan = JobPlan {
        number: number.max(after),
        image: image.clone(),
        asked: asked(look, wanted, image),
        circumstances: seen.circumstances(),
        tries,
        beside,
    };
    // The new one first: as long as one is left, what was tried is known.
    let old = seen.ours().chain(seen.our_unfences()).filter(|job| !job.deleting);
    let old = old.map(|job| Step::DeleteJob { job: job.id.clone() });
    let steps = std::iter::once(Step::RunMigration { job: plan }).chain(old).collect();
    act(steps, Wait::Migration(MigrationWait::Beginning))
}

fn claims_are_there(look: &Look<'_>, wanted: &Wanted) -> Stage {
    let claim = wanted.source.claim.clone();
    let Some(seen) = look.world.migration.claim.as_ref().filter(|seen| !seen.deleting) else {
        return trouble(MigrationTrouble::ClaimMissing { claim });
    };
    if seen.released_to.as_ref() != Some(&look.cluster.names.cluster) {
        let to = seen.released_to.clone();
        return trouble(MigrationTrouble::ClaimNotReleased { claim, to });
    }
    if !seen.bound {
        return trouble(MigrationTrouble::ClaimNotBound { claim });
    }
    match &wanted.backup {
        Backup::Claim(claim) if !look.world.migration.backup_claim => {
            trouble(MigrationTrouble::ClaimMissing { claim: claim.clone() })
        }
        Backup::Claim(_) | Backup::BesideSource | Backup::None => go_on(),
    }
}

fn nobody_else_is_there(look: &Look<'_>, wanted: &Wanted) -> Stage {
    let users: Vec<&SourceUser> =
        look.world.migration.users.iter().filter(|user| !user.own).collect();
    user_trouble(&users, &wanted.source.claim).map_or_else(go_on, trouble)
}

/// Whether our own service over the file goes on beside a Job. A claim for one pod at a time, or a
/// service that serves nobody, is freed first.
pub(super) fn server_makes_room(look: &Look<'_>) -> Stage<bool> {
    let (seen, moving) = (&look.world.membershipd, &look.world.migration);
    let exclusive = moving.claim.as_ref().is_some_and(|claim| claim.exclusive);
    let serves = seen.ready(Source::File) == 1 && seen.pods(Source::File).count() == 1;
    if seen.file.ours().is_some() && serves && !exclusive {
        return Stage::Continue(true);
    }
    let lost: Vec<&SourceUser> =
        moving.users.iter().filter(|user| user.own && user.overdue).collect();
    if let Some(found) = user_trouble(&lost, "") {
        return trouble(found);
    }
    serve::has_left(look, Source::File)?;
    Stage::Continue(false)
}

/// What it means that these pods use a claim.
pub(super) fn user_trouble(users: &[&SourceUser], claim: &str) -> Option<MigrationTrouble> {
    let lost = users.iter().find(|user| user.overdue).and_then(|user| {
        Some(MigrationTrouble::SourceOnLostNode {
            pod: user.name.clone(),
            node: user.node.clone()?,
        })
    });
    let used = users.first().map(|user| MigrationTrouble::SourceInUse {
        claim: claim.to_owned(),
        pod: user.name.clone(),
    });
    lost.or(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_before_the_same_is_tried_again_doubles_up_to_five_minutes() {
        let pauses = [1, 2, 3, 5, 6, 7, 4_000_000_000].map(|tries| pause(tries).as_secs());
        assert_eq!(pauses, [10, 20, 40, 160, 300, 300, 300]);
    }
}
