//! `membershipd migrate-to-kv` as the real program against real servers.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use serde_json::Value;
use testbed::nats::{Nats, NatsOptions as Servers, Role, Users};

/// Servers and a key to come in with.
pub struct Bus {
    pub nats: Arc<Nats>,
    pub key: PathBuf,
}

impl Bus {
    /// With a key that may do everything, so that buckets of any prefix can be made.
    pub async fn of(servers: usize) -> Self {
        let users = Users::of_prefix("UNIBUS").unwrap().unrestricted(Role::Migration);
        // Room for several stores of the usual size.
        let options = Servers::cluster_of(servers).users(users).max_file_store(64 << 30);
        let nats = Nats::started(options).await.unwrap();
        let key = nats.seed_file(Role::Migration).unwrap();
        Self { nats: Arc::new(nats), key }
    }

    pub fn url(&self) -> String {
        self.nats.urls().join(",")
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// The summary of a run that ended with this code.
    #[track_caller]
    pub fn summary(self, code: i32) -> Value {
        assert_eq!(self.code, code, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// Why a run ended early, by the stable word and the code.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        let summary = self.summary(code);
        assert_eq!((&summary["state"], &summary["exitCode"]), (&"failed".into(), &code.into()));
        summary["reason"].as_str().unwrap().to_owned()
    }
}

/// The program with what comes from the environment: servers, key and prefix.
pub fn program(bus: &Bus, prefix: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_membershipd"));
    command
        .env_clear()
        .env("MEMBERSHIPD_NATS_URL", bus.url())
        .env("MEMBERSHIPD_NKEY", &bus.key)
        .env("MEMBERSHIPD_BUCKET_PREFIX", prefix)
        .stdin(Stdio::null());
    command
}

/// Where no servers are.
pub const NOWHERE: &str = "nats://127.0.0.1:1";

/// The program with servers that nobody has.
pub fn without_servers<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_membershipd"));
    command.env_clear().env("MEMBERSHIPD_NATS_URL", NOWHERE).stdin(Stdio::null());
    command.args(args);
    command
}

/// Runs a command as another user, who may not enter the folder in which the program was built: by a
/// copy of it in `folder`, which is open to all. `cp` writes it, since what this program has open for
/// writing when another thread forks cannot be executed.
pub fn run_as(user: u32, folder: &Path, command: &Command) -> Ran {
    let copy = folder.join("membershipd");
    assert!(Command::new("cp").arg(command.get_program()).arg(&copy).status().unwrap().success());
    let env = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut copied = Command::new(copy);
    copied.env_clear().envs(env).args(command.get_args()).stdin(Stdio::null());
    copied.uid(user).gid(user).output().unwrap().into()
}

pub fn run<S: AsRef<OsStr>>(bus: &Bus, prefix: &str, args: impl IntoIterator<Item = S>) -> Ran {
    program(bus, prefix).args(args).output().unwrap().into()
}

pub fn migration(bus: &Bus, prefix: &str, db: &Path, flags: &[&str]) -> Command {
    let mut command = program(bus, prefix);
    command.args(["migrate-to-kv", "-o", "json", "--db"]).arg(db).args(flags);
    command
}

pub fn migrate(bus: &Bus, prefix: &str, db: &Path, flags: &[&str]) -> Ran {
    migration(bus, prefix, db, flags).output().unwrap().into()
}

/// The same, under way.
pub fn migrating(bus: &Bus, prefix: &str, db: &Path) -> Child {
    let mut command = migration(bus, prefix, db, &["--max-bytes", "16Mi"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Every record of the buckets as a line, sorted.
pub fn lines(bus: &Bus, prefix: &str) -> Vec<String> {
    sorted(&run(bus, prefix, ["export"]).done())
}

/// Every record of a file of ours as a line, sorted.
pub fn lines_of_file(bus: &Bus, db: &Path) -> Vec<String> {
    sorted(&run(bus, "UNUSED", [OsStr::new("export"), OsStr::new("--db"), db.as_os_str()]).done())
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
