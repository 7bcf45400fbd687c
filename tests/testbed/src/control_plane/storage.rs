//! The default StorageClass and the settings of local-path-provisioner, which serves it.

use serde::Serialize;
use serde_json::json;

use crate::{Error, Result};

pub(super) const NAMESPACE: &str = "local-path-storage";
pub(super) const CONFIG_MAP: &str = "local-path-config";

/// Where each node keeps its volumes: on its own disk.
const VOLUMES: &str = "/var/lib/volumes";

const CLASS: &str = include_str!("storage.yaml");

/// Makes the folder of a new volume as a fresh file system would look: root's, closed to others.
/// Whoever is to write there needs an fsGroup, as in production.
const SETUP: &str = "#!/bin/sh\nset -eu\nmkdir -m 0755 -p \"$VOL_DIR\"\n";

const TEARDOWN: &str = "#!/bin/sh\nset -eu\nrm -rf \"$VOL_DIR\"\n";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    node_path_map: [NodePaths; 1],
}

#[derive(Serialize)]
struct NodePaths {
    node: &'static str,
    paths: [&'static str; 1],
}

/// The provisioner's configuration file.
pub(super) fn config() -> Result<String> {
    let paths = NodePaths { node: "DEFAULT_PATH_FOR_NON_LISTED_NODES", paths: [VOLUMES] };
    serde_json::to_string(&Config { node_path_map: [paths] })
        .map_err(Error::make("the provisioner's configuration"))
}

/// The pod in which the provisioner makes and removes a volume's folder on its node.
pub(super) fn helper_pod(image: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "helper-pod"},
        "spec": {
            "priorityClassName": "system-node-critical",
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {"name": "helper-pod", "image": image, "imagePullPolicy": "IfNotPresent"},
            ],
        },
    })
    .to_string()
}

/// What must be applied before the provisioner can serve.
pub(super) fn manifest(image: &str) -> Result<String> {
    let config_map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": NAMESPACE},
        "data": {
            "config.json": config()?,
            "helperPod.yaml": helper_pod(image),
            "setup": SETUP,
            "teardown": TEARDOWN,
        },
    });
    Ok(format!("{CLASS}---\n{config_map}\n"))
}
