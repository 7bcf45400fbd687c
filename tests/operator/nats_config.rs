//! Generated configurations, judged by the real server.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use membership_operator::cluster::build::nats_config;
use membership_operator::cluster::validate::validate;
use serde_json::json;
use testbed::tools::{Program, ensure_one};

use crate::fixture::{cluster, keys, production, resource};

fn judge(config: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    fs::write(&file, config).unwrap();
    check(&file)
}

fn check(file: &Path) -> Output {
    let server = ensure_one(Program::NatsServer).unwrap();
    Command::new(server).arg("-t").arg("-c").arg(file).output().unwrap()
}

#[test]
fn every_generated_configuration_passes_the_servers_own_check() {
    let longest = validate(&resource(&"a".repeat(40), &json!({"replicas": 5}))).unwrap();
    let clusters = [
        cluster(&json!({})),
        cluster(&json!({"replicas": 1})),
        cluster(&json!({"nats": {"debug": true}})),
        cluster(&production()),
        longest,
    ];
    for cluster in clusters {
        let config = nats_config(&cluster, &keys());
        let output = judge(&config.text);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{}", config.text);
    }
}

#[test]
fn the_check_refuses_what_the_server_does_not_know() {
    let config =
        nats_config(&cluster(&json!({})), &keys()).text.replace("sync_interval", "sync_interwal");
    assert!(!judge(&config).status.success());
}
