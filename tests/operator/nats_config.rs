//! Generated configurations, judged by the real server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use membership_operator::cluster::build::{NAME_VARIABLE, nats_config};
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
    let mut command = Command::new(server);
    command.arg("-t").arg("-c").arg(file).env(NAME_VARIABLE, "demo-nats-0").output().unwrap()
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

/// A server that ends with this.
struct Running {
    server: Child,
    log: PathBuf,
}

impl Running {
    fn start(config: &Path) -> Self {
        let log = config.with_extension("log");
        let program = ensure_one(Program::NatsServer).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(config).arg("-l").arg(&log).env(NAME_VARIABLE, "demo-nats-0");
        let running = Self { server: command.spawn().unwrap(), log };
        running.says("Server is ready");
        running
    }

    fn reload(&self) {
        let program = ensure_one(Program::NatsServer).unwrap();
        let signal = format!("reload={}", self.server.id());
        assert!(Command::new(program).arg("--signal").arg(signal).status().unwrap().success());
    }

    fn says(&self, words: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains(words) {
                return;
            }
            assert!(Instant::now() < end && !log.contains("Failed to reload"), "{log}");
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

#[test]
fn a_running_server_takes_up_and_ends_debug_logging_by_a_reload() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nats.conf");
    let write = |debug: bool| {
        let spec = json!({"replicas": 1, "nats": {"debug": debug}});
        let text = nats_config(&cluster(&spec), &keys()).text;
        let store = format!("{:?}", folder.path().join("store"));
        let text =
            text.replace("0.0.0.0:4222", "127.0.0.1:-1").replace("0.0.0.0:8222", "127.0.0.1:-1");
        fs::write(&file, text.replace("\"/data\"", &store)).unwrap();
    };
    write(false);
    let server = Running::start(&file);
    server.says("Name:     demo-nats-0");
    write(true);
    server.reload();
    server.says("Reloaded: debug = true");
    write(false);
    server.reload();
    server.says("Reloaded: debug = false");
}
