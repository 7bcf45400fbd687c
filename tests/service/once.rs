//! A change is made once, however often and wherever it is sent.

use std::net::SocketAddr;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use membership_operator::membership::MembershipStore;
use membership_operator::membership::records::UnixMillis;
use membership_operator::membership::requests::{
    Begun, Fingerprint, Growth, NewRequest, RequestKey, Target,
};
use membership_operator::membership::store::{Deadline, NewRoom};
use membership_operator::service::digest::BodyDigest;
use membership_operator::service::signature::CHANGE_WINDOW_SECONDS;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::http::{Caller, PATIENCE, Reply, Sending, nonce, now};
use crate::program::{ADMIN, Host, Kept, MEMBER, OTHER, OWNER, Server, over_both};

over_both! {
    a_retry_gets_what_the_first_try_came_to,
    a_nonce_belongs_to_one_caller_and_one_request,
    a_change_replayed_after_it_was_undone_is_not_made_again,
    a_retry_by_somebody_whom_the_change_sent_away_is_refused,
    many_tries_at_once_in_two_processes_are_one_change,
    a_request_that_a_crash_left_pending_is_resolved_by_its_retry,
    requests_are_remembered_for_twice_the_window_and_then_forgotten,
}

fn new_room(name: &str) -> Sending {
    Sending::new("POST", "/v1/rooms").json(&json!({"room": name, "subject": "s"}))
}

fn replayed(reply: &Reply) -> bool {
    reply.header("idempotent-replayed") == Some("true")
}

fn a_retry_gets_what_the_first_try_came_to(kept: Kept) {
    let server = Server::started_in(kept);
    let sending = new_room("once");
    let first = server.send(OWNER, sending.clone());
    assert!(!replayed(&first));
    let again = server.send(OWNER, sending.clone());
    let signed_anew = Sending { created: now() - 1, ..sending.clone() };
    for retry in [again, server.send(OWNER, signed_anew)] {
        assert!(replayed(&retry), "{retry:?}");
        assert_eq!((retry.status, &retry.body), (201, &first.body));
        assert_eq!(retry.header("etag"), first.header("etag"));
        assert_eq!(retry.header("location"), first.header("location"));
    }
    let refused = new_room("once");
    for expected in [false, true] {
        let reply = server.send(OWNER, refused.clone());
        assert_eq!(replayed(&reply), expected);
        reply.refused(409, "already-exists");
    }
}

fn a_nonce_belongs_to_one_caller_and_one_request(kept: Kept) {
    let server = Server::started_in(kept);
    let sending = new_room("first");
    server.send(OWNER, sending.clone()).done(201);
    server.send(OWNER, new_room("second").nonce(&sending.nonce)).refused(409, "nonce-reused");
    let elsewhere = format!("/v1/users/{}/revoke", Caller::new(OTHER).key());
    let elsewhere = Sending::new("POST", &elsewhere).nonce(&sending.nonce);
    server.send(ADMIN, elsewhere).done(200);
    server.send(MEMBER, new_room("third").nonce(&sending.nonce)).done(201);
}

fn a_change_replayed_after_it_was_undone_is_not_made_again(kept: Kept) {
    let server = Server::started_in(kept);
    let endpoint = Caller::new(OTHER).key();
    let add = Sending::new("POST", "/v1/rooms/lobby/members").json(&json!({"endpoint": endpoint}));
    let added = server.send(OWNER, add.clone()).done(201);
    let remove = format!("/v1/rooms/lobby/members/{endpoint}");
    let remove = Sending::new("DELETE", &remove);
    server.send(OWNER, remove.clone()).done(204);
    assert_eq!(server.send(OWNER, add).done(201), added, "it is told what happened then");
    server.get(OTHER, "/v1/rooms/lobby").refused(403, "refused");
    let back = Sending::new("POST", "/v1/rooms/lobby/members").json(&json!({"endpoint": endpoint}));
    server.send(OWNER, back).done(201);
    server.send(OWNER, remove).done(204);
    server.get(OTHER, "/v1/rooms/lobby").done(200);
}

fn a_retry_by_somebody_whom_the_change_sent_away_is_refused(kept: Kept) {
    let server = Server::started_in(kept);
    let leave = format!("/v1/rooms/lobby/members/{}", Caller::new(MEMBER).key());
    let leave = Sending::new("DELETE", &leave);
    server.send(MEMBER, leave.clone()).done(204);
    server.send(MEMBER, leave).refused(403, "refused");
    let resign = format!("/v1/users/{}/revoke", Caller::new(ADMIN).key());
    let resign = Sending::new("POST", &resign);
    server.send(ADMIN, resign.clone()).done(200);
    server.send(ADMIN, resign).refused(401, "unauthenticated");
}

fn many_tries_at_once_in_two_processes_are_one_change(kept: Kept) {
    let first = Server::started_in(kept);
    let second = first.host.serve(&[]);
    // In one round they may happen to come one after the other.
    let rounds: Vec<(String, String)> = (0..8).map(|n| (format!("crowd-{n}"), nonce())).collect();
    for (room, nonce) in &rounds {
        for reply in &at_once(&[first.at, second.at], &new_room(room).nonce(nonce)) {
            assert_eq!((reply.status, &reply.body["room"]), (201, &json!(room)), "{reply:?}");
        }
    }
    assert!(second.stop().success());
    for (room, nonce) in &rounds {
        let again = first.send(OWNER, new_room(room).nonce(nonce));
        assert!(replayed(&again), "also after the process is gone: {again:?}");
    }
}

/// The same answer to sixteen tries of a request, signed for either name.
fn at_once(servers: &[SocketAddr; 2], sending: &Sending) -> Vec<Reply> {
    let start = Barrier::new(16);
    let send = |n: usize| {
        start.wait();
        sending.clone().send(servers[n % 2], &Caller::new(OWNER))
    };
    let replies: Vec<Reply> = thread::scope(|scope| {
        let tries: Vec<_> = (0..16).map(|n| scope.spawn(move || send(n))).collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(replies.iter().all(|reply| reply.body == replies[0].body), "{replies:?}");
    replies
}

/// Leaves a request as a crash leaves it: recorded, and its change made or not.
fn crashed(server: &Server, sending: &Sending, room: &str, made: bool) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let deadline = Deadline::after(Duration::from_secs(30));
        let store = server.host.request_log().await;
        let target = format!(
            "{}\n{}\n{}",
            sending.method,
            sending.path,
            BodyDigest::of(&sending.body).field()
        );
        let new = NewRequest {
            key: RequestKey {
                caller: Caller::new(OWNER).key().parse().unwrap(),
                nonce: sending.nonce.parse().unwrap(),
            },
            fingerprint: Fingerprint(Sha256::digest(target).into()),
            growth: Growth::Grows,
            target: Target::Room(room.parse().unwrap()),
            now: UnixMillis(now() * 1000),
        };
        let Begun::Fresh(leave) = store.begin_request(new, deadline).await.unwrap() else {
            panic!("its nonce was used before");
        };
        if made {
            let under: Arc<dyn MembershipStore> = store.under(&leave);
            let new = NewRoom {
                room: room.parse().unwrap(),
                subject: "s".parse().unwrap(),
                owner: Caller::new(OWNER).key().parse().unwrap(),
                owner_key: None,
                now: UnixMillis(7),
            };
            under.create_room(new, deadline).await.unwrap();
        }
    });
}

fn a_request_that_a_crash_left_pending_is_resolved_by_its_retry(kept: Kept) {
    let server = Server::started_in(kept);
    for (room, made) in [("made", true), ("not-made", false)] {
        let sending = new_room(room);
        crashed(&server, &sending, room, made);
        let retry = server.send(OWNER, sending.clone());
        assert_eq!(retry.status, 201, "{retry:?}");
        assert_eq!(retry.body["createdAt"] == 7, made, "{retry:?}");
        let again = server.send(OWNER, sending);
        assert!(replayed(&again));
        assert_eq!(again.body, retry.body);
    }
}

/// Records another request under the same nonce, as it came so many seconds ago.
fn recorded(server: &Server, nonce: &str, seconds: u64) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let new = NewRequest {
            key: RequestKey {
                caller: Caller::new(OWNER).key().parse().unwrap(),
                nonce: nonce.parse().unwrap(),
            },
            fingerprint: Fingerprint([0; 32]),
            growth: Growth::Grows,
            target: Target::Nothing,
            now: UnixMillis((now() - seconds) * 1000),
        };
        let log = server.host.request_log().await;
        let begun = log.begin_request(new, Deadline::after(PATIENCE)).await.unwrap();
        assert!(matches!(begun, Begun::Fresh(_)), "{begun:?}");
    });
}

fn requests_are_remembered_for_twice_the_window_and_then_forgotten(kept: Kept) {
    let server = Host::of(kept).serve(&[]);
    let (old, young) = (nonce(), nonce());
    recorded(&server, &old, 2 * CHANGE_WINDOW_SECONDS + 5);
    recorded(&server, &young, 2 * CHANGE_WINDOW_SECONDS - 60);
    let server = server.filled();
    // A service tidies up as it begins; the first one may still be at it.
    let second = server.host.serve(&[]);
    let begun = Instant::now();
    while second.send(OWNER, new_room("a").nonce(&old)).status == 409 {
        assert!(begun.elapsed() < PATIENCE, "it is never forgotten");
        thread::sleep(Duration::from_millis(50));
    }
    second.get(OWNER, "/v1/rooms/a").done(200);
    second.send(OWNER, new_room("b").nonce(&young)).refused(409, "nonce-reused");
}

#[test]
fn a_read_leaves_nothing_behind() {
    let server = Server::started();
    let file = server.host.path("membership.db");
    let count = || {
        let connection = rusqlite::Connection::open(&file).unwrap();
        let sql = "SELECT count(*) FROM requests";
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let before = count();
    let sending = Sending::new("GET", "/v1/rooms/lobby");
    let seen = server.send(OWNER, sending.clone()).done(200);
    assert_eq!(server.send(OWNER, sending).done(200), seen);
    let question = json!({"questions": [{"user": Caller::new(OWNER).key()}]});
    server.post(OWNER, "/v1/authorize", &question).done(200);
    assert_eq!(count(), before);
    let _: Value = server.post(OWNER, "/v1/rooms", &json!({"room": "x", "subject": "s"})).done(201);
    assert_eq!(count(), before + 1);
}
