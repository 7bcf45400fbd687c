//! The ConfigMap with the NATS configuration. It holds public keys only, no secret.

use k8s_openapi::api::core::v1::ConfigMap;

use super::metadata;
use super::nats_config::NatsConfig;
use crate::cluster::validate::ValidatedCluster;

/// The file's name in the ConfigMap and in the mount.
pub(super) const CONFIG_FILE: &str = "nats.conf";

pub(super) fn build(cluster: &ValidatedCluster, config: &NatsConfig) -> ConfigMap {
    ConfigMap {
        metadata: metadata(cluster, cluster.names.nats()),
        data: Some([(CONFIG_FILE.to_owned(), config.text.clone())].into()),
        ..ConfigMap::default()
    }
}
