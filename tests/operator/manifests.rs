//! One snapshot for each child object and each interesting spec.

use membership_operator::cluster::build::{Facts, Resources, build, build_secret, build_serving};
use membership_operator::cluster::names::Role;
use membership_operator::cluster::serving::Begins;
use serde::Serialize;
use serde_json::{Value, json};

use crate::fixture::{cluster, facts, production};

fn yaml(object: &impl Serialize) -> String {
    serde_saphyr::to_string(object).unwrap()
}

fn snapshot(spec_name: &str, spec: &Value) {
    let Resources { config_map, headless, client, disruption_budget, stateful_set } =
        build(&cluster(spec), &facts());
    for (child, text) in [
        ("config-map", config_map.data.unwrap().remove("nats.conf").unwrap()),
        ("headless-service", yaml(&headless)),
        ("client-service", yaml(&client)),
        ("pod-disruption-budget", yaml(&disruption_budget)),
        ("stateful-set", yaml(&stateful_set)),
    ] {
        insta::assert_snapshot!(format!("{spec_name}-{child}"), text);
    }
}

#[test]
fn the_children_of_the_default_cluster() {
    snapshot("default", &json!({}));
}

#[test]
fn the_children_of_a_standalone_server() {
    snapshot("standalone", &json!({"replicas": 1}));
}

#[test]
fn the_children_of_a_cluster_with_every_option() {
    snapshot("production", &production());
}

#[test]
fn the_secret_of_a_role() {
    let secret = build_secret(&cluster(&json!({})), Role::System, "0123", "SUseed", "Upublic");
    insta::assert_snapshot!("system-secret", yaml(&secret));
}

#[test]
fn the_children_of_a_membership_service() {
    let file = json!({
        "sqlite": {"claimName": "old", "path": "data/members.db"},
        "membershipd": {"store": "SQLite", "podSecurityContext": {"fsGroup": 1000}},
    });
    let full = json!({
        "replicas": 5,
        "membershipd": {
            "replicas": 3,
            "firstAdmin": {"publicKey": "ab".repeat(32), "handle": "Ada $(B)"},
            "imagePullPolicy": "Never",
            "resources": {"limits": {"memory": "256Mi"}},
            "nodeSelector": {"disk": "ssd"},
            "labels": {"team": "chat"},
            "annotations": {"note": "once"},
        },
    });
    for (name, spec) in [("default", json!({"membershipd": {}})), ("full", full), ("file", file)] {
        let cluster = cluster(&spec);
        let built = build_serving(&cluster, cluster.membershipd.as_ref().unwrap(), &facts());
        if let Some(file) = &built.file {
            insta::assert_snapshot!(format!("{name}-membershipd-sqlite"), yaml(file));
            continue;
        }
        insta::assert_snapshot!(format!("{name}-membershipd"), yaml(&built.buckets));
        insta::assert_snapshot!(format!("{name}-membershipd-service"), yaml(&built.service));
        let budget = yaml(&built.disruption_budget);
        insta::assert_snapshot!(format!("{name}-membershipd-budget"), budget);
    }
}

#[test]
fn pods_that_wait_for_a_move_differ_in_one_argument() {
    let cluster = cluster(&json!({"membershipd": {}, "sqlite": {"claimName": "old"}}));
    let arguments = |begins| {
        let facts = Facts { begins, ..facts() };
        let built = build_serving(&cluster, cluster.membershipd.as_ref().unwrap(), &facts);
        assert_eq!(Begins::of(&built.buckets), begins);
        let pod = built.buckets.spec.unwrap().template.spec.unwrap();
        pod.containers[0].args.clone().unwrap()
    };
    let (at_once, waiting) = (arguments(Begins::AtOnce), arguments(Begins::AfterMigration));
    assert_eq!(waiting, [at_once, vec!["--after-migration".to_owned()]].concat());
}

#[test]
fn a_new_key_replaces_the_services_pods_over_the_buckets() {
    let cluster = cluster(&json!({"membershipd": {}}));
    let built = |facts| build_serving(&cluster, cluster.membershipd.as_ref().unwrap(), facts);
    let mut rotated = facts();
    rotated.keys.membershipd = rotated.keys.migration.clone();
    assert_ne!(built(&facts()).buckets, built(&rotated).buckets);
}

#[test]
fn switching_debug_changes_no_pod() {
    let set = |debug| build(&cluster(&json!({"nats": {"debug": debug}})), &facts()).stateful_set;
    assert_eq!(set(true), set(false));
}

#[test]
fn everything_else_in_the_configuration_restarts_servers() {
    let template =
        |spec: &Value, facts| build(&cluster(spec), facts).stateful_set.spec.unwrap().template;
    let mut rotated = facts();
    rotated.keys.membershipd = rotated.keys.migration.clone();
    assert_ne!(template(&json!({}), &facts()), template(&json!({}), &rotated));
}
