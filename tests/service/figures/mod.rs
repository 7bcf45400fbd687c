//! Figures of the service, in one run: over HTTP with signatures checked, beside the store's own call
//! and beside OpenFGA: `make bench`. Printed, never asserted.

mod client;
mod openfga;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::FutureExt as _;
use membership_operator::membership::MembershipStore;
use membership_operator::membership::authorize::{AuthorizeRequest, Consistency};
use membership_operator::membership::sqlite::{Settings, SqliteStore};
use membership_operator::membership::store::Deadline;
use serde_json::json;
use testbed::bench::Spread;
use testbed::rate::{Contender, Table, Work};
use tokio::sync::Mutex;

use self::client::Client;
use self::openfga::OpenFga;
use self::world::{ROOMS, USERS, World, room, rooms_of, signing_key};
use crate::buckets::Buckets;
use crate::http::{PATIENCE, get};
use crate::program::{Host, Server};

const CROWDS: [usize; 3] = [1, 32, 256];

/// Every contender goes this many rounds, in turn.
const ROUNDS: usize = 5;

/// How often a start is timed.
const STARTS: usize = 5;

/// Each bucket's room: three hundred thousand members take about 150 MiB.
const MAX_BYTES: u64 = 1 << 30;

const OPENFGA: &str = "check: OpenFGA on SQLite, gRPC";

/// How many callers share a connection to OpenFGA.
const PER_CONNECTION: usize = 64;

/// A user and a room that it is in.
fn some_question() -> (u32, u32) {
    let user = fastrand::u32(..USERS);
    let rooms: Vec<u32> = rooms_of(user).collect();
    (user, rooms[fastrand::usize(..rooms.len())])
}

fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// One client for each caller of the largest crowd.
fn clients(at: SocketAddr, key: impl Fn(u32) -> u32) -> Arc<Vec<Mutex<Client>>> {
    let most = u32::try_from(CROWDS[2]).unwrap();
    Arc::new((0..most).map(|n| Mutex::new(Client::new(at, signing_key(key(n))))).collect())
}

/// A service asks about anybody.
fn authorize_over_http(world: &Arc<World>, at: SocketAddr) -> Work {
    let (world, clients) = (Arc::clone(world), clients(at, |_| USERS));
    Arc::new(move |caller| {
        let (world, clients) = (Arc::clone(&world), Arc::clone(&clients));
        async move {
            let (user, n) = some_question();
            let user = world.users[user as usize];
            let body = json!({"questions": [{"user": user, "room": room(n)}]}).to_string();
            let mut client = clients[caller].lock().await;
            let answer = client.ask("POST", "/v1/authorize", body.into()).await;
            assert_eq!(answer["decisions"][0]["allowed"], true, "{answer}");
        }
        .boxed()
    })
}

fn authorize_in_store(world: &Arc<World>, store: &Arc<dyn MembershipStore>) -> Work {
    let (world, store) = (Arc::clone(world), Arc::clone(store));
    Arc::new(move |_| {
        let (world, store) = (Arc::clone(&world), Arc::clone(&store));
        async move {
            let (user, n) = some_question();
            let (user, consistency) = (world.users[user as usize], Consistency::Strict);
            let request = AuthorizeRequest { user, room: Some(room(n)), consistency };
            assert!(store.authorize(request, soon()).await.is_admit());
        }
        .boxed()
    })
}

async fn checks_by_openfga(world: &Arc<World>, server: &OpenFga) -> Work {
    let mut connections = Vec::new();
    for _ in 0..CROWDS[2] / PER_CONNECTION {
        connections.push(server.connect().await);
    }
    let world = Arc::clone(world);
    Arc::new(move |caller| {
        let (world, checker) = (Arc::clone(&world), connections[caller / PER_CONNECTION].clone());
        async move {
            let (user, n) = some_question();
            let user = world.users[user as usize].to_string();
            assert!(checker.check(&user, room(n).as_str()).await);
        }
        .boxed()
    })
}

/// Each caller looks into a room that it is in.
fn rooms_over_http(at: SocketAddr) -> Work {
    let clients = clients(at, |n| n);
    Arc::new(move |caller| {
        let clients = Arc::clone(&clients);
        async move {
            let user = u32::try_from(caller).unwrap();
            let n = rooms_of(user).last().unwrap();
            let path = format!("/v1/rooms/{}", room(n));
            clients[caller].lock().await.ask("GET", &path, Bytes::new()).await;
        }
        .boxed()
    })
}

fn rooms_in_store(store: &Arc<dyn MembershipStore>) -> Work {
    let store = Arc::clone(store);
    Arc::new(move |_| {
        let store = Arc::clone(&store);
        async move { drop(store.room(&room(fastrand::u32(..ROOMS)), soon()).await.unwrap()) }
            .boxed()
    })
}

/// From its start until it is ready, in milliseconds.
fn starts(host: &Arc<Host>) -> Spread {
    let times: Vec<f64> = (0..STARTS)
        .map(|_| {
            let begun = Instant::now();
            let server = host.serve(&[]);
            while get(server.admin, "/readyz").status != 200 {
                std::thread::sleep(Duration::from_millis(1));
            }
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    Spread::of(&times).unwrap()
}

fn memory_mib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// One of our stores, filled, and a service of it.
struct Ours {
    name: &'static str,
    server: Server,
    store: Arc<dyn MembershipStore>,
    starts: Spread,
    idle_mib: u64,
}

impl Ours {
    fn on(name: &'static str, host: &Arc<Host>, store: Arc<dyn MembershipStore>) -> Self {
        let starts = starts(host);
        let server = host.serve(&[]);
        let idle_mib = server.memory_kib() / 1024;
        Self { name, server, store, starts, idle_mib }
    }

    async fn file(world: &World) -> Self {
        let host = Host::new();
        let path = host.path("membership.db");
        SqliteStore::create(&path, soon()).await.unwrap();
        let store = SqliteStore::open(&path, Settings::default(), soon()).await.unwrap();
        world.fill(&store).await;
        tokio::task::spawn_blocking(move || Self::on("SQLite", &host, Arc::new(store)))
            .await
            .unwrap()
    }

    async fn buckets(world: &World) -> Self {
        let buckets =
            tokio::task::spawn_blocking(|| Buckets::alone_on(3, MAX_BYTES)).await.unwrap();
        let store = buckets.open().await;
        world.fill(&store).await;
        let host = Host::in_these(buckets);
        tokio::task::spawn_blocking(move || Self::on("R3", &host, Arc::new(store))).await.unwrap()
    }

    fn contenders(&self, world: &Arc<World>, callers: usize) -> [Contender; 4] {
        let Self { name, server, store, .. } = self;
        let one = |what: &str, work| Contender::new(format!("{what}, {name}"), callers, work);
        [
            one("authorize over HTTP", authorize_over_http(world, server.at)),
            one("authorize: the store's call", authorize_in_store(world, store)),
            one("read a room over HTTP", rooms_over_http(server.at)),
            one("read a room: the store's call", rooms_in_store(store)),
        ]
    }

    fn tell(&self) {
        let Self { name, server, starts, idle_mib, .. } = self;
        println!(
            "{name}: ready {:.0} ms after its start ({:.0} to {:.0}); memory {idle_mib} MiB at rest, \
             {} MiB after all this",
            starts.median,
            starts.least,
            starts.greatest,
            server.memory_kib() / 1024
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: run by `make bench`"]
async fn figures_of_the_service_beside_openfga() {
    let world = Arc::new(World::new());
    let begun = Instant::now();
    let file = Ours::file(&world).await;
    println!("filled SQLite in {:.0?}", begun.elapsed());
    let begun = Instant::now();
    let buckets = Ours::buckets(&world).await;
    println!("filled R3 in {:.0?}", begun.elapsed());
    let begun = Instant::now();
    let openfga = {
        let world = Arc::clone(&world);
        tokio::task::spawn_blocking(move || OpenFga::filled(&world)).await.unwrap()
    };
    println!("filled OpenFGA in {:.0?}", begun.elapsed());
    let checks = checks_by_openfga(&world, &openfga).await;
    let mut contenders = Vec::new();
    for callers in CROWDS {
        contenders.extend(file.contenders(&world, callers));
        contenders.extend(buckets.contenders(&world, callers));
        contenders.push(Contender::new(
            "check: OpenFGA on SQLite, gRPC",
            callers,
            Arc::clone(&checks),
        ));
    }
    let table = Table::of(contenders, ROUNDS).await;
    println!(
        "{ROOMS} rooms, {USERS} users; client and servers on this machine; medians of {ROUNDS} rounds"
    );
    print!("{table}");
    let at = |callers| {
        let rate = |name: &str| table.per_second(name, callers).unwrap();
        rate("authorize over HTTP, R3") / rate(OPENFGA)
    };
    println!(
        "authorize over HTTP on R3, times OpenFGA's rate: {:.2} at 1 caller, {:.2} at 32, {:.2} at 256",
        at(CROWDS[0]),
        at(CROWDS[1]),
        at(CROWDS[2])
    );
    file.tell();
    buckets.tell();
    println!("OpenFGA: memory {} MiB after all this", memory_mib(openfga.process()));
}
