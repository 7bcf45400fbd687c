//! What the operator costs and how quick it is. Printed, never asserted: machines differ. What it
//! writes when nothing changes is asserted: nothing.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::bench::Spread;

use crate::bed::{Bed, SYSTEM, turn};
use crate::load::Load;
use crate::subject::{SPEC, Subject};

/// Cold starts that are measured.
const ROUNDS: usize = 5;

/// How long the operator is watched at rest.
const REST: Duration = Duration::from_secs(600);

/// How long it is watched with many resources, and under load.
const WHILE: Duration = Duration::from_secs(60);

/// Writes a second of the load.
const WRITES: u32 = 200;

/// How many resources are many.
const MANY: u32 = 100;

/// What a clock tick of `/proc` is, in milliseconds.
const TICK: u32 = 10;

#[test]
#[ignore = "figures: run by `make bench`"]
fn figures_of_the_operator() {
    let bed = turn();
    let mut table = Vec::new();
    let mut times = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        for (all, one) in times.iter_mut().zip(cold_start(&bed, round)) {
            all.push(one);
        }
        if round + 1 < ROUNDS {
            forget(&bed, round);
        }
    }
    for (what, times) in ["servers Ready", "meta leader settled", "Ready at R3"].iter().zip(times) {
        let Spread { least, median, greatest } = Spread::of(&times).unwrap();
        let figures = format!("{median:.1} s ({least:.1} to {greatest:.1})");
        table.push((format!("apply to {what}, median of {ROUNDS}"), figures));
    }
    table.extend(watch(&bed, "1 cluster at rest", REST, || sleep(REST)));
    table.extend(under_load(&bed));
    for number in 0..MANY {
        let name = format!("idle-{number}");
        Subject::new(&bed, "idle", &name).apply("{suspend: true}");
    }
    sleep(Duration::from_secs(10));
    let many = format!("1 cluster and {MANY} suspended ones at rest");
    table.extend(watch(&bed, &many, WHILE, || sleep(WHILE)));
    table.extend(image_size());
    for (what, figure) in table {
        println!("| {what} | {figure} |");
    }
}

fn forget(bed: &Bed, round: usize) {
    let namespace = format!("cold-{round}");
    bed.delete(&namespace, "membershipcluster", "demo");
    bed.kubectl().run_within(crate::bed::PATIENCE, ["delete", "namespace", &namespace]).unwrap();
}

/// Seconds from `kubectl apply` to each of three conditions.
fn cold_start(bed: &Bed, round: usize) -> [f64; 3] {
    let namespace = format!("cold-{round}");
    let subject = Subject::new(bed, &namespace, "demo");
    let began = Instant::now();
    subject.apply(SPEC);
    let times = ["ServersReady", "MetaLeaderSettled", "Ready"].map(|kind| {
        subject.until(kind, "True");
        began.elapsed().as_secs_f64()
    });
    subject.is_true(3, 3);
    times
}

/// Memory, processor and writes of the operator while nothing changes.
fn watch(bed: &Bed, with: &str, time: Duration, meanwhile: impl FnOnce()) -> Vec<(String, String)> {
    let writes = writes(bed);
    let before = ticks(bed);
    meanwhile();
    let used = (ticks(bed) - before) * u64::from(TICK);
    let more = self::writes(bed) - writes;
    assert_eq!(more, 0, "writes while nothing changes, {with}");
    let seconds = time.as_secs();
    vec![
        (format!("operator memory, {with}"), format!("{} MiB", resident_mib(bed))),
        (format!("operator processor, {with}"), format!("{} mCPU", used / seconds)),
        (format!("writes of the operator in {seconds} s, {with}"), more.to_string()),
    ]
}

/// The last round's cluster, while others write into it.
fn under_load(bed: &Bed) -> Vec<(String, String)> {
    let namespace = format!("cold-{}", ROUNDS - 1);
    let load = Load::on(&Subject::new(bed, &namespace, "demo"));
    let mut landed = 0;
    let with = format!("1 cluster under {WRITES} writes a second");
    let mut rows =
        watch(bed, &with, WHILE, || landed = load.write_at("UNIBUS_members", WRITES, WHILE));
    let rate = landed as u64 / WHILE.as_secs();
    rows.push(("writes acknowledged a second, meanwhile".to_owned(), rate.to_string()));
    rows
}

/// What the shipped programs make of an image FROM scratch, if they were built.
fn image_size() -> Option<(String, String)> {
    let debug = Path::new(env!("CARGO_BIN_EXE_membershipd")).parent().unwrap();
    let release = debug.with_file_name("release");
    let size = |program: &str| Some(fs::metadata(release.join(program)).ok()?.len());
    let bytes = size("membership-operator")? + size("membershipd")?;
    Some(("image of both programs, as released".to_owned(), format!("{} MiB", bytes >> 20)))
}

/// The operator's process on this machine.
fn process(bed: &Bed) -> String {
    let pod = bed.get(SYSTEM, "pods").unwrap()["items"][0].clone();
    let uid = pod["metadata"]["uid"].as_str().unwrap().to_owned();
    let is_ours = |folder: &std::path::Path| {
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        read("cmdline").starts_with("/membership-operator") && read("cgroup").contains(&uid)
    };
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let found = entries.into_iter().find(|folder| is_ours(folder)).unwrap();
    found.to_string_lossy().into_owned()
}

fn resident_mib(bed: &Bed) -> u64 {
    let status = fs::read_to_string(format!("{}/status", process(bed))).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// Clock ticks that its threads have used.
fn ticks(bed: &Bed) -> u64 {
    let stat = fs::read_to_string(format!("{}/stat", process(bed))).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let used = fields.split_whitespace().skip(11).take(2);
    used.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// Requests of the operator that change something, by the API server's own log; its Lease apart.
fn writes(bed: &Bed) -> usize {
    let log = fs::read_to_string(bed.machines().audit_log().unwrap()).unwrap();
    let ours = "\"system:serviceaccount:membership-system:membership-operator\"";
    let events = log.lines().filter(|line| line.contains(ours));
    let changes = events.filter(|line| {
        let Ok(event) = serde_json::from_str::<Value>(line) else { return false };
        let reads = ["get", "list", "watch"].iter().any(|verb| event["verb"] == *verb);
        !reads && event["objectRef"]["resource"] != "leases"
    });
    changes.count()
}
