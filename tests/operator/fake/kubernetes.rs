//! The StatefulSet controller, the kubelets and the garbage collector.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use membership_operator::api::{CLUSTER_ID, SERVERS};
use membership_operator::cluster::world::{Claim, Pod};

use super::{BAD_IMAGE, Fake, Phase, Server};

impl Fake {
    pub(super) fn kubernetes_lives(&mut self) {
        self.collect_garbage();
        self.run_pods();
        self.control_stateful_set();
        self.release_claims();
    }

    /// Removes one object a second whose owner is gone.
    fn collect_garbage(&mut self) {
        let owner = self.exists.then(|| self.uid.clone());
        let orphan = |meta: &ObjectMeta| {
            let owners = meta.owner_references.as_deref().unwrap_or_default();
            owners.first().is_some_and(|reference| Some(&reference.uid) != owner.as_ref())
        };
        if self.stateful_set.as_ref().is_some_and(|set| orphan(&set.metadata)) {
            self.stateful_set = None;
        } else if self.config_map.as_ref().is_some_and(|map| orphan(&map.metadata)) {
            self.config_map = None;
        } else if self.headless.as_ref().is_some_and(|service| orphan(&service.metadata)) {
            self.headless = None;
        } else if self.client.as_ref().is_some_and(|service| orphan(&service.metadata)) {
            self.client = None;
        } else if self.budget.as_ref().is_some_and(|budget| orphan(&budget.metadata)) {
            self.budget = None;
        } else {
            let old = self.secrets.iter().find(|(_, (_, uid))| Some(uid) != owner.as_ref());
            if let Some(role) = old.map(|(role, _)| *role) {
                self.secrets.remove(&role);
            }
        }
    }

    fn run_pods(&mut self) {
        let config = self.mounted_config();
        let owner = self.stateful_set.as_ref().and_then(|set| set.metadata.uid.clone());
        let mut gone = Vec::new();
        for (name, server) in &mut self.pods {
            if server.pod.owner_uid != owner && !server.pod.deleting {
                server.pod.deleting = true;
                server.phase = Phase::Ending(2);
            }
            let dead = self.dead.contains(name);
            server.phase = match server.phase {
                Phase::Ending(0) => {
                    gone.push(name.clone());
                    Phase::Ending(0)
                }
                Phase::Ending(left) => Phase::Ending(left - 1),
                Phase::Running | Phase::Broken if dead => Phase::Broken,
                Phase::Broken if server.pod.image.as_deref() == Some(BAD_IMAGE) => Phase::Broken,
                Phase::Broken => Phase::Starting(2),
                Phase::Starting(_) if dead => Phase::Broken,
                Phase::Starting(0) if server.pod.image.as_deref() == Some(BAD_IMAGE) => {
                    server.pod.trouble = Some("ImagePullBackOff".to_owned());
                    Phase::Broken
                }
                Phase::Starting(0) => {
                    self.serial += 1;
                    server.id = format!("process-{}", self.serial);
                    server.config.clone_from(&config);
                    Phase::Running
                }
                Phase::Starting(left) => Phase::Starting(left - 1),
                Phase::Running => Phase::Running,
            };
            server.pod.ready = server.phase == Phase::Running;
        }
        for name in gone {
            self.doubt_copies(&name);
            self.pods.remove(&name);
        }
    }

    fn mounted_config(&self) -> String {
        let data = self.config_map.as_ref().and_then(|map| map.data.as_ref());
        data.and_then(|data| data.values().next()).cloned().unwrap_or_default()
    }

    fn control_stateful_set(&mut self) {
        let Some(mut set) = self.stateful_set.take() else { return };
        let revision = revision(&set);
        set.status = Some(StatefulSetStatus {
            observed_generation: set.metadata.generation,
            update_revision: Some(revision.clone()),
            ..StatefulSetStatus::default()
        });
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        for ordinal in 0..u8::try_from(replicas).unwrap() {
            self.make_claim(ordinal, &set);
            self.make_pod(ordinal, &set, &revision);
        }
        self.stateful_set = Some(set);
    }

    fn make_claim(&mut self, ordinal: u8, set: &StatefulSet) {
        let name = Self::names().claim(ordinal);
        if self.claims.contains_key(&name) {
            return;
        }
        let template = &set.spec.as_ref().unwrap().volume_claim_templates.as_ref().unwrap()[0];
        let annotations = template.metadata.annotations.as_ref().unwrap();
        let claim = Claim {
            name: name.clone(),
            uid: self.serial("claim"),
            resource_version: self.serial("rv"),
            cluster_id: annotations.get(CLUSTER_ID).cloned(),
            servers: annotations.get(SERVERS).and_then(|servers| servers.parse().ok()),
            bound: true,
            ..Claim::default()
        };
        self.claims.insert(name, claim);
    }

    fn make_pod(&mut self, ordinal: u8, set: &StatefulSet, revision: &str) {
        let name = Self::names().server(ordinal);
        if self.pods.contains_key(&name) {
            return;
        }
        let template = set.spec.as_ref().unwrap().template.spec.as_ref().unwrap();
        let pod = Pod {
            name: name.clone(),
            uid: self.serial("pod"),
            resource_version: self.serial("rv"),
            revision: Some(revision.to_owned()),
            image: template.containers[0].image.clone(),
            owner_uid: set.metadata.uid.clone(),
            ..Pod::default()
        };
        let starting = Phase::Starting(self.random.u8(1..4));
        let server = Server { pod, phase: starting, id: String::new(), config: String::new() };
        self.pods.insert(name, server);
    }

    /// A claim whose deletion was asked for goes when no pod uses it, and its data with it.
    fn release_claims(&mut self) {
        let used: Vec<String> = self.pods.keys().map(|pod| format!("data-{pod}")).collect();
        let gone = |claim: &Claim| claim.deleting && !used.contains(&claim.name);
        let volumes: Vec<String> = self
            .claims
            .values()
            .filter(|claim| gone(claim))
            .map(|claim| claim.uid.clone())
            .collect();
        self.claims.retain(|_, claim| !gone(claim));
        for volume in volumes {
            self.forget_volume(&volume);
        }
    }

    /// The data of a volume is gone.
    pub fn forget_volume(&mut self, volume: &str) {
        for stream in self.streams.values_mut() {
            stream.copies.remove(volume);
        }
        if self.claims.is_empty() {
            self.streams.clear();
            self.control = None;
            self.held.clear();
        }
    }
}

/// The hash of a template, as the controller names its revisions.
pub fn revision(set: &StatefulSet) -> String {
    let template = serde_json::to_string(&set.spec.as_ref().unwrap().template).unwrap();
    let hash = template
        .bytes()
        .fold(7_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    format!("rev-{hash:x}")
}
