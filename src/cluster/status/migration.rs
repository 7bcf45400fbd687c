//! What users read of the move of the SQLite file. That it is done is only ever believed of the
//! control record in the buckets.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::events::{Event, EventKind, event};
use super::findings::{Verdict, past, unreachable};
use super::view::View;
use crate::api::conditions::{ConditionType, Reason, Truth, find, whole_seconds};
use crate::api::v1alpha1::{
    MembershipClusterStatus, MigrationCounts, MigrationState, MigrationStatus,
};
use crate::api::{RELEASE_TO, RETRY_MIGRATION};
use crate::cluster::migration::{BACKUP_FOLDER, Backup, Job, Mark, SOURCE_FOLDER};
use crate::cluster::plan::{MigrationTrouble, MigrationWait, Trouble, Wait};
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::world::Lookup;

/// What the control record says, if anybody can say: nobody, that there was no move, or a mark.
fn mark<'a>(view: &View<'a>) -> Option<Option<&'a Mark>> {
    match &view.nats?.control {
        Lookup::Unknown | Lookup::Unreadable { .. } => None,
        Lookup::Absent => Some(None),
        Lookup::Present(record) => Some(record.migration.as_ref()),
    }
}

/// Whether the buckets hold what the file held.
pub(super) fn migrated(view: &View<'_>) -> Verdict {
    let told = view.world.resource.status.migration.is_some();
    let Some(mark) = mark(view) else {
        if view.cluster.to_move().is_none() && !told {
            return not_requested();
        }
        return past(view, ConditionType::Migrated).unwrap_or_else(|| unreachable(view));
    };
    if let Some(mark) = mark.filter(|mark| mark.done) {
        return (Truth::True, Reason::MigrationDone, format!("moved {}", amounts(&mark.counts)));
    }
    if mark.is_none() && view.cluster.to_move().is_none() && !is_giving_up(view) {
        return not_requested();
    }
    let (reason, words) = if let Wait::Person(Trouble::Migration(trouble)) = &view.pass.plan.wait {
        (trouble_reason(trouble), trouble_words(view.cluster, trouble))
    } else if let Wait::Migration(wait) = &view.pass.plan.wait {
        wait_words(wait)
    } else if view.cluster.serves_file() {
        let words = "the move was given up, and the SQLite file takes changes again";
        (Reason::GivenUp, words.to_owned())
    } else if view.pass.plan.wait == Wait::Suspended {
        (Reason::Suspended, "suspended: nothing is moved".to_owned())
    } else if mark.is_some() || view.world.migration.newest().is_some() {
        (Reason::Migrating, "the move has begun and goes on when the cluster can".to_owned())
    } else {
        (Reason::BucketsNotReady, "waiting until all buckets are ready".to_owned())
    };
    (Truth::False, reason, words)
}

fn is_giving_up(view: &View<'_>) -> bool {
    let wait = &view.pass.plan.wait;
    matches!(wait, Wait::Migration(MigrationWait::GivingUp { .. } | MigrationWait::Pause(_)))
}

fn not_requested() -> Verdict {
    (Truth::False, Reason::NotRequested, "no SQLite file was asked to be moved".to_owned())
}

/// Whether the cluster lacks what a requested move would bring: it is not ready then.
pub(super) fn is_lacking(view: &View<'_>, migrated: &Verdict) -> bool {
    let told = view.world.resource.status.migration.as_ref();
    let was_done = told.is_some_and(|told| told.state == MigrationState::Done);
    // A file that is served as it is lacks nothing of a move.
    if view.cluster.serves_file() {
        return false;
    }
    let lacking = match migrated.0 {
        Truth::True => false,
        Truth::False => true,
        Truth::Unknown => !was_done,
    };
    lacking && (view.cluster.to_move().is_some() || migrated.1 != Reason::NotRequested)
}

fn amounts(counts: &MigrationCounts) -> String {
    let some = |number: i64, one: &str| {
        if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
    };
    format!(
        "{}, {}, {} and {}",
        some(counts.users, "user"),
        some(counts.rooms, "room"),
        some(counts.members, "member"),
        some(counts.room_keys, "sealed key")
    )
}

/// The status of the move; none where there never was one.
pub(super) fn status(view: &View<'_>) -> Option<MigrationStatus> {
    let old = view.world.resource.status.migration.clone();
    let Some(mark) = mark(view) else { return old };
    let job = view.world.migration.newest();
    if mark.is_none() && job.is_none() && view.cluster.to_move().is_none() {
        return None;
    }
    let state = state(mark, job);
    let given_up = view.cluster.serves_file() && !is_giving_up(view);
    let state =
        if given_up && state != MigrationState::Done { MigrationState::GivenUp } else { state };
    let done = state == MigrationState::Done;
    let ended = job.and_then(|job| job.end.as_ref()).filter(|end| done && end.succeeded);
    let old = old.as_ref();
    let kept = |field: fn(&MigrationStatus) -> Option<String>| old.and_then(field);
    Some(MigrationStatus {
        state,
        source: job.and_then(|job| job.source.clone()).or_else(|| kept(|old| old.source.clone())),
        job: job.map(|job| job.id.name.clone()).or_else(|| kept(|old| old.job.clone())),
        started_at: old
            .and_then(|old| old.started_at.clone())
            .or_else(|| job.and_then(|job| job.started).map(whole_seconds)),
        completed_at: old
            .and_then(|old| old.completed_at.clone())
            .filter(|_| done)
            .or_else(|| ended.map(|end| whole_seconds(end.at))),
        counts: mark.map(|mark| mark.counts),
        digest: mark.map(|mark| mark.digest.clone()),
        backup: backup(view, job).or_else(|| kept(|old| old.backup.clone())),
    })
}

fn state(mark: Option<&Mark>, job: Option<&Job>) -> MigrationState {
    match (mark, job) {
        (Some(mark), _) if mark.done => MigrationState::Done,
        (_, Some(job)) if job.end.as_ref().is_some_and(|end| !end.succeeded) => {
            MigrationState::Failed
        }
        (Some(_), _) | (None, Some(_)) => MigrationState::Running,
        (None, None) => MigrationState::Waiting,
    }
}

/// Where the backup is: as the pod said it, in the words of claims.
fn backup(view: &View<'_>, job: Option<&Job>) -> Option<String> {
    let path = job?.words.as_ref()?.backup.as_ref()?;
    let wanted = view.cluster.migration.as_ref()?;
    let (folder, claim) = match &wanted.backup {
        Backup::Claim(claim) => (BACKUP_FOLDER, claim),
        Backup::None | Backup::BesideSource => (SOURCE_FOLDER, &wanted.source.claim),
    };
    Some(format!("{claim}{}", path.strip_prefix(folder)?))
}

/// What is waited for, as a reason and a sentence.
pub(super) fn wait_words(wait: &MigrationWait) -> (Reason, String) {
    match wait {
        MigrationWait::Beginning => {
            (Reason::Migrating, "starting the Job that moves the SQLite file".to_owned())
        }
        MigrationWait::Running { job, trouble: None } => {
            (Reason::Migrating, format!("Job {job} moves the SQLite file"))
        }
        MigrationWait::Running { job, trouble: Some(trouble) } => (
            Reason::MigrationPodNotRunning,
            format!("the pod of Job {job} does not run: {trouble}"),
        ),
        MigrationWait::Ending { job } => {
            (Reason::Migrating, format!("waiting until Job {job} is gone"))
        }
        MigrationWait::GivingUp { job } => {
            (Reason::GivingUp, format!("the move is given up: waiting for Job {job}"))
        }
        MigrationWait::Pause(failure) => {
            let (job, why) = (&failure.job, &failure.message);
            (failure.reason, format!("Job {job} did not succeed and is tried again soon: {why}"))
        }
    }
}

/// The reason of a trouble.
pub(super) const fn trouble_reason(trouble: &MigrationTrouble) -> Reason {
    match trouble {
        MigrationTrouble::ClaimMissing { .. } => Reason::ClaimMissing,
        MigrationTrouble::ClaimNotBound { .. } => Reason::ClaimNotBound,
        MigrationTrouble::ClaimNotReleased { .. } => Reason::ClaimNotReleased,
        MigrationTrouble::SourceInUse { .. } => Reason::SourceInUse,
        MigrationTrouble::SourceOnLostNode { .. } => Reason::SourceOnLostNode,
        MigrationTrouble::Changed { .. } => Reason::MigrationChanged,
        MigrationTrouble::Failed(failure) => failure.reason,
    }
}

/// What happened, why nothing is done, and what a person can do.
pub(super) fn trouble_words(cluster: &ValidatedCluster, trouble: &MigrationTrouble) -> String {
    let own = &cluster.names.cluster;
    match trouble {
        MigrationTrouble::ClaimMissing { claim } => {
            format!("there is no claim {claim} in this namespace: create it, or name another claim")
        }
        MigrationTrouble::ClaimNotBound { claim } => format!(
            "claim {claim} has no volume, so nothing can be in it: bind it, or name another claim"
        ),
        MigrationTrouble::ClaimNotReleased { claim, to: None } => format!(
            "claim {claim} is not released: when nothing writes to it any more, say so by the \
             annotation {RELEASE_TO}={own} on it"
        ),
        MigrationTrouble::ClaimNotReleased { claim, to: Some(other) } => format!(
            "claim {claim} is released to {other} and not to {own}: change its annotation \
             {RELEASE_TO}, or name another claim"
        ),
        MigrationTrouble::SourceInUse { claim, pod } => format!(
            "pod {pod} uses claim {claim}: stop what uses the file, so that nothing is written to \
             it while it is moved"
        ),
        MigrationTrouble::SourceOnLostNode { pod, node } => format!(
            "pod {pod} uses the source and should have ended, but node {node} is not heard of: \
             bring the node back, or make sure that it is off and taint it out-of-service"
        ),
        MigrationTrouble::Changed { from, to } => {
            let to = to.as_deref().unwrap_or("none");
            format!(
                "the move of {from} has begun and cannot become the move of another file (the spec \
                 names {to}): set sqlite back, or create a new cluster"
            )
        }
        MigrationTrouble::Failed(failure) => format!(
            "Job {} did not succeed: {}; it is tried again when the cause is mended, or with a new \
             value of the annotation {RETRY_MIGRATION}",
            failure.job, failure.message
        ),
    }
}

/// That the move is done, once, with what there is to know of it.
pub(super) fn done_event(old: &[Condition], new: &MembershipClusterStatus) -> Option<Event> {
    let holds = |conditions: &[Condition]| {
        find(conditions, ConditionType::Migrated).is_some_and(|found| found.status == "True")
    };
    let told = new.migration.as_ref()?;
    if holds(old) || !holds(&new.conditions) {
        return None;
    }
    let source = told.source.as_deref().map_or(String::new(), |source| format!(" from {source}"));
    let counts = told.counts.as_ref().map(amounts).unwrap_or_default();
    let backup =
        told.backup.as_deref().map_or(String::new(), |path| format!("; the backup is {path}"));
    let note = format!("moved {counts}{source}{backup}");
    Some(event(EventKind::Normal, "Migrated", "Migrate", &note))
}
