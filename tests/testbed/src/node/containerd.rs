//! The configuration of containerd and of the pods' network on a node: pure text.

use ipnet::Ipv4Net;
use serde::Serialize;
use serde_json::json;

use crate::{Error, Result};

/// Its socket, within the node.
pub(super) const SOCKET: &str = "/run/containerd/containerd.sock";

/// Where the pods' network is described, within the node.
const NETWORKS: &str = "/var/config/cni";

/// Debian's package puts the CNI plug-ins here.
const PLUGINS: &str = "/usr/lib/cni";

#[derive(Serialize)]
struct Config {
    version: u8,
    root: &'static str,
    state: &'static str,
    disabled_plugins: Vec<&'static str>,
    grpc: Grpc,
    plugins: Plugins,
}

#[derive(Serialize)]
struct Grpc {
    address: &'static str,
}

#[derive(Serialize)]
struct Plugins {
    #[serde(rename = "io.containerd.grpc.v1.cri")]
    cri: Cri,
}

#[derive(Serialize)]
struct Cri {
    sandbox_image: &'static str,
    disable_apparmor: bool,
    restrict_oom_score_adj: bool,
    cni: Cni,
    containerd: Runtimes,
}

#[derive(Serialize)]
struct Cni {
    bin_dir: &'static str,
    conf_dir: &'static str,
}

#[derive(Serialize)]
struct Runtimes {
    snapshotter: &'static str,
    default_runtime_name: &'static str,
    runtimes: Runc,
}

#[derive(Serialize)]
struct Runc {
    runc: Runtime,
}

#[derive(Serialize)]
struct Runtime {
    runtime_type: &'static str,
    options: RuncOptions,
}

#[derive(Serialize)]
struct RuncOptions {
    #[serde(rename = "SystemdCgroup")]
    systemd_cgroup: bool,
}

/// containerd's own file.
pub(super) fn config(sandbox_image: &'static str) -> Result<String> {
    let runtime = Runtime {
        runtime_type: "io.containerd.runc.v2",
        options: RuncOptions { systemd_cgroup: false },
    };
    let config = Config {
        version: 2,
        root: "/var/lib/containerd",
        state: "/run/containerd",
        // `opt` makes /opt/containerd on the host; the snapshotters look for file systems that are
        // not there and fill the log.
        disabled_plugins: vec![
            "io.containerd.internal.v1.opt",
            "io.containerd.snapshotter.v1.aufs",
            "io.containerd.snapshotter.v1.btrfs",
            "io.containerd.snapshotter.v1.devmapper",
            "io.containerd.snapshotter.v1.zfs",
        ],
        grpc: Grpc { address: SOCKET },
        plugins: Plugins {
            cri: Cri {
                sandbox_image,
                disable_apparmor: true,
                // Without CAP_SYS_RESOURCE a score below containerd's own is refused.
                restrict_oom_score_adj: true,
                cni: Cni { bin_dir: PLUGINS, conf_dir: NETWORKS },
                containerd: Runtimes {
                    snapshotter: "overlayfs",
                    default_runtime_name: "runc",
                    runtimes: Runc { runc: runtime },
                },
            },
        },
    };
    toml::to_string(&config).map_err(Error::make("containerd's configuration"))
}

/// The pods' network: a bridge on each node, with addresses from the node's own range.
pub(super) fn network(pods: Ipv4Net) -> String {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": true,
                "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    // In memory: after a power-off no pod is left that could hold an address.
                    "dataDir": "/run/cni",
                    "ranges": [[{"subnet": pods}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containerd_keeps_its_socket_where_it_dies_with_the_node_and_images_where_they_do_not() {
        let text = config("registry.k8s.io/pause:3.10.2").unwrap();
        assert!(text.contains("state = \"/run/containerd\""), "{text}");
        assert!(text.contains("root = \"/var/lib/containerd\""), "{text}");
        let cri = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\nSystemdCgroup = false";
        assert!(text.contains(cri), "{text}");
    }
}
