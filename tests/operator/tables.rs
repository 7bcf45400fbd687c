//! Specs and changes that are taken or refused: judged here by an interpreter of the CRD's rules, and
//! by a real API server among the tests on Kubernetes. The two must agree.

use serde_json::{Value, json};

/// Specs that make sense.
pub fn sensible() -> Vec<Value> {
    let digest = format!("registry.example:5000/team/nats@sha256:{}", "a".repeat(64));
    vec![
        json!({"replicas": 1}),
        json!({"replicas": 5, "buckets": {"replicas": 3}}),
        json!({"replicas": 5, "buckets": {"replicas": 5}}),
        json!({"nats": {"storage": {"size": "100Gi", "storageClassName": "fast"}}}),
        json!({"nats": {"storage": {"size": "1Gi"}}, "buckets": {"maxBytes": "100Mi"}}),
        json!({"nats": {"image": "docker.io/library/nats:2.15.2"}}),
        json!({"nats": {"image": "nats:2.15.2-scratch"}}),
        json!({"nats": {"image": digest}}),
        json!({"nats": {"resources": {"limits": {"memory": "512Mi", "cpu": 2}}}}),
        json!({"nats": {"labels": {"team": "chat"}, "annotations": {"prometheus.io/scrape": "false"}}}),
        json!({"nats": {"podSecurityContext": {"runAsUser": 1000, "supplementalGroups": [2000]}}}),
        json!({"bootstrap": {"settle": "500ms", "timeout": "5m"}}),
        json!({"deletionPolicy": "Delete", "suspend": true}),
        json!({"sqlite": {"claimName": "membership-sqlite"}}),
        json!({"sqlite": {"claimName": "old.claim-1", "path": "data/v2/members_1.db"}}),
        json!({"sqlite": {"claimName": "a"}, "migration": {"backup": "Never"}}),
        json!({"sqlite": {"claimName": "a"}, "migration": {"backupClaimName": "b"}}),
        json!({"sqlite": {"claimName": "a"}, "migration": {
            "image": "registry.example/membershipd:1.2",
            "podSecurityContext": {"runAsUser": 1000, "fsGroup": 1000},
            "resources": {"limits": {"memory": "256Mi"}},
        }}),
        json!({"membershipd": {}}),
        json!({"membershipd": {"store": "SQLite"}, "sqlite": {"claimName": "a"}}),
        json!({"membershipd": {
            "replicas": 3,
            "store": "JetStream",
            "firstAdmin": {"publicKey": "ab".repeat(32), "handle": "Ada Lovelace"},
            "image": "registry.example/membershipd:1.2",
            "resources": {"limits": {"memory": "256Mi"}},
        }}),
    ]
}

/// Specs that make none, and what is said of each.
pub fn senseless() -> Vec<(Value, &'static str)> {
    [senseless_servers(), senseless_services()].concat()
}

fn senseless_services() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"membershipd": {"store": "SQLite"}}), "store: SQLite needs sqlite"),
        (
            json!({"membershipd": {"firstAdmin": {"publicKey": "AB".repeat(32), "handle": "a"}}}),
            "publicKey must be",
        ),
        (
            json!({"membershipd": {"firstAdmin": {"publicKey": "ab".repeat(31), "handle": "a"}}}),
            "publicKey must be",
        ),
        (
            json!({"membershipd": {"firstAdmin": {"publicKey": "ab".repeat(32), "handle": "a "}}}),
            "handle must be one line",
        ),
        (json!({"membershipd": {"labels": {"membership.unibus.dev/x": "y"}}}), "a label uses"),
    ]
}

fn senseless_servers() -> Vec<(Value, &'static str)> {
    vec![
        (json!({"replicas": 0}), "replicas must be 1, 3 or 5"),
        (json!({"replicas": -1}), "replicas must be 1, 3 or 5"),
        (json!({"replicas": 2}), "replicas must be 1, 3 or 5"),
        (json!({"replicas": 1000}), "replicas must be 1, 3 or 5"),
        (json!({"replicas": 1, "buckets": {"replicas": 3}}), "buckets.replicas must not exceed"),
        (json!({"buckets": {"replicas": 2}}), "buckets.replicas must be 1, 3 or 5"),
        (json!({"buckets": {"prefix": "a.b"}}), "prefix must start with a letter"),
        (json!({"buckets": {"prefix": "*"}}), "prefix must start with a letter"),
        (json!({"buckets": {"maxBytes": "2Gi"}}), "maxBytes is too large"),
        (json!({"nats": {"storage": {"size": "1Gi"}}}), "maxBytes is too large"),
        (json!({"nats": {"storage": {"size": "10"}}}), "whole number with a unit"),
        (json!({"nats": {"storage": {"size": "-1Gi"}}}), "whole number with a unit"),
        (json!({"nats": {"storage": {"size": "10gi"}}}), "whole number with a unit"),
        (json!({"nats": {"storage": {"size": "10Gi "}}}), "whole number with a unit"),
        (json!({"nats": {"storage": {"size": "1e30"}}}), "whole number with a unit"),
        (json!({"nats": {"storage": {"size": "Infinity"}}}), "whole number with a unit"),
        (json!({"nats": {"image": "nats"}}), "image must be"),
        (json!({"nats": {"image": "nats:2.15.2\n"}}), "image must be"),
        (json!({"nats": {"image": "na ts:1"}}), "image must be"),
        (json!({"nats": {"image": "NATS:1"}}), "image must be"),
        (json!({"nats": {"image": "nats:1:2"}}), "image must be"),
        (json!({"nats": {"image": "nats@sha256:abc"}}), "image must be"),
        (json!({"nats": {"labels": {"app.kubernetes.io/name": "x"}}}), "a label uses a prefix"),
        (
            json!({"nats": {"annotations": {"argocd.argoproj.io/tracking-id": "x"}}}),
            "an annotation uses a prefix",
        ),
        (json!({"bootstrap": {"settle": "0s"}}), "settle must be a duration above zero"),
        (json!({"bootstrap": {"settle": "5"}}), "settle must be a duration above zero"),
        (json!({"bootstrap": {"settle": "-5s"}}), "settle must be a duration above zero"),
        (json!({"bootstrap": {"timeout": "5 m"}}), "timeout must be a duration above zero"),
        (json!({"bootstrap": {"settle": "3m"}}), "settle must be shorter than timeout"),
        (json!({"migration": {}}), "migration needs sqlite"),
        (
            json!({"sqlite": {"claimName": "a", "path": "/etc/passwd"}}),
            "path must be a path inside",
        ),
        (json!({"sqlite": {"claimName": "a", "path": "a/../../b"}}), "path must be a path inside"),
        (json!({"sqlite": {"claimName": "a", "path": "--db"}}), "path must be a path inside"),
        (json!({"sqlite": {"claimName": "a", "path": "a b.db"}}), "path must be a path inside"),
        (json!({"sqlite": {"claimName": "a", "path": "a.db\n"}}), "path must be a path inside"),
        (
            json!({"sqlite": {"claimName": "a"}, "migration": {"backup": "Never", "backupClaimName": "b"}}),
            "backupClaimName needs backup: Always",
        ),
        (
            json!({"sqlite": {"claimName": "a"}, "migration": {"backupClaimName": "a"}}),
            "must name another claim than sqlite.claimName",
        ),
        (
            json!({"sqlite": {"claimName": "a"}, "migration": {"image": "membershipd"}}),
            "image must be",
        ),
    ]
}

/// Names that pods and volumes can carry.
pub fn good_names() -> Vec<String> {
    ["demo", "a", "a-b"].map(str::to_owned).into_iter().chain(["a".repeat(40)]).collect()
}

/// Names that they cannot.
pub fn bad_names() -> Vec<String> {
    ["0", "a.b", "-a", "a-"].map(str::to_owned).into_iter().chain(["a".repeat(41)]).collect()
}

/// Changes that the world cannot follow, and what is said of each.
pub fn refused_changes() -> Vec<(Value, Value, &'static str)> {
    let class = |name: &str| json!({"nats": {"storage": {"storageClassName": name}}});
    vec![
        (json!({"replicas": 3}), json!({"replicas": 5}), "replicas cannot be changed yet"),
        (json!({"replicas": 1}), json!({"replicas": 3}), "replicas cannot be changed yet"),
        (json!({}), json!({"nats": {"storage": {"size": "20Gi"}}}), "size cannot be changed yet"),
        (json!({"nats": {"storage": {"size": "20Gi"}}}), json!({}), "size cannot be changed yet"),
        (class("fast"), class("slow"), "storageClassName cannot be changed"),
        (class("fast"), json!({}), "storageClassName cannot be changed"),
        (json!({}), class("fast"), "storageClassName cannot be changed"),
        (json!({}), json!({"buckets": {"prefix": "OTHER"}}), "prefix cannot be changed"),
        (json!({}), json!({"buckets": {"maxBytes": "500Mi"}}), "maxBytes cannot be changed"),
    ]
}

/// Changes that the operator acts on.
pub fn accepted_changes() -> Vec<(Value, Value)> {
    vec![
        (json!({}), json!({"nats": {"storage": {"size": "10240Mi"}}})),
        (json!({}), json!({"nats": {"image": "nats:2.15.3", "debug": true}})),
        (json!({"buckets": {"replicas": 1}}), json!({"buckets": {"replicas": 3}})),
        (json!({}), json!({"bootstrap": {"settle": "1s"}, "deletionPolicy": "Delete"})),
        (json!({}), json!({"suspend": true})),
        (json!({}), json!({"sqlite": {"claimName": "a"}})),
        (json!({"sqlite": {"claimName": "a"}}), json!({})),
        (
            json!({"sqlite": {"claimName": "a"}}),
            json!({"sqlite": {"claimName": "b", "path": "c.db"}}),
        ),
        (
            json!({"sqlite": {"claimName": "a"}, "membershipd": {"store": "SQLite"}}),
            json!({"sqlite": {"claimName": "a"}, "membershipd": {"store": "JetStream"}}),
        ),
        (json!({"membershipd": {"replicas": 1}}), json!({})),
    ]
}
