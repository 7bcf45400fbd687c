//! A pod of the membership service beside a cluster, through which records are written and read: an
//! answer of its program is an acknowledgement that users would have got.

use ed25519_dalek::SigningKey;

use crate::bed::{IMAGE, within};
use crate::subject::Subject;

/// The pod.
pub struct Users<'a> {
    subject: Subject<'a>,
    /// Keys whose record was acknowledged.
    pub acknowledged: Vec<String>,
    tried: u64,
}

impl<'a> Users<'a> {
    pub fn of(subject: Subject<'a>) -> Self {
        start(subject);
        let mut users = Self { subject, acknowledged: Vec::new(), tried: 0 };
        within("the first user", || users.add().then_some(()));
        users
    }

    /// Another pod, with the keys that there are now.
    pub fn start_anew(&self) {
        self.subject.bed.delete(self.subject.namespace, "pod", "users");
        start(self.subject);
    }

    /// Adds one more user. Whether that was acknowledged.
    pub fn add(&mut self) -> bool {
        self.tried += 1;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.tried.to_be_bytes());
        let public = SigningKey::from_bytes(&seed).verifying_key();
        let key = data_encoding::HEXLOWER.encode(public.as_bytes());
        let added = self.run(&["add", &key, &format!("user {}", self.tried)]).is_some();
        if added {
            self.acknowledged.push(key);
        }
        added
    }

    fn run(&self, args: &[&str]) -> Option<String> {
        let command = ["exec", "users", "-n", self.subject.namespace, "--", "/membershipd", "user"];
        self.subject.bed.kubectl().run([&command[..], args].concat()).ok()
    }

    /// Every acknowledged user is there.
    pub fn are_all_there(&self) {
        let text = within("the list of users", || self.run(&["list", "-o", "json"]));
        let lost: Vec<&String> =
            self.acknowledged.iter().filter(|key| !text.contains(key.as_str())).collect();
        assert!(lost.is_empty(), "{} of {} lost", lost.len(), self.acknowledged.len());
    }

    pub fn end(self) {
        self.subject.bed.delete(self.subject.namespace, "pod", "users");
    }
}

fn start(subject: Subject<'_>) {
    let Subject { bed, namespace, name } = subject;
    let servers: Vec<String> = (0..3)
        .map(|server| format!("nats://{name}-nats-{server}.{name}-nats-headless.{namespace}.svc"))
        .collect();
    let servers = servers.join(",");
    // Beside the operator: stories turn the other nodes off.
    let node = bed.node_of_operator();
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: users, namespace: {namespace}}}, spec: {{\
         nodeName: {node}, terminationGracePeriodSeconds: 1, securityContext: {{fsGroup: 65532}}, \
         containers: [{{name: membershipd, image: '{IMAGE}', command: [/membershipd, serve], \
         env: [{{name: MEMBERSHIPD_STORE, value: jetstream}}, \
         {{name: MEMBERSHIPD_NATS_URL, value: '{servers}'}}, \
         {{name: MEMBERSHIPD_NKEY, value: /keys/seed}}], \
         volumeMounts: [{{name: keys, mountPath: /keys}}]}}], \
         volumes: [{{name: keys, secret: {{secretName: {name}-nats-membershipd, \
         defaultMode: 288}}}}]}}}}\n"
    );
    bed.kubectl().apply(&manifest).unwrap();
}
