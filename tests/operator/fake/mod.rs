//! A Kubernetes and a NATS in memory, just rich enough for plans: pods that start and stop, a meta
//! group that elects, buckets whose replicas catch up. It applies plans as the operator's hands
//! must, keeps to the preconditions, and writes down whatever should never happen.

mod execute;
mod kubernetes;
pub mod migration;
mod nats;
mod observe;
pub mod serving;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use membership_operator::api::v1alpha1::MembershipClusterStatus;
use membership_operator::cluster::names::{Bucket, Names, Role};
use membership_operator::cluster::plan::{Plan, Step, plan};
use membership_operator::cluster::status::{Event, Pass, report};
use membership_operator::cluster::validate::{ValidatedCluster, validate};
use membership_operator::cluster::world::{Claim, ControlRecord, Given, Pod, SecretSeen, World};
use serde_json::{Value, json};

pub use execute::Crash;
pub use nats::Probe;

pub const IMAGE: &str = "docker.io/library/nats:2.15.2";

/// An image that never becomes ready.
pub const BAD_IMAGE: &str = "registry.example/bad:1";

/// Everything that survives a crash of the operator.
#[derive(Clone)]
pub struct Fake {
    pub now: i64,
    pub spec: Value,
    pub generation: i64,
    pub uid: String,
    pub deleting: bool,
    /// The resource is there. Without it there is nothing to reconcile.
    pub exists: bool,
    pub finalizer: bool,
    pub accept_loss: Option<String>,
    pub status: MembershipClusterStatus,
    pub events: Vec<Event>,
    pub secrets: BTreeMap<Role, (SecretSeen, String)>,
    pub config_map: Option<ConfigMap>,
    pub headless: Option<Service>,
    pub client: Option<Service>,
    pub budget: Option<PodDisruptionBudget>,
    pub stateful_set: Option<StatefulSet>,
    pub claims: BTreeMap<String, Claim>,
    pub pods: BTreeMap<String, Server>,
    pub streams: BTreeMap<Bucket, Stream>,
    pub control: Option<ControlRecord>,
    pub meta_leader: Option<String>,
    pub leader_since: i64,
    /// Nodes that are away: no pod of these servers runs.
    pub dead: BTreeSet<String>,
    /// Buckets that held records of users at any time, and were not given up.
    pub held: BTreeSet<Bucket>,
    /// The source of a migration and its Jobs.
    pub migration: migration::Migration,
    /// The membership service.
    pub serving: serving::Serving,
    pub violations: Vec<String>,
    /// Writes so far, by which a crash is placed.
    pub writes: usize,
    pub passes: u64,
    serial: u64,
    keys_made: BTreeMap<Role, u32>,
    random: fastrand::Rng,
}

/// A server's pod and the process in it.
#[derive(Clone)]
pub struct Server {
    pub pod: Pod,
    pub phase: Phase,
    /// The process: another after each start.
    pub id: String,
    /// The configuration that it runs with.
    pub config: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting(u8),
    Running,
    Broken,
    Ending(u8),
}

/// A bucket's stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub replicas: u8,
    pub messages: u64,
    /// What each peer has of it, by the uid of its volume.
    pub copies: BTreeMap<String, u64>,
    /// The peers, by server name.
    pub peers: Vec<String>,
    pub leader: Option<String>,
    /// When it was made: another one each time.
    pub created: String,
}

impl Fake {
    pub fn new(spec: &Value, seed: u64) -> Self {
        Self {
            now: 1_000_000,
            spec: spec.clone(),
            generation: 1,
            uid: "resource-1".to_owned(),
            deleting: false,
            exists: true,
            finalizer: false,
            accept_loss: None,
            status: MembershipClusterStatus::default(),
            events: Vec::new(),
            secrets: BTreeMap::new(),
            config_map: None,
            headless: None,
            client: None,
            budget: None,
            stateful_set: None,
            claims: BTreeMap::new(),
            pods: BTreeMap::new(),
            streams: BTreeMap::new(),
            control: None,
            meta_leader: None,
            leader_since: 0,
            dead: BTreeSet::new(),
            held: BTreeSet::new(),
            migration: migration::Migration::default(),
            serving: serving::Serving::default(),
            violations: Vec::new(),
            writes: 0,
            passes: 0,
            serial: 0,
            keys_made: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub fn edit(&mut self, spec: &Value) {
        self.spec = spec.clone();
        self.generation += 1;
    }

    /// Asks for the resource's deletion.
    pub fn delete(&mut self) {
        self.deleting = true;
        self.exists = self.finalizer;
    }

    /// A new resource of the same name.
    pub fn recreate(&mut self, spec: &Value) {
        assert!(!self.exists, "the old one is still there");
        self.serial += 1;
        self.uid = format!("resource-{}", self.serial);
        self.status = MembershipClusterStatus::default();
        (self.deleting, self.exists, self.finalizer, self.generation) = (false, true, false, 1);
        self.spec = spec.clone();
    }

    pub fn cluster(&self) -> ValidatedCluster {
        let mut meta = json!({
            "name": "demo", "namespace": "chat", "uid": self.uid, "generation": self.generation,
        });
        if self.deleting {
            meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        let resource = json!({
            "apiVersion": "membership.unibus.dev/v1alpha1", "kind": "MembershipCluster",
            "metadata": meta, "spec": self.spec,
        });
        validate(&serde_json::from_value(resource).unwrap()).unwrap()
    }

    pub fn given(&self) -> Given {
        Given {
            now: Timestamp::from_second(self.now).unwrap(),
            fresh_id: format!("fresh-{}", self.passes),
            default_image: IMAGE.to_owned(),
            default_membershipd_image: self
                .migration
                .default_image
                .clone()
                .unwrap_or_else(|| migration::IMAGE.to_owned()),
        }
    }

    pub fn names() -> Names {
        Names { cluster: "demo".to_owned(), namespace: "chat".to_owned() }
    }

    pub fn serial(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}-{}", self.serial)
    }

    pub fn violate(&mut self, what: &str) {
        self.violations.push(format!("at {}: {what}", self.now));
    }

    /// One second of everybody else's life.
    pub fn tick(&mut self) {
        self.now += 1;
        self.kubernetes_lives();
        self.nats_lives();
        self.jobs_live();
        self.serving_lives();
    }

    /// One pass of the operator over a view of the world. Reports like the hands do.
    pub fn pass(&mut self, seen: &Seen, probe: &mut Probe, crash: &mut Crash) -> Option<Plan> {
        if !self.exists {
            return None;
        }
        self.passes += 1;
        let plan = plan(&seen.cluster, &seen.world, &self.given());
        let done = self.execute(&seen.cluster, &plan, probe, crash);
        if crash.happened {
            return None;
        }
        self.write_report(seen, &plan, &done);
        Some(plan)
    }

    fn write_report(&mut self, seen: &Seen, plan: &Plan, done: &[Step]) {
        // A stale status write is refused by its resourceVersion.
        if seen.world.resource.status != self.status || seen.cluster.uid != self.uid {
            return;
        }
        let pass = Pass { plan, done, failure: None };
        let report = report(&seen.cluster, &seen.world, &self.given(), pass);
        self.judge_report(&report.status);
        self.status = report.status;
        self.events.extend(report.events);
    }

    /// What a status may never say.
    fn judge_report(&mut self, status: &MembershipClusterStatus) {
        let first = self.status.bucket_replicas.as_deref() != Some("R3");
        if first && status.bucket_replicas.as_deref() == Some("R3") {
            let equal = Bucket::ALL.iter().all(|bucket| self.full_copies(*bucket) >= 3);
            if !equal {
                self.violate("status says R3 before all replicas are equal");
            }
        }
    }

    /// Runs to rest with a truthful view of the world: whether it came to rest, and the last plan.
    pub fn settle(&mut self, probe: &mut Probe, seconds: u32) -> Option<Plan> {
        let mut calm = 0;
        for _ in 0..seconds {
            self.tick();
            probe.look(self);
            let seen = self.see(probe);
            let before = (self.writes, self.status.clone());
            let plan = self.pass(&seen, probe, &mut Crash::never())?;
            let rest = (self.writes, &self.status) == (before.0, &before.1);
            calm = if rest { calm + 1 } else { 0 };
            if calm == 60 {
                return Some(plan);
            }
        }
        None
    }

    /// The end state without what is random: names of uids, ids and leaders.
    pub fn end_state(&self) -> String {
        let id = self.status.cluster_id.clone().unwrap_or_default();
        let pods: Vec<Value> = self
            .pods
            .iter()
            .map(|(name, server)| json!([name, server.pod.image, server.pod.ready, server.config]))
            .collect();
        let claims: Vec<Value> = self
            .claims
            .values()
            .map(|claim| json!([claim.name, claim.cluster_id, format!("{:?}", claim.mark)]))
            .collect();
        let streams: Vec<Value> = self
            .streams
            .iter()
            .map(|(bucket, stream)| json!([bucket.suffix(), stream.replicas, stream.messages]))
            .collect();
        let conditions: Vec<Value> = self
            .status
            .conditions
            .iter()
            .map(|c| json!([c.type_, c.status, c.reason, c.observed_generation]))
            .collect();
        let secrets: Vec<&str> = self.secrets.keys().map(|role| role.name()).collect();
        let control = self.control.as_ref().map(|record| format!("{:?}", record.made));
        let set = self.stateful_set.as_ref().and_then(|set| set.spec.clone());
        json!([
            self.exists,
            self.finalizer,
            secrets,
            self.config_map.as_ref().map(|map| &map.data),
            self.headless.is_some(),
            self.client.is_some(),
            self.budget.is_some(),
            set,
            pods,
            claims,
            streams,
            control,
            conditions,
            self.status.membershipd,
            self.serving.deployments.values().map(|one| &one.spec).collect::<Vec<_>>(),
            self.status.bucket_replicas,
            self.status.servers,
        ])
        .to_string()
        .replace(&id, "ID")
    }
}

/// A view of the world that a pass works from; it may be old.
#[derive(Clone)]
pub struct Seen {
    pub cluster: ValidatedCluster,
    pub world: World,
}
