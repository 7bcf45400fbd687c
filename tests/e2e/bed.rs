//! One test bed that all stories share, with the operator installed by its chart: started by the
//! first story and removed when this program has ended, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::cache::Cache;
use testbed::kubectl::Kubectl;
use testbed::prepare::{self, Prepared};
use testbed::progress::Progress;
use testbed::tools::{Program, ensure_one};
use testbed::{Cluster, ClusterName, UpRequest, image, removal};

const NAME: &str = "e2e";

/// The tag of a newer version of the product, with the same programs in it.
pub const NEWER: &str = "0.1.1-newer";

/// The product's image, as the chart names it.
pub const IMAGE: &str = "ghcr.io/unibus/membership-operator:0.1.0";

const PROGRAMS: [&str; 2] =
    [env!("CARGO_BIN_EXE_membership-operator"), env!("CARGO_BIN_EXE_membershipd")];
const DOCKERFILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile");
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/membership-operator");

/// Where the operator runs.
pub const SYSTEM: &str = "membership-system";

/// How long anything may take on a machine with other work.
pub const PATIENCE: Duration = Duration::from_secs(240);

static BED: LazyLock<Mutex<Bed>> = LazyLock::new(|| Mutex::new(Bed::up()));

/// The bed.
pub struct Bed {
    cluster: Cluster,
}

/// The bed for one story at a time: two would only wait for each other's processors.
pub struct Turn {
    bed: MutexGuard<'static, Bed>,
    began: Instant,
}

impl std::ops::Deref for Turn {
    type Target = Bed;

    fn deref(&self) -> &Bed {
        &self.bed
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let story = std::thread::current();
        eprintln!("{} took {:.0?}", story.name().unwrap_or_default(), self.began.elapsed());
        if std::thread::panicking() {
            let operator = ["logs", "-n", SYSTEM, "deploy/membership-operator", "--tail=60"];
            for args in [&operator[..], &["get", "pods,membershipclusters", "-A", "-o", "wide"]] {
                eprintln!("{}", self.kubectl().run(args).unwrap_or_default());
            }
        }
    }
}

/// A turn on the bed, with the operator installed for the whole cluster.
pub fn turn() -> Turn {
    let bed = BED.lock().unwrap_or_else(PoisonError::into_inner);
    Turn { bed, began: Instant::now() }
}

fn name() -> ClusterName {
    NAME.parse().unwrap()
}

#[test]
#[ignore = "this is how the program removes its bed when it has ended"]
fn remove_the_bed() {
    removal::now_if_asked().unwrap();
}

impl Bed {
    fn up() -> Self {
        removal::of_cluster_by_test(&name(), "bed::remove_the_bed").unwrap();
        let (cache, progress) = (Cache::of_this_user().unwrap(), Progress::stderr());
        let prepared: Prepared = prepare::prepare(&cache, &progress).unwrap();
        // A killed run may have left one.
        Cluster::down(&name(), true, &progress).unwrap();
        let request = UpRequest { audit: true, ..UpRequest::new(name()) };
        let cluster = Cluster::up(&request, &prepared, &progress).unwrap();
        let bed = Self { cluster };
        bed.load(IMAGE);
        bed.install(SYSTEM, &["--wait", "--timeout", "120s"]);
        bed
    }

    pub fn kubectl(&self) -> &Kubectl {
        self.cluster.kubectl()
    }

    /// The machines under it.
    pub const fn machines(&self) -> &Cluster {
        &self.cluster
    }

    /// Runs helm, aimed at the bed.
    pub fn helm(&self, args: &[&str]) -> String {
        self.try_helm(args).unwrap()
    }

    /// As [`Bed::helm`]; where it fails, what it said.
    pub fn try_helm(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(ensure_one(Program::Helm).unwrap());
        command.args(args).env("KUBECONFIG", self.cluster.kubeconfig());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("helm {args:?}: {said}"));
        }
        Ok(String::from_utf8(output.stdout).unwrap())
    }

    /// Installs or changes the operator of a namespace.
    pub fn install(&self, namespace: &str, more: &[&str]) {
        assert!(Path::new(CHART).is_dir());
        let names = ["upgrade", "--install", "membership-operator", CHART, "-n", namespace];
        self.helm(&[&names[..], &["--create-namespace"], more].concat());
    }

    /// Brings the product's image to the nodes under a name.
    fn load(&self, name: &str) {
        let (cache, progress) = (Cache::of_this_user().unwrap(), Progress::stderr());
        self.cluster.load_image(&product_image(&cache, name, &progress)).unwrap();
    }

    /// Brings a newer version of the product to the nodes.
    pub fn load_newer(&self) {
        let (name, _) = IMAGE.rsplit_once(':').unwrap();
        self.load(&format!("{name}:{NEWER}"));
    }

    pub fn uninstall(&self, namespace: &str) {
        self.helm(&["uninstall", "membership-operator", "-n", namespace, "--wait"]);
    }

    /// Kills the operator, without a word of farewell: another pod takes its place, once its Lease
    /// has come to its end.
    pub fn kill_operator(&self) {
        self.kill_pods(SYSTEM, &["-l", "app.kubernetes.io/name=membership-operator"]);
    }

    /// As [`Bed::kill_operator`], without the wait for the end of the Lease.
    pub fn kill_operator_and_lease(&self) {
        self.kill_operator();
        self.kubectl().run(["delete", "lease", "membership-operator", "-n", SYSTEM]).unwrap();
    }

    /// Kills what runs in pods, as a crash does, and has them made anew; gives what was said of each.
    /// A forced deletion alone lets the programs come to an end of their own.
    pub fn kill_pods(&self, namespace: &str, which: &[&str]) -> String {
        for pod in self.list(namespace, "pods", which).unwrap() {
            // One without a node does not run yet.
            if let Some(node) = pod["spec"]["nodeName"].as_str() {
                let uid = pod["metadata"]["uid"].as_str().unwrap();
                self.cluster.node(node).unwrap().kill_pod(uid).unwrap();
            }
        }
        let delete = ["delete", "pod", "-n", namespace, "--grace-period=0", "--force"];
        self.kubectl().run([&delete[..], which].concat()).unwrap()
    }

    /// The node on which the operator runs.
    pub fn node_of_operator(&self) -> String {
        let pods = self.get(SYSTEM, "pods").unwrap();
        pods["items"][0]["spec"]["nodeName"].as_str().unwrap().to_owned()
    }

    /// The nodes on which the operator does not run.
    pub fn nodes_without_operator(&self) -> Vec<String> {
        let home = self.node_of_operator();
        self.cluster.nodes().filter(|node| *node != home).map(str::to_owned).collect()
    }

    pub fn get(&self, namespace: &str, what: &str) -> Option<Value> {
        let text = self.kubectl().run(["get", what, "-n", namespace, "-o", "json"]).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The objects of a kind that have these names, or that a selector chooses.
    pub fn list(&self, namespace: &str, kind: &str, which: &[&str]) -> Option<Vec<Value>> {
        let get = ["get", kind, "-n", namespace, "-o", "json"];
        let text = self.kubectl().run([&get[..], which].concat()).ok()?;
        let found: Value = serde_json::from_str(&text).ok()?;
        // One that is asked for by its name comes alone.
        Some(found["items"].as_array().cloned().unwrap_or_else(|| vec![found]))
    }

    /// Names of the objects of a kind.
    pub fn names(&self, namespace: &str, kind: &str) -> Vec<String> {
        let args = ["get", kind, "-n", namespace, "-o", "name"];
        self.kubectl().run(args).unwrap().lines().map(str::to_owned).collect()
    }

    /// Deletes something and waits until it is gone.
    pub fn delete(&self, namespace: &str, kind: &str, name: &str) {
        let args = ["delete", kind, name, "-n", namespace];
        self.kubectl().run_within(PATIENCE, args).unwrap();
    }
}

/// The image that the product's Dockerfile makes, around the programs under test.
fn product_image(cache: &Cache, name: &str, progress: &Progress) -> PathBuf {
    let built = tempfile::tempdir().unwrap();
    let out = built.path().join("out");
    fs::create_dir(&out).unwrap();
    for program in PROGRAMS.map(Path::new) {
        fs::copy(program, out.join(program.file_name().unwrap())).unwrap();
    }
    let context = image::Context {
        folder: built.path(),
        dockerfile: Some(Path::new(DOCKERFILE)),
        stages: &[("build".to_owned(), built.path().to_path_buf())],
    };
    let archive = image::build_folder(cache, name, &context, progress).unwrap();
    let mib = fs::metadata(&archive.path).unwrap().len() >> 20;
    eprintln!("{name}: {mib} MiB");
    archive.path
}

/// Asks until the answer is there.
pub fn within<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        sleep(Duration::from_millis(200));
    }
}
