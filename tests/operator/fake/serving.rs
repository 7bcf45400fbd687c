//! The membership service: a Deployment controller in a few lines, and pods that serve as the real
//! ones do, over the buckets only where nothing is on its way into them.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use membership_operator::cluster::migration::SourceUser;
use membership_operator::cluster::names::Bucket;
use membership_operator::cluster::plan::{ChildKind, ObjectId};
use membership_operator::cluster::serving::{Begins, Pod, Seen, Source, image};
use membership_operator::cluster::validate::ValidatedCluster;
use membership_operator::cluster::world::Found;

use super::{BAD_IMAGE, Fake};

#[derive(Clone, Default)]
pub struct Serving {
    pub deployments: BTreeMap<Source, Deployment>,
    pub service: Option<Service>,
    pub budget: Option<PodDisruptionBudget>,
    pub replicas: Vec<Replica>,
}

#[derive(Clone)]
pub struct Replica {
    pub pod: Pod,
    template: String,
    image: String,
    begins: Begins,
    /// Seconds until it runs, or until it is gone.
    left: u8,
}

impl Replica {
    fn source(&self) -> Source {
        self.pod.source.unwrap()
    }
}

fn template(deployment: &Deployment) -> String {
    serde_json::to_string(&deployment.spec.as_ref().unwrap().template).unwrap()
}

impl Fake {
    pub(super) fn see_serving(&self, cluster: &ValidatedCluster) -> Seen {
        let deployment = |source: Source| {
            let found = self.serving.deployments.get(&source).cloned();
            found.map_or(Found::Absent, |object| {
                let metadata = object.metadata.clone();
                Found::of(object, &metadata, cluster)
            })
        };
        let (service, budget) = (self.serving.service.clone(), self.serving.budget.clone());
        Seen {
            buckets: deployment(Source::Buckets),
            file: deployment(Source::File),
            service: service.map_or(Found::Absent, |object| {
                let metadata = object.metadata.clone();
                Found::of(object, &metadata, cluster)
            }),
            disruption_budget: budget.map_or(Found::Absent, |object| {
                let metadata = object.metadata.clone();
                Found::of(object, &metadata, cluster)
            }),
            pods: self.serving.replicas.iter().map(|replica| replica.pod.clone()).collect(),
        }
    }

    /// Our own pods over the file, as users of its claim.
    pub(super) fn own_users(&self) -> Vec<SourceUser> {
        let over_file = self.replicas(Source::File);
        let user = |replica: &Replica| SourceUser {
            name: replica.pod.name.clone(),
            uid: replica.pod.uid.clone(),
            node: Some("node1".to_owned()),
            overdue: false,
            own: true,
        };
        over_file.map(user).collect()
    }

    pub fn replicas(&self, source: Source) -> impl Iterator<Item = &Replica> {
        self.serving.replicas.iter().filter(move |replica| replica.source() == source)
    }

    /// How many answer.
    pub fn serving(&self, source: Source) -> usize {
        self.replicas(source).filter(|replica| replica.pod.ready).count()
    }

    pub(super) fn apply_deployment(&mut self, wanted: &Deployment) {
        let file = wanted.metadata.name.as_deref() == Some("demo-membershipd-sqlite");
        let source = if file { Source::File } else { Source::Buckets };
        let mut wanted = wanted.clone();
        if let Some(live) = self.serving.deployments.remove(&source) {
            wanted.metadata.uid = live.metadata.uid;
            let step = i64::from(live.spec != wanted.spec);
            wanted.metadata.generation = live.metadata.generation.map(|old| old + step);
            wanted.status = live.status;
        } else {
            let released = |claim: &membership_operator::cluster::migration::SourceClaim| {
                claim.released_to.as_deref() == Some("demo")
            };
            let free = self.migration.users.is_empty()
                && self.migration.claim.as_ref().is_some_and(released);
            if file && !free {
                self.violate("served a file that is in use or not released");
            }
            wanted.metadata.uid = Some(self.serial("deployment"));
            wanted.metadata.generation = Some(1);
        }
        wanted.metadata.resource_version = Some(self.serial("rv"));
        self.serving.deployments.insert(source, wanted);
    }

    pub(super) fn remove(&mut self, kind: ChildKind, id: &ObjectId) {
        match kind {
            ChildKind::Deployment => {
                self.serving
                    .deployments
                    .retain(|_, found| found.metadata.uid.as_ref() != Some(&id.uid));
            }
            ChildKind::Service => self.serving.service = None,
            ChildKind::PodDisruptionBudget => self.serving.budget = None,
        }
    }

    pub(super) fn serving_lives(&mut self) {
        let owner = self.exists.then(|| self.uid.clone());
        let kept = |owners: &Option<Vec<_>>| {
            let owners: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference] =
                owners.as_deref().unwrap_or_default();
            owners.first().is_none_or(|one| Some(&one.uid) == owner.as_ref())
        };
        self.serving.deployments.retain(|_, found| kept(&found.metadata.owner_references));
        self.serving.service.take_if(|found| !kept(&found.metadata.owner_references));
        self.serving.budget.take_if(|found| !kept(&found.metadata.owner_references));
        self.replicas_live();
        for source in Source::ALL {
            self.control_deployment(source);
        }
    }

    fn replicas_live(&mut self) {
        self.serving.replicas.retain(|replica| !replica.pod.deleting || replica.left > 0);
        let mark = self.control.as_ref().and_then(|record| record.migration.as_ref());
        let (moving, moved) = (mark.is_some_and(|m| !m.done), mark.is_some_and(|m| m.done));
        let led =
            Bucket::ALL.iter().all(|b| self.streams.get(b).is_some_and(|s| s.leader.is_some()));
        let mut served = false;
        for replica in &mut self.serving.replicas {
            replica.left = replica.left.saturating_sub(1);
            let stands = match replica.source() {
                Source::Buckets => match replica.begins {
                    Begins::AtOnce => led && !moving && self.control.is_some(),
                    Begins::AfterMigration => led && moved,
                },
                Source::File => !moved,
            };
            let bad = replica.image == BAD_IMAGE;
            replica.pod.trouble = bad.then(|| "ImagePullBackOff".to_owned());
            replica.pod.ready = stands && replica.left == 0 && !replica.pod.deleting && !bad;
            served |= replica.pod.ready && replica.source() == Source::Buckets;
        }
        if let Some(record) = self.control.as_mut().filter(|record| served && !record.served) {
            record.served = true;
            self.note_born();
        }
        if self.serving(Source::Buckets) > 0 && self.serving(Source::File) > 0 {
            self.violate("the buckets and the file were served at the same time");
        }
    }

    fn control_deployment(&mut self, source: Source) {
        let Some(mut deployment) = self.serving.deployments.remove(&source) else {
            self.end(source, |_| true);
            return;
        };
        let spec = deployment.spec.clone().unwrap();
        let count = usize::try_from(spec.replicas.unwrap()).unwrap();
        let newest = template(&deployment);
        let recreate = spec.strategy.unwrap().type_.as_deref() == Some("Recreate");
        let staying = |of_newest: bool, fake: &Self| {
            let all = fake.replicas(source).filter(|replica| !replica.pod.deleting);
            all.filter(|replica| (replica.template == newest) == of_newest).count()
        };
        let (new, old) = (staying(true, self), staying(false, self));
        if recreate {
            self.end(source, |replica| replica.template != newest);
            if self.replicas(source).next().is_none() {
                self.start(source, &deployment);
            }
        } else if new < count && new + old <= count {
            self.start(source, &deployment);
        } else if old > 0 && new + old > count {
            // Old ones that do not run go first, the others once enough new ones do.
            let mut one = true;
            let surplus = self.serving(source) > count;
            self.end(source, |replica| {
                let old = replica.template != newest && !replica.pod.deleting;
                let ends = old && one && (surplus || !replica.pod.ready);
                one &= !ends;
                ends
            });
        }
        let ready = self.replicas(source).filter(|one| one.pod.ready && one.template == newest);
        let available = ready.count() >= count && old == 0;
        let before = deployment.status.take().unwrap_or_default();
        let same = before.observed_generation == deployment.metadata.generation;
        let complete = available || (same && is_complete(&before));
        let reason = if complete { "NewReplicaSetAvailable" } else { "ReplicaSetUpdated" };
        deployment.status = Some(DeploymentStatus {
            observed_generation: deployment.metadata.generation,
            conditions: Some(vec![DeploymentCondition {
                type_: "Progressing".to_owned(),
                status: "True".to_owned(),
                reason: Some(reason.to_owned()),
                ..DeploymentCondition::default()
            }]),
            ..DeploymentStatus::default()
        });
        self.serving.deployments.insert(source, deployment);
    }

    fn start(&mut self, source: Source, deployment: &Deployment) {
        let pod = Pod {
            name: self.serial(deployment.metadata.name.as_ref().unwrap()),
            uid: self.serial("pod"),
            source: Some(source),
            ..Pod::default()
        };
        let image = image(deployment).unwrap().to_owned();
        let (template, begins) = (template(deployment), Begins::of(deployment));
        let replica = Replica { pod, template, image, begins, left: 2 };
        self.serving.replicas.push(replica);
    }

    fn end(&mut self, source: Source, mut ends: impl FnMut(&Replica) -> bool) {
        for replica in self.serving.replicas.iter_mut().filter(|one| one.source() == source) {
            if !replica.pod.deleting && ends(replica) {
                replica.pod.deleting = true;
                replica.pod.ready = false;
                replica.left = 3;
            }
        }
    }
}

fn is_complete(status: &DeploymentStatus) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    conditions.iter().any(|one| one.reason.as_deref() == Some("NewReplicaSetAvailable"))
}
