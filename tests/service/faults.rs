//! Two services over buckets on three servers, while servers and wires fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use testbed::nats::{Link, LinkState, Nats};
use tokio::runtime::Runtime;

use crate::buckets::Buckets;
use crate::http::{Caller, Reply, Sending, get};
use crate::program::{ADMIN, Host, OWNER, SERVICE, Server};

/// How long servers may take to be of use again, on a loaded machine.
pub const HEALING: Duration = Duration::from_secs(60);

/// How long a service may take to say no: its own 10 s for an answer, and what a loaded machine adds.
const SAYS_NO: Duration = Duration::from_secs(12);

/// Enough for what a load leaves in a bucket.
const ROOM: u64 = 64 << 20;

/// Two services of one store, the second one by wires of its own.
pub struct Pair {
    pub nats: Arc<Nats>,
    pub first: Server,
    second: Server,
    pub wires: Vec<Link>,
}

impl Pair {
    pub fn started() -> Self {
        let buckets = Buckets::alone_on(3, ROOM);
        let nats = Arc::clone(&buckets.nats);
        let wires = nats.client_links().unwrap();
        let others = buckets.by_way_of(wires.iter().map(Link::url).collect());
        buckets.let_first_admin_in(&Caller::new(ADMIN).key());
        let first = Host::in_these(buckets).serve(&[]);
        let second = Host::in_these(others).serve(&[]);
        first.add_user(OWNER, "user");
        first.add_user(SERVICE, "service");
        Self { nats, first, second, wires }
    }

    pub fn both(&self) -> [&Server; 2] {
        [&self.first, &self.second]
    }

    fn settle(&self) {
        Runtime::new().unwrap().block_on(self.nats.settled(HEALING)).unwrap();
    }
}

pub fn new_room(name: &str) -> Sending {
    Sending::new("POST", "/v1/rooms").json(&json!({"room": name, "subject": "s"}))
}

/// Sends one and the same request until it is answered for good.
pub fn persist(at: SocketAddr, caller: u8, sending: &Sending) -> Reply {
    let end = Instant::now() + HEALING;
    loop {
        let reply = sending.clone().send(at, &Caller::new(caller));
        if !matches!(reply.status, 503 | 504) {
            return reply;
        }
        assert!(Instant::now() < end, "{} {} ends in {reply:?}", sending.method, sending.path);
        thread::sleep(Duration::from_millis(50));
    }
}

fn is_ready(server: &Server) -> bool {
    get(server.admin, "/readyz").status == 200
}

/// Waits for what is promised to come by itself.
fn comes(what: &str, within: Duration, mut is_there: impl FnMut() -> bool) {
    let end = Instant::now() + within;
    while !is_there() {
        assert!(Instant::now() < end, "{what}: not within {within:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// What a service says to the question whether the owner may act.
fn asked_about_owner(server: &Server) -> Reply {
    let question = json!({"questions": [{"user": Caller::new(OWNER).key()}]});
    server.post(SERVICE, "/v1/authorize", &question)
}

fn admits_owner(server: &Server) -> bool {
    let reply = asked_about_owner(server);
    reply.status == 200 && reply.body["decisions"][0]["allowed"] == true
}

/// Nobody is admitted and nothing is changed, and whoever asks is told so in time.
fn says_no(server: &Server) {
    let begun = Instant::now();
    let asked = asked_about_owner(server);
    assert!(begun.elapsed() < SAYS_NO, "{:?}", begun.elapsed());
    assert_ne!(asked.body["decisions"][0]["allowed"], true, "{asked:?}");
    let begun = Instant::now();
    server.send(OWNER, new_room("never")).refused(503, "unavailable");
    assert!(begun.elapsed() < SAYS_NO, "{:?}", begun.elapsed());
}

#[test]
fn reads_and_changes_go_on_without_one_of_three_servers() {
    let pair = Pair::started();
    for down in 0..3 {
        pair.nats.kill(down).unwrap();
        for (n, server) in pair.both().into_iter().enumerate() {
            let name = format!("without-{down}-by-{n}");
            let made = persist(server.at, OWNER, &new_room(&name));
            assert_eq!(made.status, 201, "{made:?}");
            let read = Sending::new("GET", &format!("/v1/rooms/{name}"));
            assert_eq!(persist(server.at, OWNER, &read).body["room"], name);
        }
        pair.nats.start(down).unwrap();
        pair.settle();
    }
}

#[test]
fn without_a_quorum_nobody_is_admitted_and_nothing_changes_until_it_is_back() {
    let pair = Pair::started();
    for server in pair.both() {
        comes("an admission", HEALING, || admits_owner(server));
    }
    pair.nats.kill(0).unwrap();
    pair.nats.kill(1).unwrap();
    for server in pair.both() {
        says_no(server);
        assert!(!is_ready(server) && get(server.admin, "/livez").status == 200);
    }
    pair.nats.start(0).unwrap();
    for server in pair.both() {
        comes("an admission", HEALING, || admits_owner(server));
        comes("readiness", HEALING, || is_ready(server));
        let read = persist(server.at, OWNER, &Sending::new("GET", "/v1/rooms/never"));
        read.refused(403, "refused");
        let made = persist(server.at, OWNER, &new_room(&format!("again-{}", server.at.port())));
        assert_eq!(made.status, 201, "{made:?}");
    }
}

#[test]
fn a_service_that_is_cut_off_denies_and_is_not_ready_while_the_other_goes_on() {
    let pair = Pair::started();
    for state in [LinkState::Cut, LinkState::Held] {
        comes("an admission", HEALING, || admits_owner(&pair.second));
        pair.wires.iter().for_each(|wire| wire.set(state));
        let cut = Instant::now();
        comes("unreadiness", Duration::from_secs(10), || !is_ready(&pair.second));
        says_no(&pair.second);
        assert!(admits_owner(&pair.first) && is_ready(&pair.first));
        eprintln!("{state:?}: not ready and denied {:.1?} after the cut", cut.elapsed());
        pair.wires.iter().for_each(|wire| wire.set(LinkState::Open));
        comes("an admission", HEALING, || admits_owner(&pair.second));
        comes("readiness", HEALING, || is_ready(&pair.second));
    }
}
