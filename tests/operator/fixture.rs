//! Clusters for the tests: a few lines of spec through the real validation.

use membership_operator::api::v1alpha1::MembershipCluster;
use membership_operator::cluster::build::{Facts, PublicKeys};
use membership_operator::cluster::serving::Begins;
use membership_operator::cluster::validate::{ValidatedCluster, validate};
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};

pub const UID: &str = "5a0e5c1e-0000-4000-8000-000000000001";

pub fn resource(name: &str, spec: &Value) -> MembershipCluster {
    serde_json::from_value(json!({
        "apiVersion": "membership.unibus.dev/v1alpha1",
        "kind": "MembershipCluster",
        "metadata": {"name": name, "namespace": "chat", "uid": UID, "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

pub fn cluster(spec: &Value) -> ValidatedCluster {
    validate(&resource("demo", spec)).unwrap()
}

pub fn keys() -> PublicKeys {
    let key = |seed: u8| KeyPair::new_from_raw(KeyPairType::User, [seed; 32]).unwrap().public_key();
    PublicKeys { system: key(1), operator: key(2), membershipd: key(3), migration: key(4) }
}

pub fn facts() -> Facts {
    Facts {
        cluster_id: "0123456789abcdef".to_owned(),
        keys: keys(),
        image: "docker.io/library/nats:2.15.2".to_owned(),
        membershipd_image: "ghcr.io/unibus/membership-operator:0.1.0".to_owned(),
        begins: Begins::AtOnce,
    }
}

/// A spec that sets everything that can be said about the servers.
pub fn production() -> Value {
    json!({
        "replicas": 5,
        "nats": {
            "storage": {"size": "100Gi", "storageClassName": "fast"},
            "debug": true,
            "antiAffinity": "Preferred",
            "image": "registry.example/nats:2.15.3",
            "imagePullPolicy": "IfNotPresent",
            "imagePullSecrets": [{"name": "registry"}],
            "resources": {
                "requests": {"cpu": "500m", "memory": "1Gi"},
                "limits": {"memory": "1Gi", "ephemeral-storage": "1Gi"},
            },
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "nats", "effect": "NoSchedule"}],
            "topologySpreadConstraints": [{
                "maxSkew": 1,
                "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule",
            }],
            "priorityClassName": "important",
            "labels": {"team": "chat"},
            "annotations": {"prometheus.io/scrape": "false"},
            "podSecurityContext": {"runAsUser": 1000, "fsGroup": 1000, "supplementalGroups": [2000]},
        },
        "buckets": {"prefix": "CHAT-EU", "replicas": 5, "maxBytes": "8Gi"},
    })
}
