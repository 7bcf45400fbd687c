//! NACK, the JetStream controller that comes with the NATS chart, doing what the operator does. The
//! chart itself is in no module registry: its servers are started from a manifest with its probes,
//! on which its time to Ready depends.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use testbed::cache::Cache;
use testbed::image::{self, Context};
use testbed::progress::Progress;
use testbed::tools::{Program, ensure_one};

use super::watched::Watched;
use super::{Row, print, spread};
use crate::bed::{Bed, turn, within};
use crate::load::Load;
use crate::subject::{Subject, condition};

/// Cold starts that are measured.
const ROUNDS: usize = 3;

/// What the raised bucket holds: as many records, and as large, as in the story of the operator.
const KEYS: usize = 20_000;
const BYTES: usize = 4096;

/// How long it is watched at rest, and without a quorum.
const WHILE: Duration = Duration::from_secs(120);

#[test]
#[ignore = "figures: run by `make bench`"]
fn figures_of_nack() {
    let bed = turn();
    bed.machines().load_image(&image()).unwrap();
    bed.kubectl().apply(include_str!("definitions.yaml")).unwrap();
    let kinds = ["wait", "--for=condition=Established", "crd/keyvalues.jetstream.nats.io"];
    bed.kubectl().run(kinds).unwrap();
    let namespaces: Vec<String> = (0..ROUNDS).map(|round| format!("nack-{round}")).collect();
    let mut times = Vec::new();
    for namespace in &namespaces {
        let nack = Nack(Subject::new(&bed, namespace, "nack"));
        times.push(nack.starts());
        if times.len() < ROUNDS {
            nack.stops();
        }
    }
    let nack = Nack(Subject::new(&bed, &namespaces[ROUNDS - 1], "nack"));
    let start = format!("nack: apply to Ready with three replicas, median of {ROUNDS}");
    let mut table = vec![(start, spread(&times))];
    let watched = Watched { bed: &bed, namespace: nack.0.namespace, program: "nack" };
    table.extend(watched.during(WHILE, "1 bucket at rest", || sleep(WHILE)).0);
    table.extend(nack.raises());
    table.push(nack.loses_a_bucket());
    table.push(nack.loses_the_quorum());
    nack.stops();
    print(table);
}

fn image() -> std::path::PathBuf {
    let built = tempfile::tempdir().unwrap();
    fs::copy(ensure_one(Program::Nack).unwrap(), built.path().join("nack")).unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/figures/nack/Dockerfile");
    let context =
        Context { folder: built.path(), dockerfile: Some(Path::new(folder)), stages: &[] };
    let cache = Cache::of_this_user().unwrap();
    image::build_folder(&cache, "localhost/nack:measured", &context, &Progress::stderr())
        .unwrap()
        .path
}

/// Three servers and NACK, in a namespace of their own.
struct Nack<'a>(Subject<'a>);

impl Nack<'_> {
    const fn bed(&self) -> &Bed {
        self.0.bed
    }

    /// Seconds from the first apply to a bucket that is Ready with three replicas.
    fn starts(&self) -> f64 {
        let namespace = self.0.namespace;
        let cluster = include_str!("cluster.yaml")
            .replace("NAMESPACE", namespace)
            .replace("NATS_IMAGE", &image::nats());
        self.bed().kubectl().run(["create", "namespace", namespace]).unwrap();
        let began = Instant::now();
        self.bed().kubectl().apply(&cluster).unwrap();
        self.wants("first", 3);
        within("a first bucket", || self.is_ready("first").then_some(()));
        began.elapsed().as_secs_f64()
    }

    fn stops(&self) {
        let all = ["scale", "deployment,statefulset", "--all", "--replicas=0", "-n"];
        self.bed().kubectl().run([&all[..], &[self.0.namespace]].concat()).unwrap();
    }

    fn wants(&self, bucket: &str, replicas: u8) {
        let namespace = self.0.namespace;
        let manifest = format!(
            "{{apiVersion: jetstream.nats.io/v1beta2, kind: KeyValue, metadata: {{name: {bucket}, \
             namespace: {namespace}}}, spec: {{bucket: {bucket}, replicas: {replicas}, storage: file}}}}"
        );
        self.bed().kubectl().apply(&manifest).unwrap();
    }

    /// Whether it says that what is wanted now is done.
    fn is_ready(&self, bucket: &str) -> bool {
        let found = self.bed().get(self.0.namespace, &format!("keyvalue/{bucket}"));
        found.is_some_and(|found| {
            condition(&found, "Ready", "status") == "True"
                && found["status"]["observedGeneration"] == found["metadata"]["generation"]
        })
    }

    /// A full bucket of one replica gets three: what is said, and what is so.
    fn raises(&self) -> Vec<Row> {
        self.wants("raised", 1);
        within("a second bucket", || self.is_ready("raised").then_some(()));
        Load::as_anybody(&self.0).fill("raised", KEYS, BYTES);
        let began = Instant::now();
        self.wants("raised", 3);
        within("a raised bucket", || self.is_ready("raised").then_some(()));
        let said = began.elapsed().as_secs_f64();
        let wanted = KEYS as u64;
        let holders = self.0.copies("KV_raised").iter().filter(|held| **held == wanted).count();
        within("equal copies", || (self.0.copies("KV_raised") == [wanted; 3]).then_some(()));
        let so = began.elapsed().as_secs_f64();
        vec![
            (format!("nack: raise of {KEYS} keys to Ready"), format!("{said:.1} s")),
            ("nack: servers that held all of it then".to_owned(), format!("{holders} of 3")),
            (format!("nack: raise of {KEYS} keys to equal copies"), format!("{so:.1} s")),
        ]
    }

    /// A bucket that is deleted behind its back.
    fn loses_a_bucket(&self) -> Row {
        let load = Load::as_anybody(&self.0);
        load.ask("$JS.API.STREAM.DELETE.KV_raised").unwrap();
        let began = Instant::now();
        let (mut asked, mut ready) = (0, 0);
        let messages = within("the bucket again", || {
            asked += 1;
            ready += usize::from(self.is_ready("raised"));
            load.ask("$JS.API.STREAM.INFO.KV_raised")?["state"]["messages"].as_u64()
        });
        let took = began.elapsed().as_secs_f64();
        let what = "nack: a bucket that held data is deleted";
        let figure = format!(
            "made again with {messages} records after {took:.1} s; Ready in {ready} of {asked} looks"
        );
        (what.to_owned(), figure)
    }

    /// Two of three servers gone.
    fn loses_the_quorum(&self) -> Row {
        let one = ["scale", "statefulset", "nack-nats", "--replicas=1", "-n", self.0.namespace];
        self.bed().kubectl().run(one).unwrap();
        let began = Instant::now();
        let (mut asked, mut ready) = (0, 0);
        while began.elapsed() < WHILE {
            asked += 1;
            ready += usize::from(self.is_ready("first") && self.is_ready("raised"));
            sleep(Duration::from_secs(1));
        }
        let seconds = WHILE.as_secs();
        let what = format!("nack: two of three servers gone for {seconds} s");
        (what, format!("Ready on all buckets in {ready} of {asked} looks"))
    }
}
