//! The order of a move: killed after any step and run again, run twice, run beside itself, and run
//! late. Against a [`Shelf`], which needs no servers.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use membership_operator::membership::ids::Endpoint;
use membership_operator::membership::snapshot::Table;
use membership_operator::membership::sqlite::fence::FenceState;
use membership_operator::membership::store::ImportMode;
use membership_operator::migration::copying::Budget;
use membership_operator::migration::lock::Lock;
use membership_operator::migration::marker::Phase;
use membership_operator::migration::moving::{MoveOptions, State, Summary, run};
use membership_operator::migration::prepare::{Backup, SourceOptions};
use membership_operator::migration::target::Target;
use membership_operator::migration::watch::{Nobody, Progress, Step, Watch};
use membership_operator::migration::{Outcome, Reason};
use rustix::process::{Signal, getpid, kill_process};

use crate::shelf::Shelf;
use crate::sources::{Source, dump, soon, user};

const DIE_AFTER: &str = "MIGRATION_TEST_DIE_AFTER";
const SOURCE: &str = "MIGRATION_TEST_SOURCE";

fn options(source: &Source) -> MoveOptions {
    options_for(&source.path)
}

/// What moves the file at this path, with its backups beside it.
pub fn options_for(path: &Path) -> MoveOptions {
    let source = SourceOptions {
        path: path.to_owned(),
        backup: Backup::In(path.with_file_name("backups")),
        dry_run: false,
        allow_empty: false,
        patience: Duration::from_secs(10),
    };
    let budget = Budget { call: Duration::from_secs(10), total: Duration::from_secs(10) };
    MoveOptions { source, mode: ImportMode::KeepNewer, budget }
}

/// Where the shelf of a source is.
pub fn shelf_path(source: &Path) -> std::path::PathBuf {
    source.with_file_name("shelf.db")
}

async fn shelf_of(source: &Source) -> Shelf {
    Shelf::at(&shelf_path(&source.path)).await
}

async fn move_it(source: &Source, shelf: &Shelf) -> Outcome<Summary> {
    run(&options(source), shelf, &Nobody).await
}

fn fence_of(source: &Source) -> Option<FenceState> {
    Lock::take(&source.path, Duration::from_secs(5)).unwrap().fence().unwrap()
}

/// Notes the steps, and acts at one of them.
struct AtStep<F> {
    step: Step,
    act: RefCell<Option<F>>,
}

impl<F: FnOnce()> Watch for AtStep<F> {
    fn step(&self, step: Step) {
        if step == self.step
            && let Some(act) = self.act.borrow_mut().take()
        {
            act();
        }
    }

    fn progress(&self, _: Progress) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_is_what_there_was_and_moving_again_writes_nothing() {
    let source = Source::legacy();
    let rows = dump(&source.path);
    let shelf = shelf_of(&source).await;
    let first = move_it(&source, &shelf).await.unwrap();
    assert_eq!((first.state, first.imported.created), (State::Done, 3 + 2 + 4 + 3 - 2));
    assert_eq!(shelf.marker().unwrap().0.phase, Phase::Done);
    assert_eq!(fence_of(&source), Some(FenceState::Done));
    let lines = shelf.lines().await;
    assert_eq!(lines.len() as u64, first.counts.total());
    assert!(lines.iter().any(|line| line.contains("\"epoch\":2")));
    assert!(lines.iter().any(|line| line.contains("revoked")));

    let revision = shelf.barrier(soon()).await.unwrap();
    let second = move_it(&source, &shelf).await.unwrap();
    assert_eq!(second.state, State::AlreadyDone);
    let comparison = second.comparison.unwrap();
    assert_eq!((comparison.equal, comparison.newer), (first.counts.total(), 0));
    assert_eq!(shelf.barrier(soon()).await.unwrap(), revision, "nothing was written");
    assert_eq!(dump(&source.path), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_anywhere() {
    let source = Source::legacy();
    let shelf = shelf_of(&source).await;
    let mut options = options(&source);
    options.source.dry_run = true;
    let summary = run(&options, &shelf, &Nobody).await.unwrap();
    assert_eq!((summary.state, summary.backup), (State::DryRun, None));
    assert_eq!((shelf.marker(), fence_of(&source)), (None, None));
    assert!(shelf.lines().await.is_empty());
    source.execute("DELETE FROM users");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_or_too_small_is_refused_before_the_fence() {
    let source = Source::legacy();
    let shelf = shelf_of(&source).await;
    let key = user(99);
    shelf.store().add_first_admin(key, "A".parse().unwrap(), soon()).await.unwrap();
    let refused = move_it(&source, &shelf).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::StoreNotEmpty);
    assert_eq!((fence_of(&source), shelf.marker()), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changed_between_two_runs_is_what_counts() {
    let source = Source::legacy();
    let shelf = shelf_of(&source).await;
    let stop = AtStep {
        step: Step::Verified,
        act: RefCell::new(Some(|| {
            source.execute("CREATE TABLE behind_the_fence (x)");
        })),
    };
    let changed = run(&options(&source), &shelf, &stop).await.unwrap_err();
    assert_eq!(changed.reason(), Reason::SourceChanged);
    assert_eq!(shelf.marker().unwrap().0.phase, Phase::Importing);
    Lock::take(&source.path, Duration::from_secs(5)).unwrap().lift().unwrap();
    source.execute("DELETE FROM room_keys WHERE endpoint = 'phone.7'; DELETE FROM room_members WHERE endpoint = 'phone.7'");
    let summary = move_it(&source, &shelf).await.unwrap();
    assert_eq!(summary.pruned, 2, "the member and its key went");
    assert!(!shelf.lines().await.iter().any(|line| line.contains("phone.7")));
    assert_eq!(summary.state, State::Done);
}

/// Whenever the store is read, somebody writes to it.
struct Busy<'s>(&'s Path);

impl Watch for Busy<'_> {
    fn step(&self, _: Step) {}

    fn progress(&self, progress: Progress) {
        if progress.what == "verify" {
            let write = "UPDATE control SET revision = revision + 1";
            rusqlite::Connection::open(self.0).unwrap().execute_batch(write).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_written_to_all_the_time_can_be_compared_but_not_verified() {
    let source = Source::legacy();
    let shelf = shelf_of(&source).await;
    let path = shelf_path(&source.path);
    let unclear = run(&options(&source), &shelf, &Busy(&path)).await.unwrap_err();
    assert_eq!(unclear.reason(), Reason::NatsUnavailable);
    assert_eq!(shelf.marker().unwrap().0.phase, Phase::Importing);
    let done = move_it(&source, &shelf).await.unwrap();
    let again = run(&options(&source), &shelf, &Busy(&path)).await.unwrap();
    assert_eq!((again.state, again.comparison), (State::AlreadyDone, done.comparison));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_was_sent_away_after_the_move_comes_back() {
    let source = Source::legacy();
    let shelf = shelf_of(&source).await;
    move_it(&source, &shelf).await.unwrap();
    let (room, gone) = ("open".parse().unwrap(), Endpoint::from(&user(2)));
    shelf.store().revoke_user(&user(2), soon()).await.unwrap();
    shelf.store().remove_member(&room, &gone, soon()).await.unwrap();
    let after = shelf.lines().await;
    let again = move_it(&source, &shelf).await.unwrap();
    assert_eq!(again.state, State::AlreadyDone);
    let comparison = again.comparison.unwrap();
    assert_eq!((comparison.newer, comparison.missing), (1, 1));
    assert_eq!(shelf.lines().await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_frozen_and_goes_on_late_brings_nobody_back() {
    for step in [Step::Importing, Step::Batch(Table::Users), Step::Batch(Table::Members)] {
        let source = Source::legacy();
        let shelf = shelf_of(&source).await;
        let (path, handle) = (source.path.clone(), tokio::runtime::Handle::current());
        let thaw = AtStep {
            step,
            act: RefCell::new(Some(|| {
                let other = std::thread::spawn(move || {
                    handle.block_on(finish_and_send_away(&path));
                });
                other.join().unwrap();
            })),
        };
        let late = run(&options(&source), &shelf, &thaw).await;
        let lines = shelf.lines().await;
        let bo = lines.iter().find(|line| line.contains("Bo B")).unwrap();
        assert!(bo.contains("revoked"), "{step:?}: {bo}");
        assert!(
            !lines.iter().any(|line| line.contains("phone.7") && line.contains("member")),
            "{step:?}"
        );
        assert_eq!(shelf.marker().unwrap().0.phase, Phase::Done);
        if let Err(failure) = late {
            assert!(
                [Reason::VerificationFailed, Reason::NatsUnavailable].contains(&failure.reason()),
                "{failure}"
            );
        }
    }
}

/// Another run moves it to the end, and then the service sends two away.
async fn finish_and_send_away(path: &Path) {
    let shelf = Shelf::at(&shelf_path(path)).await;
    let home = path.parent().unwrap();
    let mut options = options(&Source::legacy());
    options.source.path = path.to_owned();
    options.source.backup = membership_operator::migration::prepare::Backup::In(home.join("other"));
    let done = run(&options, &shelf, &Nobody).await.unwrap();
    assert_eq!(done.state, State::Done);
    shelf.store().revoke_user(&user(2), soon()).await.unwrap();
    shelf
        .store()
        .remove_member(&"sealed".parse().unwrap(), &"phone.7".parse().unwrap(), soon())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_membership_is_not_moved_on_top() {
    let source = Source::legacy();
    let shelf = shelf_of(&source).await;
    move_it(&source, &shelf).await.unwrap();
    let other = Source::legacy();
    other.execute("UPDATE users SET handle = 'Other' WHERE handle = 'Ada'");
    let refused = move_it(&other, &shelf).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::OtherMigration);
    assert_eq!(fence_of(&other), None);
    let elsewhere = Shelf::at(&other.folder.path().join("empty.db")).await;
    let refused = move_it(&source, &elsewhere).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::OtherMigration, "its fence says that it has moved");
}

/// Ends this process, as a killed node would, after so many steps.
struct DiesAfter {
    steps: Cell<u32>,
}

impl Watch for DiesAfter {
    fn step(&self, _: Step) {
        match self.steps.get() {
            0 => kill_process(getpid(), Signal::KILL).unwrap(),
            left => self.steps.set(left - 1),
        }
    }

    fn progress(&self, _: Progress) {}
}

/// The part of the next test that is killed: alone, without the variables, it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_killed() {
    let (Ok(after), Ok(path)) = (std::env::var(DIE_AFTER), std::env::var(SOURCE)) else {
        return;
    };
    let shelf = Shelf::at(&shelf_path(Path::new(&path))).await;
    let options = options_for(Path::new(&path));
    let watch = DiesAfter { steps: Cell::new(after.parse().unwrap()) };
    run(&options, &shelf, &watch).await.unwrap();
}

fn run_and_die_after(steps: u32, source: &Source) -> ExitStatus {
    let program = std::env::current_exe().unwrap();
    Command::new(program)
        .args(["--exact", "moving::the_process_that_is_killed", "--quiet"])
        .env(DIE_AFTER, steps.to_string())
        .env(SOURCE, &source.path)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_step_and_run_again_it_ends_the_same() {
    let expected = {
        let source = Source::legacy();
        let shelf = shelf_of(&source).await;
        move_it(&source, &shelf).await.unwrap();
        shelf.lines().await
    };
    let mut killed = 0;
    for steps in 0.. {
        let source = Source::legacy();
        let rows = dump(&source.path);
        if run_and_die_after(steps, &source).success() {
            break;
        }
        killed += 1;
        assert_eq!(dump(&source.path), rows, "after {steps} steps the rows are untouched");
        for backup in std::fs::read_dir(source.backups()).into_iter().flatten() {
            let backup = backup.unwrap();
            if backup.file_type().unwrap().is_file() {
                assert_eq!(dump(&backup.path()), rows, "after {steps} steps a backup restores");
            }
        }
        let shelf = shelf_of(&source).await;
        move_it(&source, &shelf).await.unwrap_or_else(|failure| panic!("{steps}: {failure}"));
        assert_eq!(shelf.lines().await, expected, "killed after {steps} steps");
        assert_eq!(shelf.marker().unwrap().0.phase, Phase::Done);
        assert_eq!(fence_of(&source), Some(FenceState::Done));
        assert_eq!(dump(&source.path), rows);
        assert_eq!(std::fs::read_dir(source.backups()).unwrap().count(), 1, "no leftovers");
    }
    assert!(killed >= 14, "every step was died after: {killed}");
}
