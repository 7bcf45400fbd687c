//! The StatefulSet of the servers. `Parallel`, because a meta group needs its majority to become
//! ready; `OnDelete`, because the operator restarts servers itself, gated on equal buckets.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use super::nats_config::NatsConfig;
use super::{Facts, metadata, pod};
use crate::api::{CLUSTER_ID, CONFIG_DIGEST, SERVERS};
use crate::cluster::names::CLAIM_TEMPLATE;
use crate::cluster::validate::ValidatedCluster;

pub(super) fn build(cluster: &ValidatedCluster, facts: &Facts, config: &NatsConfig) -> StatefulSet {
    let mut metadata = metadata(cluster, cluster.names.nats());
    metadata.annotations = Some([(CLUSTER_ID.to_owned(), facts.cluster_id.clone())].into());
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            persistent_volume_claim_retention_policy: Some(retain_always()),
            pod_management_policy: Some("Parallel".to_owned()),
            replicas: Some(i32::from(cluster.servers.count())),
            selector: LabelSelector {
                match_labels: Some(cluster.names.selector()),
                ..LabelSelector::default()
            },
            service_name: Some(cluster.names.headless()),
            template: template(cluster, facts, config),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                ..StatefulSetUpdateStrategy::default()
            }),
            volume_claim_templates: Some(vec![claim(cluster, facts)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

/// Kubernetes never deletes a claim by itself; the operator does, under `deletionPolicy: Delete`.
fn retain_always() -> StatefulSetPersistentVolumeClaimRetentionPolicy {
    StatefulSetPersistentVolumeClaimRetentionPolicy {
        when_deleted: Some("Retain".to_owned()),
        when_scaled: Some("Retain".to_owned()),
    }
}

fn template(cluster: &ValidatedCluster, facts: &Facts, config: &NatsConfig) -> PodTemplateSpec {
    let mut labels = cluster.pod.labels.clone();
    labels.extend(cluster.names.labels());
    let mut annotations = cluster.pod.annotations.clone();
    annotations.insert(CONFIG_DIGEST.to_owned(), config.restart_digest.clone());
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(pod::build(cluster, &facts.image)),
    }
}

/// No owner reference: the data outlives the resource unless its policy says otherwise.
fn claim(cluster: &ValidatedCluster, facts: &Facts) -> PersistentVolumeClaim {
    let size = Quantity(cluster.storage_size.0.clone());
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(CLAIM_TEMPLATE.to_owned()),
            labels: Some(cluster.names.labels()),
            annotations: Some(
                [
                    (CLUSTER_ID.to_owned(), facts.cluster_id.clone()),
                    (SERVERS.to_owned(), cluster.servers.count().to_string()),
                ]
                .into(),
            ),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                ..VolumeResourceRequirements::default()
            }),
            storage_class_name: cluster.storage_class.clone(),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
