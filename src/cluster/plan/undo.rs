//! A move that is given up: its Jobs rest, one more takes the fence down, and the file takes changes
//! again. A Job that rests is kept until then: as long as one is left, it is known that the fence may
//! be up. Whether the membership has moved is the fence's own word, so NATS is not needed for this.

use k8s_openapi::jiff::SignedDuration;

use super::look::{Look, Stage, act, go_on, wait};
use super::migrate::{JobPlan, MigrationTrouble, MigrationWait, pause, server_makes_room};
use super::wait::Trouble;
use super::{Step, Wait};
use crate::api::v1alpha1::MigrationState;
use crate::cluster::migration::{Job, JobEnd, Wanted};

/// Nothing of a move is left that the file's service could not go on with.
pub(super) fn is_undone(look: &Look<'_>) -> Stage {
    let seen = &look.world.migration;
    let Some(wanted) = &look.cluster.migration else { return go_on() };
    let running = seen.ours().filter(|job| job.end.is_none() && !job.suspended && !job.deleting);
    let rest: Vec<Step> = running.map(|job| Step::SuspendJob { job: job.id.clone() }).collect();
    let newest = seen.newest();
    if let Some(job) = newest.filter(|_| !rest.is_empty() || seen.ours().any(|job| job.working)) {
        return act(rest, giving_up(job));
    }
    if newest.is_none() && seen.newest_unfence().is_none() && !has_begun(look) {
        return go_on();
    }
    fence_is_down(look, wanted, newest.map_or(0, |job| job.number))?;
    let left: Vec<Step> = seen
        .ours()
        .filter(|job| !job.deleting)
        .map(|job| Step::DeleteJob { job: job.id.clone() })
        .collect();
    match newest {
        Some(job) => act(left, giving_up(job)),
        None => go_on(),
    }
}

fn giving_up(job: &Job) -> Wait {
    Wait::Migration(MigrationWait::GivingUp { job: job.id.name.clone() })
}

/// Whether a move may have put up the fence, although no Job is left to tell. Taking down a fence
/// that is not there does nothing.
fn has_begun(look: &Look<'_>) -> bool {
    let record = look.nats().and_then(|nats| nats.control.present());
    let told = look.world.resource.status.migration.as_ref();
    record.is_some_and(|record| record.migration.is_some())
        || told.is_some_and(|told| {
            matches!(told.state, MigrationState::Running | MigrationState::Failed)
        })
}

/// A Job has taken the fence down since the move's Job of this number, the last one.
pub(super) fn fence_is_down(look: &Look<'_>, wanted: &Wanted, last: u32) -> Stage {
    let newest = look.world.migration.newest_unfence();
    let Some(job) = newest.filter(|job| job.number >= last) else {
        return begin(look, wanted, last.max(1), 1);
    };
    match &job.end {
        _ if job.deleting => wait(giving_up(job)),
        None => wait(giving_up(job)),
        Some(end) if end.succeeded => go_on(),
        Some(end) => may_try_again(look, wanted, job, end),
    }
}

fn may_try_again(look: &Look<'_>, wanted: &Wanted, job: &Job, end: &JobEnd) -> Stage {
    let failure = job.failure(end);
    if matches!(end.exit_code, Some(2 | 6)) {
        return wait(Wait::Person(Trouble::Migration(MigrationTrouble::Failed(failure))));
    }
    let since = look.given.now.duration_since(end.at);
    let due = SignedDuration::try_from(pause(job.tries)).is_ok_and(|pause| since >= pause);
    let changed = job.circumstances.as_ref() != Some(&look.world.migration.circumstances());
    if due || changed {
        return begin(look, wanted, job.number.saturating_add(1), job.tries.saturating_add(1));
    }
    wait(Wait::Migration(MigrationWait::Pause(failure)))
}

fn begin(look: &Look<'_>, wanted: &Wanted, number: u32, tries: u32) -> Stage {
    let beside = server_makes_room(look)?;
    let seen = &look.world.migration;
    let image = wanted.pod.image.as_ref().unwrap_or(&look.given.default_membershipd_image);
    let plan = JobPlan {
        number,
        image: image.clone(),
        asked: wanted.asked(image, None),
        circumstances: seen.circumstances(),
        tries,
        beside,
    };
    let job = look.cluster.names.unfence_job(number);
    let old = seen.unfences.iter().filter_map(|(_, job)| job.ours()).filter(|job| !job.deleting);
    let old = old.map(|job| Step::DeleteJob { job: job.id.clone() });
    let steps = std::iter::once(Step::RunUnfence { job: plan }).chain(old).collect();
    act(steps, Wait::Migration(MigrationWait::GivingUp { job }))
}
