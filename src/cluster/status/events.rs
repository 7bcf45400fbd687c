//! What changed since the last report, as Events: one for each transition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::view::View;
use crate::api::conditions::{ConditionType, find};
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

fn event(kind: EventKind, reason: &str, action: &'static str, note: &str) -> Event {
    Event { kind, reason: reason.to_owned(), action, note: note.to_owned() }
}

pub(super) fn all(view: &View<'_>, new: &MembershipClusterStatus) -> Vec<Event> {
    let old = &view.world.resource.status;
    let mut events: Vec<Event> = adopted(view, old, new).into_iter().collect();
    events.extend(view.pass.done.iter().filter_map(|step| deed(view, step)));
    events.extend(of_conditions(&old.conditions, &new.conditions));
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
        Step::SetFinalizer
        | Step::RemoveFinalizer
        | Step::CreateSecret { .. }
        | Step::CreateBucket { .. }
        | Step::CreateControl { .. }
        | Step::RecordBuckets { .. }
        | Step::MarkClaims { .. }
        | Step::RaiseReplicas { .. }
        | Step::ReloadServer { .. }
        | Step::DeleteStatefulSet { .. } => None,
    }
}

/// One Event for each summary condition that changed, and for each new kind of work or trouble.
pub(super) fn of_conditions(old: &[Condition], new: &[Condition]) -> Vec<Event> {
    let changed = |kind| {
        let now = find(new, kind)?;
        let before = find(old, kind);
        let was = before.is_some_and(|before| before.status == "True");
        let same_reason = before.is_some_and(|before| before.reason == now.reason);
        Some((now, was, now.status == "True", same_reason))
    };
    let mut events = Vec::new();
    if let Some((now, was, is, same)) = changed(ConditionType::Stalled) {
        events.extend(abnormal(now, (was, is, same), "Stall", "Resumed"));
    }
    if let Some((now, false, true, _)) = changed(ConditionType::Ready) {
        events.push(event(EventKind::Normal, "Ready", "Report", &now.message));
    }
    if let Some((now, true, false, _)) = changed(ConditionType::Ready) {
        events.push(event(EventKind::Warning, "NotReady", "Report", &now.message));
    }
    if let Some((now, was, is, _)) = changed(ConditionType::Degraded) {
        events.extend(abnormal(now, (was, is, true), "Report", "Recovered"));
    }
    if let Some((now, was, true, same)) = changed(ConditionType::Reconciling)
        && (!was || !same)
    {
        events.push(event(EventKind::Normal, &now.reason, "Reconcile", &now.message));
    }
    events
}

/// The Event of a condition that is bad when true: that it began, what it is by now, or that it is
/// over.
fn abnormal(
    now: &Condition,
    (was, is, same): (bool, bool, bool),
    action: &'static str,
    over: &'static str,
) -> Option<Event> {
    match (was, is) {
        (true, true) if same => None,
        (_, true) => Some(event(EventKind::Warning, &now.reason, action, &now.message)),
        (true, false) => Some(event(EventKind::Normal, over, action, &now.message)),
        (false, false) => None,
    }
}
