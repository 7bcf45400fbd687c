//! What a file can go through, with the exact kind that it ends in: nothing that is not a whole
//! store of ours is opened, and nothing that cannot be read admits anybody.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use membership_operator::membership::authorize::{AuthorizeRequest, Consistency};
use membership_operator::membership::error::ErrorKind;
use membership_operator::membership::records::UserRole;
use membership_operator::membership::snapshot::Table;
use membership_operator::membership::sqlite::{
    APPLICATION_ID, Created, SCHEMA_VERSION, Settings, SqliteStore,
};
use membership_operator::membership::store::Deadline;
use membership_operator::membership::{DenyReason, MembershipStore};
use rusqlite::Connection;
use tempfile::TempDir;

use super::made;
use crate::contract::{any_page, denial, refusal};
use crate::words::{encrypted_room, new_user, room, soon, user};

fn execute(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

async fn opened(path: &Path) -> ErrorKind {
    refusal(SqliteStore::open(path, Settings::default(), soon()).await.map(|_| ()))
}

async fn created(path: &Path) -> ErrorKind {
    refusal(SqliteStore::create(path, soon()).await)
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_told_and_left_alone() {
    let ours = format!("PRAGMA application_id = {APPLICATION_ID};");
    let newer = format!("{ours} PRAGMA user_version = {}; CREATE TABLE t (x)", SCHEMA_VERSION + 1);
    for (what, sql, kind) in [
        ("another program's tables", "CREATE TABLE cats (name TEXT)", ErrorKind::ForeignStore),
        ("another program's mark", "PRAGMA application_id = 7", ErrorKind::ForeignStore),
        ("a version without a mark", "PRAGMA user_version = 1", ErrorKind::ForeignStore),
        ("our tables without our mark", "CREATE TABLE users (x)", ErrorKind::ForeignStore),
        ("a newer schema", newer.as_str(), ErrorKind::Corrupt),
    ] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("membership.db");
        execute(&path, sql);
        let before = fs::read(&path).unwrap();
        assert_eq!((opened(&path).await, created(&path).await), (kind, kind), "{what}");
        assert_eq!(fs::read(&path).unwrap(), before, "{what} was changed");
    }
}

#[tokio::test]
async fn bytes_that_are_no_database_are_told_and_left_alone() {
    let text = b"this is a text, and it is longer than the header of a database is".repeat(40);
    let mut header_only = b"SQLite format 3\0".to_vec();
    header_only.extend([0xff; 100]);
    for (what, bytes) in
        [("a text", text), ("a header of rubbish", header_only), ("a byte", vec![7])]
    {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("membership.db");
        fs::write(&path, &bytes).unwrap();
        for kind in [opened(&path).await, created(&path).await] {
            assert!(
                [ErrorKind::ForeignStore, ErrorKind::Corrupt].contains(&kind),
                "{what}: {kind:?}"
            );
        }
        assert_eq!(fs::read(&path).unwrap(), bytes, "{what} was changed");
    }
}

#[tokio::test]
async fn opening_makes_nothing() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("membership.db");
    assert_eq!(opened(&path).await, ErrorKind::NotFound);
    assert!(!path.exists());
    assert_eq!(created(&folder.path().join("none/membership.db")).await, ErrorKind::NotFound);
    fs::write(&path, b"").unwrap();
    assert_eq!(opened(&path).await, ErrorKind::NotFound, "an empty file is no store");
    assert_eq!(fs::read(&path).unwrap(), b"");
}

#[tokio::test]
async fn a_store_is_made_for_its_owner_and_once() {
    let (home, _store) = made(Settings::default()).await;
    let mode = fs::metadata(home.path()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    assert_eq!(SqliteStore::create(&home.path(), soon()).await.unwrap(), Created::Existing);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("membership.db");
    // What a try left behind that died right after making the file.
    fs::write(&path, b"").unwrap();
    assert_eq!(SqliteStore::create(&path, soon()).await.unwrap(), Created::New);
}

#[tokio::test]
async fn a_damaged_file_is_corrupt_and_admits_nobody() {
    let (home, store) = made(Settings::default()).await;
    store.add_user(new_user(1, UserRole::User), soon()).await.unwrap();
    drop(store);
    let connection = Connection::open(home.path()).unwrap();
    connection.execute_batch("PRAGMA journal_mode = delete").unwrap();
    let page: usize = connection.query_row("PRAGMA page_size", [], |row| row.get(0)).unwrap();
    let root: usize = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'users'", [], |row| row.get(0))
        .unwrap();
    drop(connection);
    let mut bytes = fs::read(home.path()).unwrap();
    bytes[(root - 1) * page..root * page].fill(0x5a);
    fs::write(home.path(), bytes).unwrap();

    let store = home.open().await;
    assert_eq!(refusal(store.user(&user(1), soon()).await), ErrorKind::Corrupt);
    assert_eq!(refusal(store.users(any_page(), soon()).await), ErrorKind::Corrupt);
    assert_eq!(refusal(store.has_admin(soon()).await), ErrorKind::Corrupt);
    let decision = store.authorize(question(1, None), soon()).await;
    assert_eq!(denial(&decision), DenyReason::Corrupt);
}

fn question(n: u32, in_room: Option<&str>) -> AuthorizeRequest {
    let room = in_room.map(room);
    AuthorizeRequest { user: user(n), room, consistency: Consistency::Strict }
}

#[tokio::test]
async fn a_table_that_is_gone_is_corrupt_and_never_empty() {
    for (table, in_room) in [("users", None), ("rooms", Some("lobby")), ("members", Some("lobby"))]
    {
        let (home, store) = made(Settings::default()).await;
        store.add_user(new_user(1, UserRole::Admin), soon()).await.unwrap();
        let connection = Connection::open(home.path()).unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
        connection.execute_batch(&format!("DROP TABLE {table}")).unwrap();
        let decision = store.authorize(question(1, in_room), soon()).await;
        assert_eq!(denial(&decision), DenyReason::Corrupt, "{table}");
        if table == "users" {
            assert_eq!(refusal(store.has_admin(soon()).await), ErrorKind::Corrupt);
            assert_eq!(refusal(store.users(any_page(), soon()).await), ErrorKind::Corrupt);
        }
    }
}

#[tokio::test]
async fn a_record_that_does_not_parse_is_corrupt_and_admits_nobody() {
    const UNCHECKED: &str = "PRAGMA ignore_check_constraints = on; PRAGMA foreign_keys = off;";
    for (what, change) in [
        ("a handle of two lines", "UPDATE users SET handle = 'a' || char(10)"),
        ("an empty handle", "UPDATE users SET handle = ''"),
        ("an unknown role", "UPDATE users SET role = 'root'"),
        ("an unknown status", "UPDATE users SET status = 'Active'"),
        ("bytes that are no UTF-8", "UPDATE users SET handle = CAST(x'ff' AS TEXT)"),
        ("an incarnation in capitals", "UPDATE rooms SET incarnation = upper(incarnation) || 'A'"),
        ("a room owned by nobody", "UPDATE rooms SET owner = ''"),
        ("an epoch of nought", "UPDATE room_epochs SET epoch = 0"),
        ("no epoch at all", "DELETE FROM room_epochs"),
        ("an attempt of another form", "UPDATE room_epochs SET attempt = 'x'"),
        ("a member added by nobody", "UPDATE members SET added_by = ''"),
    ] {
        let (home, store) = made(Settings::default()).await;
        store.add_user(new_user(1, UserRole::User), soon()).await.unwrap();
        let mut new = encrypted_room("lobby", "owner");
        new.owner = (&user(1)).into();
        store.create_room(new, soon()).await.unwrap();
        assert!(store.authorize(question(1, Some("lobby")), soon()).await.is_admit());
        execute(&home.path(), &format!("{UNCHECKED} {change}"));
        let decision = store.authorize(question(1, Some("lobby")), soon()).await;
        assert_eq!(denial(&decision), DenyReason::Corrupt, "{what}");
        let mut kinds = Vec::new();
        for table in Table::ALL {
            kinds.extend(store.export(table, any_page(), soon()).await.err().map(|e| e.kind()));
        }
        assert!(!kinds.is_empty(), "{what} is left out of an export");
        assert!(kinds.iter().all(|kind| *kind == ErrorKind::Corrupt), "{what}: {kinds:?}");
    }
}

#[tokio::test]
async fn a_file_that_was_replaced_or_taken_away_answers_nothing_more() {
    for put_another in [false, true] {
        let (home, store) = made(Settings::default()).await;
        store.add_first_admin(user(1), "root".parse().unwrap(), soon()).await.unwrap();
        fs::rename(home.path(), home.path().with_extension("away")).unwrap();
        if put_another {
            SqliteStore::create(&home.path(), soon()).await.unwrap();
        }
        assert_eq!(refusal(store.user(&user(1), soon()).await), ErrorKind::Unavailable);
        assert_eq!(refusal(store.has_admin(soon()).await), ErrorKind::Unavailable);
        assert_eq!(refusal(store.revoke_user(&user(1), soon()).await), ErrorKind::Unavailable);
        let decision = store.authorize(question(1, None), soon()).await;
        assert_eq!(denial(&decision), DenyReason::Unavailable, "another file: {put_another}");
    }
}

#[tokio::test]
async fn a_file_that_another_program_holds_is_waited_for_until_the_deadline() {
    let (home, store) = made(Settings::default()).await;
    let other = Connection::open(home.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let short = Deadline::after(Duration::from_millis(300));
    let refused = store.add_user(new_user(1, UserRole::User), short).await;
    let kind = refusal(refused);
    assert!([ErrorKind::Unavailable, ErrorKind::Unknown].contains(&kind), "{kind:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Readers do not wait for a writer.
    assert_eq!(refusal(store.user(&user(1), soon()).await), ErrorKind::NotFound);
    other.execute_batch("COMMIT").unwrap();
    store.add_user(new_user(2, UserRole::User), soon()).await.unwrap();
}
