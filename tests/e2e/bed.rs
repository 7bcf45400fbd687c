//! A test bed with the operator installed by its chart, and what the tests ask it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::cache::Cache;
use testbed::kubectl::Kubectl;
use testbed::prepare::{self, Prepared};
use testbed::progress::Progress;
use testbed::tools::{Program, ensure_one};
use testbed::{Cluster, ClusterName, UpRequest, image};

const NAME: &str = "e2e";
const IMAGE: &str = "ghcr.io/unibus/membership-operator:0.1.0";
const OPERATOR: &str = env!("CARGO_BIN_EXE_membership-operator");
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/membership-operator");

/// Where the operator runs.
pub const SYSTEM: &str = "membership-system";

/// How long anything may take on a machine with other work.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// The image that the product's Dockerfile makes, around the program under test.
const DOCKERFILE: &str = "FROM scratch\nCOPY membership-operator /\nUSER 65532:65532\n\
                          ENTRYPOINT [\"/membership-operator\"]\nCMD [\"run\"]\n";

/// The bed. It is gone when this is dropped; one that a killed run left is removed first.
pub struct Bed {
    cluster: Cluster,
    name: ClusterName,
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let operator = ["logs", "-n", SYSTEM, "deploy/membership-operator", "--tail=60"];
            for args in [&operator[..], &["get", "pods,membershipclusters", "-A", "-o", "wide"]] {
                eprintln!("{}", self.kubectl().run(args).unwrap_or_default());
            }
        }
        let _ = Cluster::down(&self.name, true, &Progress::stderr());
    }
}

impl Bed {
    pub fn up() -> Self {
        let (cache, progress) = (Cache::of_this_user().unwrap(), Progress::stderr());
        let prepared: Prepared = prepare::prepare(&cache, &progress).unwrap();
        let name: ClusterName = NAME.parse().unwrap();
        Cluster::down(&name, true, &progress).unwrap();
        let cluster = Cluster::up(&UpRequest::new(name.clone()), &prepared, &progress).unwrap();
        let bed = Self { cluster, name };
        let context = tempfile::tempdir().unwrap();
        fs::write(context.path().join("Dockerfile"), DOCKERFILE).unwrap();
        fs::copy(OPERATOR, context.path().join("membership-operator")).unwrap();
        let archive = image::build_folder(&cache, IMAGE, context.path(), None, &progress).unwrap();
        bed.cluster.load_image(&archive.path).unwrap();
        bed
    }

    pub fn kubectl(&self) -> &Kubectl {
        self.cluster.kubectl()
    }

    /// Runs helm, aimed at the bed.
    pub fn helm(&self, args: &[&str]) -> String {
        let mut command = Command::new(ensure_one(Program::Helm).unwrap());
        command.args(args).env("KUBECONFIG", self.cluster.kubeconfig());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "helm {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn install(&self) {
        assert!(Path::new(CHART).is_dir());
        let names = ["upgrade", "--install", "membership-operator", CHART, "-n", SYSTEM];
        let waits = ["--create-namespace", "--wait", "--timeout", "120s"];
        self.helm(&[&names[..], &waits].concat());
    }

    /// Kills the operator's pod, without a word of farewell.
    pub fn kill_operator(&self) {
        let pods = "app.kubernetes.io/name=membership-operator";
        let args = ["delete", "pod", "-n", SYSTEM, "-l", pods, "--grace-period=0", "--force"];
        self.kubectl().run(args).unwrap();
    }

    pub fn apply(&self, namespace: &str, name: &str, spec: &str) {
        let manifest = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n---\n\
             apiVersion: membership.unibus.dev/v1alpha1\nkind: MembershipCluster\n\
             metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
        );
        self.kubectl().apply(&manifest).unwrap();
    }

    pub fn get(&self, namespace: &str, what: &str) -> Option<Value> {
        let text = self.kubectl().run(["get", what, "-n", namespace, "-o", "json"]).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// A condition's status and reason.
    pub fn condition(&self, namespace: &str, name: &str, kind: &str) -> Option<(String, String)> {
        let resource = self.get(namespace, &format!("membershipcluster/{name}"))?;
        let conditions = resource["status"]["conditions"].as_array()?;
        let found = conditions.iter().find(|condition| condition["type"] == kind)?;
        let text = |key: &str| found[key].as_str().map(str::to_owned);
        Some((text("status")?, text("reason")?))
    }

    /// Waits until a condition has a status, and gives how long that took.
    pub fn until(&self, namespace: &str, name: &str, kind: &str, status: &str) -> Duration {
        let began = Instant::now();
        within(&format!("{namespace}/{name}: {kind}={status}"), || {
            let (found, _) = self.condition(namespace, name, kind)?;
            (found == status).then_some(())
        });
        began.elapsed()
    }

    /// Names of the objects of a kind.
    pub fn names(&self, namespace: &str, kind: &str) -> Vec<String> {
        let args = ["get", kind, "-n", namespace, "-o", "name"];
        self.kubectl().run(args).unwrap().lines().map(str::to_owned).collect()
    }
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
