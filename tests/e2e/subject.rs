//! A MembershipCluster on the bed, and what the stories ask of it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bed::{Bed, within};

/// A small cluster of three.
pub const SPEC: &str = "{nats: {storage: {size: 1Gi}}, buckets: {maxBytes: 32Mi}}";

/// The small cluster with its membership service.
pub const SERVED: &str =
    "{membershipd: {}, nats: {storage: {size: 1Gi}}, buckets: {maxBytes: 32Mi}}";

/// The small cluster with something else.
pub fn spec_with(more: &str) -> String {
    SPEC.replacen('{', &format!("{{{more}, "), 1)
}

/// One resource.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub bed: &'a Bed,
    pub namespace: &'a str,
    pub name: &'a str,
}

impl<'a> Subject<'a> {
    pub const fn new(bed: &'a Bed, namespace: &'a str, name: &'a str) -> Self {
        Self { bed, namespace, name }
    }

    pub fn apply(&self, spec: &str) {
        let Self { bed, namespace, name } = self;
        let manifest = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n---\n\
             apiVersion: membership.unibus.dev/v1alpha1\nkind: MembershipCluster\n\
             metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
        );
        bed.kubectl().apply(&manifest).unwrap();
    }

    /// Applies the small cluster with its service and waits until it is up and at rest.
    pub fn up(bed: &'a Bed, namespace: &'a str) -> Self {
        let subject = Self::new(bed, namespace, "demo");
        subject.apply(SERVED);
        subject.rests();
        subject
    }

    /// Waits until all that is wanted is done and nothing is missing.
    pub fn rests(&self) {
        within(&format!("{}/{} at rest", self.namespace, self.name), || {
            let resource = self.resource()?;
            let current =
                resource["status"]["observedGeneration"] == resource["metadata"]["generation"];
            let is = |kind: &str, status: &str| condition(&resource, kind, "status") == status;
            let rests =
                is("Ready", "True") && is("Degraded", "False") && is("Reconciling", "False");
            (current && rests).then_some(())
        });
    }

    pub fn resource(&self) -> Option<Value> {
        self.bed.get(self.namespace, &format!("membershipcluster/{}", self.name))
    }

    /// A condition's status and reason.
    pub fn condition(&self, kind: &str) -> Option<(String, String)> {
        let resource = self.resource()?;
        let status = condition(&resource, kind, "status").as_str()?.to_owned();
        Some((status, condition(&resource, kind, "reason").as_str()?.to_owned()))
    }

    pub fn is(&self, kind: &str, status: &str) -> bool {
        self.condition(kind).is_some_and(|(found, _)| found == status)
    }

    /// Waits until a condition has a status, and gives how long that took.
    pub fn until(&self, kind: &str, status: &str) -> Duration {
        let began = Instant::now();
        within(&format!("{}/{}: {kind}={status}", self.namespace, self.name), || {
            self.is(kind, status).then_some(())
        });
        began.elapsed()
    }

    /// Waits until the resource waits for a person, for this reason.
    pub fn stalls(&self, reason: &str) {
        within(&format!("{}/{}: Stalled for {reason}", self.namespace, self.name), || {
            (self.condition("Stalled")? == ("True".to_owned(), reason.to_owned())).then_some(())
        });
        assert!(self.is("Ready", "False"), "{reason} and Ready");
    }

    /// What Ready says is what the servers say: seven buckets on each of `replicas`, and one route
    /// a peer.
    pub fn is_true(&self, servers: u64, replicas: u64) {
        let status = self.resource().unwrap()["status"].clone();
        assert_eq!(status["servers"], format!("{servers}/{servers}"));
        assert_eq!(status["bucketReplicas"], format!("R{replicas}"));
        let mut copies = 0;
        for server in 0..servers {
            // A route to a server that lost its power is held until its pings stay unanswered.
            within("one route a peer", || {
                (self.ask(server, "routez")["num_routes"] == servers - 1).then_some(())
            });
            copies += self.ask(server, "jsz")["streams"].as_u64().unwrap();
        }
        assert_eq!(copies, 7 * replicas);
    }

    /// What a server says on its monitoring port.
    pub fn ask(&self, server: u64, what: &str) -> Value {
        let Self { namespace, name, .. } = self;
        let pod = format!("/api/v1/namespaces/{namespace}/pods/{name}-nats-{server}:8222/proxy");
        let text = self.bed.kubectl().run(["get", "--raw", &format!("{pod}/{what}")]).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// How many messages of a stream each server holds.
    pub fn copies(&self, stream: &str) -> [u64; 3] {
        [0, 1, 2].map(|server| {
            let told = self.ask(server, "jsz?accounts=true&streams=true");
            let accounts = told["account_details"].as_array().into_iter().flatten();
            let mut streams = accounts.filter_map(|one| one["stream_detail"].as_array()).flatten();
            let found = streams.find(|one| one["name"] == stream);
            found.map_or(0, |one| one["state"]["messages"].as_u64().unwrap())
        })
    }

    /// The uids of the servers' pods that are there, each with whether it is ready.
    pub fn pods(&self) -> Vec<(String, bool)> {
        let list = self.bed.get(self.namespace, "pods").unwrap();
        let ours = list["items"].as_array().unwrap().iter().filter(|pod| {
            let label = &pod["metadata"]["labels"]["membership.unibus.dev/cluster"];
            label == self.name && pod["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"
        });
        ours.map(|pod| {
            let ready = condition(pod, "Ready", "status") == "True";
            (pod["metadata"]["uid"].as_str().unwrap().to_owned(), ready)
        })
        .collect()
    }

    /// Waits until each of these servers was restarted, with the others ready meanwhile.
    pub fn restarts_one_by_one(&self, before: &[(String, bool)]) {
        within("every server restarted", || {
            let pods = self.pods();
            let ready = pods.iter().filter(|(_, ready)| *ready).count();
            assert!(ready + 1 >= before.len(), "only {ready} servers were ready");
            let old = pods.iter().any(|(uid, _)| before.iter().any(|(old, _)| old == uid));
            (!old && self.is("Reconciling", "False")).then_some(())
        });
    }

    pub fn cluster_id(&self) -> String {
        self.resource().unwrap()["status"]["clusterId"].as_str().unwrap().to_owned()
    }

    /// The Events of a reason about the resource.
    pub fn events(&self, reason: &str) -> Vec<Value> {
        let list = self.bed.get(self.namespace, "events.events.k8s.io").unwrap();
        let events =
            list["items"].as_array().unwrap().iter().filter(|event| {
                event["reason"] == reason && event["regarding"]["name"] == self.name
            });
        events.cloned().collect()
    }

    pub fn delete(&self) {
        self.bed.delete(self.namespace, "membershipcluster", self.name);
    }
}

/// A part of a condition that an object of whatever kind has; null without it.
pub fn condition<'v>(resource: &'v Value, kind: &str, part: &str) -> &'v Value {
    let conditions = resource["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.map_or(&Value::Null, |condition| &condition[part])
}
