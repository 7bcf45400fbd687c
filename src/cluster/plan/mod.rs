//! From a cluster and the world to the next deeds.
//!
//! * [`step`] and [`wait`] are the words of a plan.
//!
//! A plan holds no progress: it follows from what one look found, so that it does not matter
//! whether the look comes after a step, after a crash or after nothing at all.

mod step;
mod wait;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

pub use step::{ObjectId, Step};
pub use wait::{Trouble, Wait};

/// What one pass does, and what it waits for then.
#[derive(Clone, Debug, PartialEq)]
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
    /// One of the two Services.
    Service(Box<Service>),
    /// The disruption budget.
    PodDisruptionBudget(Box<PodDisruptionBudget>),
    /// The servers.
    StatefulSet(Box<StatefulSet>),
}
