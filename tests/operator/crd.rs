//! The CRD: equal to the committed file, and refusing what it must with words for people.

use std::fs;
use std::process::Command;

use kube_cel::{Validator, apply_defaults};
use membership_operator::api::crd::crd;
use membership_operator::api::v1alpha1::MembershipCluster;
use serde_json::{Value, json};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/membershipclusters.yaml");

#[test]
fn the_committed_crd_is_what_the_program_prints() {
    let printed =
        Command::new(env!("CARGO_BIN_EXE_membership-operator")).arg("crd").output().unwrap();
    assert!(printed.status.success());
    assert_eq!(
        String::from_utf8(printed.stdout).unwrap(),
        fs::read_to_string(COMMITTED).unwrap(),
        "renew it: membership-operator crd > crds/membershipclusters.yaml"
    );
}

#[test]
fn an_untouched_resource_is_not_taken_for_a_current_one() {
    assert_eq!(schema()["properties"]["status"]["default"], json!({"observedGeneration": -1}));
}

fn schema() -> Value {
    serde_json::to_value(&crd().spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema)
        .unwrap()
}

/// What the API server would make of a resource: defaults filled in.
fn stored(name: &str, spec: &Value) -> Value {
    let resource = json!({
        "apiVersion": "membership.unibus.dev/v1alpha1",
        "kind": "MembershipCluster",
        "metadata": {"name": name},
        "spec": spec,
    });
    apply_defaults(&schema(), &resource)
}

fn refusals(new: &Value, old: Option<&Value>) -> Vec<String> {
    let errors = Validator::new().validate(&schema(), new, old).err();
    let mut messages: Vec<String> = errors
        .iter()
        .flat_map(|errors| errors.as_slice())
        .map(|error| error.message.clone())
        .collect();
    messages.sort();
    messages
}

#[test]
fn every_rule_compiles() {
    let schema = kube_cel::compile_schema(&schema());
    assert!(!schema.has_errors(), "{:?}", schema.compilation_errors());
}

#[test]
fn the_empty_spec_is_three_servers_with_every_default_spelled_out() {
    let resource = stored("demo", &json!({}));
    assert_eq!(refusals(&resource, None), Vec::<String>::new());
    assert_eq!(
        resource["spec"],
        json!({
            "replicas": 3,
            "nats": {"storage": {"size": "10Gi"}, "debug": false, "antiAffinity": "Required"},
            "buckets": {"prefix": "UNIBUS", "maxBytes": "1Gi"},
            "bootstrap": {"settle": "5s", "timeout": "120s"},
            "deletionPolicy": "Retain",
            "suspend": false,
        })
    );
    serde_json::from_value::<MembershipCluster>(resource).unwrap();
}

#[test]
fn sensible_specs_are_accepted() {
    let digest = format!("registry.example:5000/team/nats@sha256:{}", "a".repeat(64));
    let table = [
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
    ];
    for spec in table {
        let resource = stored("demo", &spec);
        assert_eq!(refusals(&resource, None), Vec::<String>::new(), "{spec}");
        serde_json::from_value::<MembershipCluster>(resource).unwrap();
    }
}

#[test]
fn senseless_specs_are_refused_with_a_sentence() {
    let table = [
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
    ];
    for (spec, words) in table {
        let refusals = refusals(&stored("demo", &spec), None);
        assert!(refusals.iter().any(|message| message.contains(words)), "{spec}: {refusals:?}");
    }
}

#[test]
fn names_that_pods_and_volumes_cannot_carry_are_refused() {
    for name in ["demo", "a", "a-b", &"a".repeat(40)] {
        assert_eq!(refusals(&stored(name, &json!({})), None), Vec::<String>::new(), "{name}");
    }
    for name in ["0", "a.b", "-a", "a-", &"a".repeat(41)] {
        let refusals = refusals(&stored(name, &json!({})), None);
        assert!(refusals.iter().any(|m| m.contains("metadata.name must")), "{name}: {refusals:?}");
    }
}

#[test]
fn changes_that_the_world_cannot_follow_are_refused() {
    let class = |name: &str| json!({"nats": {"storage": {"storageClassName": name}}});
    let table = [
        (json!({"replicas": 3}), json!({"replicas": 5}), "replicas cannot be changed yet"),
        (json!({"replicas": 1}), json!({"replicas": 3}), "replicas cannot be changed yet"),
        (json!({}), json!({"nats": {"storage": {"size": "20Gi"}}}), "size cannot be changed yet"),
        (json!({"nats": {"storage": {"size": "20Gi"}}}), json!({}), "size cannot be changed yet"),
        (class("fast"), class("slow"), "storageClassName cannot be changed"),
        (class("fast"), json!({}), "storageClassName cannot be changed"),
        (json!({}), class("fast"), "storageClassName cannot be changed"),
        (json!({}), json!({"buckets": {"prefix": "OTHER"}}), "prefix cannot be changed"),
        (json!({}), json!({"buckets": {"maxBytes": "500Mi"}}), "maxBytes cannot be changed"),
    ];
    for (old, new, words) in table {
        let refusals = refusals(&stored("demo", &new), Some(&stored("demo", &old)));
        assert!(
            refusals.iter().any(|message| message.contains(words)),
            "{old} -> {new}: {refusals:?}"
        );
    }
}

#[test]
fn changes_that_the_operator_acts_on_are_accepted() {
    let table = [
        (json!({}), json!({"nats": {"storage": {"size": "10240Mi"}}})),
        (json!({}), json!({"nats": {"image": "nats:2.15.3", "debug": true}})),
        (json!({"buckets": {"replicas": 1}}), json!({"buckets": {"replicas": 3}})),
        (json!({}), json!({"bootstrap": {"settle": "1s"}, "deletionPolicy": "Delete"})),
        (json!({}), json!({"suspend": true})),
    ];
    for (old, new) in table {
        let refusals = refusals(&stored("demo", &new), Some(&stored("demo", &old)));
        assert_eq!(refusals, Vec::<String>::new(), "{new}");
    }
}
