//! What cannot be done is refused in one sentence that says what to do, with exit code 1.

use crate::support::{SHARED, alone, refusal, shared, testbed};

#[test]
fn an_unknown_node_is_refused_naming_those_there_are() {
    let (_cluster, _alone) = shared();
    for verb in ["power-off", "power-on", "kill-kubelet", "partition", "heal"] {
        let said = refusal(&["node", verb, "node9", "--name", SHARED]);
        assert!(said.contains("no node `node9`") && said.contains("node1, node2, node3"), "{said}");
    }
}

#[test]
fn an_unknown_component_is_refused_naming_those_there_are() {
    let (_cluster, _alone) = shared();
    let said = refusal(&["logs", "nonsense", "--name", SHARED]);
    assert!(said.contains("kube-apiserver") && said.contains("node1/kubelet"), "{said}");
    let log = testbed(&["logs", "node1/kubelet", "--name", SHARED]);
    assert!(String::from_utf8_lossy(&log.stdout).contains("Kubelet version"));
}

#[test]
fn another_shape_of_a_running_cluster_is_refused_and_it_goes_on() {
    let (cluster, _alone) = shared();
    let said = refusal(&["up", "--name", SHARED, "--nodes", "5"]);
    assert!(said.contains("3 nodes") && said.contains("5 nodes"), "{said}");
    assert!(cluster.kubectl().run(["get", "--raw=/readyz"]).is_ok());
}

#[test]
fn an_address_range_in_use_is_refused_naming_its_user() {
    let (_cluster, _alone) = shared();
    let output = testbed(&["up", "--name", "t2", "--subnet", "127.0.0.0/24"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("private IPv4 /24"));
    let status = testbed(&["status", "--name", SHARED, "-o", "json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let range = status["range"].as_str().unwrap();
    let said = refusal(&["up", "--name", "t2", "--subnet", range]);
    assert!(said.contains(range) && said.contains("in use") && said.contains(SHARED), "{said}");
    assert!(!std::path::Path::new("/var/lib/testbed/t2").exists(), "something half-made stays");
}

#[test]
fn names_and_numbers_that_cannot_be_are_refused() {
    let _alone = alone();
    let output = testbed(&["up", "--name", "Not A Name"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no cluster name"));
    let said = refusal(&["up", "--name", "t2", "--nodes", "10"]);
    assert!(said.contains("1 to 9 nodes, not 10"), "{said}");
    let said = refusal(&["kubectl", "--name", "t2", "--", "get", "nodes"]);
    assert!(said.contains("cluster `t2` is not up"), "{said}");
}
