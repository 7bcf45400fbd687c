//! What a person can mend, mended: the move ends early and leaves nothing, and run again after the
//! mending it ends as if nothing had been.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use serde_json::json;

use crate::environment::{fence_of, in_mounts};
use crate::program::{Bus, Ran, lines, migrate, program, run, run_as};
use crate::sources::{LEGACY_TABLES, Source, legacy_rows, user};

/// The user as whom a Job runs.
const NOBODY: u32 = 65532;

/// Why a file cannot be moved, such a file, and how it is mended.
type Case = (&'static str, fn() -> Source, fn(&Source));

/// A file in place of what was there.
fn right(source: &Source) {
    fs::remove_file(&source.path).ok();
    source.execute(&format!("{LEGACY_TABLES}{}", legacy_rows()));
}

fn with(change: &str) -> Source {
    let source = Source::legacy();
    source.execute(change);
    source
}

const CASES: [Case; 8] = [
    ("SourceNotReadable", Source::new, right),
    ("NotADatabase", || Source::of_bytes(b"a text that is no database, though long enough"), right),
    ("SchemaMismatch", || Source::of_sql("CREATE TABLE cats (name)"), right),
    (
        "SchemaMismatch",
        || with("ALTER TABLE users RENAME COLUMN handle TO nick"),
        |source| source.execute("ALTER TABLE users RENAME COLUMN nick TO handle"),
    ),
    ("EmptySource", || Source::of_sql(LEGACY_TABLES), |source| source.execute(&legacy_rows())),
    (
        "BadRows",
        || with("UPDATE users SET revoked = 'yes' WHERE handle = 'Cy'"),
        |source| source.execute("UPDATE users SET revoked = 1 WHERE handle = 'Cy'"),
    ),
    (
        "ForeignDatabase",
        || with("PRAGMA application_id = 77"),
        |source| source.execute("PRAGMA application_id = 0"),
    ),
    (
        "BackupFailed",
        || {
            let source = Source::legacy();
            fs::write(source.backups(), "in the way").unwrap();
            source
        },
        |source| fs::remove_file(source.backups()).unwrap(),
    ),
];

/// What is in the buckets after a move that nothing stood against.
async fn expected(bus: &Bus) -> Vec<String> {
    migrate(bus, "PLAIN", &Source::legacy().path, &["--max-bytes", "16Mi"]).summary(0);
    lines(bus, "PLAIN")
}

fn ends_well(bus: &Bus, prefix: &str, ran: Ran, expected: &[String]) {
    let summary = ran.summary(0);
    assert_eq!(summary["state"], "done", "{prefix}");
    let whole = json!({"equal": 12, "newer": 0, "missing": 0, "extra": 0});
    assert_eq!(summary["comparison"], whole, "{prefix}");
    assert_eq!(lines(bus, prefix), expected, "{prefix}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_mended_is_moved_as_if_nothing_had_been() {
    let bus = Bus::of(1).await;
    let expected = expected(&bus).await;
    for (number, (reason, make, mend)) in CASES.into_iter().enumerate() {
        let (source, prefix) = (make(), format!("HEAL{number}"));
        let moved = || migrate(&bus, &prefix, &source.path, &["--max-bytes", "16Mi"]);
        for _ in 0..2 {
            assert_eq!(moved().failed(3), reason, "{number}");
        }
        assert_eq!(run(&bus, &prefix, ["user", "list"]).code, 3, "{reason}: no buckets were made");
        mend(&source);
        ends_well(&bus, &prefix, moved(), &expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_user_is_moved_once_it_is_given_to_the_one_who_moves() {
    let bus = Bus::of(1).await;
    let expected = expected(&bus).await;
    let source = Source::legacy();
    fs::set_permissions(source.folder.path(), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&source.path, Permissions::from_mode(0o600)).unwrap();
    chown(&source.path, Some(1000), Some(1000)).unwrap();
    let key = source.folder.path().join("key");
    fs::copy(&bus.key, &key).unwrap();
    chown(&key, Some(NOBODY), Some(NOBODY)).unwrap();
    let moved = || as_nobody(&bus, &key, &source.path);
    assert_eq!(moved().failed(3), "SourceNotReadable");
    chown(&source.path, Some(NOBODY), Some(NOBODY)).unwrap();
    ends_well(&bus, "UNIBUS", moved(), &expected);
}

fn as_nobody(bus: &Bus, key: &Path, db: &Path) -> Ran {
    let mut command = program(bus, "UNIBUS");
    command.env("MEMBERSHIPD_NKEY", key).args(["migrate-to-kv", "-o", "json", "--db"]).arg(db);
    command.args(["--max-bytes", "16Mi"]);
    run_as(NOBODY, db.parent().unwrap(), &command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_found_no_room_is_made_once_there_is() {
    let bus = Bus::of(1).await;
    let expected = expected(&bus).await;
    let source = Source::legacy();
    let kept = source.folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    let full = "mount -t tmpfs -o size=1m tmpfs \"$3\"";
    assert_eq!(in_mounts(full, &source, &kept).failed(3), "NoSpace");
    assert_eq!(fence_of(&source), None);
    let flags = ["--max-bytes", "16Mi", "--backup-dir", kept.to_str().unwrap()];
    ends_well(&bus, "UNIBUS", migrate(&bus, "UNIBUS", &source.path, &flags), &expected);
    assert!(fs::read_dir(&kept).unwrap().count() > 0, "a backup");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_met_a_store_in_use_is_moved_into_one_that_is_not() {
    let bus = Bus::of(1).await;
    let expected = expected(&bus).await;
    run(&bus, "UNIBUS", ["init", "--max-bytes", "16Mi"]).done();
    run(&bus, "UNIBUS", ["user", "add", "--admin", &user(9).to_string(), "Root"]).done();
    let (source, before) = (Source::legacy(), lines(&bus, "UNIBUS"));
    assert_eq!(migrate(&bus, "UNIBUS", &source.path, &[]).failed(6), "StoreNotEmpty");
    assert_eq!((fence_of(&source), lines(&bus, "UNIBUS")), (None, before));
    let flags = ["--max-bytes", "16Mi"];
    ends_well(&bus, "OTHER", migrate(&bus, "OTHER", &source.path, &flags), &expected);
}
