//! The catalogue of hostile and odd files, row by row, through the real program: each ends in its one
//! exit code and reason, in time, without a trace in the file's folder. The program is given servers
//! that are not there: it must not come as far as to ask for them.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::program::{NOWHERE, Ran, without_servers};
use crate::sources::{LEGACY_TABLES, Source, dump, legacy_rows, user};

/// Longer than any of these files takes on a loaded machine, shorter than the patience with one.
const IN_TIME: Duration = Duration::from_secs(20);

/// The most memory that the program may take for one, in bytes.
const MEMORY_MAX: u64 = 256 << 20;

/// A row of the catalogue: its number and what it is about, the file, the reason.
type Row = (&'static str, Source, &'static str);

fn sql(change: &str) -> Source {
    let source = Source::legacy();
    source.execute(change);
    source
}

/// The old program's file with some bytes in another way.
fn altered(alter: impl FnOnce(&mut Vec<u8>)) -> Source {
    let mut bytes = fs::read(Source::legacy().path).unwrap();
    alter(&mut bytes);
    Source::of_bytes(&bytes)
}

/// The same with the list of tables changed behind SQLite's back.
fn lying(change: &str) -> Source {
    sql(&format!("PRAGMA writable_schema = on; {change}"))
}

#[track_caller]
fn check((what, source, reason): Row) {
    let began = Instant::now();
    let program = without_servers(["migrate-to-kv", "-o", "json", "--timeout", "1", "--db"]);
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--data={MEMORY_MAX}")).arg(program.get_program());
    limited.args(program.get_args()).arg(&source.path).env("MEMBERSHIPD_NATS_URL", NOWHERE);
    let ran = Ran::from(limited.output().unwrap());
    assert!(began.elapsed() < IN_TIME, "{what}: it took {:?}", began.elapsed());
    assert!(!ran.err.contains("panicked"), "{what}: {ran:?}");
    assert!(ran.err.contains("membershipd: "), "{what}: it says why: {ran:?}");
    let said = format!("{what}: {ran:?}");
    assert_eq!((ran.code, ran.failed(3)), (3, reason.to_owned()), "{said}");
    let left = fs::read_dir(source.backups()).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{what}: something was left beside the file");
}

#[test]
fn g1_what_is_no_database() {
    let png = b"\x89PNG\r\n\x1a\n0000000000000000000000000000000000000000".repeat(30);
    for row in [
        ("G1 empty", Source::of_bytes(b""), "NotADatabase"),
        ("G1 one byte", Source::of_bytes(b"S"), "NotADatabase"),
        ("G1 text", Source::of_bytes(&b"users: none\n".repeat(99)), "NotADatabase"),
        ("G1 picture", Source::of_bytes(&png), "NotADatabase"),
        ("G1 encrypted", Source::of_bytes(&[0x5a; 8192]), "NotADatabase"),
        ("G1 only a header", altered(|bytes| bytes.truncate(100)), "NotADatabase"),
        ("G1 page size", altered(|bytes| bytes[16] = 0x12), "NotADatabase"),
        ("G1 part of a page", altered(|bytes| bytes.extend([0; 100])), "NotADatabase"),
        ("nothing there", Source::new(), "SourceNotReadable"),
    ] {
        check(row);
    }
}

/// A file with a chain of overflow pages, free pages, and where these and the users' table begin.
struct Anatomy {
    bytes: Vec<u8>,
    users: usize,
    overflow: usize,
    free: usize,
}

impl Anatomy {
    fn of_a_file() -> Self {
        let source = Source::legacy();
        source.execute(
            "INSERT INTO room_keys VALUES ('sealed', 'phone.7', 1, zeroblob(60000));
             CREATE TABLE gone (x); INSERT INTO gone VALUES (zeroblob(60000)); DROP TABLE gone;",
        );
        let root = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
        let page = |table: &str| -> usize {
            source.connect().query_row(root, [table], |row| row.get(0)).unwrap()
        };
        let (users, keys) = (page("users"), page("room_keys"));
        let bytes = fs::read(&source.path).unwrap();
        let number = |at: usize| -> usize {
            u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()).try_into().unwrap()
        };
        // The key's row is the last one written, so it lies where the content of its leaf begins; a
        // row that is too long ends in the number of its next page.
        let leaf = (keys - 1) * 4096;
        let begin = usize::from(u16::from_be_bytes([bytes[leaf + 5], bytes[leaf + 6]]));
        let overflow = (begin..4093)
            .map(|at| number(leaf + at))
            .find(|page| (2..bytes.len() / 4096).contains(page) && *page > keys)
            .expect("a link to another page");
        Self {
            users: (users - 1) * 4096,
            overflow: (overflow - 1) * 4096,
            free: (number(32) - 1) * 4096,
            bytes,
        }
    }

    fn flipped(&self, at: usize, bit: u8) -> Source {
        let mut bytes = self.bytes.clone();
        bytes[at] ^= bit;
        Source::of_bytes(&bytes)
    }
}

#[test]
fn g2_one_flipped_bit() {
    let file = Anatomy::of_a_file();
    let role = file.bytes.windows(8).position(|bytes| bytes == b"Bo Buser");
    for row in [
        ("G2 header, fixed field", file.flipped(21, 0x01), "NotADatabase"),
        ("G2 header, free pages", file.flipped(39, 0x40), "IntegrityCheckFailed"),
        ("G2 header, first free page", file.flipped(35, 0x20), "IntegrityCheckFailed"),
        ("G2 schema page, kind", file.flipped(100, 0x04), "IntegrityCheckFailed"),
        ("G2 schema page, rows", file.flipped(104, 0x10), "IntegrityCheckFailed"),
        ("G2 leaf, rows", file.flipped(file.users + 3, 0x10), "IntegrityCheckFailed"),
        ("G2 leaf, content", file.flipped(file.users + 5, 0x80), "IntegrityCheckFailed"),
        ("G2 leaf, place of a row", file.flipped(file.users + 8, 0x80), "IntegrityCheckFailed"),
        ("G2 overflow, next page", file.flipped(file.overflow, 0x40), "IntegrityCheckFailed"),
        ("G2 free list, next page", file.flipped(file.free, 0x40), "IntegrityCheckFailed"),
        ("G2 text of a role", file.flipped(role.unwrap() + 4, 0x01), "BadRows"),
    ] {
        check(row);
    }
}

#[test]
fn g3_sizes_that_are_not_true() {
    let sparse = Source::legacy();
    fs::File::options().write(true).open(&sparse.path).unwrap().set_len(1 << 40).unwrap();
    let claims = |bytes: &mut Vec<u8>| {
        bytes[16..18].copy_from_slice(&[0, 1]);
        bytes[28..32].copy_from_slice(&[0xff; 4]);
        bytes.resize(65536, 0);
    };
    for row in [
        (
            "G3 cut in the middle",
            altered(|bytes| bytes.truncate(bytes.len() / 8192 * 4096)),
            "IntegrityCheckFailed",
        ),
        ("G3 sparse 1 TB", sparse, "TooLarge"),
        ("G3 281 TB by its header", altered(claims), "IntegrityCheckFailed"),
        (
            "G3 16 TB by its header",
            altered(|bytes| bytes[28..32].copy_from_slice(&[0xff; 4])),
            "IntegrityCheckFailed",
        ),
    ] {
        check(row);
    }
}

#[test]
fn g4_to_g6_other_schemas() {
    let endless = "DROP TABLE users; CREATE VIEW users AS WITH RECURSIVE r(pubkey) AS
        (SELECT 1 UNION ALL SELECT pubkey + 1 FROM r)
        SELECT pubkey, 1 AS handle, 1 AS role, 0 AS revoked FROM r";
    let module = |module: &str| {
        lying(&format!(
            "INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING {module}')"
        ))
    };
    for (what, source) in [
        ("G4 table missing", sql("DROP TABLE room_keys")),
        ("G4 column missing", sql("ALTER TABLE users DROP COLUMN revoked")),
        ("G4 renamed case", sql("ALTER TABLE users RENAME TO u; ALTER TABLE u RENAME TO USERS")),
        ("G4 other tables", Source::of_sql("CREATE TABLE cats (name)")),
        ("G5 view", sql("CREATE VIEW v AS SELECT 1")),
        ("G5 view without an end in a table's place", sql(endless)),
        ("G5 fts5 and its shadow tables", sql("CREATE VIRTUAL TABLE f USING fts5(x)")),
        ("G5 rtree", sql("CREATE VIRTUAL TABLE f USING rtree(i, a, b)")),
        ("G5 csv", module("csv(filename=''/etc/passwd'')")),
        ("G5 dbstat", module("dbstat")),
        ("G6 trigger", sql("CREATE TRIGGER t AFTER INSERT ON users BEGIN DELETE FROM rooms; END")),
        ("G6 generated column", sql("ALTER TABLE users ADD COLUMN g AS (abs(1))")),
        ("G6 check", sql("CREATE TABLE c (x CHECK (abs(x) > 0))")),
        ("G6 computed index", sql("CREATE INDEX i ON users (lower(handle))")),
        ("G6 partial index", sql("CREATE INDEX i ON users (handle) WHERE revoked = 1")),
        ("G6 computed default", sql("CREATE TABLE c (x DEFAULT (abs(-1)))")),
        (
            "G6 unknown collation",
            lying(
                "INSERT INTO sqlite_schema VALUES ('table', 'c', 'c', 0, 'CREATE TABLE c (x COLLATE klingon)')",
            ),
        ),
    ] {
        check((what, source, "SchemaMismatch"));
    }
}

#[test]
fn g7_a_list_of_tables_that_lies() {
    let looped = Source::of_a_tree_that_bites_its_tail();
    let set =
        |change: &str| lying(&format!("UPDATE sqlite_schema SET {change} WHERE name = 'users'"));
    for row in [
        ("G7 loop in a tree", looped, "IntegrityCheckFailed"),
        (
            "G7 two tables on one page",
            set("rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'rooms')"),
            "IntegrityCheckFailed",
        ),
        ("G7 a page that is not there", set("rootpage = 9999"), "IntegrityCheckFailed"),
        (
            "G7 a statement that is none",
            set("sql = 'CREATE TABLE users ('"),
            "IntegrityCheckFailed",
        ),
        (
            "G7 another table's statement",
            set("sql = 'CREATE TABLE other (x)'"),
            "IntegrityCheckFailed",
        ),
        ("G7 a name that is a blob", set("name = x'00ff'"), "IntegrityCheckFailed"),
    ] {
        check(row);
    }
}

/// The old program's tables without a constraint, with its rows and one more.
fn loose(row: &str) -> Source {
    let source = Source::of_sql(
        "CREATE TABLE users (pubkey, handle, role, revoked);
         CREATE TABLE rooms (room_id, subject, owner, encrypted, epoch, created_at);
         CREATE TABLE room_members (room_id, endpoint, role, added_by, added_at);
         CREATE TABLE room_keys (room_id, endpoint, epoch, sealed_key);",
    );
    source.execute(&legacy_rows());
    source.execute(&row.replace("KEY", &user(9).to_string()));
    source
}

#[test]
fn g8_to_g10_ids_that_are_none() {
    for (what, row, reason) in [
        (
            "G8 two nulls",
            "INSERT INTO users VALUES (NULL, 'a', 'user', 0), (NULL, 'b', 'user', 0)",
            "BadRows",
        ),
        ("G8 blob id", "INSERT INTO users VALUES (x'00ff', 'n', 'user', 0)", "BadRows"),
        ("G8 integer id", "INSERT INTO users VALUES (17, 'n', 'user', 0)", "BadRows"),
        ("G8 empty id", "INSERT INTO users VALUES ('', 'n', 'user', 0)", "BadRows"),
        ("G9 NUL", "INSERT INTO users VALUES ('KEY', 'a' || char(0) || 'b', 'user', 0)", "BadRows"),
        (
            "G9 no UTF-8",
            "INSERT INTO users VALUES ('KEY', CAST(x'ff61' AS TEXT), 'user', 0)",
            "BadRows",
        ),
        (
            "G9 byte order mark",
            "INSERT INTO users VALUES ('KEY', char(65279) || 'b', 'user', 0)",
            "BadRows",
        ),
        (
            "G10 line feed",
            "INSERT INTO rooms VALUES ('a' || char(10) || 'PUB x', 's', 'o', 0, 1, 1)",
            "BadRows",
        ),
        (
            "G10 not composed",
            "INSERT INTO rooms VALUES ('cafe' || char(769), 's', 'o', 0, 1, 1)",
            "BadRows",
        ),
        (
            "G10 129 bytes",
            "INSERT INTO rooms VALUES (printf('%.129c', 'x'), 's', 'o', 0, 1, 1)",
            "BadRows",
        ),
    ] {
        check((what, loose(row), reason));
    }
}

#[test]
fn g11_to_g13_rows_that_contradict_each_other_or_are_too_large() {
    let twice = |sql: &str| sql.replace("ONE", &user(1).to_string());
    let revoked = twice("INSERT INTO users VALUES ('ONE', 'Ada', 'admin', 1)");
    let loud = twice("INSERT INTO users VALUES (upper('ONE'), 'Ada', 'admin', 0)");
    for (what, row, reason) in [
        ("G11 allowed and not", revoked.as_str(), "ConflictingRows"),
        ("G11 in capitals", loud.as_str(), "ConflictingRows"),
        ("G12 two", "INSERT INTO users VALUES ('KEY', 'n', 'user', 2)", "BadRows"),
        ("G12 minus one", "INSERT INTO users VALUES ('KEY', 'n', 'user', -1)", "BadRows"),
        ("G12 yes", "INSERT INTO users VALUES ('KEY', 'n', 'user', 'yes')", "BadRows"),
        ("G12 a text", "INSERT INTO users VALUES ('KEY', 'n', 'user', '0')", "BadRows"),
        ("G12 null", "INSERT INTO users VALUES ('KEY', 'n', 'user', NULL)", "BadRows"),
        ("G12 a real", "INSERT INTO users VALUES ('KEY', 'n', 'user', 1.0)", "BadRows"),
        ("G13 infinite", "INSERT INTO rooms VALUES ('r', 's', 'o', 0, 9e999, 1)", "BadRows"),
        (
            "G13 blob over the limit",
            "INSERT INTO room_keys VALUES ('sealed', 'phone.7', 1, zeroblob(65537))",
            "BadRows",
        ),
        (
            "G13 blob over any limit",
            "INSERT INTO room_keys VALUES ('sealed', 'phone.7', 1, zeroblob(200000000))",
            "BadRows",
        ),
    ] {
        check((what, loose(row), reason));
    }
}

#[test]
fn g14_journals_of_others() {
    let shared = Source::legacy();
    let mut journal = vec![0; 512];
    journal.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    fs::write(shared.folder.path().join("membership.db-journal"), &journal).unwrap();
    let mixed = Source::legacy();
    mixed.execute("PRAGMA journal_mode = wal");
    let other = Source::new();
    let writer = other.connect();
    writer.pragma_update(None, "journal_mode", "wal").unwrap();
    writer.execute_batch("CREATE TABLE cats (x); INSERT INTO cats VALUES (1)").unwrap();
    let log = |source: &Source| source.folder.path().join("membership.db-wal");
    fs::copy(log(&other), log(&mixed)).unwrap();
    check(("G14 a journal that others share", shared, "SourceNotClean"));
    check(("G14 another database's log", mixed, "SchemaMismatch"));
}

#[test]
fn g15_a_file_in_use_is_waited_for_and_left_alone() {
    let source = Source::legacy();
    let rows = dump(&source.path);
    let writer = source.connect();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = Instant::now();
    let ran = without_servers(["migrate-to-kv", "-o", "json", "--db"]).arg(&source.path).output();
    let waited = began.elapsed();
    assert_eq!(Ran::from(ran.unwrap()).failed(4), "SourceBusy");
    assert!((25..90).contains(&waited.as_secs()), "{waited:?}");
    drop(writer);
    assert_eq!(dump(&source.path), rows);
}

#[tokio::test]
async fn g16_and_g17_empty_files_and_other_programs_files() {
    let newer = Source::ours().await;
    newer.execute("PRAGMA user_version = 99");
    let other_type = Source::ours().await;
    let column = "UPDATE sqlite_schema SET sql = replace(sql, 'handle TEXT', 'handle BLOB') WHERE name = 'users'";
    other_type.execute(&format!("PRAGMA writable_schema = on; {column}"));
    for row in [
        ("G16 no row", Source::of_sql(LEGACY_TABLES), "EmptySource"),
        ("G17 another program's", sql("PRAGMA application_id = 7"), "ForeignDatabase"),
        ("G17 a newer schema", newer, "NewerSchema"),
        ("G4 another type", other_type, "SchemaMismatch"),
    ] {
        check(row);
    }
}

/// What catalogue row H9 asks for: many bad rows are counted, few are told, none is quoted.
#[test]
fn h9_a_long_report_is_cut_and_quotes_nothing() {
    let source = loose(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)
         INSERT INTO users SELECT 'secret-' || i, 'n', 'user', 0 FROM n",
    );
    let ran = without_servers(["migrate-to-kv", "-o", "json", "--db"]).arg(&source.path).output();
    let ran = Ran::from(ran.unwrap());
    let told = format!("{}{}", ran.out, ran.err);
    assert!(!told.contains("secret-") && told.len() < 20_000, "{told}");
    let summary = ran.summary(3);
    assert_eq!(summary["badRows"]["counts"]["invalid"], 30_000);
    assert_eq!(summary["badRows"]["first"].as_array().unwrap().len(), 20);
}

#[test]
fn the_files_that_these_begin_from_are_moved() {
    // Else all of the above would be refused for another reason than the one that is meant.
    for source in [Source::legacy(), altered(|_| {}), loose(""), lying("SELECT 1")] {
        assert!(source.prepare().is_ok());
    }
    Source::of_bytes(&Anatomy::of_a_file().bytes).prepare().unwrap();
}
