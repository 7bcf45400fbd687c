//! A move into real buckets, ended by SIGKILL before every request and after every step, and then run
//! again: the same end, the source's rows untouched, a backup that restores.

use std::cell::Cell;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use membership_operator::jetstream::batch::OrderedTransport;
use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::jetstream::link::Link;
use membership_operator::jetstream::transport::{Request, Silence, Transport};
use membership_operator::membership::kv::{KvStore, Settings, Wire};
use membership_operator::migration::buckets::Buckets;
use membership_operator::migration::moving::run;
use membership_operator::migration::watch::{Progress, Step, Watch};
use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::moving::options_for;
use crate::program::{Bus, lines, migrate, migrating, run as run_program};
use crate::scale::large;
use crate::sources::{Source, dump};

const REQUESTS: &str = "MIGRATION_TEST_DIE_BEFORE_REQUEST";
const STEPS: &str = "MIGRATION_TEST_DIE_AFTER_STEP";
const SOURCE: &str = "MIGRATION_TEST_KILLED_SOURCE";
const SERVERS: &str = "MIGRATION_TEST_SERVERS";
const KEY: &str = "MIGRATION_TEST_KEY";
const PREFIX: &str = "MIGRATION_TEST_PREFIX";

fn die() -> ! {
    kill_process(getpid(), Signal::KILL).unwrap();
    unreachable!("nobody outlives that")
}

/// A way to the servers on which the process dies before a certain request.
struct Mortal {
    link: Link,
    left: Arc<AtomicI64>,
}

impl Mortal {
    fn count(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            die();
        }
    }
}

#[async_trait]
impl Transport for Mortal {
    async fn request(&self, request: Request, within: Duration) -> Result<Bytes, Silence> {
        self.count();
        self.link.request(request, within).await
    }

    fn retire(&self) {
        self.link.retire();
    }
}

#[async_trait]
impl OrderedTransport for Mortal {
    async fn request_after(
        &self,
        before: Vec<Request>,
        last: Request,
        within: Duration,
    ) -> Result<Bytes, Silence> {
        self.count();
        self.link.request_after(before, last, within).await
    }
}

/// Dies after a certain step.
struct DiesAfter(Cell<i64>);

impl Watch for DiesAfter {
    fn step(&self, _: Step) {
        self.0.set(self.0.get() - 1);
        if self.0.get() == -1 {
            die();
        }
    }

    fn progress(&self, _: Progress) {}
}

/// The part of the next tests that is killed: alone, without the variables, it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn the_process_that_is_killed() {
    let Ok(source) = std::env::var(SOURCE) else { return };
    let text = |name| std::env::var(name).unwrap();
    let number = |name| text(name).parse::<i64>().unwrap();
    let options = NatsOptions::new(&text(SERVERS), Role::Migration).unwrap();
    let options = options.nkey(Some(Path::new(&text(KEY))));
    let left = Arc::new(AtomicI64::new(number(REQUESTS)));
    let wire = || -> Arc<dyn Wire> {
        Arc::new(Mortal { link: Link::new(options.clone()), left: Arc::clone(&left) })
    };
    let prefix = text(PREFIX).parse().unwrap();
    let settings = Settings { with_requests: false, ..Settings::default() };
    let store = KvStore::open_through(wire(), wire(), prefix, settings).await.unwrap();
    let watch = DiesAfter(Cell::new(number(STEPS)));
    run(&options_for(Path::new(&source)), &Buckets::of(store), &watch).await.unwrap();
}

/// Where a run ends early; `i64::MAX` for never.
#[derive(Clone, Copy, Debug)]
struct End {
    before_request: i64,
    after_step: i64,
}

fn run_until(end: End, bus: &Bus, prefix: &str, source: &Source) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::the_process_that_is_killed", "--quiet"])
        .env(REQUESTS, end.before_request.to_string())
        .env(STEPS, end.after_step.to_string())
        .env(SOURCE, &source.path)
        .env(SERVERS, bus.url())
        .env(KEY, &bus.key)
        .env(PREFIX, prefix)
        .stdout(Stdio::null())
        .status()
        .unwrap()
}

/// What every run that was broken off must leave, and what the next one must make of it.
fn check_and_end(bus: &Bus, prefix: &str, source: &Source, rows: &[String], expected: &[String]) {
    assert_eq!(dump(&source.path), rows, "{prefix}: the rows are untouched");
    for backup in std::fs::read_dir(source.backups()).into_iter().flatten() {
        let backup = backup.unwrap();
        if backup.file_type().unwrap().is_file() {
            assert_eq!(dump(&backup.path()), rows, "{prefix}: the backup restores");
        }
    }
    migrate(bus, prefix, &source.path, &[]).summary(0);
    assert_eq!(lines(bus, prefix), expected, "{prefix}");
    assert_eq!(dump(&source.path), rows, "{prefix}");
    assert_eq!(std::fs::read_dir(source.backups()).unwrap().count(), 1, "{prefix}: leftovers");
    let again = migrate(bus, prefix, &source.path, &[]).summary(0);
    assert_eq!(again["state"], "alreadyDone", "{prefix}");
}

/// Kills runs one after the other, each a little later, until one is not killed any more. Gives how
/// many were.
async fn kill_each(end: impl Fn(i64) -> End) -> i64 {
    let bus = Bus::of(1).await;
    let expected = {
        let source = Source::legacy();
        migrate(&bus, "WHOLE", &source.path, &[]).summary(0);
        lines(&bus, "WHOLE")
    };
    for n in 0.. {
        let (source, prefix) = (Source::legacy(), format!("K{n}"));
        run_program(&bus, &prefix, ["init", "--max-bytes", "16Mi"]).done();
        let rows = dump(&source.path);
        if run_until(end(n), &bus, &prefix, &source).success() {
            return n;
        }
        check_and_end(&bus, &prefix, &source, &rows, &expected);
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_any_request_and_run_again_it_ends_the_same() {
    let killed = kill_each(|n| End { before_request: n, after_step: i64::MAX }).await;
    assert!(killed > 40, "so few requests make no move: {killed}");
    eprintln!("killed before each of {killed} requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_any_step_with_real_buckets_and_run_again_it_ends_the_same() {
    let killed = kill_each(|n| End { before_request: i64::MAX, after_step: n }).await;
    assert!(killed >= 14, "every step was died after: {killed}");
}

/// The real program, buckets not made yet, killed at moments spread over a whole run. The source has
/// more than one page of a kind, of which several are under way at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_killed_at_any_moment_ends_the_same_when_run_again() {
    const MOMENTS: u32 = 20;
    let bus = Bus::of(1).await;
    let source = large(6_000);
    let copied = || {
        let copy = Source::new();
        std::fs::copy(&source.path, &copy.path).unwrap();
        copy
    };
    let began = Instant::now();
    migrate(&bus, "WHOLE", &copied().path, &["--max-bytes", "16Mi"]).summary(0);
    let (whole, expected) = (began.elapsed(), lines(&bus, "WHOLE"));
    let rows = dump(&source.path);
    for n in 0..MOMENTS {
        let (source, prefix) = (copied(), format!("M{n}"));
        let mut child = migrating(&bus, &prefix, &source.path);
        tokio::time::sleep(whole * n / MOMENTS).await;
        kill_process(Pid::from_child(&child), Signal::KILL).unwrap();
        child.wait().unwrap();
        check_and_end(&bus, &prefix, &source, &rows, &expected);
    }
}
