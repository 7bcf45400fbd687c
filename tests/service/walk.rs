//! What callers do from day to day.

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::http::{Caller, Sending};
use crate::program::{ADMIN, Kept, MEMBER, OTHER, OWNER, SERVICE, Server, over_both};

over_both! {
    an_encrypted_room_goes_through_its_life,
    a_member_that_came_between_two_epochs_is_given_its_key,
    lists_come_page_by_page,
    who_knows_the_revision_gets_no_body,
    a_service_asks_about_others_and_is_told_why_not,
    nobody_comes_in_once_a_revocation_was_answered,
}

fn sealed(byte: u8) -> String {
    BASE64.encode(&[byte; 48])
}

fn an_encrypted_room_goes_through_its_life(kept: Kept) {
    let server = Server::started_in(kept);
    let (owner, member) = (Caller::new(OWNER).key(), Caller::new(MEMBER).key());
    let new = json!({"room": "vault/é", "subject": "bus.vault", "ownerKey": sealed(1)});
    let made = server.post(OWNER, "/v1/rooms", &new);
    assert_eq!(made.header("location"), Some("/v1/rooms/vault%2F%C3%A9"));
    assert_eq!(made.clone().done(201)["encrypted"], true);
    assert_eq!(server.post(OWNER, "/v1/rooms", &new).status, 409);
    let base = made.header("location").unwrap();

    let key = json!({"epoch": 1, "sealed": sealed(2)});
    let members = format!("{base}/members");
    server.post(OWNER, &members, &json!({"endpoint": member})).refused(400, "invalid");
    let add = json!({"endpoint": member, "key": key});
    let added = server.post(OWNER, &members, &add).done(201);
    assert_eq!((&added["member"]["role"], &added["room"]["epoch"]), (&json!("member"), &json!(1)));
    server.post(OWNER, &members, &add).refused(409, "already-exists");
    assert_eq!(server.get(MEMBER, &format!("{base}/key")).done(200)["sealed"], sealed(2));

    let rekey = server.send(OWNER, Sending::new("POST", &format!("{base}/rekeys")));
    let at = rekey.header("location").unwrap().to_owned();
    let mut end = rekey.done(201);
    assert_eq!(end["epoch"], 2);
    let fields = end.as_object_mut().unwrap();
    fields.retain(|name, _| name == "epoch" || name == "revision");
    let page = |endpoint: &str, byte| {
        let mut page = end.clone();
        page["keys"] = json!([{"endpoint": endpoint, "sealed": sealed(byte)}]);
        Sending::new("PUT", &format!("{at}/keys")).json(&page)
    };
    server.send(OWNER, page(&owner, 3)).done(204);
    let commit = format!("{at}/commit");
    server.post(OWNER, &commit, &end).refused(400, "invalid");
    server.send(OWNER, page(&member, 4)).done(204);
    let other = Sending::new("POST", &commit).json(&end).header("If-Match", "\"999999\"");
    server.send(OWNER, other).refused(412, "precondition-failed");
    assert_eq!(server.post(OWNER, &commit, &end).done(200)["epoch"], 2);
    server.post(OWNER, &commit, &end).refused(409, "conflict");
    for (epoch, byte) in [(1, 2), (2, 4)] {
        let key = server.get(MEMBER, &format!("{base}/keys/{epoch}")).done(200);
        assert_eq!((&key["sealed"], &key["epoch"]), (&json!(sealed(byte)), &json!(epoch)));
    }
    server.get(MEMBER, &format!("{base}/keys/3")).refused(404, "not-found");
    server.get(MEMBER, &format!("{base}/keys/01")).refused(400, "invalid");

    server.send(OWNER, Sending::new("DELETE", &format!("{members}/{member}"))).done(204);
    server.get(MEMBER, base).refused(403, "refused");
    server.get(MEMBER, &format!("{base}/key")).refused(403, "refused");
    let leave = Sending::new("DELETE", &format!("{members}/{owner}"));
    server.send(OWNER, leave).refused(400, "invalid");
}

fn a_member_that_came_between_two_epochs_is_given_its_key(kept: Kept) {
    let server = Server::started_in(kept);
    let member = Caller::new(MEMBER).key();
    let new = json!({"room": "vault", "subject": "bus.vault", "ownerKey": sealed(1)});
    server.post(OWNER, "/v1/rooms", &new).done(201);
    let add = json!({"endpoint": member, "key": {"epoch": 1, "sealed": sealed(2)}});
    server.post(OWNER, "/v1/rooms/vault/members", &add).done(201);
    let give = format!("/v1/rooms/vault/members/{member}/keys/1");
    let again = |byte| Sending::new("PUT", &give).json(&json!({"sealed": sealed(byte)}));
    server.send(OWNER, again(2)).done(204);
    server.send(OWNER, again(9)).refused(409, "already-exists");
    server.send(MEMBER, again(2)).refused(403, "refused");
}

fn lists_come_page_by_page(kept: Kept) {
    let server = Server::started_in(kept);
    for n in 0..5 {
        let new = json!({"room": format!("room{n}"), "subject": "s"});
        server.post(OWNER, "/v1/rooms", &new).done(201);
    }
    let rooms = whole_list(&server, OWNER, "/v1/rooms?limit=2");
    let mut names: Vec<_> = rooms.iter().map(|room| room["room"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lobby", "room0", "room1", "room2", "room3", "room4"]);
    assert!(rooms.iter().all(|room| room["role"] == "owner"));
    assert_eq!(whole_list(&server, MEMBER, "/v1/rooms?limit=1")[0]["role"], "member");
    assert_eq!(whole_list(&server, MEMBER, "/v1/rooms/lobby/members?limit=1").len(), 2);
    assert_eq!(whole_list(&server, ADMIN, "/v1/users?limit=4").len(), 6);
    for bad in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=1&limit=2", "after=x", "x=1"]
    {
        let path = format!("/v1/rooms?{bad}");
        server.get(OWNER, &path).refused(400, "invalid");
    }
}

fn whole_list(server: &Server, caller: u8, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut page = server.get(caller, path).done(200);
    loop {
        items.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else {
            return items;
        };
        page = server.get(caller, &format!("{path}&after={next}")).done(200);
    }
}

fn who_knows_the_revision_gets_no_body(kept: Kept) {
    let server = Server::started_in(kept);
    for (caller, path) in [
        (OWNER, "/v1/rooms/lobby".to_owned()),
        (ADMIN, format!("/v1/users/{}", Caller::new(OWNER).key())),
    ] {
        let seen = server.get(caller, &path);
        let tag = seen.header("etag").unwrap();
        let known = Sending::new("GET", &path).header("If-None-Match", tag);
        let known = server.send(caller, known);
        assert_eq!((known.status, &known.body), (304, &Value::Null));
        assert_eq!(known.header("etag"), Some(tag));
        let other = Sending::new("GET", &path).header("If-None-Match", "\"0\"");
        assert_eq!(server.send(caller, other).bare(), seen.bare());
    }
}

fn a_service_asks_about_others_and_is_told_why_not(kept: Kept) {
    let server = Server::started_in(kept);
    let key = |n| Caller::new(n).key();
    let (revoked, stranger) = (key(crate::program::REVOKED), key(crate::program::STRANGER));
    let questions = json!({"questions": [
        {"user": key(OWNER), "room": "lobby"},
        {"user": key(MEMBER), "room": "lobby"},
        {"user": key(MEMBER)},
        {"user": key(OTHER), "room": "lobby"},
        {"user": key(OTHER), "room": "nowhere"},
        {"user": revoked},
        {"user": stranger, "room": "lobby"},
    ]});
    let answers = server.post(SERVICE, "/v1/authorize", &questions).done(200);
    let expected = json!({"decisions": [
        {"allowed": true, "member": "owner"},
        {"allowed": true, "member": "member"},
        {"allowed": true},
        {"allowed": false, "reason": "NotMember"},
        {"allowed": false, "reason": "UnknownRoom"},
        {"allowed": false, "reason": "Revoked"},
        {"allowed": false, "reason": "UnknownUser"},
    ]});
    assert_eq!(answers, expected);
    let own = |room: &str| json!({"questions": [{"user": key(OTHER), "room": room}]});
    for room in ["lobby", "nowhere"] {
        let answer = server.post(OTHER, "/v1/authorize", &own(room)).done(200);
        assert_eq!(answer, json!({"decisions": [{"allowed": false}]}), "no reason is told");
    }
    server.post(MEMBER, "/v1/authorize", &questions).refused(403, "refused");
    let many = vec![json!({"user": key(OTHER)}); 101];
    for count in [0, 101] {
        let body = json!({"questions": many[..count]});
        server.post(SERVICE, "/v1/authorize", &body).refused(400, "invalid");
    }
}

fn nobody_comes_in_once_a_revocation_was_answered(kept: Kept) {
    let server = Server::started_in(kept);
    let path = format!("/v1/users/{}/revoke", Caller::new(OWNER).key());
    server.get(OWNER, "/v1/rooms/lobby").done(200);
    let revoked = server.send(ADMIN, Sending::new("POST", &path)).done(200);
    assert_eq!(revoked["status"], "revoked");
    server.get(OWNER, "/v1/rooms/lobby").refused(401, "unauthenticated");
    assert_eq!(server.send(ADMIN, Sending::new("POST", &path)).status, 200, "again is no error");
}
