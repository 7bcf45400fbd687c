//! Files that are no store, are in use, or are taken away: each ends in its exit code, within its
//! time, and is left as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::program::{Host, user};

fn mode(host: &Host, name: &str) -> u32 {
    fs::metadata(host.path(name)).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_is_made_is_for_its_owner_only() {
    let host = Host::with_store();
    host.run(["user", "add", &user(1), "A"]).done();
    host.run(["export", "out.jsonl"]).done();
    for name in ["membership.db", "out.jsonl"] {
        assert_eq!(mode(&host, name), 0o600, "{name}");
    }
}

/// A file of each kind that no store of ours is, and what makes it.
fn odd_files() -> Vec<(&'static str, Vec<u8>)> {
    let made = |sql: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        fs::read(&path).unwrap()
    };
    let ours = |sql: &str| {
        let host = Host::with_store();
        let connection = Connection::open(host.db()).unwrap();
        connection.execute_batch(&format!("PRAGMA journal_mode = delete; {sql}")).unwrap();
        fs::read(host.db()).unwrap()
    };
    let mut damaged = ours("");
    // Past the header: the schema's own page.
    damaged[100..400].fill(0xaa);
    vec![
        ("a text", b"not a database at all, but longer than a header of SQLite is".to_vec()),
        ("another program's database", made("CREATE TABLE cats (name TEXT)")),
        ("another program's mark", made("PRAGMA application_id = 7; CREATE TABLE t (x)")),
        ("a newer schema", ours("PRAGMA user_version = 99")),
        ("a damaged file", damaged),
    ]
}

#[test]
fn a_file_that_is_no_store_is_refused_and_left_alone() {
    for (what, bytes) in odd_files() {
        let host = Host::new();
        fs::write(host.db(), &bytes).unwrap();
        for args in [&["init"][..], &["user", "list"], &["export"], &["import"]] {
            let ran = host.run(args);
            let said = ran.refused(3);
            assert!(said.starts_with("membershipd: "), "{what} {args:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{what} {args:?}: {said}");
        }
        assert_eq!(fs::read(host.db()).unwrap(), bytes, "{what} was changed");
    }
}

#[test]
fn an_empty_file_is_no_store_until_init_makes_it_one() {
    let host = Host::new();
    fs::write(host.db(), b"").unwrap();
    let said = host.run(["user", "list"]).refused(3);
    assert!(said.contains("membershipd init"), "{said}");
    host.run(["init"]).done();
    host.run(["user", "list"]).done();
}

#[test]
fn a_table_that_is_missing_is_an_error_and_not_an_empty_list() {
    for (table, args) in [
        ("users", &["user", "list"][..]),
        ("room_keys", &["export"]),
        ("control", &["user", "add", &user(1), "A"]),
    ] {
        let host = Host::with_store();
        let connection = Connection::open(host.db()).unwrap();
        connection
            .execute_batch(&format!("PRAGMA foreign_keys = off; DROP TABLE {table}"))
            .unwrap();
        let said = host.run(args).refused(3);
        assert!(said.contains("lacks a part of its schema"), "{table}: {said}");
    }
}

#[test]
fn a_record_that_cannot_be_read_is_an_error_and_not_left_out() {
    let host = Host::with_store();
    host.run(["user", "add", &user(1), "A"]).done();
    host.run(["user", "add", &user(2), "B"]).done();
    let connection = Connection::open(host.db()).unwrap();
    connection
        .execute("UPDATE users SET handle = 'a' || char(10) WHERE user_key = ?1", [user(1)])
        .unwrap();
    host.run(["user", "show", &user(1)]).refused(3);
    host.run(["user", "list"]).refused(3);
    host.run(["user", "revoke", &user(1)]).refused(3);
    host.run(["user", "show", &user(2)]).done();
}

#[test]
fn a_file_that_another_program_writes_is_waited_for_and_no_longer() {
    let host = Host::with_store();
    let connection = Connection::open(host.db()).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let said = host.run(["user", "add", &user(1), "A", "--timeout", "1"]).refused(4);
    assert!(began.elapsed() < Duration::from_secs(10), "{said}");
    assert!(said.contains("try again"), "{said}");
    connection.execute_batch("ROLLBACK").unwrap();
    host.run(["user", "add", &user(1), "A"]).done();
}

#[test]
fn a_place_where_no_file_can_be_is_named() {
    let host = Host::new();
    let said = host.run(["init", "--db", "no/such/folder/membership.db"]).refused(3);
    assert!(said.contains("no/such/folder"), "{said}");
    fs::create_dir(host.path("folder")).unwrap();
    let ran = host.run(["init", "--db", "folder"]);
    assert!([3, 4].contains(&ran.code), "{ran:?}");
}

#[test]
fn an_export_never_writes_over_a_file() {
    let host = Host::with_store();
    fs::write(host.path("out.jsonl"), "dear").unwrap();
    let said = host.run(["export", "out.jsonl"]).refused(6);
    assert!(said.contains("out.jsonl is there already"), "{said}");
    assert_eq!(fs::read_to_string(host.path("out.jsonl")).unwrap(), "dear");
    std::os::unix::fs::symlink("elsewhere", host.path("link.jsonl")).unwrap();
    host.run(["export", "link.jsonl"]).refused(6);
    assert!(!host.path("elsewhere").exists(), "it followed a link");
    let names = fs::read_dir(host.path(".")).unwrap().count();
    host.run(["export", "nowhere/out.jsonl"]).refused(1);
    assert_eq!(fs::read_dir(host.path(".")).unwrap().count(), names, "something was left behind");
}
