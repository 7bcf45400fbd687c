//! What the people's tools make of the status in every state: `kubectl wait`, and Helm, which waits
//! by the rules of kstatus as Flux does.

use std::fs;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::bed::{Bed, turn, within};
use crate::cordon::Cordon;
use crate::faults::SHOWN;
use crate::subject::{SPEC, Subject, spec_with};

const NAMESPACE: &str = "readers";

/// A chart of one resource, as a user would have it.
struct Chart<'a> {
    bed: &'a Bed,
    folder: TempDir,
}

impl<'a> Chart<'a> {
    fn new(bed: &'a Bed) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let templates = folder.path().join("templates");
        fs::create_dir(&templates).unwrap();
        let about = "{apiVersion: v2, name: chat, version: 1.0.0}";
        fs::write(folder.path().join("Chart.yaml"), about).unwrap();
        let resource = "apiVersion: membership.unibus.dev/v1alpha1\nkind: MembershipCluster\n\
                        metadata: {name: {{ .Release.Name }}}\nspec: {{ .Values.spec }}\n";
        fs::write(templates.join("cluster.yaml"), resource).unwrap();
        Self { bed, folder }
    }

    /// Installs or changes a release and waits as Helm does.
    fn apply(&self, release: &str, spec: &str, timeout: &str) -> Result<String, String> {
        let spec = format!("spec={}", serde_json::to_string(spec).unwrap());
        let chart = self.folder.path().to_str().unwrap();
        let names = ["upgrade", "--install", release, chart, "-n", NAMESPACE];
        let wait = ["--wait", "--timeout", timeout, "--set-json", &spec];
        self.bed.try_helm(&[&names[..], &wait].concat())
    }

    fn uninstall(&self, release: &str) {
        self.bed.helm(&["uninstall", release, "-n", NAMESPACE, "--wait", "--timeout", "120s"]);
    }
}

/// Whether `kubectl wait` for a condition is content within two seconds.
fn waits(bed: &Bed, condition: &str) -> bool {
    let condition = format!("--for=condition={condition}");
    let args = ["wait", &condition, "membershipcluster/demo", "-n", NAMESPACE, "--timeout=2s"];
    bed.kubectl().run(args).is_ok()
}

#[test]
fn kubectl_wait_and_helm_are_told_the_truth_in_every_state() {
    let bed = turn();
    bed.kubectl().run(["create", "namespace", NAMESPACE]).unwrap();
    let chart = Chart::new(&bed);
    let demo = Subject::new(&bed, NAMESPACE, "demo");

    new_and_progressing(&chart, &demo);
    demo.is_true(3, 3);
    assert!(waits(&bed, "Ready") && !waits(&bed, "Stalled"), "ready");

    let before = demo.pods();
    let larger = SPEC.replacen("{storage", "{resources: {limits: {memory: 256Mi}}, storage", 1);
    chart.apply("demo", &larger, "240s").unwrap();
    let stayed = demo.pods().iter().filter(|pod| before.contains(pod)).count();
    assert_eq!(stayed, 0, "helm was told that the edit is done while {stayed} were left");

    bed.kubectl().run(["delete", "pod", "demo-nats-1", "-n", NAMESPACE, "--wait=false"]).unwrap();
    demo.until("Degraded", "True");
    assert!(waits(&bed, "Ready") || demo.is("Degraded", "False"), "degraded");
    demo.rests();

    without_a_quorum(&bed, &demo);
    demo.rests();

    broken(&bed, &chart);

    chart.apply("demo", &larger.replacen('{', "{suspend: true, ", 1), "60s").unwrap();
    assert_eq!(demo.condition("Reconciling").unwrap().1, "Suspended");
    // It serves, and nobody looked whether as the edited spec wants it.
    assert!(demo.is("Ready", "True") && !waits(&bed, "Ready"), "suspended");

    chart.apply("demo", &spec_with("deletionPolicy: Delete"), "240s").unwrap();
    demo.rests();
    chart.uninstall("demo");
    assert!(demo.resource().is_none());
    let left = bed.names(NAMESPACE, "persistentvolumeclaims");
    assert!(left.iter().all(|claim| !claim.contains("demo")), "{left:?}");
    bed.kubectl().run(["delete", "namespace", NAMESPACE, "--wait=false"]).unwrap();
}

/// Helm comes back only when everything is as wanted, and until then `kubectl wait` does not.
fn new_and_progressing(chart: &Chart<'_>, demo: &Subject<'_>) {
    scope(|scope| {
        let helm = scope.spawn(|| chart.apply("demo", SPEC, "240s"));
        within("the first look", || demo.is("Reconciling", "True").then_some(()));
        assert!(!waits(demo.bed, "Ready") || demo.is("Reconciling", "False"), "progressing");
        helm.join().unwrap().unwrap();
    });
}

/// No node takes the pods of two servers back.
fn without_a_quorum(bed: &Bed, demo: &Subject<'_>) {
    let _cordon = Cordon::of(bed, bed.machines().nodes());
    let began = Instant::now();
    bed.kill_pods(NAMESPACE, &["demo-nats-0", "demo-nats-2"]);
    demo.until("Ready", "False");
    let took = began.elapsed();
    eprintln!("two servers gone: Ready=False after {took:.1?}");
    assert!(took < SHOWN, "{took:?}");
    assert!(!waits(bed, "Ready"), "no quorum");
}

/// What a person must mend makes Helm give up long before its time is over, and is healed.
fn broken(bed: &Bed, chart: &Chart<'_>) {
    let foreign = format!(
        "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: taken-nats, namespace: {NAMESPACE}}}}}\n"
    );
    bed.kubectl().apply(&foreign).unwrap();
    let began = Instant::now();
    let said = chart.apply("taken", "{replicas: 1}", "120s").unwrap_err();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(100), "{took:?}: {said}");
    assert!(said.to_lowercase().contains("failed"), "{said}");
    let taken = Subject::new(bed, NAMESPACE, "taken");
    assert_eq!(taken.condition("Stalled").unwrap().1, "NameTaken");
    bed.delete(NAMESPACE, "configmap", "taken-nats");
    taken.until("Stalled", "False");
    chart.uninstall("taken");
    sleep(Duration::from_secs(1));
}
