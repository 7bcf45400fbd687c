//! Servers restart one after the other, while clients keep sending, give up waiting and send again.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use testbed::nats::LinkState;
use tokio::runtime::Runtime;

use crate::faults::{HEALING, Pair, new_room, persist};
use crate::http::{Caller, PATIENCE, Reply, Sending};

/// How many clients send, and how often each: 200 requests a second together. Each begins its
/// requests at fixed times, whatever the servers do; one that is late catches up at once.
const CLIENTS: u8 = 160;
const BEAT: Duration = Duration::from_millis(800);

/// The first client is this caller.
const FIRST: u8 = 90;

/// How long an impatient client waits for an answer at most: mostly longer than a change takes, so
/// that it gives up before, in the middle of it and after.
const IMPATIENCE_MILLIS: u64 = 100;

/// How long a client waits that was told to try again.
const PAUSE: Duration = Duration::from_millis(20);

/// "Not now", and "it may or may not have happened".
const TRY_AGAIN: [u16; 2] = [503, 504];

/// What happened to the clients.
#[derive(Default)]
struct Tally {
    sent: u32,
    given_up: u32,
    repeated: u32,
    /// Repeated, and the first answer had not been written down.
    unwritten: u32,
}

/// Somebody with a room, and with an exact idea of who is in it.
struct Client<'p> {
    pair: &'p Pair,
    owner: Caller,
    room: String,
    guests: BTreeSet<String>,
    /// Changes that were acknowledged, and how.
    done: Vec<(Sending, u16)>,
    /// Where an answer is not waited for any more, and its connection is not closed.
    left: Option<TcpStream>,
    next: Instant,
    tally: Tally,
}

impl<'p> Client<'p> {
    fn of(pair: &'p Pair, n: u8, begun: Instant) -> Self {
        Self {
            pair,
            owner: Caller::new(FIRST + n),
            room: format!("room-{n}"),
            guests: BTreeSet::new(),
            done: Vec::new(),
            left: None,
            next: begun + BEAT * u32::from(n) / u32::from(CLIENTS),
            tally: Tally::default(),
        }
    }

    fn members(&self) -> String {
        format!("/v1/rooms/{}/members", self.room)
    }

    /// Sends one and the same request to either service in turn until one of them answers.
    fn send(&mut self, sending: &Sending, try_again: &[u16]) -> Reply {
        thread::sleep(self.next.saturating_duration_since(Instant::now()));
        self.next += BEAT;
        self.tally.sent += 1;
        let end = Instant::now() + HEALING;
        let mut turn = fastrand::usize(..2);
        loop {
            match self.send_once(self.pair.both()[turn % 2].at, sending) {
                Some(reply) if !try_again.contains(&reply.status) => return reply,
                Some(_) => thread::sleep(PAUSE),
                None => self.tally.given_up += 1,
            }
            assert!(Instant::now() < end, "{} {} does not end", sending.method, sending.path);
            turn += 1;
        }
    }

    /// Every other try of a change is an impatient one. Who gives up may hang up, which ends the try
    /// wherever it is, or not: then it goes on beside the next one.
    fn send_once(&mut self, at: SocketAddr, sending: &Sending) -> Option<Reply> {
        let impatient = sending.method != "GET" && fastrand::bool();
        let patience = if impatient {
            Duration::from_millis(fastrand::u64(1..=IMPATIENCE_MILLIS))
        } else {
            PATIENCE
        };
        match sending.send_within(at, &self.owner, patience) {
            Ok(reply) => Some(reply),
            Err(stream) => {
                assert!(impatient, "{} {} is not answered", sending.method, sending.path);
                self.left = Some(stream).filter(|_| fastrand::bool());
                None
            }
        }
    }

    fn change(&mut self, sending: Sending, status: u16) {
        let reply = self.send(&sending, &TRY_AGAIN);
        assert_eq!(reply.status, status, "{} {}: {reply:?}", sending.method, sending.path);
        self.done.push((sending, status));
    }

    fn let_in(&mut self, guest: String) {
        let body = json!({"endpoint": guest});
        self.change(Sending::new("POST", &self.members()).json(&body), 201);
        self.guests.insert(guest);
    }

    fn send_away(&mut self, guest: &str) {
        self.change(Sending::new("DELETE", &format!("{}/{guest}", self.members())), 204);
        self.guests.remove(guest);
    }

    /// Sends a change of the past again. It is told what happened then, and nothing happens.
    fn repeat(&mut self) {
        let (sending, status) = self.done[fastrand::usize(..self.done.len())].clone();
        let reply = self.send(&sending, &TRY_AGAIN[..1]);
        self.tally.repeated += 1;
        if reply.header("idempotent-replayed") == Some("true") {
            assert_eq!(reply.status, status, "{} {}: {reply:?}", sending.method, sending.path);
        } else {
            self.tally.unwritten += 1;
            eprintln!("{} {} again: {reply:?}", sending.method, sending.path);
        }
    }

    /// Whoever asks sees exactly what was acknowledged.
    fn look(&mut self) {
        let reply = self.send(&Sending::new("GET", &self.members()), &TRY_AGAIN);
        self.is_as_acknowledged(&reply);
    }

    fn is_as_acknowledged(&self, reply: &Reply) {
        assert_eq!(reply.status, 200, "{reply:?}");
        let items = reply.body["items"].as_array().unwrap();
        let there: BTreeSet<&str> =
            items.iter().map(|member| member["endpoint"].as_str().unwrap()).collect();
        let owner = self.owner.key();
        let expected = self.guests.iter().chain([&owner]).map(String::as_str).collect();
        assert_eq!(there, expected, "in {}", self.room);
        assert_eq!(items.len(), there.len(), "somebody is there twice: {reply:?}");
    }

    /// One of two guests comes, or goes if it is there.
    fn come_or_go(&mut self) {
        let guest = format!("guest-{}", fastrand::u8(..2));
        if self.guests.contains(&guest) { self.send_away(&guest) } else { self.let_in(guest) }
    }

    fn live(mut self, end: &OnceLock<Instant>) -> Self {
        self.change(new_room(&self.room), 201);
        while end.get().is_none_or(|end| self.next < *end) {
            match fastrand::u8(..4) {
                0 => self.look(),
                1 => self.repeat(),
                _ => self.come_or_go(),
            }
        }
        self
    }
}

/// Says when it ends, also by a panic: nobody would stop otherwise.
struct Ending<'e>(&'e OnceLock<Instant>);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.get_or_init(Instant::now);
    }
}

/// How long the load runs between restarts.
const BETWEEN: Duration = Duration::from_secs(2);

/// One after the other, as an upgrade does; the last one by SIGKILL, as when memory runs out.
fn restart_each(pair: &Pair) {
    let (runtime, nats) = (Runtime::new().unwrap(), &pair.nats);
    for server in 0..nats.size() {
        thread::sleep(BETWEEN);
        if server + 1 < nats.size() {
            runtime.block_on(nats.stop(server)).unwrap();
        } else {
            nats.kill(server).unwrap();
        }
        nats.start(server).unwrap();
        runtime.block_on(nats.settled(HEALING)).unwrap();
    }
    thread::sleep(BETWEEN);
}

/// Longer than a service waits for a server's answer before it asks again.
const SILENCE: Duration = Duration::from_millis(2300);

const MOMENT: Duration = Duration::from_millis(20);

/// Holds the second service's wires up until a crowd of tries waits, lets it begin, and holds it up
/// again in the middle, or cuts it off: which swallows changes on their way, and acknowledgements of
/// what has been written, and makes tries go on late.
fn disturb(pair: &Pair, end: &OnceLock<Instant>) {
    let set = |state| pair.wires.iter().for_each(|wire| wire.set(state));
    let millis = |range| thread::sleep(Duration::from_millis(fastrand::u64(range)));
    while end.get().is_none() {
        millis(100..600);
        set(LinkState::Held);
        millis(300..700);
        set(LinkState::Open);
        millis(10..150);
        if fastrand::bool() {
            set(LinkState::Held);
            thread::sleep(SILENCE);
        }
        set(LinkState::Cut);
        thread::sleep(MOMENT);
        set(LinkState::Open);
    }
}

/// All clients' lives, from the same beginning to the end of the restarts.
fn lives(pair: &Pair, begun: Instant) -> Vec<Client<'_>> {
    let end = &OnceLock::new();
    thread::scope(|scope| {
        let ending = Ending(end);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| scope.spawn(move || Client::of(pair, n, begun).live(end)))
            .collect();
        scope.spawn(move || disturb(pair, end));
        restart_each(pair);
        drop(ending);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn a_rolling_restart_under_load_loses_nothing_and_makes_nothing_twice() {
    let pair = &Pair::started();
    (0..CLIENTS).for_each(|n| pair.first.add_user(FIRST + n, "user"));
    let begun = Instant::now();
    let clients = lives(pair, begun);
    let took = begun.elapsed();
    for (caller, client) in (FIRST..).zip(&clients) {
        for server in pair.both() {
            let get = |path: &str| persist(server.at, caller, &Sending::new("GET", path));
            client.is_as_acknowledged(&get(&client.members()));
            let rooms = get("/v1/rooms").done(200);
            assert_eq!(rooms["items"].as_array().unwrap().len(), 1, "{rooms}");
        }
    }
    let sum = |of: fn(&Tally) -> u32| clients.iter().map(|client| of(&client.tally)).sum::<u32>();
    let (sent, repeated) = (sum(|tally| tally.sent), sum(|tally| tally.repeated));
    let (given_up, unwritten) = (sum(|tally| tally.given_up), sum(|tally| tally.unwritten));
    eprintln!(
        "{sent} requests, all answered after {took:.1?}, given up and tried again {given_up} times; \
         {repeated} were sent again much later, {unwritten} of them had not been written down"
    );
    assert!(unwritten * 20 <= repeated, "{unwritten} of {repeated} are not remembered");
}
