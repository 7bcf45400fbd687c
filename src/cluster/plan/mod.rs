//! From a cluster and the world to the next deeds.
//!
//! * `step` and `wait` are the words of a plan, `look` is what each decision is made from.
//! * One file an idea, in the order in which a pass asks: `identity` (whose data, whose names),
//!   `children` with `drift`, `buckets`, `restart`, `migrate`, `undo`,
//!   `serve`; and `deletion`.
//! * `pace` says when to look again.
//!
//! A plan holds no progress: it follows from what one look found, so that it does not matter
//! whether the look comes after a step, after a crash or after nothing at all.

mod buckets;
mod children;
mod deletion;
mod drift;
mod identity;
mod look;
mod migrate;
mod pace;
mod restart;
mod serve;
mod step;
mod undo;
mod wait;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

pub use migrate::{JobPlan, MigrationTrouble, MigrationWait};
pub use pace::{BackOff, Towards, probe_pace, requeue_after};
pub use serve::ServeWait;
pub(super) use serve::claim_obstacle;
pub use step::{ChildKind, ObjectId, Step};
pub use wait::{Trouble, Wait};

use look::{Look, Stage};

use super::validate::ValidatedCluster;
use super::world::{Given, World};
use crate::api::v1alpha1::DeletionPolicy;

/// What one pass does, and what it waits for then.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The cluster's id, once it has one.
    pub cluster_id: Option<String>,
    /// Children to apply first, in this order: only those that a write would change.
    pub apply: Vec<Child>,
    /// What is done then, in this order.
    pub steps: Vec<Step>,
    /// What stands between the world and the wanted one, these deeds included.
    pub wait: Wait,
}

/// A child to apply by server-side apply, complete and with its digest annotation.
#[derive(Clone, Debug, PartialEq)]
pub enum Child {
    /// The NATS configuration.
    ConfigMap(Box<ConfigMap>),
    /// One of the Services.
    Service(Box<Service>),
    /// A disruption budget.
    PodDisruptionBudget(Box<PodDisruptionBudget>),
    /// The servers.
    StatefulSet(Box<StatefulSet>),
    /// Pods of the membership service.
    Deployment(Box<Deployment>),
}

/// What a stage makes of a pass.
#[derive(Clone, Debug, Default)]
struct Next {
    apply: Vec<Child>,
    steps: Vec<Step>,
    wait: Wait,
}

/// Decides the next deeds of a cluster.
#[must_use]
pub fn plan(cluster: &ValidatedCluster, world: &World, given: &Given) -> Plan {
    let look = Look { cluster, world, given };
    let next = if cluster.deleting {
        deletion::plan(&look)
    } else if cluster.suspend {
        look::wait(Wait::Suspended)
    } else {
        converge(&look)
    };
    let Next { apply, steps, wait } = next.break_value().unwrap_or_default();
    Plan { cluster_id: identify(&look).continue_value(), apply, steps, wait }
}

/// Whose data this is, when it may be worked on.
fn identify(look: &Look<'_>) -> Stage<String> {
    identity::names_are_free(look)?;
    let cluster_id = identity::cluster_id(look)?;
    identity::volumes_suffice(look)?;
    Stage::Continue(cluster_id)
}

/// Every stage towards the wanted cluster, in its order; the first that has something to do or to
/// wait for ends the pass.
fn converge(look: &Look<'_>) -> Stage {
    finalizer(look)?;
    let cluster_id = identify(look)?;
    identity::size_is_kept(look)?;
    let keys = children::public_keys(look, &cluster_id)?;
    let facts = children::facts(look, &cluster_id, keys);
    children::are_applied(look, &facts)?;
    serve::is_applied(look, &facts)?;
    // The file is served whatever NATS does, and what stands against that does not hold up NATS.
    let file = serve::file_is_served(look, &facts).break_value();
    let file = match file {
        Some(next) if !next.steps.is_empty() || !next.apply.is_empty() => {
            return Stage::Break(next);
        }
        file => file,
    };
    let before = servers_are_as_wanted(look, &cluster_id);
    restart::configurations_are_current(look, &facts, before)?;
    if look.settled().is_none() {
        return look::wait(Wait::MetaLeader);
    }
    if let Some(next) = file {
        return Stage::Break(next);
    }
    serve::buckets_are_served(look, &facts)?;
    migrate::is_as_wanted(look)?;
    serve::is_served(look)
}

/// Servers and buckets: nothing lost, every server ready and of the newest template, every bucket as
/// wanted.
fn servers_are_as_wanted(look: &Look<'_>, cluster_id: &str) -> Stage {
    buckets::nothing_is_lost(look, cluster_id)?;
    let revision = restart::servers_are_ready(look)?;
    match buckets::are_as_wanted(look, cluster_id).break_value() {
        Some(next) if !next.steps.is_empty() => Stage::Break(next),
        before => restart::servers_are_current(look, revision, before),
    }
}

/// The finalizer is there exactly while the policy is `Delete`, and before anything that it is for.
fn finalizer(look: &Look<'_>) -> Stage {
    let wanted = look.cluster.deletion_policy == DeletionPolicy::Delete;
    match (wanted, look.world.resource.has_finalizer) {
        (true, false) => look::act(vec![Step::SetFinalizer], Wait::Children),
        (false, true) => look::act(vec![Step::RemoveFinalizer], Wait::Children),
        (true, true) | (false, false) => look::go_on(),
    }
}
