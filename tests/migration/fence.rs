//! The fence round the old file: it binds every program, tells how far the move has come, and can
//! be lifted until the move is done.

use std::time::Duration;

use membership_operator::membership::authorize::{AuthorizeRequest, Consistency};
use membership_operator::membership::records::UserRole;
use membership_operator::membership::sqlite::fence::MESSAGE;
use membership_operator::membership::sqlite::{Settings, SqliteStore};
use membership_operator::membership::store::NewUser;
use membership_operator::membership::{Decision, DenyReason, ErrorKind, MembershipStore};
use membership_operator::migration::lock::{Fenced, Lifted, Lock};
use membership_operator::migration::prepare::Prepared;
use membership_operator::migration::{ExitCode, Reason};
use rusqlite::Connection;

use crate::sources::{Source, dump, soon, user};

const WRITES: [&str; 8] = [
    "INSERT INTO users VALUES ('k', 'h', 'user', 0)",
    "INSERT OR IGNORE INTO users VALUES ('k', 'h', 'user', 0)",
    "REPLACE INTO rooms SELECT * FROM rooms",
    "INSERT INTO room_members SELECT * FROM room_members WHERE 1 ON CONFLICT DO UPDATE SET role = 'owner'",
    "UPDATE users SET revoked = 0",
    "UPDATE OR IGNORE room_keys SET epoch = 7",
    "DELETE FROM room_keys",
    "DELETE FROM users WHERE revoked = 1",
];

fn raise(source: &Source) -> Fenced {
    let Prepared { lock, schema, .. } = source.prepare().unwrap();
    lock.raise(&schema).unwrap()
}

fn take(source: &Source) -> Lock {
    Lock::take(&source.path, Duration::from_millis(200)).unwrap()
}

/// Another program that has had the file open since before the fence, with statements at hand.
fn assert_bound(program: &Connection) {
    for write in WRITES {
        let error = program.execute_batch(write).unwrap_err();
        assert!(error.to_string().contains(MESSAGE), "{write}: {error}");
    }
    let users: i64 = program.query_row("SELECT count(*) FROM users", [], |row| row.get(0)).unwrap();
    assert_eq!(users, 3, "reads go on");
}

#[test]
fn a_program_that_has_the_file_open_can_read_and_write_no_more() {
    for journal in ["wal", "delete", "truncate", "persist"] {
        let source = Source::legacy();
        let program = source.connect();
        program.pragma_update(None, "journal_mode", journal).unwrap();
        let mut insert = program.prepare("INSERT INTO users VALUES (?1, 'h', 'user', 0)").unwrap();
        let mut read = program.prepare("SELECT count(*) FROM users").unwrap();
        assert_eq!(read.query_row([], |row| row.get::<_, i64>(0)).unwrap(), 3);
        let before = dump(&source.path);
        let _fenced = raise(&source);
        assert!(insert.execute(["k"]).unwrap_err().to_string().contains(MESSAGE), "{journal}");
        assert_eq!(read.query_row([], |row| row.get::<_, i64>(0)).unwrap(), 3);
        assert_bound(&program);
        assert_bound(&source.connect());
        assert_eq!(dump(&source.path), before);
    }
}

#[test]
fn a_reader_in_the_way_of_the_fence_is_named() {
    let source = Source::legacy();
    let Prepared { lock, schema, .. } = source.prepare().unwrap();
    let reader = source.connect();
    reader.execute_batch("BEGIN; SELECT count(*) FROM users").unwrap();
    let failure = lock.raise(&schema).err().unwrap();
    assert_eq!(failure.reason(), Reason::SourceBusy);
    drop(reader);
    assert_eq!(take(&source).fence().unwrap(), None, "nothing was half done");
    source.execute("UPDATE users SET handle = 'free'");
}

#[test]
fn a_lifted_fence_leaves_the_file_as_it_was() {
    let source = Source::legacy();
    let list = |source: &Source| -> Vec<String> {
        let connection = source.connect();
        let mut statement =
            connection.prepare("SELECT name || ifnull(sql, '') FROM sqlite_schema").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let (rows, schema) = (dump(&source.path), list(&source));
    drop(raise(&source));
    assert_ne!(list(&source), schema);
    assert_eq!(take(&source).lift().unwrap(), Lifted::Lifted);
    assert_eq!((dump(&source.path), list(&source)), (rows, schema));
    assert_eq!(take(&source).lift().unwrap(), Lifted::NoneThere);
    source.execute("DELETE FROM users");
}

#[test]
fn a_fence_that_is_done_stays() {
    let source = Source::legacy();
    raise(&source).conclude().unwrap();
    let failure = take(&source).lift().err().unwrap();
    assert_eq!(failure.reason(), Reason::AlreadyMoved);
    assert_eq!(failure.reason().exit_code(), ExitCode::Refused);
    assert_bound(&source.connect());
}

#[test]
fn a_second_try_finds_the_fence_and_backs_up_a_file_that_can_be_written() {
    let source = Source::legacy();
    let first = source.prepare().unwrap();
    let digest = first.staging.tallies().digest();
    let Prepared { lock, schema, .. } = first;
    drop(lock.raise(&schema).unwrap());
    let second = source.prepare().unwrap();
    assert!(second.schema.fenced);
    assert_eq!(second.staging.tallies().digest(), digest);
    let backup = Connection::open(second.backup.as_ref().unwrap()).unwrap();
    backup.execute_batch("DELETE FROM users").unwrap();
    let Prepared { lock, schema, .. } = second;
    lock.raise(&schema).unwrap().conclude().unwrap();
}

#[test]
fn what_was_changed_behind_the_fence_is_noticed() {
    for change in [
        "CREATE TABLE more (x)",
        "ALTER TABLE users ADD COLUMN more",
        "DROP TRIGGER _unibus_fence_insert_users",
        "CREATE TABLE t (x); DROP TABLE t",
        "DROP TABLE _unibus_fence",
        "DROP TABLE room_keys",
    ] {
        let source = Source::legacy();
        let fenced = raise(&source);
        fenced.check().unwrap();
        source.execute(change);
        let failure = fenced.conclude().err().unwrap();
        assert_eq!(failure.reason(), Reason::SourceChanged, "{change}");
        assert_eq!(failure.reason().exit_code(), ExitCode::NotVerified);
    }
}

#[test]
fn a_fence_with_holes_is_mended() {
    let source = Source::legacy();
    drop(raise(&source));
    source.execute("DROP TRIGGER _unibus_fence_insert_users; CREATE TABLE more (x)");
    drop(raise(&source));
    assert_bound(&source.connect());
    assert!(source.connect().execute_batch("INSERT INTO more VALUES (1)").is_err());
    assert_eq!(take(&source).lift().unwrap(), Lifted::Lifted);
    source.execute("INSERT INTO more VALUES (1)");
}

#[test]
fn a_trigger_taken_away_and_put_back_is_noticed() {
    let source = Source::legacy();
    let fenced = raise(&source);
    let sql: String = source
        .connect()
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE name = '_unibus_fence_delete_users'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    source.execute(&format!(
        "DROP TRIGGER _unibus_fence_delete_users; DELETE FROM users WHERE revoked = 1; {sql}"
    ));
    assert_eq!(fenced.conclude().err().unwrap().reason(), Reason::SourceChanged);
}

#[test]
fn a_file_put_in_the_sources_place_is_noticed() {
    let source = Source::legacy();
    let prepared = source.prepare().unwrap();
    prepared.identity.check().unwrap();
    std::fs::rename(&source.path, source.folder.path().join("away")).unwrap();
    assert_eq!(prepared.identity.check().err().unwrap().reason(), Reason::SourceChanged);
    std::fs::write(&source.path, "another file").unwrap();
    assert_eq!(prepared.identity.check().err().unwrap().reason(), Reason::SourceChanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_store_reads_behind_the_fence_and_admits_nobody_once_it_is_done() {
    let source = Source::ours().await;
    let store = SqliteStore::open(&source.path, Settings::default(), soon()).await.unwrap();
    let new = |n| NewUser { key: user(n), handle: "Ada".parse().unwrap(), role: UserRole::User };
    store.add_user(new(1), soon()).await.unwrap();
    let request = AuthorizeRequest { user: user(1), room: None, consistency: Consistency::Strict };

    let fenced = raise(&source);
    let refused = store.add_user(new(2), soon()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.to_string().contains("being moved to JetStream"), "{refused}");
    assert!(store.revoke_user(&user(1), soon()).await.is_err());
    store.user(&user(1), soon()).await.unwrap();
    assert!(store.authorize(request.clone(), soon()).await.is_admit(), "reads go on");
    let late = SqliteStore::open(&source.path, Settings::default(), soon()).await.unwrap();
    assert!(late.authorize(request.clone(), soon()).await.is_admit());

    fenced.conclude().unwrap();
    for store in [&store, &late] {
        match store.authorize(request.clone(), soon()).await {
            Decision::Admit(_) => panic!("admitted from a file that was moved away"),
            Decision::Deny(deny) => assert_eq!(deny.reason, DenyReason::Moved),
        }
        let refused = store.add_user(new(2), soon()).await.unwrap_err();
        assert!(refused.to_string().contains("was moved to JetStream"), "{refused}");
    }
}
