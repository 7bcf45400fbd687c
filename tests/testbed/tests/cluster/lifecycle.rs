//! Up and down, twice, at once, side by side, and after every kind of crash. One node is enough.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::snapshot::Snapshot;
use crate::support::{SHARED, alone, remove_at_end, shared, spawn_testbed, testbed};

const NAME: &str = "t1";
const UP: [&str; 5] = ["up", "--name", NAME, "--nodes", "1"];
const DOWN: [&str; 3] = ["down", "--name", NAME];
const PURGE: [&str; 4] = ["down", "--name", NAME, "--purge"];

fn must(args: &[&str]) -> String {
    let output = testbed(args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "testbed {args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The ids of the cluster's daemons: they tell whether anything was started anew.
fn daemons() -> Vec<u64> {
    let status = must(&["status", "--name", NAME, "-o", "json"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let of = |part: &serde_json::Value| -> Vec<u64> {
        part.as_array().unwrap().iter().map(|daemon| daemon["pid"].as_u64().unwrap()).collect()
    };
    [of(&status["controlPlane"]), of(&status["nodes"][0]["daemons"])].concat()
}

fn assert_as_before(before: &Snapshot, when: &str) {
    let after = Snapshot::of(NAME);
    assert_eq!(after.beyond(before), [""; 0], "left behind {when}");
    assert_eq!(before.beyond(&after), [""; 0], "lost {when}");
}

#[test]
fn the_machine_is_found_as_it_was_and_a_second_up_or_down_changes_nothing() {
    let _alone = alone();
    remove_at_end(NAME);
    must(&PURGE);
    let before = Snapshot::of(NAME);
    must(&UP);
    let running = Snapshot::of(NAME).beyond(&before);
    for kind in ["process ", "cgroup ", "link ", "route ", "state "] {
        assert!(running.iter().any(|line| line.starts_with(kind)), "the snapshot sees no {kind}");
    }
    let changed =
        running.iter().find(|line| line.starts_with("sysctl") || line.starts_with("mount"));
    assert_eq!(changed, None, "of the host, while it runs");
    let first = daemons();
    must(&UP);
    assert_eq!(daemons(), first, "the second `up` started something anew");
    must(&["kubectl", "--name", NAME, "--", "create", "configmap", "kept", "--from-literal=a=b"]);
    must(&DOWN);
    must(&DOWN);
    must(&UP);
    must(&["kubectl", "--name", NAME, "--", "get", "configmap", "kept"]);
    must(&PURGE);
    must(&PURGE);
    assert_as_before(&before, "after a life with two of everything");
}

#[test]
fn an_up_that_was_killed_is_cleaned_by_down_or_taken_up_by_the_next_up() {
    let _alone = alone();
    remove_at_end(NAME);
    must(&PURGE);
    let before = Snapshot::of(NAME);
    for millis in [30, 100, 200, 400, 800, 1600, 2800] {
        kill_up_after(Duration::from_millis(millis));
        must(&PURGE);
        assert_as_before(&before, &format!("by an `up` killed after {millis} ms"));
    }
    for millis in [150, 1500] {
        kill_up_after(Duration::from_millis(millis));
        must(&UP);
    }
    must(&PURGE);
    assert_as_before(&before, "by an `up` after killed ones");
}

fn kill_up_after(time: Duration) {
    let mut up = spawn_testbed(&UP);
    thread::sleep(time);
    up.kill().unwrap();
    up.wait().unwrap();
}

#[test]
fn a_down_that_was_killed_is_finished_by_the_next_one() {
    let _alone = alone();
    remove_at_end(NAME);
    must(&PURGE);
    let before = Snapshot::of(NAME);
    for millis in [5, 20, 60] {
        must(&UP);
        let mut down = spawn_testbed(&PURGE);
        thread::sleep(Duration::from_millis(millis));
        down.kill().unwrap();
        down.wait().unwrap();
        must(&PURGE);
        assert_as_before(&before, &format!("by a `down` killed after {millis} ms"));
    }
}

#[test]
fn of_two_ups_at_once_the_second_is_told_to_wait() {
    let _alone = alone();
    remove_at_end(NAME);
    must(&PURGE);
    let mut first = spawn_testbed(&UP);
    // The first announces its first step when it holds the lock.
    first.stderr.as_mut().unwrap().read_exact(&mut [0; 8]).unwrap();
    let second = testbed(&UP);
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("another command works on cluster `t1` right now"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "one sentence: {said}");
    drop(first.stderr.take());
    first.wait().unwrap();
    must(&PURGE);
}

#[test]
fn two_clusters_live_side_by_side_and_one_goes_without_the_other() {
    let (cluster, _alone) = shared();
    remove_at_end(NAME);
    must(&PURGE);
    must(&UP);
    let range = |name: &str| {
        let status: serde_json::Value =
            serde_json::from_str(&must(&["status", "--name", name, "-o", "json"])).unwrap();
        status["range"].as_str().unwrap().to_owned()
    };
    assert_ne!(range(NAME), range(SHARED));
    let nodes = must(&["kubectl", "--name", NAME, "--", "get", "nodes", "-o", "name"]);
    assert_eq!(nodes, "node/node1\n");
    must(&PURGE);
    assert_eq!(cluster.kubectl().run(["get", "nodes", "-o", "name"]).unwrap().lines().count(), 3);
}

#[test]
fn a_stale_state_folder_is_understood() {
    let _alone = alone();
    remove_at_end(NAME);
    must(&PURGE);
    let folder = Path::new("/var/lib/testbed").join(NAME);
    let record = folder.join("cluster.json");
    // A folder without a record: a crash before anything was made.
    fs::create_dir_all(&folder).unwrap();
    must(&UP);
    // A record of a running cluster that does not run: the machine was switched off.
    let up = fs::read(&record).unwrap();
    must(&DOWN);
    fs::write(&record, up).unwrap();
    let said = testbed(&["kubectl", "--name", NAME, "--", "get", "nodes"]);
    assert!(String::from_utf8_lossy(&said.stderr).contains("cluster `t1` is not up"));
    must(&UP);
    // A record that cannot be understood: one sentence, and `down --purge` is the way out.
    must(&DOWN);
    fs::write(&record, "{").unwrap();
    let output = testbed(&UP);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("cluster.json cannot be understood") && said.contains("--purge"),
        "{said}"
    );
    must(&PURGE);
    assert!(!folder.exists());
}
