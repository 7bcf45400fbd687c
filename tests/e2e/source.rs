//! SQLite files to move, in claims of their own, and the service that wrote them and goes on using
//! them.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bed::{Bed, PATIENCE};
use crate::sample::{Amounts, Rows, write};

/// The service's pod.
pub const SERVICE: &str = "old-service";

/// How often a file is sent before something else is wrong.
const TRIES: u32 = 5;

/// A few rows.
pub const FEW: Amounts = Amounts { users: 50, rooms: 5, members: 10, epochs: 3 };

/// Claims, each with the same file, and the pod that uses them all.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub bed: &'a Bed,
    pub namespace: &'a str,
    pub claims: &'a [&'a str],
    /// The user that the files belong to, with mode 0600.
    pub user: u32,
    /// The node that the claims are on; any one where there is none.
    pub node: Option<&'a str>,
}

impl<'a> Source<'a> {
    pub const fn new(bed: &'a Bed, namespace: &'a str, claims: &'a [&'a str]) -> Self {
        Self { bed, namespace, claims, user: 65532, node: None }
    }

    /// Makes it all, in a namespace that admits restricted pods only.
    pub fn fill(&self, amounts: Amounts) -> Rows {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("membership.db");
        let rows = write(&file, amounts, 7).unwrap();
        self.fill_with(&file);
        rows
    }

    /// The same with a file that is there.
    pub fn fill_with(&self, file: &Path) {
        let Self { bed, namespace, .. } = self;
        let space =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let claims = self.claims.iter().map(|claim| self.claim(claim));
        let items: Vec<Value> = [space].into_iter().chain(claims).chain([self.pod()]).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        bed.kubectl().apply(&list.to_string()).unwrap();
        // By another hand than the one that applies: it stays.
        let restricted = "pod-security.kubernetes.io/enforce=restricted";
        bed.kubectl().run(["label", "namespace", namespace, restricted]).unwrap();
        let pod = format!("pod/{SERVICE}");
        let wait = ["wait", "--for=condition=Ready", &pod, "-n", namespace, "--timeout=200s"];
        bed.kubectl().run_within(PATIENCE, wait).unwrap();
        self.put(file);
    }

    fn claim(&self, name: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "64Mi"}},
            },
        })
    }

    fn pod(&self) -> Value {
        let volumes = self
            .claims
            .iter()
            .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}));
        let mounts = self
            .claims
            .iter()
            .map(|claim| json!({"name": claim, "mountPath": format!("/{claim}")}));
        let node = self.node.map(|node| json!({"kubernetes.io/hostname": node}));
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": SERVICE, "namespace": self.namespace},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "nodeSelector": node,
                "securityContext": {
                    "runAsNonRoot": true,
                    "runAsUser": self.user,
                    "runAsGroup": self.user,
                    "fsGroup": self.user,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [{
                    "name": "service",
                    "image": "docker.io/library/busybox:stable",
                    "command": ["sleep", "100000"],
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": mounts.collect::<Vec<_>>(),
                }],
                "volumes": volumes.collect::<Vec<_>>(),
            },
        })
    }

    /// Puts a file into every claim.
    fn put(&self, file: &Path) {
        let bytes = fs::read(file).unwrap();
        let arrived = (0..TRIES).any(|_| self.arrives(&bytes));
        assert!(arrived, "{} bytes did not arrive whole in {TRIES} tries", bytes.len());
    }

    /// What is piped through kubectl may lose its end when the pipe is closed. So the pod knows how
    /// much is to come, and the pipe stays open until it has it; and only a whole file gets its name.
    fn arrives(&self, bytes: &[u8]) -> bool {
        let (first, length) = (format!("/{}/membership.db", self.claims[0]), bytes.len());
        let mut script = format!(
            "umask 077; head -c {length} >{first}.new; [ \"$(wc -c <{first}.new)\" = {length} ]; \
             mv {first}.new {first}"
        );
        for claim in &self.claims[1..] {
            script += &format!("; cp {first} /{claim}/membership.db");
        }
        let mut exec = self.bed.kubectl().command();
        exec.args(["exec", "-i", "-n", self.namespace, SERVICE, "--", "sh", "-euc", &script]);
        let mut bounded = Command::new("timeout");
        bounded.arg("60").arg(exec.get_program()).args(exec.get_args());
        let mut child = bounded.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let sent = pipe.write_all(bytes).and_then(|()| pipe.flush()).is_ok();
        let ended = child.wait().unwrap().success();
        drop(pipe);
        sent && ended
    }

    /// The service ends, and each claim is given to the resource that is named with it.
    pub fn release(&self, to: &[&str]) {
        self.bed.delete(self.namespace, "pod", SERVICE);
        for (claim, to) in self.claims.iter().zip(to) {
            self.annotate(claim, to);
        }
    }

    /// Says that a resource may have a claim.
    pub fn annotate(&self, claim: &str, to: &str) {
        let annotation = format!("membership.unibus.dev/release-to={to}");
        let args = ["annotate", "--overwrite", "pvc", claim, "-n", self.namespace, &annotation];
        self.bed.kubectl().run(args).unwrap();
    }
}
