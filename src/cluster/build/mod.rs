//! Wanted children, one file a kind: pure functions of a [`ValidatedCluster`].
//!
//! Nothing here knows what exists. Random parts (seeds, the cluster id) come in as values, so that
//! the same input always builds the same object.

mod config_map;
mod job;
mod membershipd;
mod nats_config;
mod nats_value;
mod permissions;
mod pod;
mod pod_disruption_budget;
mod pod_options;
mod secret;
mod service;
mod stateful_set;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

pub use job::{build_migration_job, build_unfence_job};
pub use membershipd::{Serving, build_serving};
pub(in crate::cluster) use nats_config::digest;
pub use nats_config::{CONFIG_METADATA, NAME_VARIABLE, PublicKeys, nats_config};
pub use secret::{PUBLIC_KEY, SEED_KEY, build_secret};

use super::serving::Begins;
use super::validate::ValidatedCluster;

/// What a build needs besides the spec: facts that were decided or made elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The random id of the cluster's data.
    pub cluster_id: String,
    /// The public key of each role.
    pub keys: PublicKeys,
    /// The image of the servers.
    pub image: String,
    /// The image of the membership service.
    pub membershipd_image: String,
    /// When the membership service over the buckets begins to serve.
    pub begins: Begins,
}

/// Every child that is applied, in the order of writing: what pods mount and need comes before the
/// StatefulSet that starts them. Secrets are not here: they are created once, never applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// The NATS configuration.
    pub config_map: ConfigMap,
    /// The servers' own names.
    pub headless: Service,
    /// Where clients connect.
    pub client: Service,
    /// At most one server away at a time.
    pub disruption_budget: PodDisruptionBudget,
    /// The servers.
    pub stateful_set: StatefulSet,
}

/// Builds every child.
#[must_use]
pub fn build(cluster: &ValidatedCluster, facts: &Facts) -> Resources {
    let config = nats_config(cluster, &facts.keys);
    Resources {
        config_map: config_map::build(cluster, &config),
        headless: service::build_headless(cluster),
        client: service::build_client(cluster),
        disruption_budget: pod_disruption_budget::build(cluster),
        stateful_set: stateful_set::build(cluster, facts, &config),
    }
}

/// The metadata that every child shares.
fn metadata(cluster: &ValidatedCluster, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(cluster.names.namespace.clone()),
        labels: Some(cluster.names.labels()),
        owner_references: Some(vec![owner(cluster)]),
        ..ObjectMeta::default()
    }
}

/// The reference by which Kubernetes removes a child with its resource.
fn owner(cluster: &ValidatedCluster) -> OwnerReference {
    OwnerReference {
        api_version: "membership.unibus.dev/v1alpha1".to_owned(),
        block_owner_deletion: Some(true),
        controller: Some(true),
        kind: "MembershipCluster".to_owned(),
        name: cluster.names.cluster.clone(),
        uid: cluster.uid.clone(),
    }
}
