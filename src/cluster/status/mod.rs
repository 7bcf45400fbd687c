//! From the world and a plan to what users read: status, conditions and Events.
//!
//! * `view` is what the world shows, `findings` the conditions that follow, `words` the sentences,
//!   `buckets` each bucket's state, `migration` the move from SQLite, `serving` the
//!   membership service, `events` what changed since the last report.
//!
//! A report is made anew from the world each time. The last one is read for three things only: how
//! long something holds, what changed, and that a cluster has been ready before, so that a server
//! which then goes missing is *degraded* and not *coming up*.

mod buckets;
mod events;
mod findings;
mod migration;
mod serving;
mod view;
mod words;

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

pub use events::{Event, EventKind};
pub use words::wait_words;

use super::plan::{Plan, Step};
use super::validate::ValidatedCluster;
use super::world::{Given, World};
use crate::api::conditions::{ConditionType, Finding, Reason, Truth, find, merge, whole_seconds};
use crate::api::v1alpha1::{Endpoints, MembershipClusterStatus, MetaLeader};
use view::View;

/// What became of a plan.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The steps that were done.
    pub done: &'a [Step],
    /// What ended the pass before its end.
    pub failure: Option<&'a Failure>,
}

/// An error in the words of the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its reason.
    pub reason: Reason,
    /// One sentence that stays the same while the error does: no times, no counts.
    pub message: String,
    /// Whether trying again cannot help.
    pub needs_person: bool,
}

/// A status with the Events that led to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The status to write, when it differs from the last.
    pub status: MembershipClusterStatus,
    /// What changed.
    pub events: Vec<Event>,
}

/// What users read after a pass.
#[must_use]
pub fn report(cluster: &ValidatedCluster, world: &World, given: &Given, pass: Pass<'_>) -> Report {
    let old = &world.resource.status;
    let view = View::of(cluster, world, given, pass);
    let findings = findings::all(&view);
    let mut conditions = merge(&old.conditions, findings, cluster.generation, given.now);
    keep_generation_of_ready(cluster, &old.conditions, &mut conditions);
    let status = fields(&view, conditions);
    let events = events::all(&view, &status);
    Report { status, events }
}

/// While a change of the spec is on its way, a cluster that serves is ready by the spec before it:
/// so says the generation, and who waits for the new one goes on waiting.
fn keep_generation_of_ready(cluster: &ValidatedCluster, old: &[Condition], new: &mut [Condition]) {
    let holds = |conditions: &[Condition], kind| {
        find(conditions, kind).is_some_and(|condition| condition.status == "True")
    };
    let under_way = holds(new, ConditionType::Reconciling) || cluster.suspend;
    if !under_way || !holds(new, ConditionType::Ready) || !holds(old, ConditionType::Ready) {
        return;
    }
    let before = find(old, ConditionType::Ready).and_then(|ready| ready.observed_generation);
    let ready = ConditionType::Ready.to_string();
    if let Some(condition) = new.iter_mut().find(|condition| condition.type_ == ready) {
        condition.observed_generation = before.or(condition.observed_generation);
    }
}

fn fields(view: &View<'_>, conditions: Vec<Condition>) -> MembershipClusterStatus {
    let (cluster, world) = (view.cluster, view.world);
    let old = &world.resource.status;
    let wanted = view.servers.len();
    let ready = wanted - view.missing.len();
    let known_id = view.pass.plan.cluster_id.clone().filter(|id| *id != view.given.fresh_id);
    let made = world.stateful_set.ours().is_some();
    let is_ready =
        find(&conditions, ConditionType::Ready).is_some_and(|ready| ready.status == "True");
    let first_ready = is_ready.then(|| whole_seconds(view.given.now));
    MembershipClusterStatus {
        observed_generation: Some(cluster.generation),
        conditions,
        first_ready_time: old.first_ready_time.clone().or(first_ready),
        replicas: i32::try_from(world.pods.len()).unwrap_or(i32::MAX),
        ready_replicas: i32::try_from(ready).unwrap_or(i32::MAX),
        selector: Some(cluster.names.selector_text()),
        servers: Some(format!("{ready}/{wanted}")),
        bucket_replicas: buckets::certain(&view.buckets),
        nats_version: oldest_version(view).or_else(|| old.nats_version.clone()),
        available_image: available_image(view),
        meta_leader: meta_leader(view),
        buckets: view.buckets.clone(),
        migration: migration::status(view),
        membershipd: serving::status(view),
        endpoints: made.then(|| Endpoints {
            nats: cluster.names.client_url(),
            membershipd: serving::endpoint(view),
        }),
        cluster_id: known_id.or_else(|| old.cluster_id.clone()),
    }
}

fn oldest_version(view: &View<'_>) -> Option<String> {
    let numbers = |version: &str| -> Vec<u64> {
        version.split(['.', '-']).map_while(|part| part.parse().ok()).collect()
    };
    let servers = view.nats?.servers.values();
    servers.map(|facts| &facts.version).min_by_key(|version| numbers(version)).cloned()
}

/// A newer default, while the spec leaves the choice to the operator.
fn available_image(view: &View<'_>) -> Option<String> {
    let pod = view.world.stateful_set.ours()?.spec.as_ref()?.template.spec.as_ref()?;
    let running = pod.containers.first()?.image.as_ref()?;
    let default = &view.given.default_image;
    (view.cluster.pod.image.is_none() && running != default).then(|| default.clone())
}

/// The leader with the time since which it has been seen to lead: a settled one, or on a cluster
/// that was up the one that a majority follows.
fn meta_leader(view: &View<'_>) -> Option<MetaLeader> {
    let old = view.world.resource.status.meta_leader.clone();
    let Some(nats) = view.nats else { return old.filter(|_| view.keeps_the_past) };
    let streak = nats.meta.as_ref().ok();
    let settled = streak.filter(|_| view.leader_is_settled());
    let followed = view.followed_leader().filter(|_| view.was_up);
    let leader = settled.map(|streak| streak.leader.as_str()).or(followed)?;
    let held = streak.map_or(Duration::ZERO, |streak| streak.at.saturating_sub(streak.since));
    let since = view.given.now.checked_sub(held).unwrap_or(view.given.now);
    let fresh = MetaLeader { server: leader.to_owned(), since: whole_seconds(since) };
    Some(old.filter(|old| old.server == leader).unwrap_or(fresh))
}

/// For how long a cluster has been on its way to what is wanted, by its status: what looks again
/// may take its time by it. Zero at rest.
#[must_use]
pub fn on_its_way_for(status: &MembershipClusterStatus, now: Timestamp) -> Duration {
    let since = |kind, wanted: &str| {
        let found = find(&status.conditions, kind)?;
        (found.status == wanted).then_some(found.last_transition_time.0)
    };
    let begins = [
        since(ConditionType::Reconciling, "True"),
        since(ConditionType::Degraded, "True"),
        since(ConditionType::Ready, "False"),
        since(ConditionType::Ready, "Unknown"),
    ];
    let latest = begins.into_iter().flatten().max();
    latest.and_then(|since| now.duration_since(since).try_into().ok()).unwrap_or_default()
}

/// What users read of a resource whose spec cannot be acted on.
#[must_use]
pub fn report_invalid(
    old: &MembershipClusterStatus,
    generation: i64,
    why: &str,
    now: Timestamp,
) -> Report {
    let finding = |kind, truth| Finding::new(kind, truth, Reason::InvalidSpec, why);
    let findings = ConditionType::ALL.map(|kind| match kind {
        ConditionType::Ready | ConditionType::Reconciling => finding(kind, Truth::False),
        ConditionType::Stalled => finding(kind, Truth::True),
        ConditionType::Degraded
        | ConditionType::ServersReady
        | ConditionType::MetaLeaderSettled
        | ConditionType::BucketsReady
        | ConditionType::Migrated
        | ConditionType::MembershipdReady => finding(kind, Truth::Unknown),
    });
    let status = MembershipClusterStatus {
        observed_generation: Some(generation),
        conditions: merge(&old.conditions, findings.into(), generation, now),
        ..old.clone()
    };
    let events = events::of_conditions(&old.conditions, &status.conditions);
    Report { status, events }
}
