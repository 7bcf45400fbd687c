//! What the operator costs and how quick it is.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::watched::Watched;
use super::{Row, print, spread};
use crate::bed::{Bed, PATIENCE, SYSTEM, turn};
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

/// How many resources are many, and how many of them are begun together: the machine starts their
/// servers.
const MANY: usize = 100;
const AT_ONCE: usize = 10;

/// A cluster of one server: a hundred of three are too many for one machine.
const SMALL: &str = "{replicas: 1, nats: {storage: {size: 1Gi}}, buckets: {maxBytes: 32Mi}}";

#[test]
#[ignore = "figures: run by `make bench`"]
fn figures_of_the_operator() {
    let bed = turn();
    let mut table = cold_starts(&bed);
    table.extend(watch(&bed, "1 cluster at rest", REST, || sleep(REST)));
    table.extend(under_load(&bed));
    begin_many(&bed);
    let many = format!("1 cluster of three servers and {MANY} of one at rest");
    table.extend(watch(&bed, &many, WHILE, || sleep(WHILE)));
    table.extend(image_size());
    print(table);
}

fn begin_many(bed: &Bed) {
    let names: Vec<String> = (0..MANY).map(|number| format!("small-{number}")).collect();
    for some in names.chunks(AT_ONCE) {
        let some: Vec<_> = some.iter().map(|name| Subject::new(bed, "many", name)).collect();
        some.iter().for_each(|subject| subject.apply(SMALL));
        some.iter().for_each(Subject::rests);
    }
    sleep(Duration::from_secs(10));
}

/// Several cold starts; the last one's cluster stays.
fn cold_starts(bed: &Bed) -> Vec<Row> {
    let mut times = [const { Vec::new() }; 3];
    for round in 0..ROUNDS {
        for (all, one) in times.iter_mut().zip(cold_start(bed, round)) {
            all.push(one);
        }
        if round + 1 < ROUNDS {
            forget(bed, round);
        }
    }
    let stages = ["servers Ready", "meta leader settled", "Ready at R3"].iter().zip(times);
    stages
        .map(|(what, times)| (format!("apply to {what}, median of {ROUNDS}"), spread(&times)))
        .collect()
}

fn forget(bed: &Bed, round: usize) {
    let namespace = format!("cold-{round}");
    bed.delete(&namespace, "membershipcluster", "demo");
    bed.kubectl().run_within(PATIENCE, ["delete", "namespace", &namespace]).unwrap();
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
fn watch(bed: &Bed, with: &str, time: Duration, meanwhile: impl FnOnce()) -> Vec<Row> {
    let operator = Watched { bed, namespace: SYSTEM, program: "membership-operator" };
    let (rows, writes) = operator.during(time, with, meanwhile);
    assert_eq!(writes, 0, "writes while nothing changes, {with}");
    rows
}

/// The last round's cluster, while others write into it.
fn under_load(bed: &Bed) -> Vec<Row> {
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
fn image_size() -> Option<Row> {
    let debug = Path::new(env!("CARGO_BIN_EXE_membershipd")).parent().unwrap();
    let release = debug.with_file_name("release");
    let size = |program: &str| Some(fs::metadata(release.join(program)).ok()?.len());
    let bytes = size("membership-operator")? + size("membershipd")?;
    Some(("image of both programs, as released".to_owned(), format!("{} MiB", bytes >> 20)))
}
