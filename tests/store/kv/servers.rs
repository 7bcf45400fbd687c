//! Servers that the tests of this program share, each with a prefix of its own: starting three takes
//! longer than most tests. They end with the last test that uses them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use membership_operator::jetstream::bucket::Budget;
use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::jetstream::link::Link;
use membership_operator::membership::kv::{self, Created, KvStore, Prefix, Settings, Size, Wire};
use testbed::nats::{Nats, NatsOptions as Servers, Role as User, Users};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

/// How many prefixes the users of one set of servers may touch.
const PREFIXES: usize = 120;

/// How long servers may take to agree on something.
pub const HEALING: Duration = Duration::from_secs(60);

/// Room enough for every test that does not want to fill it.
pub const ROOMY: u64 = 64 << 20;

/// One server.
pub static ONE: LazyLock<Shared> = LazyLock::new(|| Shared::of(1));

/// Servers that are started for the first test that wants them.
pub struct Shared(Arc<Inner>);

struct Inner {
    size: usize,
    running: Mutex<Weak<Nats>>,
    taken: AtomicUsize,
}

fn prefix(n: usize) -> String {
    format!("T{n}")
}

/// Servers of one test's own, whose users may touch the first prefix.
pub async fn own(size: usize) -> Home {
    Home { nats: Arc::new(started(size, 1).await), prefix: prefix(0).parse().unwrap() }
}

/// The same with places for so many stores, where the operator may do anything: also what the product
/// never does.
pub async fn administered(size: usize, stores: usize) -> Vec<Home> {
    let nats =
        Arc::new(started_for(size, stores, |users| users.unrestricted(User::Operator)).await);
    let home = |n| Home { nats: Arc::clone(&nats), prefix: prefix(n).parse().unwrap() };
    (0..stores).map(home).collect()
}

async fn started(size: usize, prefixes: usize) -> Nats {
    started_for(size, prefixes, |users| users).await
}

async fn started_for(size: usize, prefixes: usize, change: fn(Users) -> Users) -> Nats {
    let prefixes: Vec<String> = (0..prefixes).map(prefix).collect();
    let users = change(Users::of_prefixes(&prefixes).unwrap());
    let options = Servers::cluster_of(size).users(users).max_file_store(1 << 40);
    let nats = Nats::started(options).await.unwrap();
    // Once, before anybody reads them.
    User::ALL.into_iter().for_each(|user| drop(nats.seed_file(user).unwrap()));
    nats
}

impl Shared {
    fn of(size: usize) -> Self {
        let (running, taken) = (Mutex::new(Weak::new()), AtomicUsize::new(0));
        Self(Arc::new(Inner { size, running, taken }))
    }

    /// A place for a store, on the servers that run.
    pub fn home(&self) -> BoxFuture<'static, Home> {
        Box::pin(place(Arc::clone(&self.0)))
    }
}

async fn place(inner: Arc<Inner>) -> Home {
    let mut running = inner.running.lock().await;
    let nats = match running.upgrade() {
        Some(nats) => nats,
        None => {
            // On a thread of its own: the compiler cannot see that the starting may be sent.
            let (now, size) = (Handle::current(), inner.size);
            let start = move || now.block_on(started(size, PREFIXES));
            let nats = Arc::new(spawn_blocking(start).await.unwrap());
            *running = Arc::downgrade(&nats);
            inner.taken.store(0, Ordering::Release);
            nats
        }
    };
    let taken = inner.taken.fetch_add(1, Ordering::AcqRel);
    assert!(taken < PREFIXES, "more stores than prefixes: raise PREFIXES");
    Home { nats, prefix: prefix(taken).parse().unwrap() }
}

/// Where a store is, or may be.
pub struct Home {
    pub nats: Arc<Nats>,
    pub prefix: Prefix,
}

impl Home {
    /// What a role's own user connects with.
    pub fn options(&self, role: Role) -> NatsOptions {
        self.options_at(&self.nats.urls().join(","), role)
    }

    fn options_at(&self, urls: &str, role: Role) -> NatsOptions {
        let user = match role {
            Role::System => User::System,
            Role::Operator => User::Operator,
            Role::Membershipd => User::Membershipd,
            Role::Migration => User::Migration,
        };
        let seed = self.nats.folder().join(format!("{}.nk", user.name()));
        NatsOptions::new(urls, role).unwrap().nkey(Some(&seed))
    }

    /// Lets a server lead a bucket's stream.
    pub async fn lead(&self, bucket: &str, server: usize) {
        let stream = format!("KV_{}_{bucket}", self.prefix);
        let end = Instant::now() + HEALING;
        while self.nats.stream_leader(&stream, HEALING).await.unwrap() != server {
            assert!(Instant::now() < end, "the server never leads {stream}");
            // Refused while an election goes on.
            let _ = self.nats.step_down_stream(&stream, Some(server)).await;
        }
    }

    /// A connection of a role's own user.
    pub fn link(&self, role: Role) -> Link {
        Link::new(self.options(role))
    }

    /// How large a store's buckets are here, every one on every server.
    pub fn size(&self) -> Size {
        Size { max_bytes: ROOMY, replicas: u8::try_from(self.nats.size()).unwrap() }
    }

    /// Makes a store, as the operator and `init` do.
    pub async fn init(&self) {
        let (operator, budget) = (self.options(Role::Operator), Budget::default());
        let made = kv::init(&operator, &self.prefix, self.size(), "test", budget).await;
        assert_eq!(made.unwrap(), Created::New);
    }

    /// Opens the store, as the service does.
    pub async fn open(&self) -> Arc<KvStore> {
        self.open_with(self.options(Role::Membershipd)).await
    }

    /// Opens the store through one server alone.
    pub async fn open_at(&self, server: usize) -> Arc<KvStore> {
        self.open_with(self.options_at(&self.nats.url(server), Role::Membershipd)).await
    }

    async fn open_with(&self, service: NatsOptions) -> Arc<KvStore> {
        let opened = KvStore::open(&service, self.prefix.clone(), Settings::default()).await;
        Arc::new(opened.unwrap())
    }

    /// Opens the store through this.
    pub async fn open_through(&self, wire: Arc<dyn Wire>) -> Arc<KvStore> {
        let (prefix, settings) = (self.prefix.clone(), Settings::default());
        let opened = KvStore::open_through(Arc::clone(&wire), wire, prefix, settings).await;
        Arc::new(opened.unwrap())
    }
}
