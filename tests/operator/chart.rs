//! The chart and the examples, without a cluster: by helm itself and by the real validation.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use membership_operator::api::v1alpha1::MembershipCluster;
use membership_operator::cluster::validate::validate;
use testbed::tools::{Program, ensure_one};

const CHART: &str = "charts/membership-operator";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn helm(args: &[&str]) -> Output {
    let mut command = Command::new(ensure_one(Program::Helm).unwrap());
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn rendered(values: &[&str]) -> String {
    let sets = values.iter().flat_map(|value| ["--set", value]);
    let args: Vec<&str> = ["template", "release", CHART].into_iter().chain(sets).collect();
    let output = helm(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_chart_holds_the_crd_as_it_is() {
    let ours = fs::read_to_string(path("crds/membershipclusters.yaml")).unwrap();
    let copy = path(CHART).join("files/membershipclusters.yaml");
    let why = "cp crds/membershipclusters.yaml charts/membership-operator/files/";
    assert!(ours == fs::read_to_string(copy).unwrap(), "{why}");
}

#[test]
fn the_chart_passes_helms_own_check_and_refuses_what_it_does_not_know() {
    let output = helm(&["lint", "--strict", CHART]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for wrong in ["nope=1", "replicaCount=9", "image.digest=sha256:1"] {
        assert!(!helm(&["template", "release", CHART, "--set", wrong]).status.success(), "{wrong}");
    }
    let two = ["template", "release", CHART, "--set", "lease.enabled=false,replicaCount=2"];
    assert!(!helm(&two).status.success(), "two instances without a Lease");
}

#[test]
fn rights_are_named_one_by_one_and_stay_in_the_watched_namespaces() {
    for values in [&[][..], &["watchNamespaces={a,b}"]] {
        let text = rendered(values);
        assert!(!text.contains("'*'") && !text.contains("\"*\""), "a wildcard");
        assert!(!text.contains("pods/exec") && !text.contains("portforward"));
        let cluster_wide = text.contains("kind: ClusterRole\n");
        assert_eq!(cluster_wide, values.is_empty());
    }
    assert!(rendered(&[]).contains("kind: CustomResourceDefinition"));
    assert!(!rendered(&["crds.install=false"]).contains("kind: CustomResourceDefinition"));
}

#[test]
fn every_example_of_a_cluster_is_one_that_the_operator_takes() {
    let mut seen = 0;
    for entry in fs::read_dir(path("examples")).unwrap() {
        let file = entry.unwrap().path();
        let text = if file.is_file() { fs::read_to_string(&file).unwrap() } else { continue };
        if !text.contains("kind: MembershipCluster") {
            continue;
        }
        let mut example: MembershipCluster = serde_saphyr::from_str(&text).unwrap();
        // What the API server would fill in.
        example.metadata.namespace = Some("chat".to_owned());
        example.metadata.uid = Some("u".to_owned());
        example.metadata.generation = Some(1);
        validate(&example).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        seen += 1;
    }
    assert!(seen >= 3, "{seen} examples");
}
