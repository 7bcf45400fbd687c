//! Buckets on one real server that all tests share, each store under a prefix of its own.

use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use membership_operator::jetstream::bucket::Budget;
use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::membership::MembershipStore;
use membership_operator::membership::kv::{Created, KvStore, Prefix, Settings, Size, init};
use membership_operator::membership::records::{UnixMillis, Versioned};
use membership_operator::membership::store::Deadline;
use serde_json::json;
use testbed::nats::{Nats, NatsOptions as Servers, Role as User, Users};
use tokio::runtime::Runtime;

use crate::http::{PATIENCE, Sending, get};
use crate::program::{ADMIN, Host, Kept};

/// Room for every test's store.
const STORES: usize = 64;

/// Enough for any test.
pub const MAX_BYTES: u64 = 4 << 20;

/// It ends with the last test that uses it: what a static holds would outlive the process.
static NATS: Mutex<Weak<Nats>> = Mutex::new(Weak::new());
static NEXT: AtomicUsize = AtomicUsize::new(0);

fn started(servers: usize) -> Arc<Nats> {
    let start = move || {
        let prefixes: Vec<String> = (0..STORES).map(|n| format!("S{n}")).collect();
        let users = Users::of_prefixes(&prefixes).unwrap();
        let servers = Servers::cluster_of(servers).users(users).max_file_store(1 << 40);
        Runtime::new().unwrap().block_on(Nats::started(servers)).unwrap()
    };
    Arc::new(thread::spawn(start).join().unwrap())
}

/// The server that runs, or a new one.
fn shared() -> Arc<Nats> {
    let mut running = NATS.lock().unwrap_or_else(PoisonError::into_inner);
    running.upgrade().unwrap_or_else(|| {
        let nats = started(1);
        *running = Arc::downgrade(&nats);
        nats
    })
}

/// The buckets of one store.
pub struct Buckets {
    pub nats: Arc<Nats>,
    prefix: Prefix,
    /// Where a service finds the servers.
    urls: Vec<String>,
}

impl Buckets {
    /// A prefix that nothing is made under yet.
    pub fn none_yet() -> Self {
        Self::on(shared())
    }

    fn on(nats: Arc<Nats>) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(number < STORES, "more stores than prefixes");
        let urls = nats.urls();
        Self { nats, prefix: format!("S{number}").parse().unwrap(), urls }
    }

    pub fn made() -> Self {
        let buckets = Self::none_yet();
        buckets.make();
        buckets
    }

    /// On servers of their own, for a test that harms them or needs room.
    pub fn alone_on(servers: usize, max_bytes: u64) -> Self {
        let buckets = Self::on(started(servers));
        buckets.make_of(max_bytes);
        buckets
    }

    /// The same buckets, found at these addresses.
    pub fn by_way_of(&self, urls: Vec<String>) -> Self {
        Self { nats: Arc::clone(&self.nats), prefix: self.prefix.clone(), urls }
    }

    fn options(&self, role: Role, user: User) -> NatsOptions {
        let seed = self.nats.seed_file(user).unwrap();
        NatsOptions::new(&self.nats.urls().join(","), role).unwrap().nkey(Some(&seed))
    }

    pub fn make(&self) {
        self.make_of(MAX_BYTES);
    }

    fn make_of(&self, max_bytes: u64) {
        let operator = self.options(Role::Operator, User::Operator);
        let replicas = u8::try_from(self.nats.size()).unwrap();
        let size = Size { max_bytes, replicas };
        let made = init(&operator, &self.prefix, size, "test", Budget::default());
        assert_eq!(Runtime::new().unwrap().block_on(made).unwrap(), Created::New);
    }

    pub async fn open(&self) -> KvStore {
        let service = self.options(Role::Membershipd, User::Membershipd);
        KvStore::open(&service, self.prefix.clone(), Settings::default()).await.unwrap()
    }

    pub fn let_first_admin_in(&self, key: &str) {
        Runtime::new().unwrap().block_on(async {
            let deadline = Deadline::after(PATIENCE);
            let (key, handle) = (key.parse().unwrap(), "somebody".parse().unwrap());
            self.open().await.add_first_admin(key, handle, deadline).await.unwrap();
        });
    }

    /// Says how far a move into them has come.
    pub fn mark(&self, phase: &str) {
        let source = json!({"kind": "ours", "users": 1, "rooms": 0, "members": 0, "roomKeys": 0});
        let attempt = "0".repeat(32);
        let marker = json!({"phase": phase, "attempt": attempt, "digest": "", "source": source});
        Runtime::new().unwrap().block_on(async {
            let (store, deadline) = (self.open().await, Deadline::after(PATIENCE));
            let Versioned { mut record, revision } = store.control(deadline).await.unwrap();
            record.migration = Some(marker);
            store.set_control(&record, revision, deadline).await.unwrap();
        });
    }

    /// Since when they have been served from.
    pub fn served_since(&self) -> Option<UnixMillis> {
        Runtime::new().unwrap().block_on(async {
            let store = self.open().await;
            store.control(Deadline::after(PATIENCE)).await.unwrap().record.served_since
        })
    }

    /// What `serve` is told.
    pub fn flags(&self) -> Vec<OsString> {
        let seed = self.nats.seed_file(User::Membershipd).unwrap();
        vec![
            "--store=jetstream".into(),
            format!("--nats-url={}", self.urls.join(",")).into(),
            format!("--bucket-prefix={}", self.prefix).into(),
            "--nkey".into(),
            seed.into(),
        ]
    }
}

#[test]
fn a_service_waits_for_buckets_that_are_not_there_yet_and_makes_none() {
    let host = Host::waiting();
    let buckets = host.buckets().unwrap();
    let serving = {
        let host = Arc::clone(&host);
        thread::spawn(move || host.serve(&[]))
    };
    while !host.path("log").exists() || !host.log().contains("waiting for the store") {
        thread::sleep(Duration::from_millis(50));
        assert!(!serving.is_finished(), "{}", host.log());
    }
    assert!(host.log().contains("there is no membership"), "{}", host.log());
    buckets.make();
    let server = serving.join().unwrap();
    let ready = get(server.admin, "/readyz");
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(server.stop().success());
    let given_up = Host::waiting();
    let flags = given_up.buckets().unwrap().flags();
    let mut command = given_up.command(["serve", "--listen=127.0.0.1:0"]);
    command.args(["--admin-listen=127.0.0.1:0", "--start-timeout=1"]).args(flags);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

#[test]
fn a_store_that_was_served_from_says_so() {
    let host = Host::of(Kept::InBuckets);
    let served = || host.buckets().unwrap().served_since();
    assert_eq!(served(), None);
    drop(host.serve(&[]));
    let first = served().expect("it says so");
    drop(host.serve(&[]));
    assert_eq!(served(), Some(first), "since the first time");
}

#[test]
fn without_its_servers_everybody_is_denied_in_time_and_it_comes_back_by_itself() {
    let host = Host::in_these(Buckets::alone_on(1, MAX_BYTES));
    let buckets = host.buckets().unwrap();
    buckets.let_first_admin_in(&crate::http::Caller::new(ADMIN).key());
    let server = host.serve(&[]);
    server.get(ADMIN, "/v1/rooms").done(200);
    buckets.nats.freeze(0).unwrap();
    let new = Sending::new("POST", "/v1/rooms").json(&json!({"room": "late", "subject": "s"}));
    let begun = Instant::now();
    server.get(ADMIN, "/v1/rooms").refused(503, "unavailable");
    server.send(ADMIN, new.clone()).refused(503, "unavailable");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(get(server.admin, "/readyz").status, 503);
    assert_eq!(get(server.admin, "/livez").status, 200);
    buckets.nats.thaw(0).unwrap();
    let back = Instant::now();
    while get(server.admin, "/readyz").status != 200 {
        assert!(back.elapsed() < PATIENCE, "it does not come back: {}", host.log());
        thread::sleep(Duration::from_millis(100));
    }
    server.send(ADMIN, new).done(201);
    buckets.nats.kill(0).unwrap();
    server.get(ADMIN, "/v1/rooms").refused(503, "unavailable");
    buckets.nats.start(0).unwrap();
    while server.get(ADMIN, "/v1/rooms/late").status != 200 {
        assert!(back.elapsed() < 3 * PATIENCE, "it does not come back: {}", host.log());
    }
}
