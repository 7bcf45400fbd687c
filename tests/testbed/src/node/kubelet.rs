//! The configuration of kubelet and kube-proxy: pure text. The paths are the node's own.

use std::net::Ipv4Addr;

use serde::Serialize;
use serde_json::json;

use super::{KUBECONFIG, containerd};
use crate::network::plan::PODS;
use crate::{Error, Result};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KubeletConfiguration {
    api_version: &'static str,
    kind: &'static str,
    authentication: Authentication,
    authorization: Authorization,
    cgroup_driver: &'static str,
    cgroup_root: String,
    #[serde(rename = "clusterDNS")]
    cluster_dns: [Ipv4Addr; 1],
    cluster_domain: &'static str,
    container_runtime_endpoint: String,
    enforce_node_allocatable: [&'static str; 0],
    eviction_hard: Eviction,
    fail_cgroup_v1: bool,
    fail_swap_on: bool,
    #[serde(rename = "imageGCHighThresholdPercent")]
    image_gc_high_threshold_percent: u8,
    #[serde(rename = "imageGCLowThresholdPercent")]
    image_gc_low_threshold_percent: u8,
    node_status_update_frequency: &'static str,
    pod_logs_dir: &'static str,
    resolv_conf: &'static str,
    serialize_image_pulls: bool,
    sync_frequency: &'static str,
    volume_plugin_dir: &'static str,
}

#[derive(Serialize)]
struct Authentication {
    anonymous: Switch,
    webhook: Switch,
}

#[derive(Serialize)]
struct Switch {
    enabled: bool,
}

#[derive(Serialize)]
struct Authorization {
    mode: &'static str,
}

/// Tiny, because a full disk or memory of the host is the host's matter: pods must not be evicted
/// for it.
#[derive(Serialize)]
struct Eviction {
    #[serde(rename = "memory.available")]
    memory: &'static str,
    #[serde(rename = "nodefs.available")]
    node_disk: &'static str,
    #[serde(rename = "imagefs.available")]
    image_disk: &'static str,
    #[serde(rename = "nodefs.inodesFree")]
    node_inodes: &'static str,
}

/// The kubelet's file. `dns` is the cluster's name server, `cgroup_root` the node's own cgroup.
pub(super) fn config(dns: Ipv4Addr, cgroup_root: String) -> Result<String> {
    let config = KubeletConfiguration {
        api_version: "kubelet.config.k8s.io/v1beta1",
        kind: "KubeletConfiguration",
        // Only the cluster's own network namespaces reach the kubelet; see `network`.
        authentication: Authentication {
            anonymous: Switch { enabled: true },
            webhook: Switch { enabled: false },
        },
        authorization: Authorization { mode: "AlwaysAllow" },
        cgroup_driver: "cgroupfs",
        cgroup_root,
        cluster_dns: [dns],
        cluster_domain: "cluster.local",
        container_runtime_endpoint: format!("unix://{}", containerd::SOCKET),
        enforce_node_allocatable: [],
        eviction_hard: Eviction {
            memory: "50Mi",
            node_disk: "1%",
            image_disk: "1%",
            node_inodes: "1%",
        },
        fail_cgroup_v1: false,
        fail_swap_on: false,
        // Never: an imported image that was collected cannot be pulled again.
        image_gc_high_threshold_percent: 100,
        image_gc_low_threshold_percent: 99,
        node_status_update_frequency: "4s",
        pod_logs_dir: "/var/log/pods",
        // The host's name servers are not reached from here.
        resolv_conf: "",
        serialize_image_pulls: false,
        // What a mounted ConfigMap holds is looked at so often: a minute is long for a test.
        sync_frequency: "10s",
        // The default lies in the host's /usr.
        volume_plugin_dir: "/var/lib/kubelet/volume-plugins",
    };
    serde_saphyr::to_string(&config).map_err(Error::make("the kubelet's configuration"))
}

/// The kubelet's flags: what its file cannot say.
pub(super) fn flags(node: &str, address: Ipv4Addr) -> Vec<String> {
    vec![
        "--config=/var/config/kubelet.yaml".to_owned(),
        format!("--kubeconfig=/var/{KUBECONFIG}"),
        format!("--hostname-override={node}"),
        format!("--node-ip={address}"),
        "--root-dir=/var/lib/kubelet".to_owned(),
        "--cert-dir=/var/lib/kubelet/pki".to_owned(),
        // Every node a zone of its own, for spread constraints to act on.
        format!("--node-labels=topology.kubernetes.io/zone=zone-{node}"),
    ]
}

/// kube-proxy's file. The connection-tracking limits are left as they are: they are the host's.
pub(super) fn proxy_config(node: &str) -> String {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clusterCIDR": PODS,
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": format!("/var/{KUBECONFIG}")},
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubelets_file_names_fields_as_kubernetes_does() {
        let text = config("10.123.7.1".parse().unwrap(), "/testbed-dev/node1".to_owned()).unwrap();
        for line in [
            "kind: KubeletConfiguration",
            "cgroupRoot: /testbed-dev/node1",
            "failCgroupV1: false",
            "imageGCHighThresholdPercent: 100",
            "enforceNodeAllocatable: []",
            "syncFrequency: 10s",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.contains("clusterDNS:\n"), "{text}");
    }
}
