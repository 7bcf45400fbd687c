//! What does not count as signed (reliability F12), seen from the outside.

use serde_json::json;

use crate::http::{Caller, Sending, now, raw};
use crate::program::{ADMIN, Host, OWNER, Server};

type Headers = Vec<(String, String)>;

fn refused(server: &Server, sending: &Sending, change: impl FnOnce(&mut Headers)) -> String {
    let mut headers = sending.signed_headers(&Caller::new(OWNER), &server.at.to_string());
    change(&mut headers);
    raw(server.at, &sending.bytes(&headers)).refused(401, "unauthenticated")
}

fn only(headers: &mut Headers, name: &str, change: impl FnOnce(&str) -> String) {
    let (_, value) = headers.iter_mut().find(|(key, _)| key == name).unwrap();
    *value = change(value);
}

#[test]
fn a_request_that_is_not_signed_as_it_must_be_is_refused() {
    let server = Server::started();
    let sending = Sending::new("GET", "/v1/rooms?limit=1");
    server.send(OWNER, sending.clone()).done(200);
    for name in ["Signature-Input", "Signature", "Content-Digest"] {
        refused(&server, &sending, |headers| headers.retain(|(key, _)| key != name));
        refused(&server, &sending, |headers| {
            let doubled = headers.iter().find(|(key, _)| key == name).unwrap().clone();
            headers.push(doubled);
        });
        refused(&server, &sending, |headers| only(headers, name, |_| "rubbish".to_owned()));
        refused(&server, &sending, |headers| only(headers, name, |_| "x".repeat(8000)));
    }
    for (from, to) in [
        ("\"@method\" ", ""),
        ("\"@authority\" ", ""),
        ("\"@path\" ", ""),
        ("\"@query\" ", ""),
        (" \"content-digest\"", ""),
        ("\"@query\"", "\"@query\" \"@query\""),
        ("ed25519", "none"),
        ("unibus-membership", "another"),
        (";created", ";created=1;created"),
    ] {
        refused(&server, &sending, |headers| {
            only(headers, "Signature-Input", |value| value.replace(from, to));
        });
    }
}

#[test]
fn a_signature_of_another_request_is_none() {
    let server = Server::started();
    let sending = Sending::new("GET", "/v1/rooms?limit=1");
    let headers = sending.signed_headers(&Caller::new(OWNER), &server.at.to_string());
    for other in [
        Sending { method: "DELETE".to_owned(), ..sending.clone() },
        Sending { path: "/v1/users?limit=1".to_owned(), ..sending.clone() },
        Sending { path: "/v1/rooms?limit=2".to_owned(), ..sending.clone() },
        Sending { path: "/v1/rooms".to_owned(), ..sending.clone() },
        Sending { body: b"x".to_vec(), ..sending.clone() },
    ] {
        let reply = raw(server.at, &other.bytes(&headers));
        assert!([401, 405].contains(&reply.status), "{reply:?}");
    }
    let elsewhere = sending.signed_headers(&Caller::new(OWNER), "another.example");
    let mut here = elsewhere.clone();
    only(&mut here, "Host", |_| server.at.to_string());
    raw(server.at, &sending.bytes(&here)).refused(401, "unauthenticated");
}

#[test]
fn a_signature_counts_within_its_window_only() {
    let server = Server::started();
    let at = |method: &str, path: &str, created: u64| {
        let sending = Sending { created, ..Sending::new(method, path) };
        server.send(ADMIN, sending)
    };
    let revoke = format!("/v1/users/{}/revoke", Caller::new(30).key());
    at("GET", "/v1/rooms", now() - 20).done(200);
    at("GET", "/v1/rooms", now() - 40).refused(401, "unauthenticated");
    at("GET", "/v1/rooms", now() + 60).refused(401, "unauthenticated");
    at("POST", &revoke, now() - 200).refused(404, "not-found");
    at("POST", &revoke, now() - 400).refused(401, "unauthenticated");
    at("POST", &revoke, now() + 60).refused(401, "unauthenticated");
    let question = json!({"questions": [{"user": Caller::new(ADMIN).key()}]});
    let old = Sending { created: now() - 40, ..Sending::new("POST", "/v1/authorize") };
    server.send(ADMIN, old.json(&question)).refused(401, "unauthenticated");
}

#[test]
fn a_request_for_another_server_is_sent_away() {
    let host = Host::new();
    let server = host.serve(&["--authority", "Membership.Example", "--authority", "other:1"]);
    server.let_in(&["--admin"], ADMIN);
    let send = |authority: &str| {
        let sending = Sending::new("GET", "/v1/rooms");
        raw(server.at, &sending.bytes(&sending.signed_headers(&Caller::new(ADMIN), authority)))
    };
    send("membership.example").done(200);
    send("other:1").done(200);
    send("other").refused(421, "misdirected");
    send(&server.at.to_string()).refused(421, "misdirected");
}

#[test]
fn a_request_has_one_host_and_a_plain_path() {
    let server = Server::started();
    let sending = Sending::new("GET", "/v1/rooms");
    let caller = Caller::new(OWNER);
    let signed = sending.signed_headers(&caller, &server.at.to_string());
    let mut two = signed.clone();
    two.push(("Host".to_owned(), "another.example".to_owned()));
    assert_eq!(raw(server.at, &sending.bytes(&two)).status, 400);
    let mut none = signed.clone();
    none.retain(|(name, _)| name != "Host");
    assert_eq!(raw(server.at, &sending.bytes(&none)).status, 400);
    let whole = Sending { path: format!("http://{}/v1/rooms", server.at), ..sending };
    assert_eq!(raw(server.at, &whole.bytes(&signed)).status, 400);
}
