//! The surroundings of a move, row by row of the catalogue (H): places for a backup that are none, a
//! disk that forgets, buckets that somebody else wrote to, servers that go away in the middle, and
//! a clock that may be wrong.

use std::cell::RefCell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use membership_operator::membership::MembershipStore;
use membership_operator::membership::snapshot::Table;
use membership_operator::membership::sqlite::fence::FenceState;
use membership_operator::migration::buckets::Buckets;
use membership_operator::migration::lock::Lock;
use membership_operator::migration::moving::run as move_it;
use membership_operator::migration::watch::{Progress, Step, Watch};
use membership_operator::migration::{ExitCode, Reason};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::moving::{options_for, shelf_path};
use crate::program::{Bus, Ran, lines, migrate, program, run, without_servers};
use crate::shelf::Shelf;
use crate::sources::{LEGACY_TABLES, Source, dump, legacy_rows, soon, user};
use crate::target::opened;

pub fn fence_of(source: &Source) -> Option<FenceState> {
    let lock = Lock::take(&source.path, std::time::Duration::from_secs(5)).unwrap();
    lock.fence().unwrap()
}

/// A shell command in a mount namespace of its own, then the program with this backup folder.
pub fn in_mounts(mounts: &str, source: &Source, backups: &Path) -> Ran {
    let program = without_servers([""]);
    let script =
        format!("{mounts} && exec \"$1\" migrate-to-kv -o json --db \"$2\" --backup-dir \"$3\"");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-euc", &script, "sh"])
        .arg(program.get_program())
        .arg(&source.path)
        .arg(backups)
        .env("MEMBERSHIPD_NATS_URL", crate::program::NOWHERE)
        .output();
    output.unwrap().into()
}

const READ_ONLY: &str = "home=$(dirname \"$2\") && mount --bind \"$home\" \"$home\" && \
                         mount -o remount,bind,ro \"$home\"";

/// Puts a log that is still hot in the source's place, as a crash leaves it.
fn heat(kept: &Path) {
    fs::create_dir(kept).unwrap();
    let (running, folder) = (Source::new(), kept.parent().unwrap());
    let writer = running.connect();
    writer.pragma_update(None, "journal_mode", "wal").unwrap();
    writer.execute_batch(&format!("{LEGACY_TABLES}{}", legacy_rows())).unwrap();
    for name in ["membership.db", "membership.db-wal"] {
        fs::copy(running.folder.path().join(name), folder.join(name)).unwrap();
    }
}

#[test]
fn h1_a_backup_folder_that_cannot_serve_ends_the_move_before_any_write() {
    for (what, mounts, make, reason) in [
        ("a file", "true", (|path| fs::write(path, "").unwrap()) as fn(&Path), "BackupFailed"),
        (
            "a link to nowhere",
            "true",
            |path| symlink("/nowhere/at/all", path).unwrap(),
            "BackupFailed",
        ),
        (
            "a place below a file",
            "true",
            |path| fs::write(path.parent().unwrap().join("f"), "").unwrap(),
            "BackupFailed",
        ),
        (
            "no space",
            "mount -t tmpfs -o size=1m tmpfs \"$3\"",
            |path| fs::create_dir(path).unwrap(),
            "NoSpace",
        ),
        (
            "read-only",
            "mount -t tmpfs -o ro tmpfs \"$3\"",
            |path| fs::create_dir(path).unwrap(),
            "BackupFailed",
        ),
        (
            "a source that is read-only",
            READ_ONLY,
            |path| fs::create_dir(path).unwrap(),
            "SourceNotWritable",
        ),
        ("a source with a hot log that is read-only", READ_ONLY, heat, "SourceNotReadable"),
    ] {
        let source = Source::legacy();
        let rows = dump(&source.path);
        let named = if what == "a place below a file" { "f/backups" } else { "kept" };
        let backups = source.folder.path().join(named);
        make(&source.folder.path().join("kept"));
        let ran = in_mounts(mounts, &source, &backups);
        assert_eq!(ran.failed(3), reason, "{what}");
        assert_eq!((fence_of(&source), dump(&source.path)), (None, rows), "{what}");
    }
}

#[test]
fn h1_a_folder_in_the_place_of_the_backup_itself_ends_the_move() {
    let source = Source::legacy();
    let kept = source.prepare().unwrap().backup.unwrap();
    fs::remove_file(&kept).unwrap();
    fs::create_dir(&kept).unwrap();
    assert_eq!(source.prepare().err().unwrap().reason(), Reason::BackupFailed);
    fs::remove_dir(&kept).unwrap();
    // One that is there and empty is written anew.
    fs::write(&kept, "").unwrap();
    assert_eq!(source.prepare().unwrap().backup, Some(kept.clone()));
    assert_eq!(dump(&kept), dump(&source.path));
}

/// Acts once at a step.
struct AtStep<F>(Step, RefCell<Option<F>>);

impl<F: FnOnce()> AtStep<F> {
    const fn new(step: Step, act: F) -> Self {
        Self(step, RefCell::new(Some(act)))
    }
}

impl<F: FnOnce()> Watch for AtStep<F> {
    fn step(&self, step: Step) {
        if step == self.0
            && let Some(act) = self.1.borrow_mut().take()
        {
            act();
        }
    }

    fn progress(&self, _: Progress) {}
}

/// The copy that is being worked on, in its private folder.
fn flip_a_byte_of_the_copy(source: &Source) {
    let mut folders = fs::read_dir(source.backups()).unwrap().map(|entry| entry.unwrap().path());
    let copy = folders.find(|path| path.is_dir()).unwrap().join("copy.db");
    let mut bytes = fs::read(&copy).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&copy, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_a_backup_that_changes_after_it_was_checked_is_no_backup() {
    let source = Source::legacy();
    let shelf = Shelf::at(&shelf_path(&source.path)).await;
    let watch = AtStep::new(Step::Staged, || flip_a_byte_of_the_copy(&source));
    let failed = move_it(&options_for(&source.path), &shelf, &watch).await.unwrap_err();
    assert_eq!(failed.reason(), Reason::BackupFailed);
    assert_eq!((fence_of(&source), shelf.marker()), (None, None));
    assert!(shelf.lines().await.is_empty());
    assert_eq!(fs::read_dir(source.backups()).unwrap().count(), 0, "no backup that is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn h8_a_source_that_was_replaced_on_the_way_is_not_moved() {
    for step in [Step::Locked, Step::Copied, Step::BackedUp, Step::Admitted] {
        let source = Source::legacy();
        let shelf = Shelf::at(&shelf_path(&source.path)).await;
        let other = Source::legacy();
        other.execute("UPDATE users SET handle = 'Other'");
        let rows = dump(&other.path);
        let watch = AtStep::new(step, || fs::rename(&other.path, &source.path).unwrap());
        let failed = move_it(&options_for(&source.path), &shelf, &watch).await.unwrap_err();
        assert_eq!(failed.reason(), Reason::SourceChanged, "{step:?}");
        assert_eq!(failed.reason().exit_code(), ExitCode::NotVerified);
        assert_eq!((fence_of(&source), shelf.marker()), (None, None), "{step:?}");
        assert_eq!(dump(&source.path), rows, "{step:?}: the other file is as it was");
        assert!(shelf.lines().await.is_empty());
    }
}

/// A run that stands still where it says these words, and how it went on.
struct Frozen(Child);

impl Frozen {
    fn at(bus: &Bus, source: &Source, words: &str, flags: &[&str]) -> Self {
        let mut command = program(bus, "UNIBUS");
        command.args(["migrate-to-kv", "-o", "json", "--db"]).arg(&source.path).args(flags);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains(words)), "it never said {words:?}");
        kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
        std::thread::spawn(move || said.for_each(drop));
        Self(child)
    }

    fn ended(self) -> Ran {
        kill_process(Pid::from_child(&self.0), Signal::CONT).unwrap();
        self.0.wait_with_output().unwrap().into()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h4_what_the_service_wrote_is_kept_unless_it_is_forced() {
    for (flags, status, counted) in
        [(&[][..], "revoked", "keptNewer"), (&["--force"], "active", "overwritten")]
    {
        let bus = Bus::of(1).await;
        run(&bus, "UNIBUS", ["init", "--max-bytes", "16Mi"]).done();
        let source = Source::legacy();
        let (buckets, service) = (Buckets::of(opened(&bus).await), opened(&bus).await);
        let now = tokio::runtime::Handle::current();
        let watch = AtStep::new(Step::Batch(Table::Users), || {
            let revoked = std::thread::spawn(move || {
                now.block_on(service.revoke_user(&user(2), soon())).unwrap();
            });
            revoked.join().unwrap();
        });
        let broken = move_it(&options_for(&source.path), &buckets, &watch).await.unwrap_err();
        assert_eq!(broken.reason(), Reason::VerificationFailed);
        let summary = migrate(&bus, "UNIBUS", &source.path, flags).summary(0);
        assert_eq!((&summary["state"], &summary["imported"][counted]), (&json!("done"), &json!(1)));
        let there = lines(&bus, "UNIBUS");
        let two = there.iter().find(|line| line.contains("Bo B")).unwrap();
        assert!(two.contains(status), "{two}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h5_keys_and_marker_that_disagree_are_told_and_nothing_is_written() {
    let bus = Bus::of(1).await;
    let source = Source::legacy();
    migrate(&bus, "UNIBUS", &source.path, &[]).summary(0);
    let store = opened(&bus).await;
    store
        .remove_member(&"sealed".parse().unwrap(), &"phone.7".parse().unwrap(), soon())
        .await
        .unwrap();
    let after = lines(&bus, "UNIBUS");
    let again = migrate(&bus, "UNIBUS", &source.path, &[]).summary(0);
    // The member, and with it its key.
    assert_eq!(
        (&again["state"], &again["comparison"]["missing"]),
        (&json!("alreadyDone"), &json!(2))
    );
    assert_eq!(lines(&bus, "UNIBUS"), after);

    // Keys, and no marker: nobody knows whose they are.
    run(&bus, "OTHER", ["init", "--max-bytes", "16Mi"]).done();
    let file = source.folder.path().join("lines");
    fs::write(&file, run(&bus, "UNIBUS", ["export"]).done()).unwrap();
    run(&bus, "OTHER", ["import", file.to_str().unwrap()]).done();
    let fresh = Source::legacy();
    assert_eq!(migrate(&bus, "OTHER", &fresh.path, &[]).failed(6), "StoreNotEmpty");
    assert_eq!((fence_of(&fresh), lines(&bus, "OTHER")), (None, after));
}

#[tokio::test(flavor = "multi_thread")]
async fn h6_servers_that_go_away_in_the_middle_end_it_in_time_and_it_goes_on_later() {
    for (servers, gone) in [(1, &[0][..]), (3, &[0, 1])] {
        let bus = Bus::of(servers).await;
        let source = Source::legacy();
        let rows = dump(&source.path);
        let replicas = servers.to_string();
        let flags = ["--timeout", "4", "--replicas", &replicas];
        let frozen = Frozen::at(&bus, &source, "the fence is up", &flags);
        gone.iter().for_each(|server| bus.nats.kill(*server).unwrap());
        let began = std::time::Instant::now();
        assert_eq!(frozen.ended().failed(4), "NatsUnavailable", "{servers}");
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
        assert_eq!((fence_of(&source), dump(&source.path)), (Some(FenceState::Raised), rows));
        gone.iter().for_each(|server| bus.nats.start(*server).unwrap());
        let summary = migrate(&bus, "UNIBUS", &source.path, &[]).summary(0);
        let whole = json!({"equal": 12, "newer": 0, "missing": 0, "extra": 0});
        assert_eq!(summary["comparison"], whole);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h6_a_bucket_that_fills_up_in_the_middle_ends_it_and_it_is_refused() {
    let bus = Bus::of(1).await;
    run(&bus, "UNIBUS", ["init", "--max-bytes", "1Mi"]).done();
    let source = Source::legacy();
    let frozen = Frozen::at(&bus, &source, "the fence is up", &[]);
    let client = bus.nats.connect(testbed::nats::Role::Migration).await.unwrap();
    for n in 0..90 {
        let subject = format!("$KV.UNIBUS_room_keys.fill.x{n}.1.00");
        client.request(subject, vec![b'x'; 10_000].into()).await.unwrap();
    }
    assert_eq!(frozen.ended().failed(6), "StoreTooSmall");
    assert_eq!(fence_of(&source), Some(FenceState::Raised));
    migrate(&bus, "UNIBUS", &source.path, &["--unfence"]).summary(0);
    migrate(&bus, "OTHER", &source.path, &[]).summary(0);
}

/// Every source file below a folder.
fn sources_in(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources_in(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The program is linked whole, so no test can give it another clock; but it has none.
#[test]
fn h7_nothing_in_a_move_asks_the_wall_clock() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![src.join("command/migrate.rs"), src.join("command/destination.rs")];
    for folder in ["migration", "membership/kv", "jetstream"] {
        sources_in(&src.join(folder), &mut files);
    }
    assert!(files.len() > 40, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for clock in ["SystemTime", "now_utc", "now_local", "UnixMillis::now", "UNIX_EPOCH"] {
            assert!(!text.contains(clock), "{}: {clock}", file.display());
        }
    }
}
