//! What changed since the last report, as Events: one for each transition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::migration;
use super::view::View;
use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::v1alpha1::MembershipClusterStatus;
use crate::cluster::plan::Step;
use crate::cluster::world::ClaimMark;

/// An Event about the resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// How it is meant.
    pub kind: EventKind,
    /// A word for machines.
    pub reason: String,
    /// What the operator did or saw.
    pub action: &'static str,
    /// A sentence for people.
    pub note: String,
}

/// How an Event is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

pub(super) fn event(kind: EventKind, reason: &str, action: &'static str, note: &str) -> Event {
    Event { kind, reason: reason.to_owned(), action, note: note.to_owned() }
}

pub(super) fn all(view: &View<'_>, new: &MembershipClusterStatus) -> Vec<Event> {
    let old = &view.world.resource.status;
    let mut events: Vec<Event> = adopted(view, old, new).into_iter().collect();
    events.extend(view.pass.done.iter().filter_map(|step| deed(view, step)));
    events.extend(of_conditions(&old.conditions, &new.conditions));
    events.extend(migration::done_event(&old.conditions, new));
    events
}

/// Retained volumes were taken up.
fn adopted(
    view: &View<'_>,
    old: &MembershipClusterStatus,
    new: &MembershipClusterStatus,
) -> Option<Event> {
    let claims = view.world.claims.len();
    let id = new.cluster_id.as_ref().filter(|_| old.cluster_id.is_none() && claims > 0)?;
    if view.world.stateful_set.ours().is_some() {
        return None;
    }
    let note = format!("took up {claims} retained volumes with the data of cluster {id}");
    Some(event(EventKind::Normal, "DataAdopted", "Adopt", &note))
}

/// Steps that a person wants to find again later.
fn deed(view: &View<'_>, step: &Step) -> Option<Event> {
    let bucket_lost = |name: String| {
        let note = format!("the loss of bucket {name} was accepted; it is made anew and empty");
        event(EventKind::Warning, "LossAccepted", "AcceptLoss", &note)
    };
    match step {
        Step::RestartServer { pod } => {
            let note = format!("restarting {}", pod.name);
            Some(event(EventKind::Normal, "RestartingServer", "Restart", &note))
        }
        Step::StepDownMeta { from, to } => {
            let note = format!("moving the meta leader from {from} to {to}");
            Some(event(EventKind::Normal, "MovingMetaLeader", "StepDown", &note))
        }
        Step::AcceptLoss { bucket } => Some(bucket_lost(bucket.name(&view.cluster.prefix))),
        Step::MarkClaims { mark: ClaimMark::LossAccepted, .. } => {
            Some(bucket_lost(crate::cluster::names::Bucket::Control.name(&view.cluster.prefix)))
        }
        Step::CreateSecret { role, .. } if view.world.stateful_set.ours().is_some() => {
            let note = format!("made a new key for the role {}: its Secret was gone", role.name());
            Some(event(EventKind::Warning, "KeyRenewed", "CreateSecret", &note))
        }
        Step::DeleteClaim { claim } => {
            let note = format!("deleting claim {} with its data", claim.name);
            Some(event(EventKind::Normal, "DeletingVolume", "Delete", &note))
        }
        Step::RunMigration { job } => {
            let name = view.cluster.names.migration_job(job.number);
            let source = view.cluster.migration.as_ref()?.source.to_string();
            let note = format!("Job {name} moves {source} into the buckets");
            Some(event(EventKind::Normal, "MigrationStarted", "Migrate", &note))
        }
        Step::RunUnfence { job } => {
            let name = view.cluster.names.unfence_job(job.number);
            let note = format!("Job {name} takes down the fence of the move that is given up");
            Some(event(EventKind::Normal, "GivingUp", "Migrate", &note))
        }
        Step::Remove { kind, object } => {
            let note = format!("removing {kind:?} {}", object.name);
            Some(event(EventKind::Normal, "RemovingMembershipd", "Delete", &note))
        }
        Step::SetFinalizer
        | Step::RemoveFinalizer
        | Step::CreateSecret { .. }
        | Step::CreateBucket { .. }
        | Step::CreateControl { .. }
        | Step::RecordBuckets { .. }
        | Step::MarkClaims { .. }
        | Step::RaiseReplicas { .. }
        | Step::ReloadServer { .. }
        | Step::SuspendJob { .. }
        | Step::DeleteJob { .. }
        | Step::DeleteStatefulSet { .. } => None,
    }
}

/// What changed between two reports, each thing once and by its worst name: a stall is not told
/// again as not ready, nor that as degraded.
pub(super) fn of_conditions(old: &[Condition], new: &[Condition]) -> Vec<Event> {
    let change = |kind| Change::of(old, new, kind);
    let stalled =
        change(ConditionType::Stalled).and_then(|change| change.began_or_ended("Stall", "Resumed"));
    let ready = change(ConditionType::Ready).and_then(|change| change.of_ready());
    let degraded = change(ConditionType::Degraded).and_then(|change| {
        Change { same_reason: true, ..change }.began_or_ended("Report", "Recovered")
    });
    let work = change(ConditionType::Reconciling).and_then(|change| change.of_work());
    let worst = [stalled, ready, degraded].into_iter().flatten();
    let (bad, good): (Vec<Event>, Vec<Event>) =
        worst.partition(|event| event.kind == EventKind::Warning);
    let mut events: Vec<Event> = work.into_iter().chain(bad.into_iter().take(1)).collect();
    events.extend(good);
    events.dedup_by(|later, first| later.note == first.note);
    events
}

/// A condition now, compared with before.
struct Change<'a> {
    now: &'a Condition,
    was: bool,
    is: bool,
    same_reason: bool,
}

impl<'a> Change<'a> {
    fn of(old: &[Condition], new: &'a [Condition], kind: ConditionType) -> Option<Self> {
        let now = find(new, kind)?;
        let before = find(old, kind);
        Some(Self {
            now,
            was: before.is_some_and(|before| before.status == "True"),
            is: now.status == "True",
            same_reason: before.is_some_and(|before| before.reason == now.reason),
        })
    }

    /// Of a condition that is bad when true: that it began, what it is by now, or that it is over.
    fn began_or_ended(&self, action: &'static str, over: &'static str) -> Option<Event> {
        let now = self.now;
        match (self.was, self.is) {
            (true, true) if self.same_reason => None,
            (_, true) => Some(event(EventKind::Warning, &now.reason, action, &now.message)),
            (true, false) => Some(event(EventKind::Normal, over, action, &now.message)),
            (false, false) => None,
        }
    }

    /// Not ready while what was asked for is done, such as a deletion, is no warning.
    fn of_ready(&self) -> Option<Event> {
        let now = self.now;
        let asked_for = matches!(
            Reason::parse(&now.reason),
            Some(
                Reason::Deleting
                    | Reason::RaisingReplicas
                    | Reason::ReplicasSyncing
                    | Reason::Migrating
            )
        );
        match (self.was, self.is) {
            (false, true) => Some(event(EventKind::Normal, "Ready", "Report", &now.message)),
            (true, false) => {
                let kind = if asked_for { EventKind::Normal } else { EventKind::Warning };
                Some(event(kind, &now.reason, "Report", &now.message))
            }
            (true, true) | (false, false) => None,
        }
    }

    /// Each new kind of work.
    fn of_work(&self) -> Option<Event> {
        let goes_on = self.was && self.same_reason;
        let now = self.now;
        (self.is && !goes_on)
            .then(|| event(EventKind::Normal, &now.reason, "Reconcile", &now.message))
    }
}
