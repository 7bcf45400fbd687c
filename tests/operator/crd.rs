//! The CRD: equal to the committed file, and refusing what it must with words for people.

use std::fs;
use std::process::Command;

use kube_cel::{Validator, apply_defaults};
use membership_operator::api::crd::crd;
use membership_operator::api::v1alpha1::MembershipCluster;
use serde_json::{Value, json};

use crate::tables::{
    accepted_changes, bad_names, good_names, refused_changes, senseless, sensible,
};

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
pub fn stored(name: &str, spec: &Value) -> Value {
    let resource = json!({
        "apiVersion": "membership.unibus.dev/v1alpha1",
        "kind": "MembershipCluster",
        "metadata": {"name": name},
        "spec": spec,
    });
    apply_defaults(&schema(), &resource)
}

pub fn refusals(new: &Value, old: Option<&Value>) -> Vec<String> {
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
    for spec in sensible() {
        let resource = stored("demo", &spec);
        assert_eq!(refusals(&resource, None), Vec::<String>::new(), "{spec}");
        serde_json::from_value::<MembershipCluster>(resource).unwrap();
    }
}

#[test]
fn senseless_specs_are_refused_with_a_sentence() {
    for (spec, words) in senseless() {
        let refusals = refusals(&stored("demo", &spec), None);
        assert!(refusals.iter().any(|message| message.contains(words)), "{spec}: {refusals:?}");
    }
}

#[test]
fn names_that_pods_and_volumes_cannot_carry_are_refused() {
    for name in good_names() {
        assert_eq!(refusals(&stored(&name, &json!({})), None), Vec::<String>::new(), "{name}");
    }
    for name in bad_names() {
        let refusals = refusals(&stored(&name, &json!({})), None);
        assert!(refusals.iter().any(|m| m.contains("metadata.name must")), "{name}: {refusals:?}");
    }
}

#[test]
fn changes_that_the_world_cannot_follow_are_refused() {
    for (old, new, words) in refused_changes() {
        let refusals = refusals(&stored("demo", &new), Some(&stored("demo", &old)));
        assert!(
            refusals.iter().any(|message| message.contains(words)),
            "{old} -> {new}: {refusals:?}"
        );
    }
}

#[test]
fn changes_that_the_operator_acts_on_are_accepted() {
    for (old, new) in accepted_changes() {
        let refusals = refusals(&stored("demo", &new), Some(&stored("demo", &old)));
        assert_eq!(refusals, Vec::<String>::new(), "{new}");
    }
}
