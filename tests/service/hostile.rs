//! What harms a server that believes its clients (reliability F10, F11). Each is cut or refused,
//! and the others are served on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use membership_operator::runtime::listen::{self, ListenLimits};
use membership_operator::runtime::shutdown;
use membership_operator::service::limits::Limits;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::http::{Caller, Sending, answer, connect, get, raw};
use crate::program::{OWNER, Server};

/// How long the slowest limit may take, with a margin for a busy machine.
const CUT: Duration = Duration::from_secs(25);

/// Waits until the server closes the connection; says how long that took.
fn cut(mut stream: TcpStream) -> Duration {
    let begun = Instant::now();
    let mut rest = [0; 4096];
    while let Ok(1..) = stream.read(&mut rest) {}
    begun.elapsed()
}

fn dripping(at: SocketAddr, head: &[u8], drop: &[u8]) -> Duration {
    let begun = Instant::now();
    let mut stream = connect(at);
    stream.write_all(head).unwrap();
    while begun.elapsed() < CUT {
        // The second write after the server closed is the one that fails.
        if stream.write_all(drop).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(200));
    }
    begun.elapsed()
}

#[test]
fn slow_clients_are_cut_and_the_others_served() {
    let server = Server::started();
    let at = server.at;
    let put = Sending::new("POST", "/v1/rooms").header("Content-Type", "application/json");
    let signed = put.signed_headers(&Caller::new(OWNER), &at.to_string());
    let body_head = {
        let whole = String::from_utf8(put.bytes(&signed)).unwrap();
        whole.replace("Content-Length: 0", "Content-Length: 1000").into_bytes()
    };
    let chunked_head = {
        let whole = String::from_utf8(put.bytes(&signed)).unwrap();
        whole.replace("Content-Length: 0", "Transfer-Encoding: chunked").into_bytes()
    };
    thread::scope(|scope| {
        let slow = [
            scope.spawn(move || cut(connect(at))),
            scope.spawn(move || dripping(at, b"GET /v1/rooms HTTP/1.1\r\n", b"X-A: b\r\n")),
            scope.spawn(move || dripping(at, b"GET /v1/rooms HTTP/1.1\r\nX-A: ", b"a")),
            scope.spawn(move || dripping(at, &body_head, b" ")),
            scope.spawn(move || dripping(at, &chunked_head, b"1\r\n \r\n")),
        ];
        for _ in 0..20 {
            server.get(OWNER, "/v1/rooms/lobby").done(200);
            thread::sleep(Duration::from_millis(100));
        }
        for (n, slow) in slow.into_iter().enumerate() {
            let took = slow.join().unwrap();
            assert!(took < CUT, "the {n}th was not cut");
        }
    });
}

#[test]
fn a_crowd_of_silent_connections_keeps_nobody_out_for_long() {
    let server = Server::started();
    let before = server.memory_kib();
    let silent: Vec<TcpStream> = (0..1100).map(|_| connect(server.at)).collect();
    let begun = Instant::now();
    server.get(OWNER, "/v1/rooms/lobby").done(200);
    assert!(begun.elapsed() < CUT, "{:?}", begun.elapsed());
    let grown = server.memory_kib().saturating_sub(before);
    assert!(grown < 64 * 1024, "a thousand connections took {grown} KiB");
    drop(silent);
    server.get(OWNER, "/v1/rooms/lobby").done(200);
}

#[test]
fn of_more_requests_than_there_are_places_the_last_is_told_to_come_again() {
    let server = Server::started();
    let writer = rusqlite::Connection::open(server.host.path("membership.db")).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let new = |n| Sending::new("POST", "/v1/rooms").json(&json!({"room": n, "subject": "s"}));
    thread::scope(|scope| {
        let server = &server;
        let waiting: Vec<_> = (0..Limits::default().requests)
            .map(|n| scope.spawn(move || server.send(OWNER, new(format!("room{n}")))))
            .collect();
        let end = Instant::now() + CUT;
        let mut last = server.get(OWNER, "/v1/rooms/lobby");
        while last.status == 200 {
            assert!(Instant::now() < end, "there is place for all");
            last = server.get(OWNER, "/v1/rooms/lobby");
        }
        assert_eq!(last.header("retry-after"), Some("1"));
        last.refused(503, "busy");
        writer.execute_batch("ROLLBACK").unwrap();
        for one in waiting {
            let reply = one.join().unwrap();
            assert!(matches!(reply.status, 201 | 503), "{reply:?}");
        }
    });
    server.get(OWNER, "/v1/rooms/lobby").done(200);
}

#[test]
fn a_connection_comes_to_its_end_however_busy_it_is() {
    let runtime = Runtime::new().unwrap();
    let router = Router::new().route("/", axum::routing::get(async || "ok"));
    let limits = ListenLimits { life: Duration::from_secs(1), ..ListenLimits::default() };
    let (_stopper, stop) = shutdown::stop();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let at = listener.local_addr().unwrap();
    runtime.spawn(listen::serve(listener, router, limits, stop));
    let (mut stream, begun) = (connect(at), Instant::now());
    let request = format!("GET / HTTP/1.1\r\nHost: {at}\r\n\r\n");
    while stream.write_all(request.as_bytes()).is_ok() {
        let Some(reply) = answer(&mut stream) else {
            break;
        };
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(begun.elapsed() < CUT, "it has no end");
        thread::sleep(Duration::from_millis(20));
    }
    assert!(begun.elapsed() >= limits.life, "{:?}", begun.elapsed());
}

#[test]
fn heads_and_bodies_have_their_limits() {
    let server = Server::started();
    let head = |extra: &str| {
        let text = format!("GET /v1/rooms HTTP/1.1\r\nHost: x\r\n{extra}\r\n");
        raw(server.at, text.as_bytes()).status
    };
    assert_eq!(head(&"X-A: b\r\n".repeat(10_000)), 431);
    assert_eq!(head(&"X-A: b\r\n".repeat(100)), 431);
    assert_eq!(head(&format!("X-A: {}\r\n", "b".repeat(1 << 20))), 431);
    assert_eq!(head(""), 401);
    let path = format!("/v1/rooms/{}", "a".repeat(1 << 20));
    assert!([414, 431].contains(&get(server.at, &path).status));

    let body = |bytes: usize| {
        let body = json!({"room": "x".repeat(bytes), "subject": "s"});
        server.post(OWNER, "/v1/rooms", &body)
    };
    body(200 * 1024).refused(400, "invalid");
    body(300 * 1024).refused(413, "too-large");
    let key = |bytes: usize| {
        let sealed = data_encoding::BASE64.encode(&vec![7; bytes]);
        let room = format!("room{bytes}");
        server.post(OWNER, "/v1/rooms", &json!({"room": room, "subject": "s", "ownerKey": sealed}))
    };
    key(0).refused(400, "invalid");
    key(1).done(201);
    key(64 * 1024).done(201);
    key(64 * 1024 + 1).refused(400, "invalid");
    key((1 << 20) + 1).refused(413, "too-large");
    server.get(OWNER, "/v1/rooms/lobby").done(200);
}

#[test]
fn a_body_that_never_ends_is_given_up_at_its_limit() {
    let server = Server::started();
    let put = Sending::new("POST", "/v1/rooms").header("Content-Type", "application/json");
    let signed = put.signed_headers(&Caller::new(OWNER), &server.at.to_string());
    let head = String::from_utf8(put.bytes(&signed)).unwrap();
    let head = head.replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let mut stream = connect(server.at);
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    for _ in 0..1000 {
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    if let Some(reply) = answer(&mut stream) {
        reply.refused(413, "too-large");
    }
    server.get(OWNER, "/v1/rooms/lobby").done(200);
}

#[test]
fn only_plain_json_is_read() {
    let server = Server::started();
    let body = json!({"room": "x", "subject": "s"}).to_string().into_bytes();
    let plain = Sending { body: body.clone(), ..Sending::new("POST", "/v1/rooms") };
    server.send(OWNER, plain.clone()).refused(415, "not-json");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"] {
        let sending = Sending { nonce: crate::http::nonce(), ..plain.clone() };
        server.send(OWNER, sending.header("Content-Type", kind)).refused(415, "not-json");
    }
    for encoding in ["gzip", "br", "identity", "deflate, gzip"] {
        let sending = Sending::new("POST", "/v1/rooms").json(&json!({"room": "x", "subject": "s"}));
        let sending = sending.header("Content-Encoding", encoding);
        server.send(OWNER, sending).refused(415, "not-json");
    }
    for bad in [
        "",
        "null",
        "[]",
        "{",
        "{\"room\": \"x\", \"subject\": \"s\"} x",
        "{\"room\": \"x\", \"room\": \"y\", \"subject\": \"s\"}",
        "{\"room\": \"x\", \"subject\": \"s\", \"more\": 1}",
        "{\"room\": \"x\"}",
        "{\"room\": 1, \"subject\": \"s\"}",
        "{\"room\": \"a b\", \"subject\": \"s\"}",
        "{\"room\": \"\\ud800\", \"subject\": \"s\"}",
        "{\"room\": \"e\\u0301\", \"subject\": \"s\"}",
        "{\"room\": \"x\", \"subject\": \"s\", \"ownerKey\": \"not base64\"}",
        "{\"room\": NaN, \"subject\": 1e400}",
        &"[".repeat(100_000),
    ] {
        let sending = Sending { body: bad.into(), ..Sending::new("POST", "/v1/rooms") };
        let sending = sending.header("Content-Type", "application/json");
        server.send(OWNER, sending).refused(400, "invalid");
    }
    let with_body = Sending { body: b"{}".to_vec(), ..Sending::new("GET", "/v1/rooms") };
    server.send(OWNER, with_body).refused(400, "invalid");
}

#[test]
fn odd_paths_and_methods_lead_nowhere() {
    let server = Server::started();
    for path in [
        "/",
        "/v1",
        "/v1/",
        "//v1/rooms",
        "/v1//rooms",
        "/v1/rooms/",
        "/v1/../v1/rooms",
        "/./v1/rooms",
        "/V1/rooms",
        "/v1/rooms/lobby/",
        "/v1/rooms%2Flobby",
        "/v1/rooms/lobby%2Fmembers/x/y",
        "/v2/rooms",
        "/openapi.json/",
        "/etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
    ] {
        let reply = server.get(OWNER, path);
        assert_eq!(reply.status, 404, "{path}: {reply:?}");
    }
    // What is encoded within one part stays one part, decoded once.
    for path in ["/v1/rooms/..", "/v1/rooms/%2e%2e", "/v1/rooms/lobby%2Fmembers", "/v1/rooms/%252e"]
    {
        server.get(OWNER, path).refused(403, "refused");
    }
    for path in ["/v1/rooms/%00", "/v1/rooms/%FF", "/v1/rooms/a%20b", "/v1/rooms/%0d%0aX:%20y"] {
        server.get(OWNER, path).refused(400, "invalid");
    }
    for method in ["PATCH", "TRACE", "OPTIONS", "PROPFIND", "get"] {
        let reply = server.send(OWNER, Sending::new(method, "/v1/rooms/lobby"));
        assert!([400, 405].contains(&reply.status), "{method}: {reply:?}");
    }
    let overridden = Sending::new("POST", "/v1/rooms/lobby")
        .header("X-HTTP-Method-Override", "GET")
        .header("X-Method-Override", "GET");
    server.send(OWNER, overridden).refused(405, "method-not-allowed");
}

#[test]
fn only_http_1_is_spoken_and_nonsense_is_refused() {
    let server = Server::started();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let smuggled = "POST /v1/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\
                    Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let two_lengths = "POST /v1/rooms HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\
                       Content-Length: 5\r\n\r\nabcd";
    for bytes in [&preface[..], b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n", two_lengths.as_bytes()] {
        let mut stream = connect(server.at);
        stream.write_all(bytes).unwrap();
        let reply = answer(&mut stream);
        assert!(reply.as_ref().is_none_or(|reply| reply.status >= 400), "{reply:?}");
    }
    let mut stream = connect(server.at);
    stream.write_all(smuggled.as_bytes()).unwrap();
    let reply = answer(&mut stream);
    assert!(reply.as_ref().is_none_or(|reply| reply.status >= 400), "{reply:?}");
    server.get(OWNER, "/v1/rooms/lobby").done(200);
}
