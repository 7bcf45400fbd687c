//! `membershipd export` and `membershipd import`: what goes out comes in, whatever it is.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use crate::program::{Host, user};

/// A store with everything in it: two rooms, one of them rekeyed, members, keys and a revoked user.
pub fn everything() -> String {
    let [ada, bob] = [user(1), user(2)];
    [
        json!({"kind":"user","key":ada,"handle":"Ada L","role":"admin","status":"active"}),
        json!({"kind":"user","key":bob,"handle":"Bob","role":"user","status":"revoked"}),
        json!({"kind":"room","room":"lobby","subject":"bus.lobby","owner":ada,"encrypted":false,"epoch":1,"createdAt":5}),
        json!({"kind":"room","room":"vault","subject":"bus.vault","owner":ada,"encrypted":true,"epoch":2,"createdAt":6}),
        json!({"kind":"member","room":"lobby","endpoint":ada,"role":"owner","addedBy":ada,"addedAt":5}),
        json!({"kind":"member","room":"vault","endpoint":ada,"role":"owner","addedBy":ada,"addedAt":6}),
        json!({"kind":"member","room":"vault","endpoint":"phone.7","role":"member","addedBy":ada,"addedAt":7}),
        json!({"kind":"roomKey","room":"vault","endpoint":ada,"epoch":1,"sealed":"AAEC"}),
        json!({"kind":"roomKey","room":"vault","endpoint":ada,"epoch":2,"sealed":"AwQF"}),
        json!({"kind":"roomKey","room":"vault","endpoint":"phone.7","epoch":2,"sealed":"BgcI"}),
    ]
    .map(|line| line.to_string())
    .join("\n")
}

/// The same lines in the program's own order of fields.
fn exported(host: &Host, db: &str) -> Vec<String> {
    host.lines(Path::new(db))
}

#[test]
fn what_is_exported_and_imported_is_the_same_membership() {
    let host = Host::with_store();
    host.feed(["import"], everything().as_bytes()).done();
    let ran = host.run(["export", "out.jsonl"]);
    assert!(ran.err.contains("exported 2 users, 2 rooms, 3 members, 3 sealed keys"), "{ran:?}");
    host.run(["init", "--db", "other.db"]).done();
    let counts = host.run(["import", "out.jsonl", "--db", "other.db", "-o", "json"]).json();
    // A room brings its owner's membership with it.
    assert_eq!(counts["created"].as_u64().unwrap() + counts["equal"].as_u64().unwrap(), 10);
    assert_eq!(exported(&host, "other.db"), exported(&host, "membership.db"));
    assert_eq!(exported(&host, "other.db").len(), 10);

    let again = host.run(["import", "out.jsonl", "--db", "other.db", "-o", "json"]).json();
    assert_eq!(again, json!({"created": 0, "equal": 10, "overwritten": 0, "keptNewer": 0}));
    let table = host.run(["import", "out.jsonl"]).done();
    assert!(table.lines().any(|line| line.split_whitespace().eq(["EQUAL", "10"])), "{table}");
}

#[test]
fn what_the_service_wrote_since_is_kept_unless_forced() {
    let host = Host::with_store();
    host.run(["user", "add", &user(1), "Ada"]).done();
    host.run(["export", "old.jsonl"]).done();
    host.run(["user", "revoke", &user(1)]).done();
    let kept = host.run(["import", "old.jsonl", "-o", "json"]).json();
    assert_eq!(kept["keptNewer"], 1);
    let status = || host.run(["user", "show", &user(1), "-o", "json"]).json()["status"].clone();
    assert_eq!(status(), "revoked", "an old export brings nobody back");
    host.run(["import", "old.jsonl", "--force"]).done();
    assert_eq!(status(), "active");
}

#[test]
fn a_file_or_a_stream_may_stand_on_either_side() {
    let host = Host::with_store();
    host.feed(["import", "-"], everything().as_bytes()).done();
    let streamed = host.run(["export", "-"]).done();
    host.run(["export", "out.jsonl"]).done();
    assert_eq!(fs::read_to_string(host.path("out.jsonl")).unwrap(), streamed);
    host.run(["import", "missing.jsonl"]).refused(3);
    assert_eq!(host.run(["import"]).done().lines().count(), 4, "no input is an empty import");
}

/// Any room name, as JSON writes it: made of what is allowed and looks strangest.
fn name() -> impl Strategy<Value = String> {
    proptest::string::string_regex(
        "[a-zA-Z0-9.*>$=%/+_\\\\\"'-]{1,40}|[\u{e9}\u{4e2d}\u{1f512}]{1,12}",
    )
    .unwrap()
}

fn key_bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_membership_comes_through_an_export_and_an_import(
        rooms in proptest::collection::btree_map(
            name(),
            (any::<bool>(), 1_u64..6, proptest::collection::btree_map(name(), key_bytes(), 0..4)),
            0..5,
        ),
        users in proptest::collection::btree_map(0_u32..50, (name(), proptest::sample::select(vec!["admin", "user", "service"]), any::<bool>()), 0..6),
    ) {
        let mut kinds: [Vec<String>; 4] = Default::default();
        for (n, (handle, role, revoked)) in users {
            kinds[0].push(json!({"kind":"user","key":user(n),"handle":handle,
                "role":role,
                "status":if revoked { "revoked" } else { "active" }}).to_string());
        }
        for (room, (encrypted, epoch, members)) in rooms {
            kinds[1].push(json!({"kind":"room","room":room,"subject":"s","owner":"the-owner",
                "encrypted":encrypted,"epoch":epoch,"createdAt":3}).to_string());
            kinds[2].push(json!({"kind":"member","room":room,"endpoint":"the-owner","role":"owner",
                "addedBy":"the-owner","addedAt":3}).to_string());
            for (member, key) in members {
                kinds[2].push(json!({"kind":"member","room":room,"endpoint":member,"role":"member",
                    "addedBy":"the-owner","addedAt":4}).to_string());
                if encrypted {
                    kinds[3].push(json!({"kind":"roomKey","room":room,"endpoint":member,
                        "epoch":epoch,"sealed":data_encoding::BASE64.encode(&key)}).to_string());
                }
            }
        }
        let host = Host::with_store();
        host.feed(["import"], kinds.concat().join("\n").as_bytes()).done();
        let first = host.run(["export"]).done();
        prop_assert_eq!(first.lines().count(), kinds.iter().map(Vec::len).sum::<usize>());
        host.run(["init", "--db", "other.db"]).done();
        host.feed(["import", "--db", "other.db"], first.as_bytes()).done();
        prop_assert_eq!(exported(&host, "other.db"), exported(&host, "membership.db"));
    }
}
