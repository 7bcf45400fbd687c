//! What the chart renders to, object by object: what it grants, how its pod is locked up, and why a
//! value is refused.

use std::fs;
use std::process::{Command, Output};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};
use testbed::tools::{Program, ensure_one};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/membership-operator");

fn helm(args: &[&str]) -> Output {
    Command::new(ensure_one(Program::Helm).unwrap()).args(args).output().unwrap()
}

/// What the chart renders to under some values.
fn rendered(values: &[&str]) -> Vec<Value> {
    let mut args = vec!["template", "try", CHART, "--namespace=membership-system"];
    args.extend(values.iter().flat_map(|value| ["--set", value]));
    let output = helm(&args);
    assert!(output.status.success(), "{values:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    documents.into_iter().filter(Value::is_object).collect()
}

/// What helm says of values that the chart refuses.
fn refusal(values: &[&str]) -> String {
    let mut args = vec!["template", "try", CHART];
    args.extend(values.iter().flat_map(|value| ["--set", value]));
    let output = helm(&args);
    assert!(!output.status.success(), "{values:?} was taken");
    String::from_utf8(output.stderr).unwrap()
}

fn of_kind<'a>(kind: &'a str, objects: &'a [Value]) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn one<'a>(kind: &'a str, objects: &'a [Value]) -> &'a Value {
    let found = of_kind(kind, objects);
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

#[test]
fn the_charts_crd_is_the_committed_one_stays_with_its_clusters_and_can_be_left_out() {
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/crds/membershipclusters.yaml");
    let committed: CustomResourceDefinition =
        serde_saphyr::from_str(&fs::read_to_string(committed).unwrap()).unwrap();
    let with = rendered(&[]);
    let crd = one("CustomResourceDefinition", &with).clone();
    assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    // By its type: helm writes 1 where the program writes 1.0.
    let crd: CustomResourceDefinition = serde_json::from_value(crd).unwrap();
    assert!(crd.spec == committed.spec, "copy crds/ into the chart's files/");
    assert_eq!(crd.metadata.name, committed.metadata.name);
    let without = rendered(&["crds.install=false"]);
    assert!(of_kind("CustomResourceDefinition", &without).is_empty());
    assert_eq!(without.len() + 1, with.len());
}

/// Every right to an object of a cluster, group by group: exactly what the operator calls.
fn rights() -> Value {
    json!([
        ["membership.unibus.dev", "membershipclusters", ["get", "list", "watch", "patch"]],
        ["membership.unibus.dev", "membershipclusters/status", ["patch"]],
        ["membership.unibus.dev", "membershipclusters/finalizers", ["update"]],
        ["apps", "statefulsets", ["get", "list", "watch", "create", "patch", "delete"]],
        ["apps", "deployments", ["get", "list", "watch", "create", "patch", "delete"]],
        ["batch", "jobs", ["get", "list", "watch", "create", "patch", "delete"]],
        ["", "configmaps", ["get", "list", "watch", "create", "patch"]],
        ["", "services", ["get", "list", "watch", "create", "patch", "delete"]],
        ["policy", "poddisruptionbudgets", ["get", "list", "watch", "create", "patch", "delete"]],
        ["", "secrets", ["get", "create"]],
        ["", "persistentvolumeclaims", ["get", "list", "watch", "patch", "delete"]],
        ["", "pods", ["get", "list", "watch", "delete"]],
        ["events.k8s.io", "events", ["create", "patch"]],
    ])
}

/// The rules of a role, one resource a line.
fn flat(role: &Value) -> Value {
    let mut lines = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in rule["apiGroups"].as_array().unwrap() {
            for resource in rule["resources"].as_array().unwrap() {
                lines.push(json!([group, resource, rule["verbs"]]));
            }
        }
    }
    Value::Array(lines)
}

#[test]
fn the_operator_may_do_exactly_what_it_does_in_the_whole_cluster_or_in_the_named_namespaces() {
    let everywhere = rendered(&[]);
    let role = one("ClusterRole", &everywhere);
    assert_eq!(flat(role), rights());
    let binding = one("ClusterRoleBinding", &everywhere);
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);

    let named = rendered(&["watchNamespaces={chat,team}"]);
    assert!(of_kind("ClusterRole", &named).is_empty());
    assert!(of_kind("ClusterRoleBinding", &named).is_empty());
    for namespace in ["chat", "team"] {
        let in_it = |kind: &str| {
            let mut found = of_kind(kind, &named);
            found.retain(|object| object["metadata"]["namespace"] == namespace);
            assert_eq!(found.len(), 1, "{kind} in {namespace}");
            found[0].clone()
        };
        assert_eq!(flat(&in_it("Role")), rights());
        let subject = &in_it("RoleBinding")["subjects"][0];
        assert_eq!(subject["namespace"], "membership-system");
        assert_eq!(subject["name"], one("ServiceAccount", &named)["metadata"]["name"]);
    }
    let text = serde_json::to_string(&[everywhere, named]).unwrap();
    assert!(!text.contains("\"*\"") && !text.contains("pods/exec"), "a right without bounds");
}

#[test]
fn the_lease_is_the_only_one_that_the_operator_may_touch() {
    let objects = rendered(&[]);
    let lease = one("Role", &objects);
    assert_eq!(
        lease["rules"],
        json!([
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {
                "apiGroups": ["coordination.k8s.io"],
                "resources": ["leases"],
                "resourceNames": ["membership-operator"],
                "verbs": ["get", "update"],
            },
        ])
    );
    assert!(of_kind("Role", &rendered(&["lease.enabled=false"])).is_empty());
    assert!(of_kind("ClusterRole", &rendered(&["rbac.create=false"])).is_empty());
}

#[test]
fn the_pod_is_locked_up_as_the_restricted_standard_wants_and_more() {
    let objects = rendered(&[]);
    let pod = &one("Deployment", &objects)["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_ne!(pod["securityContext"]["runAsUser"], 0);
    for host in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
        assert!(pod[host].is_null(), "{host}");
    }
    let containers = pod["containers"].as_array().unwrap();
    assert_eq!(containers.len(), 1);
    let container = &containers[0];
    assert_eq!(
        container["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        })
    );
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert!(container["resources"]["limits"]["memory"].is_string());
    assert!(container["resources"]["requests"]["cpu"].is_string());
    let image = container["image"].as_str().unwrap();
    assert!(image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))), "{image}");
}

#[test]
fn every_flag_that_the_chart_gives_is_one_that_the_program_has() {
    let help = Command::new(env!("CARGO_BIN_EXE_membership-operator"))
        .args(["run", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let objects = rendered(&["watchNamespaces={chat}", "lease.enabled=false"]);
    let container = &one("Deployment", &objects)["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"].as_array().unwrap();
    assert_eq!(args[0], "run");
    assert!(
        args.contains(&json!("--watch-namespaces=chat")) && args.contains(&json!("--no-lease"))
    );
    for arg in &args[1..] {
        let flag = arg.as_str().unwrap().split('=').next().unwrap();
        assert!(
            help.contains(&format!("{flag} ")) || help.contains(&format!("{flag}\n")),
            "{flag}"
        );
    }
}

#[test]
fn two_instances_share_a_lease_and_one_without_it_never_meets_its_successor() {
    let two = rendered(&["replicaCount=2"]);
    let deployment = one("Deployment", &two);
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert!(deployment["spec"]["strategy"].is_null());
    let alone = rendered(&["lease.enabled=false"]);
    assert_eq!(one("Deployment", &alone)["spec"]["strategy"]["type"], "Recreate");
}

#[test]
fn an_image_can_be_pinned_and_metrics_can_be_reached() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let pinned = rendered(&[&format!("image.digest={digest}")]);
    let container = &one("Deployment", &pinned)["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], format!("ghcr.io/unibus/membership-operator@{digest}"));
    let port = container["ports"][0].clone();
    assert_eq!(port["name"], "metrics");
    let measured = rendered(&["metrics.service=true"]);
    let service = one("Service", &measured);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "metrics");
    let labels = &one("Deployment", &measured)["spec"]["template"]["metadata"]["labels"];
    for (label, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(labels[label], *value, "{label}");
    }
}

#[test]
fn every_optional_value_renders_to_a_pod() {
    let objects = rendered(&[
        "podLabels.team=chat",
        "podAnnotations.note=yes-please",
        "nodeSelector.disk=ssd",
        "tolerations[0].operator=Exists",
        "priorityClassName=high",
        "imagePullSecrets[0].name=pull",
        "serviceAccount.annotations.role=reader",
    ]);
    let template = &one("Deployment", &objects)["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["team"], "chat");
    assert_eq!(template["metadata"]["annotations"]["note"], "yes-please");
    assert_eq!(template["spec"]["nodeSelector"]["disk"], "ssd");
    assert_eq!(template["spec"]["tolerations"][0]["operator"], "Exists");
    assert_eq!(template["spec"]["priorityClassName"], "high");
    assert_eq!(template["spec"]["imagePullSecrets"][0]["name"], "pull");
    assert_eq!(one("ServiceAccount", &objects)["metadata"]["annotations"]["role"], "reader");
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    let table = [
        (&["replicaCuont=2"][..], "replicaCuont"),
        (&["replicaCount=two"], "replicaCount"),
        (&["replicaCount=2", "lease.enabled=false"], "replicaCount"),
        (&["logs.format=xml"], "format"),
        (&["watchNamespaces={Chat}"], "watchNamespaces"),
        (&["image.digest=latest"], "digest"),
        (&["serviceAccount.create=false"], "serviceAccount.name is needed"),
    ];
    for (values, words) in table {
        let said = refusal(values);
        assert!(said.contains(words), "{values:?}: {said}");
    }
}

#[test]
fn the_kustomization_applies_the_rendered_chart() {
    let output =
        helm(&["template", "membership-operator", CHART, "--namespace", "membership-system"]);
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/config/operator.yaml");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        fs::read_to_string(committed).unwrap(),
        "renew it: helm template membership-operator charts/membership-operator \
         --namespace membership-system > config/operator.yaml"
    );
}
