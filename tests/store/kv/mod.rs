//! The store in replicated buckets, on real servers: the contract on one and on three, and what only
//! buckets can go through.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
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

/// Servers that many tests share, each with a prefix of its own.
struct Shared {
    nats: OnceLock<Nats>,
    servers: u8,
    next: AtomicUsize,
}

impl Shared {
    const fn of(servers: u8) -> Self {
        Self { nats: OnceLock::new(), servers, next: AtomicUsize::new(0) }
    }

    /// The servers, started by the first test that asks.
    fn nats(&self) -> &Nats {
        let servers = self.servers;
        self.nats.get_or_init(|| thread::spawn(move || started(servers)).join().unwrap())
    }

    async fn store(&self, max_bytes: u64) -> Fresh {
        let nats = self.nats();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(number < STORES, "more stores than prefixes");
        let prefix: Prefix = format!("T{number}").parse().unwrap();
        made_as(nats, &prefix, Size { max_bytes, replicas: self.servers }).await;
        let store = opened(nats, &nats.urls().join(","), prefix.clone()).await;
        Fresh { store, home: Box::new(prefix) }
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
        let prefix = fresh.home.downcast_ref::<Prefix>().unwrap().clone();
        let nats = self.0.nats();
        opened(nats, &nats.urls().join(","), prefix).await
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
