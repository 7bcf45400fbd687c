//! Plans carried out as the hands must: children first, then steps in order, each write counted, a
//! risky step only after a second look, deletions only with their preconditions.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::StatefulSet;
use membership_operator::cluster::names::{Bucket, Role};
use membership_operator::cluster::plan::{Child, ObjectId, Plan, Step, plan};
use membership_operator::cluster::validate::ValidatedCluster;
use membership_operator::cluster::world::{ClaimMark, ControlRecord, SecretSeen};

use super::nats::Probe;
use super::{Fake, Phase, Stream};

/// Where the operator dies: before or after the n-th write.
#[derive(Clone, Copy, Debug)]
pub struct Crash {
    at: Option<usize>,
    after: bool,
    pub happened: bool,
}

impl Crash {
    pub const fn never() -> Self {
        Self { at: None, after: false, happened: false }
    }

    /// Just before the n-th write from now on reaches anybody, or just after.
    pub const fn at(write: usize, after: bool) -> Self {
        Self { at: Some(write), after, happened: false }
    }
}

impl Fake {
    pub(super) fn execute(
        &mut self,
        cluster: &ValidatedCluster,
        plan: &Plan,
        probe: &mut Probe,
        crash: &mut Crash,
    ) -> Vec<Step> {
        let mut done = Vec::new();
        for child in &plan.apply {
            if !self.count(crash, |fake| fake.apply(cluster, child)) {
                return done;
            }
        }
        let mut second_look = None;
        for step in &plan.steps {
            if step.is_risky() {
                let confirmed: &Vec<Step> =
                    second_look.get_or_insert_with(|| self.look_again(probe));
                if !confirmed.contains(step) {
                    return done;
                }
            }
            let mut went = true;
            if !self.count(crash, |fake| went = fake.do_step(step)) {
                return done;
            }
            if !went {
                return done;
            }
            done.push(step.clone());
        }
        done
    }

    /// One write. False when the operator died over it.
    fn count(&mut self, crash: &mut Crash, write: impl FnOnce(&mut Self)) -> bool {
        self.writes += 1;
        let dies = crash.at == Some(self.writes);
        crash.happened |= dies;
        if !dies || crash.after {
            write(self);
        }
        !dies
    }

    /// The second look before the first risky step.
    fn look_again(&self, probe: &Probe) -> Vec<Step> {
        let seen = self.see(probe);
        plan(&seen.cluster, &seen.world, &self.given()).steps
    }

    fn apply(&mut self, cluster: &ValidatedCluster, child: &Child) {
        if cluster.uid != self.uid || !self.exists {
            return;
        }
        match child {
            Child::ConfigMap(map) => self.config_map = Some((**map).clone()),
            Child::Service(service)
                if service.metadata.name.as_deref() == Some("demo-membershipd") =>
            {
                self.serving.service = Some((**service).clone());
            }
            Child::Service(service) => {
                let headless = service.metadata.name.as_deref() == Some("demo-nats-headless");
                let place = if headless { &mut self.headless } else { &mut self.client };
                *place = Some((**service).clone());
            }
            Child::PodDisruptionBudget(budget)
                if budget.metadata.name.as_deref() == Some("demo-membershipd") =>
            {
                self.serving.budget = Some((**budget).clone());
            }
            Child::Deployment(deployment) => self.apply_deployment(deployment),
            Child::PodDisruptionBudget(budget) => self.budget = Some((**budget).clone()),
            Child::StatefulSet(set) => self.apply_stateful_set(set),
        }
    }

    fn apply_stateful_set(&mut self, wanted: &StatefulSet) {
        let mut wanted = wanted.clone();
        if let Some(live) = self.stateful_set.take() {
            let fixed = |set: &StatefulSet| {
                let spec = set.spec.clone().unwrap();
                (spec.replicas, spec.volume_claim_templates)
            };
            if fixed(&live) != fixed(&wanted) {
                self.violate("a fixed part of the StatefulSet was changed");
            }
            wanted.metadata.uid = live.metadata.uid;
            let step = i64::from(live.spec != wanted.spec);
            wanted.metadata.generation = live.metadata.generation.map(|old| old + step);
            wanted.status = live.status;
        } else {
            let risk = self.claims.values().any(|claim| claim.mark != ClaimMark::Fresh)
                && self.claims.len() < self.cluster().servers.quorum().into();
            if risk {
                self.violate("started over fewer volumes than a majority");
            }
            wanted.metadata.uid = Some(self.serial("set"));
            wanted.metadata.generation = Some(1);
        }
        wanted.metadata.resource_version = Some(self.serial("rv"));
        self.stateful_set = Some(wanted);
    }

    /// Does a step; false when it found the world otherwise, which ends the pass.
    fn do_step(&mut self, step: &Step) -> bool {
        match step {
            Step::SetFinalizer => self.finalizer = true,
            Step::RemoveFinalizer => {
                self.finalizer = false;
                self.exists = !self.deleting;
            }
            Step::CreateSecret { role, cluster_id } => {
                return self.create_secret(*role, cluster_id);
            }
            Step::CreateBucket { bucket } => return self.create_bucket(*bucket),
            Step::CreateControl { cluster_id, losses_accepted } => {
                return self.create_control(cluster_id, losses_accepted);
            }
            Step::RecordBuckets { buckets } => {
                let there: Vec<Bucket> =
                    buckets.iter().copied().filter(|b| self.streams.contains_key(b)).collect();
                let Some(record) = &mut self.control else { return false };
                record.made.extend(there);
            }
            Step::AcceptLoss { bucket } => {
                let Some(record) = &mut self.control else { return false };
                record.made.remove(bucket);
                record.born.remove(bucket);
                record.losses_accepted.insert(*bucket);
                self.held.remove(bucket);
            }
            Step::MarkClaims { claims, mark } => self.mark_claims(claims, *mark),
            Step::RaiseReplicas { bucket, from, to } => self.raise(*bucket, *from, *to),
            Step::StepDownMeta { from, to } => self.step_down(from, to),
            Step::RestartServer { pod } => self.restart(pod),
            Step::ReloadServer { server } => {
                let data = self.config_map.as_ref().and_then(|map| map.data.as_ref());
                let config = data.and_then(|data| data.values().next()).cloned();
                if let (Some(server), Some(config)) = (self.pods.get_mut(server), config) {
                    server.config = config;
                }
            }
            Step::RunMigration { job } => return self.run_migration(job),
            Step::DeleteJob { job } => self.delete_job(job),
            Step::RunUnfence { job } => return self.run_unfence(job),
            Step::SuspendJob { job } => self.suspend(job),
            Step::Remove { kind, object } => self.remove(*kind, object),
            Step::DeleteStatefulSet { stateful_set } => {
                if !self.deleting {
                    self.violate("deleted the StatefulSet of a living resource");
                }
                let uid = self.stateful_set.as_ref().and_then(|set| set.metadata.uid.as_ref());
                if uid == Some(&stateful_set.uid) {
                    self.stateful_set = None;
                }
            }
            Step::DeleteClaim { claim } => self.delete_claim(claim),
        }
        true
    }

    fn create_secret(&mut self, role: Role, cluster_id: &str) -> bool {
        if self.secrets.contains_key(&role) {
            return false;
        }
        let count = self.keys_made.entry(role).or_default();
        *count += 1;
        let secret = SecretSeen {
            public_key: Some(format!("U-{}-{count}", role.name())),
            cluster_id: Some(cluster_id.to_owned()),
            deleting: false,
        };
        self.secrets.insert(role, (secret, self.uid.clone()));
        true
    }

    fn create_control(&mut self, cluster_id: &str, losses_accepted: &BTreeSet<Bucket>) -> bool {
        let Some(stream) = self.streams.get_mut(&Bucket::Control) else { return false };
        if self.control.is_some() {
            return false;
        }
        stream.messages = 1;
        self.control = Some(ControlRecord {
            cluster_id: cluster_id.to_owned(),
            made: [Bucket::Control].into(),
            losses_accepted: losses_accepted.clone(),
            ..ControlRecord::default()
        });
        self.held.insert(Bucket::Control);
        true
    }

    fn create_bucket(&mut self, bucket: Bucket) -> bool {
        if self.control.as_ref().is_some_and(|record| record.made.contains(&bucket)) {
            return false;
        }
        let Some(leader) = self.meta_leader.clone() else { return false };
        if self.streams.contains_key(&bucket) {
            return true;
        }
        if self.held.contains(&bucket) {
            self.violate(&format!("made {bucket:?} anew, which held data"));
        }
        let volume = self.claims[&format!("data-{leader}")].uid.clone();
        let stream = Stream {
            replicas: 1,
            messages: 0,
            copies: [(volume, 0)].into(),
            peers: vec![leader.clone()],
            leader: Some(leader),
            created: self.serial("then"),
        };
        self.streams.insert(bucket, stream);
        true
    }

    fn mark_claims(&mut self, claims: &[ObjectId], mark: ClaimMark) {
        if mark == ClaimMark::LossAccepted {
            self.held.remove(&Bucket::Control);
        }
        for id in claims {
            if let Some(claim) = self.claims.get_mut(&id.name).filter(|claim| claim.uid == id.uid) {
                claim.mark = mark;
            }
        }
    }

    fn raise(&mut self, bucket: Bucket, from: u8, to: u8) {
        let settle = i64::try_from(self.cluster().settle.as_secs()).unwrap();
        if self.meta_leader.is_none() || self.now - self.leader_since < settle {
            self.violate("raised before the meta leader had settled");
        }
        let others = Bucket::ALL.iter().any(|other| {
            let stream = self.streams.get(other);
            let replicas = stream.map_or(0, |stream| usize::from(stream.replicas));
            stream.is_some_and(|stream| stream.messages > 1)
                && replicas > 1
                && !self.is_equal(*other, replicas)
        });
        if others {
            self.violate("raised while another bucket with data was not equal");
        }
        let running = self.running();
        let Some(stream) = self.streams.get_mut(&bucket) else { return };
        if stream.replicas != from {
            return;
        }
        stream.replicas = to;
        for server in running {
            if stream.peers.len() < usize::from(to) && !stream.peers.contains(&server) {
                let volume = self.claims[&format!("data-{server}")].uid.clone();
                stream.copies.insert(volume, 0);
                stream.peers.push(server);
            }
        }
    }

    fn step_down(&mut self, from: &str, to: &str) {
        if self.meta_leader.as_deref() == Some(from) {
            self.meta_leader = Some(to.to_owned());
            self.leader_since = self.now;
        }
    }

    fn restart(&mut self, id: &ObjectId) {
        let Some(server) = self.pods.get(&id.name) else { return };
        if server.pod.uid != id.uid || server.pod.resource_version != id.resource_version {
            return;
        }
        let was_ready = server.pod.ready;
        let others: Vec<&String> = self
            .pods
            .iter()
            .filter(|(name, server)| **name != id.name && server.phase != Phase::Running)
            .map(|(name, _)| name)
            .collect();
        let leads = self.meta_leader.as_ref() == Some(&id.name) && self.pods.len() > 1;
        let equal = self
            .streams
            .iter()
            .all(|(bucket, stream)| self.is_equal(*bucket, usize::from(stream.replicas)));
        let known = self.secrets.values().all(|(secret, _)| {
            let key = secret.public_key.as_ref().unwrap();
            self.pods.values().any(|server| server.config.contains(key))
        });
        if was_ready && (!others.is_empty() || !equal) {
            self.violate(&format!("restarted {} while {others:?} were away", id.name));
        }
        if was_ready && leads && known {
            self.violate(&format!("restarted the meta leader {}", id.name));
        }
        let server = self.pods.get_mut(&id.name).unwrap();
        server.pod.deleting = true;
        server.phase = Phase::Ending(2);
    }

    fn delete_claim(&mut self, id: &ObjectId) {
        let policy = self.spec["deletionPolicy"] == "Delete";
        if !self.deleting || !policy {
            self.violate(&format!("deleted claim {}", id.name));
        }
        let claim = self.claims.get_mut(&id.name);
        if let Some(claim) = claim.filter(|claim| claim.uid == id.uid) {
            claim.deleting = true;
        }
    }
}
