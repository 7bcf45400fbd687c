//! Figures of whole moves by the real program, beside the plain ways to write as many records, in one
//! run on the same servers: `make bench`. Printed, never asserted.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use membership_operator::jetstream::api::{self, Condition, Wanted};
use membership_operator::jetstream::bucket::{self, BucketSettings, Budget, stream_of, subject_of};
use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::jetstream::link::Link;
use membership_operator::jetstream::transport::Request;
use serde_json::Value;
use testbed::bench::Spread;
use tokio::task::JoinSet;

use crate::program::{Bus, Ran, migrate, migration};
use crate::scale::large;
use crate::sources::Source;

const ROUNDS: usize = 5;

/// Sealed keys of the source; a third as many members have them.
const KEYS: u64 = 22_500;

/// How many records are written in the plain ways.
const ONE_BY_ONE: usize = 1_000;
const PIPELINED: usize = 20_000;

/// How many of them are in flight at once: as many as a batch has.
const IN_FLIGHT: usize = 500;

/// The bucket that they are written to.
const PLAIN: &str = "UNIBUS_users";

const WITHIN: Duration = Duration::from_secs(10);
const FRESH: Condition<'static> =
    Condition { subject_at: Some(0), other_subject_at: None, stream_at: None };

fn link(bus: &Bus) -> Link {
    Link::new(NatsOptions::new(&bus.url(), Role::Migration).unwrap().nkey(Some(&bus.key)))
}

async fn make_plain(link: &Link, replicas: u8) {
    let settings = BucketSettings {
        name: PLAIN.to_owned(),
        replicas,
        max_bytes: 1 << 30,
        max_message_bytes: 256 << 10,
        deny_purge: true,
        metadata: Default::default(),
    };
    bucket::create(link, &settings, Budget::default()).await.unwrap();
}

/// How many bytes a sealed key has in the buckets, and how many records of all kinds there are.
async fn stored(link: &Link, prefix: &str) -> (usize, u64) {
    let keys = stream_of(&format!("{prefix}_room_keys"));
    let first = Wanted::Next { from: 1, filter: ">" };
    let first = api::read(link, &keys, first, WITHIN).await.unwrap().unwrap();
    let mut records = 0;
    for bucket in ["rooms", "members", "rooms_by_member", "room_keys"] {
        let stream = stream_of(&format!("{prefix}_{bucket}"));
        records += api::stream_info(link, &stream, WITHIN).await.unwrap().unwrap().state.messages;
    }
    (first.payload.len(), records)
}

async fn write(link: &Link, key: &str, bytes: usize) {
    let row = Request::new(subject_of(PLAIN, key), vec![b'v'; bytes]);
    api::publish(link, &stream_of(PLAIN), row, FRESH, WITHIN).await.unwrap();
}

async fn one_by_one(link: &Link, round: usize, bytes: usize) -> f64 {
    let began = Instant::now();
    for n in 0..ONE_BY_ONE {
        write(link, &format!("o{round}_{n}"), bytes).await;
    }
    per_second(ONE_BY_ONE as f64, began.elapsed())
}

/// Always as many on the way, each waiting for its own answer.
async fn pipelined(link: &Arc<Link>, round: usize, bytes: usize) -> f64 {
    let began = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..IN_FLIGHT {
        let link = Arc::clone(link);
        writers.spawn(async move {
            for n in 0..PIPELINED / IN_FLIGHT {
                write(&link, &format!("p{round}_{writer}_{n}"), bytes).await;
            }
        });
    }
    writers.join_all().await;
    per_second(PIPELINED as f64, began.elapsed())
}

fn per_second(count: f64, took: Duration) -> f64 {
    count / took.as_secs_f64()
}

/// What one round came to: the plain ways in records a second, the move in its own words.
struct Round {
    one_by_one: f64,
    pipelined: f64,
    whole: Duration,
    records: u64,
    summary: Value,
}

impl Round {
    fn seconds(&self, part: &str) -> f64 {
        self.summary["milliseconds"][part].as_f64().unwrap() / 1e3
    }

    fn rows(&self) -> f64 {
        let counts = self.summary["counts"].as_object().unwrap();
        counts.values().map(|count| count["count"].as_f64().unwrap()).sum()
    }
}

/// A copy of the source in a folder of its own: each move puts up a fence.
fn copied(source: &Source) -> Source {
    let copy = Source::new();
    fs::copy(&source.path, &copy.path).unwrap();
    copy
}

async fn go(bus: &Bus, plain: &Arc<Link>, source: &Source, round: usize, bytes: usize) -> Round {
    let one_by_one = one_by_one(plain, round, bytes).await;
    let pipelined = pipelined(plain, round, bytes).await;
    let (copy, prefix, replicas) = (copied(source), format!("F{round}"), bus.nats.size());
    let flags = ["--replicas", &replicas.to_string()];
    let began = Instant::now();
    let summary = migrate(bus, &prefix, &copy.path, &flags).summary(0);
    let (whole, (_, records)) = (began.elapsed(), stored(plain, &prefix).await);
    Round { one_by_one, pipelined, whole, records, summary }
}

fn show(replicas: usize, rounds: &[Round]) {
    let line = |name: &str, of: &dyn Fn(&Round) -> f64| {
        let Spread { least, median, greatest } =
            Spread::of(&rounds.iter().map(of).collect::<Vec<_>>()).unwrap();
        println!("R{replicas}  {name:<44} {median:>9.2}  ({least:.2} to {greatest:.2})");
    };
    line("written one by one: records/s", &|round| round.one_by_one);
    line("pipelined, 500 in flight: records/s", &|round| round.pipelined);
    let rows = |round: &Round| round.rows() / round.seconds("import");
    let records = |round: &Round| round.records as f64 / round.seconds("import");
    line("moved: rows/s", &rows);
    line("moved: records/s, the index included", &records);
    line("moved rows, times one by one (aim: 10)", &|round| rows(round) / round.one_by_one);
    line("moved rows, times pipelined", &|round| rows(round) / round.pipelined);
    line("moved records, times pipelined (aim: 1.0)", &|round| records(round) / round.pipelined);
    for (name, part) in [
        ("backup: checking the file, s", "check"),
        ("backup: copying it, s", "copy"),
        ("backup: reading and checking the rows, s", "read"),
        ("fence, s", "fence"),
        ("import, s", "import"),
        ("verify, s", "verify"),
    ] {
        line(name, &|round| round.seconds(part));
    }
    line("the whole program, buckets made, s", &|round| round.whole.as_secs_f64());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures and asserts none: run by `make bench`"]
async fn figures_of_whole_moves() {
    let source = large(KEYS);
    println!(
        "membershipd migrate-to-kv of {KEYS} sealed keys, {} members and their rooms;",
        KEYS / 3
    );
    println!(
        "records of the same size are written plainly, each on the condition that there was none;"
    );
    println!("sync_interval: always; medians of {ROUNDS} rounds (and the range)");
    for replicas in [1, 3] {
        let bus = Bus::of(replicas).await;
        let plain = Arc::new(link(&bus));
        make_plain(&plain, u8::try_from(replicas).unwrap()).await;
        // Once for nothing, to warm up and to see how large a record is.
        migrate(&bus, "F", &copied(&source).path, &[]).summary(0);
        let (bytes, _) = stored(&plain, "F").await;
        let mut rounds = Vec::new();
        for round in 0..ROUNDS {
            rounds.push(go(&bus, &plain, &source, round, bytes).await);
        }
        show(replicas, &rounds);
    }
}

const MILLION: u64 = 1_000_002;

/// The most memory that a move may take, whatever the size of its source.
const MEMORY_MAX_KIB: u32 = 128 << 10;

/// The peak of a process that is still there, in KiB.
fn peak_of(child: &Child) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes and prints figures: run by `make bench` and `make test-long`"]
async fn figures_of_a_million_keys_in_real_buckets() {
    let source = large(MILLION);
    let bus = Bus::of(1).await;
    let mut command = migration(&bus, "M", &source.path, &["--max-bytes", "2Gi"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let told = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = std::thread::spawn(move || told.map(Result::unwrap).collect::<Vec<_>>());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak_of(&child).unwrap_or_default().max(peak);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let summary = Ran::from(child.wait_with_output().unwrap()).summary(0);
    println!("a million sealed keys by membershipd migrate-to-kv into one server's buckets:");
    println!("peak memory {peak} KiB; milliseconds {}", summary["milliseconds"]);
    let told = told.join().unwrap();
    for part in ["read: ", "import: ", "verify: "] {
        let lines = told.iter().filter(|line| line.starts_with(part)).count();
        assert!(lines >= 10, "{part}{lines} lines: no progress to speak of");
    }
    assert!((1..=MEMORY_MAX_KIB).contains(&peak), "{peak} KiB");
}
