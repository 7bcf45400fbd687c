//! The two Services: one name a server for its peers, and one address for clients. The monitoring
//! port is on neither.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::metadata;
use crate::cluster::validate::ValidatedCluster;

/// Publishes addresses before readiness: servers find each other in order to become ready.
pub(super) fn build_headless(cluster: &ValidatedCluster) -> Service {
    Service {
        metadata: metadata(cluster, cluster.names.headless()),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".to_owned()),
            publish_not_ready_addresses: Some(true),
            selector: Some(cluster.names.selector()),
            ports: Some(vec![port("client", 4222), port("cluster", 6222)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

pub(super) fn build_client(cluster: &ValidatedCluster) -> Service {
    Service {
        metadata: metadata(cluster, cluster.names.nats()),
        spec: Some(ServiceSpec {
            selector: Some(cluster.names.selector()),
            ports: Some(vec![port("client", 4222)]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn port(name: &str, number: i32) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    }
}
