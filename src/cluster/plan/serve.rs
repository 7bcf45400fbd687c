//! The membership service: its objects, when it starts over the buckets and over the SQLite file,
//! and when what is not wanted any more goes. The two never take changes at the same time: where
//! something is to be moved, pods over the buckets start before that begins, and wait by themselves
//! until the control record says that it is done.

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::children::drifted;
use super::drift::sealed;
use super::identity::data_was_held;
use super::look::{Look, Stage, act, apply, go_on, wait};
use super::migrate::{MigrationTrouble, MigrationWait, user_trouble};
use super::wait::Trouble;
use super::{Child, ChildKind, Next, ObjectId, Step, Wait, migrate, undo};
use crate::cluster::build::{Facts, build_serving};
use crate::cluster::migration::{Mark, SourceUser};
use crate::cluster::serving::{Begins, Source, Wanted, is_rolled_out};
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::world::{ControlRecord, Found, Lookup, World};

/// What is waited for of the membership service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServeWait {
    /// Pods that take up a change.
    Rolling {
        /// Why one does not run.
        trouble: Option<String>,
    },
    /// Pods that are not ready.
    Missing {
        /// How many are.
        ready: usize,
        /// How many are wanted.
        wanted: u8,
        /// Why one does not run.
        trouble: Option<String>,
    },
    /// What is not wanted any more to be gone.
    Leaving {
        /// What.
        what: String,
    },
}

/// What there is of the service is as it is wanted; a Deployment that is not there stays away.
pub(super) fn is_applied(look: &Look<'_>, facts: &Facts) -> Stage {
    let Some(wanted) = &look.cluster.membershipd else { return nothing_is_left(look) };
    let (built, seen) = (build_serving(look.cluster, wanted, facts), &look.world.membershipd);
    let deployment = match wanted.source {
        Source::Buckets => Some(built.buckets),
        Source::File => built.file,
    };
    let there = seen.deployment(wanted.source).ours().is_some();
    let deployment = deployment.filter(|_| there);
    let changes: Vec<Child> = [
        drifted(&seen.service, built.service, Child::Service),
        drifted(&seen.disruption_budget, built.disruption_budget, Child::PodDisruptionBudget),
        deployment.and_then(|new| drifted(seen.deployment(wanted.source), new, Child::Deployment)),
    ]
    .into_iter()
    .flatten()
    .collect();
    if changes.is_empty() { go_on() } else { apply(changes) }
}

/// Nothing is left of a service that is not wanted any more.
fn nothing_is_left(look: &Look<'_>) -> Stage {
    let seen = &look.world.membershipd;
    let steps: Vec<Step> = [
        removal(ChildKind::Deployment, &seen.buckets),
        removal(ChildKind::Deployment, &seen.file),
        removal(ChildKind::Service, &seen.service),
        removal(ChildKind::PodDisruptionBudget, &seen.disruption_budget),
    ]
    .into_iter()
    .flatten()
    .collect();
    if steps.is_empty() {
        return go_on();
    }
    let what = format!("the membership service {}", look.cluster.names.membershipd());
    act(steps, Wait::Serving(ServeWait::Leaving { what }))
}

/// The removal of an object, if it is there, ours, and not on its way out.
fn removal<T: Metadata<Ty = ObjectMeta>>(kind: ChildKind, found: &Found<T>) -> Option<Step> {
    let metadata = found.ours()?.metadata();
    let object = ObjectId {
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
    };
    metadata.deletion_timestamp.is_none().then_some(Step::Remove { kind, object })
}

/// Lets the pods over a source end, and waits until they have.
pub(super) fn has_left(look: &Look<'_>, source: Source) -> Stage {
    let seen = &look.world.membershipd;
    let deployment = seen.deployment(source);
    let pod = seen.pods(source).next().map(|pod| format!("Pod {}", pod.name));
    let name = deployment.ours().and_then(|found| found.metadata.name.clone());
    let Some(what) = name.map(|name| format!("Deployment {name}")).or(pod) else {
        return go_on();
    };
    let steps = removal(ChildKind::Deployment, deployment).into_iter().collect();
    act(steps, Wait::Serving(ServeWait::Leaving { what }))
}

/// What the control record says, if anybody can say.
fn record<'a>(look: &Look<'a>) -> Option<Option<&'a ControlRecord>> {
    match &look.nats()?.control {
        Lookup::Unknown | Lookup::Unreadable { .. } => None,
        Lookup::Absent => Some(None),
        Lookup::Present(record) => Some(Some(record)),
    }
}

/// The SQLite file is served, where that is wanted and may be.
pub(super) fn file_is_served(look: &Look<'_>, facts: &Facts) -> Stage {
    let Some(wanted) = wanted_from(look, Source::File) else { return go_on() };
    let known = record(look);
    there_is_a_way_back(known)?;
    let seen = &look.world.membershipd;
    undo::is_undone(look)?;
    if seen.file.ours().is_some() {
        return if known.is_some() { has_left(look, Source::Buckets) } else { go_on() };
    }
    // Without NATS' word, a cluster that held data may be one that is served from the buckets.
    if known.is_none() && (data_was_held(look) || seen.buckets.ours().is_some()) {
        return wait(Wait::Nats);
    }
    has_left(look, Source::Buckets)?;
    if let Some(trouble) = claim_obstacle(look.cluster, look.world) {
        return wait(Wait::Person(Trouble::Migration(trouble)));
    }
    if let Some(pod) = seen.pods(Source::File).next() {
        let what = format!("Pod {}", pod.name);
        return wait(Wait::Serving(ServeWait::Leaving { what }));
    }
    match build_serving(look.cluster, wanted, facts).file {
        Some(file) => apply(vec![made(file)]),
        None => go_on(),
    }
}

/// The membership did not come into the buckets for good.
fn there_is_a_way_back(known: Option<Option<&ControlRecord>>) -> Stage {
    let Some(record) = known.flatten() else { return go_on() };
    let moved = matches!(record.migration, Some(Mark { done: true, .. }));
    if moved || record.served {
        return wait(Wait::Person(Trouble::NoWayBack { moved }));
    }
    go_on()
}

fn made(deployment: k8s_openapi::api::apps::v1::Deployment) -> Child {
    Child::Deployment(Box::new(sealed(deployment, Metadata::metadata_mut)))
}

/// What stands against serving the SQLite file. A claim that no volume is bound to yet is none: its
/// first pod may be what it waits for.
pub(in crate::cluster) fn claim_obstacle(
    cluster: &ValidatedCluster,
    world: &World,
) -> Option<MigrationTrouble> {
    let claim = cluster.migration.as_ref()?.source.claim.clone();
    let Some(seen) = world.migration.claim.as_ref().filter(|seen| !seen.deleting) else {
        return Some(MigrationTrouble::ClaimMissing { claim });
    };
    if seen.released_to.as_ref() != Some(&cluster.names.cluster) {
        return Some(MigrationTrouble::ClaimNotReleased { claim, to: seen.released_to.clone() });
    }
    let others: Vec<&SourceUser> = world.migration.users.iter().filter(|user| !user.own).collect();
    user_trouble(&others, &claim)
}

fn wanted_from<'a>(look: &Look<'a>, source: Source) -> Option<&'a Wanted> {
    look.cluster.membershipd.as_ref().filter(|wanted| wanted.source == source)
}

/// The service over the buckets is made: all of them are as wanted here. What is to be moved need not
/// have moved, for its pods wait for that; once nothing is to be moved any more, they need not wait.
pub(super) fn buckets_are_served(look: &Look<'_>, facts: &Facts) -> Stage {
    let Some(wanted) = wanted_from(look, Source::Buckets) else { return go_on() };
    let live = look.world.membershipd.buckets.ours().map(Begins::of);
    if live == Some(Begins::AtOnce) {
        return go_on();
    }
    let Some(Some(record)) = record(look) else { return wait(Wait::Nats) };
    if record.migration.is_some() || look.cluster.to_move().is_some() {
        if live.is_some() {
            return go_on();
        }
        let apply = vec![made(build_serving(look.cluster, wanted, facts).buckets)];
        let wait = match &record.migration {
            None => Wait::Migration(MigrationWait::Beginning),
            Some(_) => Wait::Children,
        };
        return Stage::Break(Next { apply, wait, ..Next::default() });
    }
    // The file is left behind, and nobody serves it any more.
    migrate::no_job_is_left(look)?;
    has_left(look, Source::File)?;
    let facts = Facts { begins: Begins::AtOnce, ..facts.clone() };
    apply(vec![made(build_serving(look.cluster, wanted, &facts).buckets)])
}

/// As many pods as wanted are ready with what is wanted, and none of the other kind is left. What
/// was to be moved has moved here.
pub(super) fn is_served(look: &Look<'_>) -> Stage {
    let Some(wanted) = &look.cluster.membershipd else { return go_on() };
    let seen = &look.world.membershipd;
    let Some(deployment) = seen.deployment(wanted.source).ours() else {
        return wait(Wait::Children);
    };
    if wanted.source == Source::Buckets {
        has_left(look, Source::File)?;
    }
    let trouble = seen.trouble(wanted.source);
    if !is_rolled_out(deployment) {
        return wait(Wait::Serving(ServeWait::Rolling { trouble }));
    }
    let (ready, count) = (seen.ready(wanted.source), wanted.count());
    if ready < usize::from(count) {
        return wait(Wait::Serving(ServeWait::Missing { ready, wanted: count, trouble }));
    }
    go_on()
}
