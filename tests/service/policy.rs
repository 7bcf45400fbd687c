//! Who may do what, over HTTP: each path by each kind of caller.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::http::{Caller, Sending};
use crate::program::{
    ADMIN, Kept, MEMBER, OTHER, OWNER, REVOKED, SERVICE, STRANGER, Server, over_both,
};

over_both! {
    each_path_is_open_to_whom_the_table_says_and_to_no_stranger,
    a_refusal_does_not_tell_whether_the_subject_exists,
    a_refusal_takes_as_long_whether_or_not_the_subject_exists,
}

/// Method, path, body, and the statuses for admin, owner, member, other and service.
type Row = (&'static str, String, Option<serde_json::Value>, [u16; 5]);

fn table() -> Vec<Row> {
    let key = |n| Caller::new(n).key();
    let sealed = "AAAA";
    let member = format!("/v1/rooms/lobby/members/{}", key(OTHER));
    let user = json!({"key": key(20), "handle": "x", "role": "user"});
    let attempt = "0".repeat(32);
    let rekey = format!("/v1/rooms/lobby/rekeys/{attempt}");
    let end = json!({"epoch": 2, "revision": 1});
    let page = json!({"epoch": 2, "revision": 1, "keys": []});
    vec![
        ("GET", "/v1/rooms".into(), None, [200; 5]),
        ("GET", "/v1/rooms/lobby".into(), None, [403, 200, 200, 403, 403]),
        ("GET", "/v1/rooms/lobby/members".into(), None, [403, 200, 200, 403, 403]),
        ("GET", "/v1/rooms/lobby/key".into(), None, [403, 404, 404, 403, 403]),
        ("GET", "/v1/rooms/lobby/keys/1".into(), None, [403, 404, 404, 403, 403]),
        ("GET", member.clone(), None, [403, 404, 404, 403, 403]),
        (
            "POST",
            "/v1/rooms/lobby/members".into(),
            Some(json!({"endpoint": ""})),
            [403, 400, 403, 403, 403],
        ),
        ("DELETE", member.clone(), None, [403, 404, 403, 403, 403]),
        (
            "PUT",
            format!("{member}/keys/1"),
            Some(json!({"sealed": sealed})),
            [403, 404, 403, 403, 403],
        ),
        ("POST", "/v1/rooms/lobby/rekeys".into(), None, [403, 400, 403, 403, 403]),
        ("PUT", format!("{rekey}/keys"), Some(page), [403, 409, 403, 403, 403]),
        ("POST", format!("{rekey}/commit"), Some(end), [403, 409, 403, 403, 403]),
        ("GET", "/v1/users".into(), None, [200, 403, 403, 403, 403]),
        ("POST", "/v1/users".into(), Some(user), [201, 403, 403, 403, 403]),
        ("GET", format!("/v1/users/{}", key(OTHER)), None, [200, 403, 403, 200, 403]),
        ("POST", format!("/v1/users/{}/revoke", key(21)), None, [404, 403, 403, 403, 403]),
        (
            "POST",
            "/v1/authorize".into(),
            Some(json!({"questions": [{"user": key(OTHER)}]})),
            [403, 403, 403, 200, 200],
        ),
        (
            "POST",
            "/v1/rooms".into(),
            Some(json!({"room": "", "subject": "s"})),
            [400, 400, 400, 400, 403],
        ),
    ]
}

fn each_path_is_open_to_whom_the_table_says_and_to_no_stranger(kept: Kept) {
    let server = Server::started_in(kept);
    for (method, path, body, statuses) in table() {
        let sending = || match &body {
            Some(body) => Sending::new(method, &path).json(body),
            None => Sending::new(method, &path),
        };
        for (caller, status) in [ADMIN, OWNER, MEMBER, OTHER, SERVICE].into_iter().zip(statuses) {
            let reply = server.send(caller, sending());
            assert_eq!(reply.status, status, "{method} {path} by {caller}: {reply:?}");
        }
        for caller in [REVOKED, STRANGER] {
            server.send(caller, sending()).refused(401, "unauthenticated");
        }
    }
    let leave = format!("/v1/rooms/lobby/members/{}", Caller::new(MEMBER).key());
    server.send(MEMBER, Sending::new("DELETE", &leave)).done(204);
}

fn a_refusal_does_not_tell_whether_the_subject_exists(kept: Kept) {
    let server = Server::started_in(kept);
    let pairs = [
        ("GET", "/v1/rooms/lobby".to_owned(), "/v1/rooms/nowhere".to_owned()),
        ("GET", "/v1/rooms/lobby/members".to_owned(), "/v1/rooms/nowhere/members".to_owned()),
        ("GET", "/v1/rooms/lobby/key".to_owned(), "/v1/rooms/nowhere/key".to_owned()),
        (
            "DELETE",
            format!("/v1/rooms/lobby/members/{}", Caller::new(MEMBER).key()),
            format!("/v1/rooms/lobby/members/{}", Caller::new(STRANGER).key()),
        ),
        (
            "GET",
            format!("/v1/users/{}", Caller::new(OWNER).key()),
            format!("/v1/users/{}", Caller::new(STRANGER).key()),
        ),
        (
            "POST",
            format!("/v1/users/{}/revoke", Caller::new(OWNER).key()),
            format!("/v1/users/{}/revoke", Caller::new(STRANGER).key()),
        ),
    ];
    for (method, there, nowhere) in pairs {
        let [there, nowhere] =
            [there, nowhere].map(|path| server.send(OTHER, Sending::new(method, &path)).bare());
        assert_eq!(there.status, 403, "{there:?}");
        assert_eq!(there, nowhere);
    }
    let [unknown, revoked] =
        [STRANGER, REVOKED].map(|caller| server.get(caller, "/v1/rooms/lobby").bare());
    assert_eq!(unknown.status, 401);
    assert_eq!(unknown, revoked);
}

fn a_refusal_takes_as_long_whether_or_not_the_subject_exists(kept: Kept) {
    let server = Server::started_in(kept);
    let median = |caller: u8, path: &str| {
        let mut times: Vec<Duration> = (0..15)
            .map(|_| {
                let begun = Instant::now();
                let status = server.get(caller, path).status;
                assert!(status == 401 || status == 403);
                begun.elapsed()
            })
            .collect();
        times.sort();
        times[times.len() / 2]
    };
    let times = [
        median(OTHER, "/v1/rooms/lobby"),
        median(OTHER, "/v1/rooms/nowhere"),
        median(STRANGER, "/v1/rooms/lobby"),
        median(REVOKED, "/v1/rooms/lobby"),
    ];
    let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    assert!(*least >= Duration::from_millis(25), "they wait for the beat: {times:?}");
    assert!(*most - *least < Duration::from_millis(20), "{times:?}");
}
