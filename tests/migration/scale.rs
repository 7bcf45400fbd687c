//! Large sources: little memory, progress on the way, and figures of a million keys. Each is moved
//! in a process of its own, so that its memory can be told.

use std::cell::RefCell;
use std::path::Path;
use std::process::{Command, Stdio};

use membership_operator::migration::moving::{Summary, run};
use membership_operator::migration::watch::{Progress, Step, Watch};
use membership_operator::migration::{Outcome, Reason};

use crate::memory::peak_kib;
use crate::moving::{options_for, shelf_path};
use crate::shelf::{SHELF_MAX, Shelf};
use crate::sources::{LEGACY_TABLES, Source};

const SOURCE: &str = "MIGRATION_TEST_LARGE_SOURCE";

/// The most memory that a move may take, in KiB, whatever the size of its source.
const MEMORY_MAX_KIB: u64 = 128 << 10;

/// A source with this many keys: three epochs of each member, a thousand members a room.
pub fn large(keys: u64) -> Source {
    let source = Source::of_sql(LEGACY_TABLES);
    let members = keys / 3;
    source.execute(&format!(
        "BEGIN;
         CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS
            (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {members}) SELECT i FROM n;
         INSERT INTO rooms SELECT 'room-' || (i / 1000), 'bus.' || (i / 1000), 'member-' || i, 1, 3, 1
            FROM n WHERE i % 1000 = 0;
         INSERT INTO room_members SELECT 'room-' || (i / 1000), 'member-' || i,
            iif(i % 1000 = 0, 'owner', 'member'), 'member-' || (i - i % 1000), 1 FROM n;
         INSERT INTO room_keys SELECT 'room-' || (i / 1000), 'member-' || i, epoch, randomblob(120)
            FROM n, (SELECT 1 AS epoch UNION SELECT 2 UNION SELECT 3);
         COMMIT;"
    ));
    source
}

/// Keeps what it is told.
#[derive(Default)]
struct Reports(RefCell<Vec<Progress>>);

impl Watch for Reports {
    fn step(&self, _: Step) {}

    fn progress(&self, progress: Progress) {
        self.0.borrow_mut().push(progress);
    }
}

async fn move_it(path: &Path, watch: &dyn Watch) -> Outcome<Summary> {
    let shelf = Shelf::at(&shelf_path(path)).await;
    run(&options_for(path), &shelf, watch).await
}

/// The part of the next tests that is measured: alone, without the variable, it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_measured() {
    let Ok(path) = std::env::var(SOURCE) else { return };
    let reports = Reports::default();
    let summary = move_it(Path::new(&path), &reports).await.unwrap();
    let reports = reports.0.into_inner();
    for what in ["read", "import", "verify"] {
        let seen = reports.iter().filter(|report| report.what == what).count();
        assert!(seen >= 5, "{what} was reported {seen} times");
    }
    let answer = serde_json::json!({ "peakKib": peak_kib(), "summary": summary });
    std::fs::write(Path::new(&path).with_extension("json"), answer.to_string()).unwrap();
}

fn measure(source: &Source) -> serde_json::Value {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "scale::the_process_that_is_measured", "--quiet"])
        .env(SOURCE, &source.path)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let answer = std::fs::read(source.path.with_extension("json")).unwrap();
    serde_json::from_slice(&answer).unwrap()
}

#[test]
fn a_large_source_is_moved_in_little_memory() {
    let answer = measure(&large(90_000));
    assert_eq!(answer["summary"]["counts"]["roomKeys"]["count"], 90_000);
    let peak = answer["peakKib"].as_u64().unwrap();
    assert!(peak <= MEMORY_MAX_KIB, "{peak} KiB");
}

#[test]
#[ignore = "takes minutes and prints figures: run by `make bench` and `make test-long`"]
fn figures_of_a_million_keys() {
    let answer = measure(&large(1_000_002));
    println!("a million sealed keys, moved into another file:");
    println!("peak memory {} KiB", answer["peakKib"]);
    println!("milliseconds {}", answer["summary"]["milliseconds"]);
    assert!(answer["peakKib"].as_u64().unwrap() <= MEMORY_MAX_KIB, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes a source of two million rows: run by `make test-long`"]
async fn a_source_too_large_for_the_store_is_refused_before_the_fence() {
    let source = large(SHELF_MAX + 3);
    let refused = move_it(&source.path, &Reports::default()).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::StoreTooSmall);
    source.execute("DELETE FROM room_keys WHERE epoch = 1");
}
