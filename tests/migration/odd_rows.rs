//! Rows that are no membership records: each is counted under its class, and one is enough to end
//! the move before anything is written.

use membership_operator::migration::Reason;
use membership_operator::migration::source::bad::{BadClass, BadRows, NAMED_MAX};

use crate::sources::{LEGACY_TABLES, Source, legacy_rows, user};

/// The old program's tables without any constraint, as nobody knows what it declared.
fn loose() -> Source {
    let bare = LEGACY_TABLES
        .replace(" NOT NULL", "")
        .replace(" PRIMARY KEY", "")
        .replace(" TEXT", "")
        .replace(" INTEGER", "")
        .replace(" BLOB", "")
        .replace(", PRIMARY KEY (room_id, endpoint)", "")
        .replace(", PRIMARY KEY (room_id, endpoint, epoch)", "");
    let bare = bare
        .lines()
        .map(|line| {
            line.replace(", (room_id, endpoint, epoch)", "").replace(", (room_id, endpoint)", "")
        })
        .collect::<Vec<_>>()
        .join("\n");
    Source::of_sql(&format!("{bare}{}", legacy_rows()))
}

fn refused(source: &Source) -> (Reason, BadRows) {
    let failure = source.prepare().err().expect("a refusal");
    assert!(
        !source.backups().exists() || std::fs::read_dir(source.backups()).unwrap().count() == 0
    );
    let bad = failure.bad_rows().unwrap_or_else(|| panic!("{failure}")).clone();
    (failure.reason(), bad)
}

/// One odd row and its class. KEY stands for a user's key, OWNER for that of a room's owner, LONG for
/// a text one byte too long.
const ODD_ROWS: &[(BadClass, &str)] = &[
    (BadClass::Null, "INSERT INTO users VALUES (NULL, 'n', 'user', 0)"),
    (BadClass::WrongType, "INSERT INTO users VALUES (x'00ff', 'n', 'user', 0)"),
    (BadClass::WrongType, "INSERT INTO users VALUES (17, 'n', 'user', 0)"),
    (BadClass::Invalid, "INSERT INTO users VALUES ('', 'n', 'user', 0)"),
    (BadClass::Invalid, "INSERT INTO users VALUES ('alice', 'n', 'user', 0)"),
    (BadClass::Null, "INSERT INTO users VALUES ('KEY', NULL, 'user', 0)"),
    (BadClass::Invalid, "INSERT INTO users VALUES ('KEY', 'a' || char(0) || 'b', 'user', 0)"),
    (BadClass::NotUtf8, "INSERT INTO users VALUES ('KEY', CAST(x'ff61' AS TEXT), 'user', 0)"),
    (BadClass::Invalid, "INSERT INTO users VALUES ('KEY', char(65279) || 'bom', 'user', 0)"),
    (BadClass::Invalid, "INSERT INTO users VALUES ('KEY', 'a ', 'user', 0)"),
    (BadClass::TooLarge, "INSERT INTO users VALUES ('KEY', 'LONG', 'user', 0)"),
    (
        BadClass::TooLarge,
        "INSERT INTO users VALUES ('KEY', printf('%.*c', 1000000, 'x'), 'user', 0)",
    ),
    (BadClass::Invalid, "INSERT INTO users VALUES ('KEY', 'n', 'Admin', 0)"),
    (BadClass::Invalid, "INSERT INTO users VALUES ('KEY', 'n', 'root', 0)"),
    (BadClass::NotABoolean, "INSERT INTO users VALUES ('KEY', 'n', 'user', 2)"),
    (BadClass::NotABoolean, "INSERT INTO users VALUES ('KEY', 'n', 'user', -1)"),
    (BadClass::NotABoolean, "INSERT INTO users VALUES ('KEY', 'n', 'user', 'yes')"),
    (BadClass::NotABoolean, "INSERT INTO users VALUES ('KEY', 'n', 'user', '0')"),
    (BadClass::NotABoolean, "INSERT INTO users VALUES ('KEY', 'n', 'user', 1.0)"),
    (BadClass::Null, "INSERT INTO users VALUES ('KEY', 'n', 'user', NULL)"),
    (BadClass::Invalid, "INSERT INTO rooms VALUES ('a b', 's', 'o', 0, 1, 1)"),
    (BadClass::Invalid, "INSERT INTO rooms VALUES ('cafe' || char(769), 's', 'o', 0, 1, 1)"),
    (BadClass::Invalid, "INSERT INTO rooms VALUES ('a' || char(8238), 's', 'o', 0, 1, 1)"),
    (BadClass::Invalid, "INSERT INTO rooms VALUES ('r', 's', 'o', 0, 0, 1)"),
    (BadClass::Invalid, "INSERT INTO rooms VALUES ('r', 's', 'o', 0, -1, 1)"),
    (BadClass::WrongType, "INSERT INTO rooms VALUES ('r', 's', 'o', 0, 9e999, 1)"),
    (BadClass::WrongType, "INSERT INTO rooms VALUES ('r', 's', 'o', 0, 1, 1.5)"),
    (BadClass::WrongType, "INSERT INTO rooms VALUES ('r', 's', 'o', 0, '1', 1)"),
    (BadClass::NoSuchRoom, "INSERT INTO room_members VALUES ('none', 'e', 'member', 'o', 1)"),
    (BadClass::OwnerMismatch, "INSERT INTO room_members VALUES ('open', 'e', 'owner', 'o', 1)"),
    (BadClass::Invalid, "INSERT INTO room_members VALUES ('open', 'e', 'guest', 'o', 1)"),
    (BadClass::NoSuchRoom, "INSERT INTO room_keys VALUES ('none', 'e', 1, x'00')"),
    (BadClass::KeyOfOpenRoom, "INSERT INTO room_keys VALUES ('open', 'OWNER', 1, x'00')"),
    (BadClass::KeyOfFutureEpoch, "INSERT INTO room_keys VALUES ('sealed', 'phone.7', 3, x'00')"),
    (BadClass::Invalid, "INSERT INTO room_keys VALUES ('sealed', 'phone.7', 1, x'')"),
    (BadClass::WrongType, "INSERT INTO room_keys VALUES ('sealed', 'phone.7', 1, 'text')"),
    (BadClass::TooLarge, "INSERT INTO room_keys VALUES ('sealed', 'phone.7', 1, zeroblob(65537))"),
    (
        BadClass::TooLarge,
        "INSERT INTO room_keys VALUES ('sealed', 'phone.7', 1, zeroblob(8000000))",
    ),
];

#[test]
fn each_odd_row_has_its_class() {
    let (key, owner, long) = (user(9).to_string(), user(1).to_string(), "x".repeat(129));
    for (class, sql) in ODD_ROWS {
        let source = loose();
        let sql = sql.replace("KEY", &key).replace("OWNER", &owner).replace("LONG", &long);
        source.execute(&sql);
        let (reason, bad) = refused(&source);
        assert_eq!(bad.counts.get(class), Some(&1), "{sql}: {bad:?}");
        assert_eq!((reason, bad.total()), (Reason::BadRows, 1), "{sql}: {bad:?}");
    }
}

#[test]
fn a_value_at_its_limit_is_taken() {
    let source = loose();
    let (key, handle) = (user(9), "x".repeat(128));
    source.execute(&format!(
        "INSERT INTO users VALUES ('{key}', '{handle}', 'user', 0);
         INSERT INTO room_keys VALUES ('sealed', 'phone.7', 1, zeroblob(65536));
         INSERT INTO rooms VALUES ('last', 's', 'o', 1, 9223372036854775807, 9223372036854775807)"
    ));
    source.prepare().unwrap();
}

#[test]
fn names_that_look_dangerous_are_only_names() {
    let source = loose();
    for name in [
        "*", ">", "a.*", ".", "..", "a..b", "$JS.API", "$KV.x", "_INBOX.x", "--help", "=41", "%2e",
        "a/b",
    ] {
        source.execute(&format!("INSERT INTO rooms VALUES ('{name}', 's', 'o', 0, 1, 1)"));
    }
    assert_eq!(source.prepare().unwrap().staging.tallies().rooms.count, 2 + 13);
}

#[test]
fn two_rows_about_the_same_are_a_conflict_and_nobody_wins() {
    let loud = user(1).to_string().to_uppercase();
    for sql in [
        format!("INSERT INTO users VALUES ('{}', 'Ada', 'admin', 1)", user(1)),
        format!("INSERT INTO users VALUES ('{loud}', 'Ada', 'admin', 1)"),
        "INSERT INTO rooms VALUES ('open', 'bus.other', 'o', 0, 1, 1)".to_owned(),
        "INSERT INTO room_members VALUES ('sealed', 'phone.7', 'member', 'o', 5)".to_owned(),
        "INSERT INTO room_keys VALUES ('sealed', 'phone.7', 2, x'99')".to_owned(),
    ] {
        let source = loose();
        source.execute(&sql);
        let (reason, bad) = refused(&source);
        assert_eq!(reason, Reason::ConflictingRows, "{sql}");
        assert_eq!(bad.counts.get(&BadClass::Duplicate), Some(&1), "{sql}");
    }
}

#[test]
fn of_many_bad_rows_twenty_are_named_and_none_is_quoted() {
    let source = loose();
    source.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
         INSERT INTO users SELECT 'secret' || i, 'n', 'user', 0 FROM n",
    );
    let failure = source.prepare().err().unwrap();
    let bad = failure.bad_rows().unwrap();
    assert_eq!((bad.total(), bad.first.len()), (5000, NAMED_MAX));
    let told = format!("{failure} {}", serde_json::to_string(bad).unwrap());
    assert!(!told.contains("secret") && told.len() < 16_000, "{told}");
}

#[test]
fn nulls_in_a_text_key_are_found_each() {
    let source = Source::legacy();
    source.execute("INSERT INTO users VALUES (NULL, 'a', 'user', 0), (NULL, 'b', 'user', 0)");
    let (_, bad) = refused(&source);
    assert_eq!(bad.counts.get(&BadClass::Null), Some(&2));
}
