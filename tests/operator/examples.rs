//! The examples: every cluster in them is one that the CRD and the operator take, and what they
//! point to is there.

use std::fs;
use std::path::{Path, PathBuf};

use membership_operator::api::v1alpha1::MembershipCluster;
use membership_operator::cluster::validate::validate;
use serde_json::{Value, json};

use crate::crd::{refusals, stored};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every document of every example, with its file.
fn documents() -> Vec<(PathBuf, Value)> {
    let mut found = Vec::new();
    for folder in ["examples", "examples/gitops"] {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let all: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
                found.extend(all.into_iter().map(|document| (path.clone(), document)));
            }
        }
    }
    found
}

fn of_kind(kind: &str) -> Vec<(PathBuf, Value)> {
    let mut found = documents();
    found.retain(|(_, document)| document["kind"] == kind);
    found
}

#[test]
fn every_cluster_in_the_examples_is_taken() {
    let clusters = of_kind("MembershipCluster");
    assert!(clusters.len() >= 3, "minimal, production, dev");
    for (path, document) in clusters {
        let name = document["metadata"]["name"].as_str().unwrap();
        let defaulted = stored(name, &document["spec"]);
        assert_eq!(refusals(&defaulted, None), Vec::<String>::new(), "{}", path.display());
        let mut resource: MembershipCluster = serde_json::from_value(document.clone()).unwrap();
        for part in document["spec"].as_object().unwrap().keys() {
            assert!(!json!(resource.spec)[part].is_null(), "{}: {part} is lost", path.display());
        }
        resource.metadata.namespace = Some("chat".to_owned());
        resource.metadata.uid = Some("u".to_owned());
        resource.metadata.generation = Some(1);
        assert!(validate(&resource).is_ok(), "{}", path.display());
    }
}

#[test]
fn what_the_examples_point_to_is_there() {
    for (path, kustomization) in of_kind("Kustomization") {
        for resource in kustomization["resources"].as_array().into_iter().flatten() {
            let resource = path.parent().unwrap().join(resource.as_str().unwrap());
            assert!(resource.exists(), "{}: {}", path.display(), resource.display());
        }
        if let Some(applied) = kustomization["spec"]["path"].as_str() {
            assert!(root().join(applied).join("kustomization.yaml").exists(), "{applied}");
        }
    }
    for (path, release) in of_kind("HelmRelease") {
        let chart = release["spec"]["chart"]["spec"]["chart"].as_str().unwrap();
        assert!(root().join(chart).join("Chart.yaml").exists(), "{}: {chart}", path.display());
    }
    for (path, application) in of_kind("Application") {
        let chart = application["spec"]["source"]["path"].as_str().unwrap();
        assert!(root().join(chart).join("Chart.yaml").exists(), "{}: {chart}", path.display());
        let options = application["spec"]["syncPolicy"]["syncOptions"].as_array().unwrap();
        assert!(options.contains(&json!("ServerSideApply=true")), "the CRD is too large without");
    }
    assert!(!of_kind("HelmRelease").is_empty() && !of_kind("Application").is_empty());
}
