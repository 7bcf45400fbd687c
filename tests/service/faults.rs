//! Two services over buckets on three servers, while servers and wires fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testbed::nats::{Link, LinkState, Nats};
use tokio::runtime::Runtime;

use crate::buckets::Buckets;
use crate::http::{Caller, Reply, Sending, get};
use crate::program::{ADMIN, Host, OWNER, SERVICE, Server};

/// How long servers may take to be of use again, on a loaded machine.
const HEALING: Duration = Duration::from_secs(60);

/// How long a service may take to say no: its own 10 s for an answer, and what a loaded machine adds.
const SAYS_NO: Duration = Duration::from_secs(12);

/// Two services of one store, the second one by wires of its own.
struct Pair {
    nats: Arc<Nats>,
    first: Server,
    second: Server,
    wires: Vec<Link>,
}

impl Pair {
    fn started() -> Self {
        let buckets = Buckets::alone_on(3);
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

    fn both(&self) -> [&Server; 2] {
        [&self.first, &self.second]
    }

    fn settle(&self) {
        Runtime::new().unwrap().block_on(self.nats.settled(HEALING)).unwrap();
    }
}

fn new_room(name: &str) -> Sending {
    Sending::new("POST", "/v1/rooms").json(&json!({"room": name, "subject": "s"}))
}

/// Sends one and the same request until it is answered for good.
fn persist(at: SocketAddr, caller: u8, sending: &Sending) -> Reply {
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

/// How many clients send, and how often each: 200 requests a second together.
const CLIENTS: u32 = 20;
const BEAT: Duration = Duration::from_millis(100);

/// How long an impatient client waits at most: about as long as a change takes, so that it hangs up
/// before, in the middle of it and after.
const IMPATIENCE_MILLIS: u64 = 15;

/// One client's life: a room of its own, and a guest who is let in and sent away, each once. A
/// request that was made twice, or got lost, shows in the next one's answer. Every other change is
/// first sent in vain: its client hangs up and asks the other service, as when an answer is lost.
fn live(n: u32, pair: &Pair, over: &AtomicBool) -> u32 {
    let (room, mut sent, owner) = (format!("room-{n}"), 0, Caller::new(OWNER));
    let members = format!("/v1/rooms/{room}/members");
    let guest = format!("{members}/guest");
    let mut next = Instant::now();
    let mut send = |expected: u16, sending: Sending| {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next = Instant::now() + BEAT;
        // Tries may go to either service, as behind one address.
        let end = Instant::now() + HEALING;
        let first = usize::try_from(sent + n).unwrap() % 2;
        if sending.method != "GET" && fastrand::bool() {
            let after = Duration::from_millis(fastrand::u64(..IMPATIENCE_MILLIS));
            sending.abandon(pair.both()[1 - first].at, &owner, after);
        }
        for server in pair.both().into_iter().cycle().skip(first) {
            let reply = sending.clone().send(server.at, &owner);
            if matches!(reply.status, 503 | 504) && Instant::now() < end {
                continue;
            }
            assert_eq!(reply.status, expected, "{} {}: {reply:?}", sending.method, sending.path);
            break;
        }
        sent += 1;
    };
    send(201, new_room(&room));
    while !over.load(Ordering::Relaxed) {
        send(201, Sending::new("POST", &members).json(&json!({"endpoint": "guest"})));
        send(200, Sending::new("GET", &format!("/v1/rooms/{room}")));
        send(204, Sending::new("DELETE", &guest));
    }
    sent
}

/// How long the load runs between restarts.
const BETWEEN: Duration = Duration::from_secs(2);
const CUTS: u32 = 2;
const MOMENT: Duration = Duration::from_millis(20);

/// One after the other, as an upgrade does; the last one by SIGKILL, as when memory runs out. In
/// between the second service's wires are cut for moments, which swallows changes on their way and
/// acknowledgements of what has been written.
fn restart_each(pair: &Pair) {
    let (runtime, nats) = (Runtime::new().unwrap(), &pair.nats);
    for server in 0..nats.size() {
        for _ in 0..CUTS {
            thread::sleep(BETWEEN / CUTS);
            pair.wires.iter().for_each(|wire| wire.set(LinkState::Cut));
            thread::sleep(MOMENT);
            pair.wires.iter().for_each(|wire| wire.set(LinkState::Open));
        }
        if server + 1 < nats.size() {
            runtime.block_on(nats.stop(server)).unwrap();
        } else {
            nats.kill(server).unwrap();
        }
        nats.start(server).unwrap();
        runtime.block_on(nats.settled(HEALING)).unwrap();
    }
}

#[test]
fn a_rolling_restart_under_load_loses_nothing_and_makes_nothing_twice() {
    let pair = Pair::started();
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let sent: u32 = thread::scope(|scope| {
        let (pair, over) = (&pair, &over);
        let clients: Vec<_> =
            (0..CLIENTS).map(|n| scope.spawn(move || live(n, pair, over))).collect();
        restart_each(pair);
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    eprintln!("{sent} requests in {:.1?}", begun.elapsed());
    for n in 0..CLIENTS {
        let members = Sending::new("GET", &format!("/v1/rooms/room-{n}/members"));
        let members = persist(pair.first.at, OWNER, &members).done(200);
        let there: Vec<&Value> = members["items"].as_array().unwrap().iter().collect();
        assert_eq!(there.len(), 1, "only the owner is left: {members}");
    }
}
