//! Files that are no membership, or a damaged one: each has its one reason, and none hangs.

use std::time::{Duration, Instant};

use membership_operator::migration::{ExitCode, Reason};
use rusqlite::Connection;

use crate::sources::{LEGACY_TABLES, Source, dump};

fn reason(source: &Source) -> Reason {
    let began = Instant::now();
    let failure = source.prepare().err().expect("a file that cannot be moved");
    assert!(began.elapsed() < Duration::from_secs(9), "it took {:?}", began.elapsed());
    failure.reason()
}

fn legacy_bytes() -> Vec<u8> {
    std::fs::read(Source::legacy().path).unwrap()
}

/// The old program's file with some bytes in another way.
fn altered(alter: impl FnOnce(&mut Vec<u8>)) -> Source {
    let mut bytes = legacy_bytes();
    alter(&mut bytes);
    Source::of_bytes(&bytes)
}

#[test]
fn what_is_no_database_is_not_opened() {
    let png = b"\x89PNG\r\n\x1a\n0000000000000000000000000000000000000000".repeat(30);
    for (what, source) in [
        ("an empty file", Source::of_bytes(b"")),
        ("one byte", Source::of_bytes(b"S")),
        ("a text", Source::of_bytes("users: none\n".repeat(99).as_bytes())),
        ("a picture", Source::of_bytes(&png)),
        ("an encrypted file", Source::of_bytes(&[0x5a; 8192])),
        ("only a header", altered(|bytes| bytes.truncate(100))),
        ("a page size that is none", altered(|bytes| bytes[16..18].copy_from_slice(&[0x12, 0x34]))),
        ("a part of a page at the end", altered(|bytes| bytes.extend([0; 100]))),
    ] {
        assert_eq!(reason(&source), Reason::NotADatabase, "{what}");
    }
    let folder = Source::new();
    std::fs::create_dir(&folder.path).unwrap();
    assert_eq!(reason(&folder), Reason::NotADatabase, "a folder");
    assert_eq!(reason(&Source::new()), Reason::SourceNotReadable, "nothing there");
    assert_eq!(Reason::NotADatabase.exit_code(), ExitCode::SourceUnusable);
}

#[test]
fn a_size_that_is_claimed_is_not_believed() {
    let sparse = Source::legacy();
    let file = std::fs::File::options().write(true).open(&sparse.path).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(reason(&sparse), Reason::TooLarge);
    let claims = altered(|bytes| bytes[28..32].copy_from_slice(&[0xff; 4]));
    assert_eq!(reason(&claims), Reason::IntegrityCheckFailed);
    let middle = altered(|bytes| bytes.truncate(bytes.len() / 8192 * 4096));
    assert_eq!(reason(&middle), Reason::IntegrityCheckFailed);
}

#[test]
fn other_tables_are_named_as_expected_and_found() {
    for (what, change, told) in [
        ("a table that is missing", "DROP TABLE room_keys", "table room_keys"),
        ("a column that is missing", "ALTER TABLE users DROP COLUMN revoked", "column users.revoked"),
        ("a table in capitals", "ALTER TABLE users RENAME TO u; ALTER TABLE u RENAME TO USERS", "USERS"),
        ("a view", "CREATE VIEW v AS SELECT 1", "view v"),
        ("a view in a table's place",
         "DROP TABLE users; CREATE VIEW users AS WITH RECURSIVE r(pubkey) AS
          (SELECT 1 UNION ALL SELECT pubkey + 1 FROM r) SELECT pubkey, 1 AS handle, 1 AS role, 0 AS revoked FROM r",
         "view users"),
        ("a trigger", "CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM rooms; END", "trigger t"),
        ("a virtual table", "CREATE VIRTUAL TABLE f USING fts5(x)", "virtual"),
        ("a tree of rectangles", "CREATE VIRTUAL TABLE f USING rtree(i, a, b)", "virtual"),
        ("a generated column", "ALTER TABLE users ADD COLUMN g AS (abs(1))", "users"),
        ("a check", "CREATE TABLE c (x CHECK (abs(x) > 0))", "table c"),
        ("a default that is computed", "CREATE TABLE c (x DEFAULT (abs(-1)))", "table c"),
        ("a collation", "CREATE TABLE c (x COLLATE nocase)", "table c"),
        ("a computed index", "CREATE INDEX i ON users (lower(handle))", "index i"),
        ("a partial index", "CREATE INDEX i ON users (handle) WHERE revoked = 1", "index i"),
        ("a fence that is not ours", "CREATE TABLE _unibus_fence (x)", "fence"),
        ("a trigger with a fence's name",
         "CREATE TRIGGER _unibus_fence_insert_users BEFORE INSERT ON users BEGIN SELECT 1; END", "fence"),
    ] {
        let source = Source::legacy();
        source.execute(change);
        let failure = source.prepare().err().unwrap();
        assert_eq!(failure.reason(), Reason::SchemaMismatch, "{what}: {failure}");
        assert!(failure.to_string().contains(told), "{what}: {failure}");
    }
}

#[tokio::test]
async fn our_own_tables_must_be_exactly_ours() {
    for (change, told) in [
        ("ALTER TABLE users ADD COLUMN colour TEXT", "users"),
        ("CREATE TABLE more (x)", "more"),
        ("DROP INDEX rooms_by_member", "rooms_by_member"),
        ("CREATE TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END", "t"),
        ("PRAGMA user_version = 0", "schema version 0"),
    ] {
        let source = Source::ours().await;
        source.execute(change);
        let failure = source.prepare().err().unwrap();
        assert_eq!(failure.reason(), Reason::SchemaMismatch, "{change}: {failure}");
        assert!(failure.to_string().contains(told), "{change}: {failure}");
    }
    let source = Source::ours().await;
    source.execute("PRAGMA user_version = 99");
    assert_eq!(reason(&source), Reason::NewerSchema);
    let source = Source::legacy();
    source.execute("PRAGMA application_id = 7");
    assert_eq!(reason(&source), Reason::ForeignDatabase);
}

#[test]
fn a_schema_that_lies_is_found_out() {
    let lie = |sql: &str| {
        let source = Source::legacy();
        source.execute(&format!("PRAGMA writable_schema = on; {sql}"));
        source
    };
    for (what, sql) in [
        (
            "two tables on one page",
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'rooms') WHERE name = 'users'",
        ),
        (
            "a table on a page that is not there",
            "UPDATE sqlite_schema SET rootpage = 9999 WHERE name = 'users'",
        ),
        (
            "a statement that is none",
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE users (' WHERE name = 'users'",
        ),
        (
            "a statement of another table",
            "UPDATE sqlite_schema SET sql = 'CREATE TABLE other (x)' WHERE name = 'users'",
        ),
        ("a name that is a blob", "UPDATE sqlite_schema SET name = x'00ff' WHERE name = 'users'"),
        (
            "a statement in another encoding",
            "UPDATE sqlite_schema SET sql = CAST(x'ff00ff' AS TEXT) WHERE name = 'users'",
        ),
    ] {
        let found = reason(&lie(sql));
        let expected = [Reason::IntegrityCheckFailed, Reason::SchemaMismatch];
        assert!(expected.contains(&found), "{what}: {found:?}");
    }
}

#[test]
fn a_tree_that_bites_its_tail_ends() {
    let source = Source::of_a_tree_that_bites_its_tail();
    assert_eq!(reason(&source), Reason::IntegrityCheckFailed);
}

#[test]
fn a_log_that_is_still_hot_is_read_along() {
    let source = Source::new();
    let writer = source.connect();
    writer.pragma_update(None, "journal_mode", "wal").unwrap();
    writer.execute_batch(LEGACY_TABLES).unwrap();
    writer.execute_batch(&crate::sources::legacy_rows()).unwrap();
    assert!(source.folder.path().join("membership.db-wal").exists());
    assert_eq!(source.prepare().unwrap().staging.tallies().users.count, 3);
    drop(writer);
}

#[test]
fn a_transaction_that_a_crash_cut_off_is_rolled_back() {
    let source = Source::legacy();
    let before = dump(&source.path);
    let writer = source.connect();
    writer.execute_batch("PRAGMA cache_size = 1; PRAGMA journal_mode = delete; BEGIN; UPDATE users SET handle = 'x'").unwrap();
    // Rows that force the changed pages into the file before the commit.
    writer.execute_batch("CREATE TABLE big (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO big SELECT randomblob(900) FROM n").unwrap();
    let crashed = Source::new();
    for suffix in ["", "-journal"] {
        let from = format!("{}{suffix}", source.path.display());
        std::fs::copy(from, format!("{}{suffix}", crashed.path.display())).unwrap();
    }
    crashed.prepare().unwrap();
    assert_eq!(dump(&crashed.path), before);
}

#[test]
fn a_journal_that_other_databases_share_is_left_to_its_program() {
    let source = Source::legacy();
    let mut journal = vec![0; 512];
    journal.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    let path = source.folder.path().join("membership.db-journal");
    std::fs::write(&path, &journal).unwrap();
    assert_eq!(reason(&source), Reason::SourceNotClean);
    assert_eq!(std::fs::read(path).unwrap(), journal);
}

#[test]
fn another_databases_log_is_never_mixed_in_unseen() {
    let other = Source::new();
    let writer = other.connect();
    writer.pragma_update(None, "journal_mode", "wal").unwrap();
    writer.execute_batch("CREATE TABLE cats (x); INSERT INTO cats VALUES (1)").unwrap();
    let source = Source::legacy();
    source.execute("PRAGMA journal_mode = wal");
    std::fs::copy(
        other.folder.path().join("membership.db-wal"),
        source.folder.path().join("membership.db-wal"),
    )
    .unwrap();
    let found = reason(&source);
    let expected = [Reason::SchemaMismatch, Reason::IntegrityCheckFailed];
    assert!(expected.contains(&found), "{found:?}");
}

#[test]
fn a_writer_is_waited_for_and_then_named() {
    let source = Source::legacy();
    let writer = source.connect();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failure = source.prepare().err().unwrap();
    assert_eq!(failure.reason(), Reason::SourceBusy);
    assert_eq!(failure.reason().exit_code(), ExitCode::Unavailable);
    let ending = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(writer);
    });
    let mut options = source.options();
    options.patience = Duration::from_secs(20);
    let watch = membership_operator::migration::watch::Nobody;
    membership_operator::migration::prepare::prepare(&options, &watch).unwrap();
    ending.join().unwrap();
}

#[test]
fn a_file_that_is_held_still_takes_no_writes() {
    let source = Source::legacy();
    let prepared = source.prepare().unwrap();
    let writer = source.connect();
    writer.busy_timeout(Duration::ZERO).unwrap();
    assert!(writer.execute_batch("DELETE FROM users").is_err());
    drop(prepared);
    writer.execute_batch("DELETE FROM users").unwrap();
}

#[test]
fn an_old_file_without_rows_needs_a_word() {
    let source = Source::of_sql(LEGACY_TABLES);
    assert_eq!(reason(&source), Reason::EmptySource);
    let mut options = source.options();
    options.allow_empty = true;
    let watch = membership_operator::migration::watch::Nobody;
    let prepared = membership_operator::migration::prepare::prepare(&options, &watch).unwrap();
    assert_eq!(prepared.staging.tallies().total(), 0);
}

#[tokio::test]
async fn an_empty_file_of_ours_is_what_it_says() {
    let source = Source::ours().await;
    assert_eq!(source.prepare().unwrap().staging.tallies().total(), 0);
}

#[test]
fn a_huge_row_in_a_table_that_is_not_moved_is_copied_unseen() {
    let source = Source::legacy();
    source.execute("CREATE TABLE notes (x); INSERT INTO notes VALUES (zeroblob(20000000))");
    assert_eq!(source.prepare().unwrap().staging.tallies().users.count, 3);
}

#[test]
fn a_flipped_bit_where_it_matters_is_found() {
    // The list of tables, a leaf's own header, and the link between two pages.
    let bytes = legacy_bytes();
    let users = Connection::open(&Source::of_bytes(&bytes).path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'users'", [], |row| {
            row.get::<_, usize>(0)
        })
        .unwrap();
    let leaf = (users - 1) * 4096;
    for (what, at, bit) in [
        ("the header's text encoding", 59, 0x02),
        ("the kind of the first page", 100, 0x04),
        ("the number of rows on a leaf", leaf + 3, 0x10),
        ("where a leaf's rows begin", leaf + 5, 0x80),
        ("where a row lies", leaf + 8, 0x80),
    ] {
        let source = altered(|bytes| bytes[at] ^= bit);
        let found = reason(&source);
        let expected = [Reason::IntegrityCheckFailed, Reason::NotADatabase, Reason::SchemaMismatch];
        assert!(expected.contains(&found), "{what}: {found:?}");
    }
}
