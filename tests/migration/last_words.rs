//! What is left for whoever runs the move as a Job: a short document with the reason and a message
//! that names what has to be mended.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use serde_json::Value;

use crate::program::{Bus, Ran, migrate, run_as, without_servers};
use crate::sources::Source;

/// What the operator reads of a file.
fn words(file: &Path) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

#[test]
fn a_file_that_is_not_there_is_told_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let (db, last) = (folder.path().join("typo.db"), folder.path().join("last"));
    let flags = ["--db", db.to_str().unwrap(), "--summary-file", last.to_str().unwrap()];
    let ran: Ran =
        without_servers(["migrate-to-kv"].into_iter().chain(flags)).output().unwrap().into();
    assert_eq!(ran.code, 3, "{ran:?}");
    let words = words(&last);
    assert_eq!(
        (&words["state"], &words["reason"]),
        (&"failed".into(), &"SourceNotReadable".into())
    );
    let message = words["message"].as_str().unwrap();
    assert!(message.contains("typo.db") && message.contains("no such file"), "{message}");
}

#[test]
fn a_file_of_another_user_is_told_by_user_and_mode() {
    let source = Source::legacy();
    let last = source.folder.path().join("last");
    fs::set_permissions(source.folder.path(), Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&source.path, Permissions::from_mode(0o600)).unwrap();
    chown(&source.path, Some(1000), Some(1000)).unwrap();
    let flags = ["--db", source.path.to_str().unwrap(), "--summary-file", last.to_str().unwrap()];
    let command = without_servers(["migrate-to-kv"].into_iter().chain(flags));
    let ran = run_as(65532, source.folder.path(), &command);
    assert_eq!(ran.code, 3, "{ran:?}");
    let words = words(&last);
    let message = words["message"].as_str().unwrap();
    for word in ["user 1000", "mode 0600", "user 65532"] {
        assert!(message.contains(word), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_done_leaves_word_of_its_backup() {
    let bus = Bus::of(1).await;
    let source = Source::legacy();
    let last = source.folder.path().join("last");
    migrate(&bus, "UNIBUS", &source.path, &["--summary-file", last.to_str().unwrap()]).summary(0);
    let words = words(&last);
    assert_eq!((&words["state"], &words["message"]), (&"done".into(), &Value::Null));
    assert!(Path::new(words["backup"].as_str().unwrap()).starts_with(source.backups()));
}
