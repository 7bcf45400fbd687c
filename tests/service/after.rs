//! A service that begins only when a membership has been moved into its buckets.

use std::io::{ErrorKind, Read, Write};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::buckets::{Buckets, MAX_BYTES};
use crate::http::{Caller, PATIENCE, Sending, connect, get};
use crate::program::{ADMIN, Host, Kept, OTHER, Server};

/// It looks four times a second; the rest is for machines with other work.
const SOON: Duration = Duration::from_secs(3);

/// For longer than its start may take.
const FLAGS: [&str; 2] = ["--after-migration", "--start-timeout=1"];

/// Waits until it says that it waits for this.
fn waits_for(server: &Server, words: &str) {
    until(server, |said| said.contains(words));
}

fn until(server: &Server, holds: impl Fn(&str) -> bool) {
    let begun = Instant::now();
    loop {
        let ready = get(server.admin, "/readyz");
        assert_eq!(ready.status, 503, "{ready:?}");
        if holds(ready.body.as_str().unwrap()) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{ready:?}");
        sleep(Duration::from_millis(50));
    }
}

/// For a while it lives, is not ready, and answers nobody.
fn keeps_silent(server: &Server) {
    let sending = Sending::new("GET", "/v1/rooms");
    let headers = sending.signed_headers(&Caller::new(ADMIN), &server.at.to_string());
    let mut stream = connect(server.at);
    stream.write_all(&sending.bytes(&headers)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    let silence = stream.read(&mut [0; 1]).unwrap_err().kind();
    assert!(matches!(silence, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence:?}");
    assert_eq!(get(server.admin, "/livez").status, 200);
    assert_eq!(get(server.admin, "/readyz").status, 503);
}

fn is_ready_soon(server: &Server) -> Duration {
    let begun = Instant::now();
    while get(server.admin, "/readyz").status != 200 {
        assert!(begun.elapsed() < SOON, "not after {:?}: {}", begun.elapsed(), server.host.log());
        sleep(Duration::from_millis(20));
    }
    begun.elapsed()
}

#[test]
fn it_is_alive_admits_nobody_and_serves_soon_after_the_move_is_done() {
    let host = Host::of(Kept::InBuckets);
    let buckets = host.buckets().unwrap();
    let other = format!("--first-admin={}", Caller::new(OTHER).key());
    let first = [other.as_str(), "--first-admin-handle=Eve"];
    let server = host.begun(&[&FLAGS[..], &first].concat());
    waits_for(&server, "no membership has been moved");
    keeps_silent(&server);
    buckets.mark("importing");
    waits_for(&server, "a membership is being moved");
    buckets.let_first_admin_in(&Caller::new(ADMIN).key());
    keeps_silent(&server);
    assert_eq!(buckets.served_since(), None, "it has not claimed them");
    let waited = ["no membership has been moved", "a membership is being moved"];
    assert!(waited.iter().all(|words| host.log().contains(words)), "{}", host.log());
    buckets.mark("done");
    eprintln!("ready {:?} after the move", is_ready_soon(&server));
    assert!(buckets.served_since().is_some());
    server.get(ADMIN, "/v1/rooms").done(200);
    server.get(OTHER, "/v1/rooms").refused(401, "unauthenticated");
    assert!(server.stop().success());
}

#[test]
fn it_waits_on_while_its_servers_are_away_and_stops_when_it_is_told_to() {
    let host = Host::in_these(Buckets::alone_on(1, MAX_BYTES));
    let buckets = host.buckets().unwrap();
    let (server, other) =
        (host.begun(&FLAGS), Host::in_these(buckets.by_way_of(buckets.nats.urls())));
    let mut other = other.begun(&FLAGS);
    waits_for(&server, "no membership has been moved");
    buckets.nats.kill(0).unwrap();
    until(&server, |words| !words.contains("no membership has been moved"));
    keeps_silent(&server);
    buckets.nats.start(0).unwrap();
    other.signal(Signal::TERM);
    assert!(other.ended().success());
    waits_for(&server, "no membership has been moved");
    buckets.mark("done");
    is_ready_soon(&server);
    assert!(server.stop().success());
}

#[test]
fn buckets_that_something_was_moved_into_before_are_served_at_once() {
    let host = Host::of(Kept::InBuckets);
    host.buckets().unwrap().mark("done");
    let server = host.serve(&FLAGS);
    assert_eq!(get(server.admin, "/readyz").status, 200);
}
