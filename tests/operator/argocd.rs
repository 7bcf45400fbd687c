//! What Argo CD makes of the recorded statuses, by the script that is shipped for it, under the Lua
//! version that Argo CD has.

use std::fs;

use mlua::{Lua, LuaSerdeExt, Table, Value as LuaValue};
use serde_json::{Value, json};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/argocd/health.lua");
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/operator/snapshots");
const PREFIX: &str = "operator__status_walk__resource-";

fn health(resource: &Value) -> (String, String) {
    let lua = Lua::new();
    // Absent, and not a value of its own, as Argo CD hands it over.
    let nothing = mlua::serde::SerializeOptions::new().serialize_none_to_null(false);
    let resource = lua.to_value_with(resource, nothing.serialize_unit_to_null(false)).unwrap();
    lua.globals().set("obj", resource).unwrap();
    let answer: LuaValue = lua.load(fs::read_to_string(SCRIPT).unwrap()).eval().unwrap();
    let answer: Table = lua.unpack(answer).unwrap();
    (answer.get("status").unwrap(), answer.get("message").unwrap())
}

/// A recorded resource: the snapshot's text after its second line of dashes.
fn recorded(state: &str) -> Value {
    let text = fs::read_to_string(format!("{RECORDED}/{PREFIX}{state}.snap")).unwrap();
    let yaml = text.splitn(3, "---\n").nth(2).unwrap();
    serde_saphyr::from_str(yaml).unwrap()
}

const EXPECTED: [(&str, &str, &str); 12] = [
    ("new", "Progressing", "writing"),
    ("ready", "Healthy", "serving as wanted"),
    ("edited", "Progressing", "restarting one server at a time"),
    ("edited-done", "Healthy", "serving as wanted"),
    ("bad-image", "Progressing", "ImagePullBackOff"),
    ("degraded", "Healthy", "without demo-nats-1"),
    ("no-quorum", "Degraded", "majority"),
    ("bucket-lost", "Degraded", "accept-loss"),
    ("invalid", "Degraded", "replicas must be"),
    ("replicas-changed", "Degraded", "replicas cannot be changed"),
    ("suspended", "Suspended", "suspended"),
    ("deleting", "Progressing", "deleted"),
];

#[test]
fn argo_cd_calls_every_recorded_state_by_its_name() {
    for (state, status, words) in EXPECTED {
        let (found, message) = health(&recorded(state));
        assert_eq!(found, status, "{state}: {message}");
        assert!(message.contains(words), "{state}: {message}");
    }
}

#[test]
fn no_recorded_state_is_left_out() {
    let names = fs::read_dir(RECORDED).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let states = names.filter_map(|name| Some(name.strip_prefix(PREFIX)?.to_owned()));
    for state in states {
        let state = state.trim_end_matches(".snap");
        assert!(EXPECTED.iter().any(|(known, ..)| *known == state), "{state}");
    }
}

#[test]
fn argo_cd_waits_for_the_operator_to_see_an_edit_and_a_new_resource() {
    let mut edited = recorded("ready");
    edited["metadata"]["generation"] = json!(2);
    assert_eq!(health(&edited).0, "Progressing");
    let untouched =
        json!({"metadata": {"generation": 1}, "spec": {}, "status": {"observedGeneration": -1}});
    assert_eq!(health(&untouched).0, "Progressing");
    let bare = json!({"metadata": {"generation": 1}, "spec": {}});
    assert_eq!(health(&bare).0, "Progressing");
}
