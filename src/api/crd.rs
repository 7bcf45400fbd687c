//! The CRD as it is installed: what the derive makes, plus what it cannot say.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::v1alpha1::MembershipCluster;

/// The CRD of `MembershipCluster`.
///
/// The status gets a schema default of `observedGeneration: -1`: without it a resource that the
/// operator has not met yet has no status at all, and kstatus (Flux, Helm) would call it current.
#[must_use]
pub fn crd() -> CustomResourceDefinition {
    let mut crd = MembershipCluster::crd();
    let statuses = crd
        .spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut())
        .filter_map(|schema| schema.properties.as_mut()?.get_mut("status"));
    for status in statuses {
        status.default = Some(JSON(json!({"observedGeneration": -1})));
    }
    crd
}
