//! The PodDisruptionBudgets: a drain takes one server at a time, and one replica of the membership
//! service.

use std::collections::BTreeMap;

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::cluster::validate::ValidatedCluster;

pub(super) fn build(cluster: &ValidatedCluster) -> PodDisruptionBudget {
    one_at_a_time(metadata(cluster, cluster.names.nats()), cluster.names.selector())
}

/// A budget that lets one pod of a selector go at a time.
pub(super) fn one_at_a_time(
    metadata: ObjectMeta,
    selector: BTreeMap<String, String>,
) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata,
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector {
                match_labels: Some(selector),
                ..LabelSelector::default()
            }),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
