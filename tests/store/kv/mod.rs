//! The store in replicated buckets, on real servers: the contract on one and on three, and what only
//! buckets can go through.

mod closed;
mod crash;
mod histories;
mod lost;
mod open;
mod servers;
mod wires;
mod writes;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use async_trait::async_trait;
use membership_operator::jetstream::bucket::Budget;
use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::membership::MembershipStore;
use membership_operator::membership::kv::{Created, KvStore, Prefix, Settings, Size, init};
use testbed::nats::{Nats, NatsOptions as Servers, Role as User, Users};
use tokio::runtime::Runtime;

use crate::contract::{Backend, Fresh, contract_tests};

/// Room for every test's stores on shared servers.
const STORES: usize = 96;

/// Enough for any test but the one that fills a store.
const BYTES: u64 = 4 << 20;

/// What a client of a role connects with, at these addresses.
pub fn options(nats: &Nats, urls: &str, role: Role) -> NatsOptions {
    let user = match role {
        Role::Operator => User::Operator,
        Role::Membershipd => User::Membershipd,
        Role::Migration => User::Migration,
        Role::System => User::System,
    };
    let seed = nats.seed_file(user).unwrap();
    NatsOptions::new(urls, role).unwrap().nkey(Some(&seed))
}

async fn made_as(nats: &Nats, prefix: &Prefix, size: Size) {
    let operator = options(nats, &nats.urls().join(","), Role::Operator);
    let created = init(&operator, prefix, size, "test", Budget::default()).await.unwrap();
    assert_eq!(created, Created::New);
}

async fn opened(nats: &Nats, urls: &str, prefix: Prefix) -> Arc<KvStore> {
    let service = options(nats, urls, Role::Membershipd);
    Arc::new(KvStore::open(&service, prefix, Settings::default()).await.unwrap())
}

/// Makes the store that servers of one's own are for.
pub async fn made(nats: &Nats, replicas: u8) {
    made_as(nats, &Prefix::default(), Size { replicas, max_bytes: 256 << 20 }).await;
}

/// Opens it through these addresses.
pub async fn opened_at(nats: &Nats, urls: &str) -> Arc<dyn MembershipStore> {
    opened(nats, urls, Prefix::default()).await
}

/// Servers that many tests share, each with a prefix of its own. They end with the last test that
/// uses them: what a static holds would outlive the process.
struct Shared {
    servers: u8,
    running: Mutex<Weak<Running>>,
}

struct Running {
    nats: Nats,
    next: AtomicUsize,
}

/// What one test's store lives by.
struct Home {
    running: Arc<Running>,
    prefix: Prefix,
}

impl Shared {
    const fn of(servers: u8) -> Self {
        Self { servers, running: Mutex::new(Weak::new()) }
    }

    /// The servers that run, or new ones.
    fn running(&self) -> Arc<Running> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let servers = self.servers;
            let nats = thread::spawn(move || started(servers)).join().unwrap();
            let started = Arc::new(Running { nats, next: AtomicUsize::new(0) });
            *running = Arc::downgrade(&started);
            started
        })
    }

    async fn store(&self, max_bytes: u64) -> Fresh {
        let running = self.running();
        let number = running.next.fetch_add(1, Ordering::Relaxed);
        assert!(number < STORES, "more stores than prefixes");
        let prefix: Prefix = format!("T{number}").parse().unwrap();
        let nats = &running.nats;
        made_as(nats, &prefix, Size { max_bytes, replicas: self.servers }).await;
        let store = opened(nats, &nats.urls().join(","), prefix.clone()).await;
        Fresh { log: store.clone(), store, home: Box::new(Home { running, prefix }) }
    }
}

fn started(servers: u8) -> Nats {
    let prefixes: Vec<String> = (0..STORES).map(|n| format!("T{n}")).collect();
    let users = Users::of_prefixes(&prefixes).unwrap();
    let servers = Servers::cluster_of(usize::from(servers)).users(users).max_file_store(1 << 40);
    Runtime::new().unwrap().block_on(Nats::started(servers)).unwrap()
}

/// The servers that a test's stores are on.
struct On(&'static Shared);

#[async_trait]
impl Backend for On {
    async fn fresh(&self) -> Fresh {
        self.0.store(BYTES).await
    }

    async fn small(&self, max_bytes: u64) -> Fresh {
        self.0.store(max_bytes).await
    }

    async fn beside(&self, fresh: &Fresh) -> Arc<dyn MembershipStore> {
        let Home { running, prefix } = fresh.home.downcast_ref().unwrap();
        opened(&running.nats, &running.nats.urls().join(","), prefix.clone()).await
    }
}

static ONE: Shared = Shared::of(1);
static THREE: Shared = Shared::of(3);

mod on_one_server {
    use super::{ONE, On, contract_tests};

    contract_tests!(On(&ONE));
}

mod on_three_servers {
    use super::{On, THREE, contract_tests};

    contract_tests!(On(&THREE));
}
