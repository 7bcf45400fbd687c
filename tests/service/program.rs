//! The program, started in a folder of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use membership_operator::membership::requests::RequestLog;
use membership_operator::membership::sqlite::{Settings, SqliteStore};
use membership_operator::membership::store::Deadline;
use serde_json::Value;
use tempfile::TempDir;

use crate::buckets::Buckets;
use crate::http::{Caller, PATIENCE, Reply, Sending};

pub const ADMIN: u8 = 1;
pub const OWNER: u8 = 2;
pub const MEMBER: u8 = 3;
pub const OTHER: u8 = 4;
pub const SERVICE: u8 = 5;
pub const REVOKED: u8 = 6;
/// Never let in.
pub const STRANGER: u8 = 7;

/// Where a service keeps what it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    InFile,
    InBuckets,
}

/// Each of these tests over both stores.
macro_rules! over_both {
    ($($test:ident,)+) => {
        mod in_a_file {
            $(#[test]
            fn $test() {
                super::$test(crate::program::Kept::InFile);
            })+
        }

        mod in_buckets {
            $(#[test]
            fn $test() {
                super::$test(crate::program::Kept::InBuckets);
            })+
        }
    };
}

pub(crate) use over_both;

/// A folder, and a store in it or in buckets.
pub struct Host {
    folder: TempDir,
    buckets: Option<Buckets>,
}

/// A service at work. It is killed when it goes.
pub struct Server {
    pub host: Arc<Host>,
    child: Child,
    pub at: SocketAddr,
    pub admin: SocketAddr,
}

impl Host {
    pub fn new() -> Arc<Self> {
        Self::of(Kept::InFile)
    }

    pub fn of(kept: Kept) -> Arc<Self> {
        let buckets = match kept {
            Kept::InFile => None,
            Kept::InBuckets => Some(Buckets::made()),
        };
        Arc::new(Self { folder: TempDir::new().unwrap(), buckets })
    }

    /// A host of buckets that nobody has made yet.
    pub fn waiting() -> Arc<Self> {
        Self::in_these(Buckets::none_yet())
    }

    pub fn in_these(buckets: Buckets) -> Arc<Self> {
        Arc::new(Self { folder: TempDir::new().unwrap(), buckets: Some(buckets) })
    }

    pub const fn buckets(&self) -> Option<&Buckets> {
        self.buckets.as_ref()
    }

    /// The store's log of requests, opened beside the service.
    pub async fn request_log(&self) -> Arc<dyn RequestLog> {
        match &self.buckets {
            Some(buckets) => Arc::new(buckets.open().await),
            None => {
                let deadline = Deadline::after(PATIENCE);
                let path = self.path("membership.db");
                Arc::new(SqliteStore::open(&path, Settings::default(), deadline).await.unwrap())
            }
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_membershipd"));
        command.args(args).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command
    }

    #[track_caller]
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }

    /// A service of the folder's store on ports of its own.
    pub fn serve(self: &Arc<Self>, args: &[&str]) -> Server {
        self.serve_with(args, &[])
    }

    /// The same with an environment.
    pub fn serve_with(self: &Arc<Self>, args: &[&str], env: &[(&str, &str)]) -> Server {
        let mut child = self.spawned(args, env);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let mut addresses = line.split("http://").skip(1).map(|part| {
            let end = part.find([',', '\n']).unwrap();
            part[..end].parse().unwrap_or_else(|_| panic!("{line}"))
        });
        let (Some(at), Some(admin)) = (addresses.next(), addresses.next()) else {
            panic!("it ended: {:?}, {}", child.wait(), self.log())
        };
        Server { host: Arc::clone(self), child, at, admin }
    }

    fn spawned(&self, args: &[&str], env: &[(&str, &str)]) -> Child {
        self.command(["serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
            .args(self.buckets.iter().flat_map(Buckets::flags))
            .args(args)
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(self.path("log")).unwrap())
            .spawn()
            .unwrap()
    }

    /// A service that may still wait for its store: only its log says where it is.
    pub fn begun(self: &Arc<Self>, args: &[&str]) -> Server {
        let child = self.spawned(&[&["--log-format=json"], args].concat(), &[]);
        let nowhere = SocketAddr::from(([0; 4], 0));
        let mut server = Server { host: Arc::clone(self), child, at: nowhere, admin: nowhere };
        let begun = Instant::now();
        while server.at == nowhere {
            assert!(begun.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
            let log = self.log();
            let mut events =
                log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(event) = events.find(|event| event["message"] == "listening") {
                let at = |name: &str| event[name].as_str().unwrap().parse().unwrap();
                (server.at, server.admin) = (at("at"), at("admin_at"));
            }
        }
        server
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }
}

impl Server {
    /// A service with an empty store.
    pub fn empty() -> Self {
        Host::new().serve(&[])
    }

    /// A service with one user of each kind. The owner has a room `lobby` with the member in it.
    pub fn started() -> Self {
        Self::started_in(Kept::InFile)
    }

    pub fn started_in(kept: Kept) -> Self {
        Host::of(kept).serve(&[]).filled()
    }

    /// The same from an empty one.
    pub fn filled(self) -> Self {
        let server = self;
        match &server.host.buckets {
            Some(buckets) => buckets.let_first_admin_in(&Caller::new(ADMIN).key()),
            None => server.let_in(&["--admin"], ADMIN),
        }
        for (n, role) in [(OWNER, "user"), (MEMBER, "user"), (OTHER, "user"), (REVOKED, "user")] {
            server.add_user(n, role);
        }
        server.add_user(SERVICE, "service");
        let revoke = format!("/v1/users/{}/revoke", Caller::new(REVOKED).key());
        server.send(ADMIN, Sending::new("POST", &revoke)).done(200);
        let room = serde_json::json!({"room": "lobby", "subject": "bus.lobby"});
        server.send(OWNER, Sending::new("POST", "/v1/rooms").json(&room)).done(201);
        let member = serde_json::json!({"endpoint": Caller::new(MEMBER).key()});
        let add = Sending::new("POST", "/v1/rooms/lobby/members").json(&member);
        server.send(OWNER, add).done(201);
        server
    }

    /// Lets a user in on the host.
    pub fn let_in(&self, flags: &[&str], n: u8) {
        let key = Caller::new(n).key();
        let args = ["user", "add"].iter().chain(flags).copied();
        self.host.run(args.chain([key.as_str(), "somebody"]));
    }

    /// Lets a user in as the admin does.
    pub fn add_user(&self, n: u8, role: &str) {
        let body = serde_json::json!({
            "key": Caller::new(n).key(), "handle": "somebody", "role": role
        });
        self.send(ADMIN, Sending::new("POST", "/v1/users").json(&body)).done(201);
    }

    pub fn send(&self, caller: u8, sending: Sending) -> Reply {
        sending.send(self.at, &Caller::new(caller))
    }

    pub fn get(&self, caller: u8, path: &str) -> Reply {
        self.send(caller, Sending::new("GET", path))
    }

    pub fn post(&self, caller: u8, path: &str, body: &Value) -> Reply {
        self.send(caller, Sending::new("POST", path).json(body))
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Tells it to stop and waits for its end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }

    pub fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn memory_kib(&self) -> u64 {
        let mut text = String::new();
        let path = format!("/proc/{}/status", self.child.id());
        std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
