//! The Services: one name a server for its peers, one address for clients, and one for callers of
//! the membership service. The monitoring and admin ports are on none.

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

/// Whatever serves and is ready: a service over the file says that it is not once its membership has
/// moved, and one over the buckets that it is only then. So the address stays through a move, with
/// nobody switching it.
pub(super) fn build_membershipd(cluster: &ValidatedCluster) -> Service {
    let mut metadata = metadata(cluster, cluster.names.membershipd());
    metadata.labels = Some(cluster.names.membershipd_labels());
    Service {
        metadata,
        spec: Some(ServiceSpec {
            selector: Some(cluster.names.membershipd_selector()),
            ports: Some(vec![port("http", 8080)]),
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
