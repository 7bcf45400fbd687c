//! `membershipd init` and `membershipd user`.

use std::process::Stdio;

use rusqlite::Connection;
use serde_json::json;

use crate::program::{Host, user};

#[test]
fn a_store_is_made_once() {
    let host = Host::new();
    assert_eq!(host.run(["init"]).done(), "made a store in membership.db\n");
    let again = host.run(["init"]).done();
    assert!(again.contains("already"), "{again}");
    let other = host.run(["init", "--db", "other.db", "-o", "json"]).json();
    assert_eq!(other, json!({"store": "other.db", "created": true}));
    let again = host.run(["init", "--db", "other.db", "-o", "json"]).json();
    assert_eq!(again["created"], false);
}

#[test]
fn a_user_comes_in_is_seen_and_goes() {
    let host = Host::with_store();
    let (ada, bob) = (user(1), user(2));
    let added = host.run(["user", "add", "--admin", &ada, "Ada Lovelace", "-o", "json"]).json();
    let expected =
        json!({"key": ada, "handle": "Ada Lovelace", "role": "admin", "status": "active"});
    assert_eq!(added, expected);
    host.run(["user", "add", "--service", &bob.to_uppercase(), "Bob"]).done();

    assert_eq!(host.run(["user", "show", &ada, "-o", "json"]).json(), expected);
    let shown = host.run(["user", "show", &bob]).done();
    assert!(shown.contains(&bob) && shown.contains("service"), "{shown}");

    let listed = host.run(["user", "list"]).done();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    assert!(listed.lines().next().unwrap().contains("HANDLE"), "{listed}");
    let revoked = host.run(["user", "revoke", &bob, "-o", "json"]).json();
    assert_eq!(revoked["status"], "revoked");
    host.run(["user", "revoke", &bob]).done();
    let listed = host.run(["user", "list", "-o", "json"]).json();
    let statuses: Vec<_> = listed.as_array().unwrap().iter().map(|user| &user["status"]).collect();
    assert_eq!(statuses.len(), 2);
    assert!(statuses.contains(&&json!("active")) && statuses.contains(&&json!("revoked")));
}

#[test]
fn a_no_is_told_from_a_store_that_is_not_there() {
    let host = Host::new();
    let missing = host.run(["user", "show", &user(1)]).refused(3);
    assert!(missing.contains("membershipd init"), "{missing}");
    assert!(!host.db().exists(), "asking makes nothing");
    host.run(["init"]).done();
    host.run(["user", "show", &user(1)]).refused(1);
    host.run(["user", "revoke", &user(1)]).refused(1);
    host.run(["user", "add", &user(1), "A"]).done();
    host.run(["user", "add", &user(1), "A"]).refused(1);
    host.run(["user", "revoke", &user(1)]).done();
    let back = host.run(["user", "add", &user(1), "A"]).refused(1);
    assert!(back.contains("a revoked key never comes back"), "{back}");
}

#[test]
fn the_first_admin_comes_through_the_gate_and_the_host_lets_in_more() {
    let host = Host::with_store();
    let first = || -> Option<String> {
        let connection = Connection::open(host.db()).unwrap();
        connection.query_row("SELECT first_admin FROM control", [], |row| row.get(0)).unwrap()
    };
    host.run(["user", "add", &user(9), "no admin"]).done();
    assert_eq!(first(), None);
    host.run(["user", "add", "--admin", &user(1), "A"]).done();
    assert_eq!(first(), Some(user(1)));
    host.run(["user", "add", "--admin", &user(2), "B"]).done();
    for gone in [user(1), user(2)] {
        host.run(["user", "revoke", &gone]).done();
    }
    // The gate has closed for good, but whoever has the host may go on.
    host.run(["user", "add", "--admin", &user(3), "C"]).done();
    host.run(["user", "add", "--admin", &user(1), "A"]).refused(1);
    assert_eq!(first(), Some(user(1)));
}

#[test]
fn a_wrong_command_line_ends_in_two_and_opens_nothing() {
    let host = Host::new();
    let key = user(1);
    let long = "h".repeat(129);
    for args in [
        &["user", "add", "no key", "A"][..],
        &["user", "add", &key[1..], "A"],
        &["user", "add", &"0".repeat(64), "A"],
        &["user", "add", &key],
        &["user", "add", &key, ""],
        &["user", "add", &key, " A"],
        &["user", "add", &key, &long],
        &["user", "add", &key, "A\u{202e}B"],
        &["user", "add", &key, "e\u{301}"],
        &["user", "add", "--admin", "--service", &key, "A"],
        &["user", "show", &key, "-o", "yaml"],
        &["user", "list", "--db", "a.db", "--nats-url", "nats://127.0.0.1:1"],
        &["user", "list", "--nkey", "seed.nk"],
        &["user", "list", "--timeout", "0"],
        &["user", "list", "--nats-url", "nats://me:secret@127.0.0.1:1"],
        &["user", "list", "--nats-url", "nats://127.0.0.1:1", "--bucket-prefix", "A.*"],
        &["init", "--replicas", "3"],
        &["init", "--replicas", "2", "--nats-url", "nats://127.0.0.1:1"],
        &["frobnicate"],
        &["export", "--frobnicate"],
    ] {
        let said = host.run(args).refused(2);
        assert!(!said.is_empty() && !said.contains("secret"), "{args:?}: {said}");
    }
    assert_eq!(std::fs::read_dir(host.path(".")).unwrap().count(), 0, "something was made");
}

#[test]
fn the_environment_names_the_store() {
    let host = Host::new();
    let init = |args: &[&str], env: &[(&str, &str)]| {
        host.command(args).envs(env.iter().copied()).output().unwrap().status.code().unwrap()
    };
    assert_eq!(init(&["init"], &[("MEMBERSHIPD_DB", "env.db")]), 0);
    assert_eq!(init(&["init", "--db", "flag.db"], &[("MEMBERSHIPD_DB", "unused.db")]), 0);
    let both = [("MEMBERSHIPD_DB", "a.db"), ("MEMBERSHIPD_NATS_URL", "nats://127.0.0.1:1")];
    assert_eq!(init(&["init"], &both), 2);
    for (name, there) in
        [("env.db", true), ("flag.db", true), ("unused.db", false), ("a.db", false)]
    {
        assert_eq!(host.path(name).exists(), there, "{name}");
    }
}

#[test]
fn tables_have_no_colours_and_long_lists_are_whole() {
    let host = Host::with_store();
    let users: String = (0..2500)
        .map(|n| {
            let key = user(n);
            format!(
                "{{\"kind\":\"user\",\"key\":\"{key}\",\"handle\":\"u {n}\",\"role\":\"user\",\
                 \"status\":\"active\"}}\n"
            )
        })
        .collect();
    host.feed(["import"], users.as_bytes()).done();
    let listed = host.run(["user", "list"]).done();
    assert_eq!(listed.lines().count(), 2501);
    assert!(!listed.contains('\u{1b}'));
    let column = listed.find("HANDLE").unwrap();
    assert!(listed.lines().skip(1).all(|line| line[column..].starts_with("u ")));
    assert_eq!(host.run(["user", "list", "-o", "json"]).json().as_array().unwrap().len(), 2500);

    assert_eq!(host.lines(&host.db()).len(), 2500);

    // A reader that goes away early is nothing to speak of, and not a success either.
    for args in [&["user", "list"][..], &["export"]] {
        let mut child =
            host.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ran = crate::program::Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.err.as_str()), (1, ""), "{args:?}");
    }
}
