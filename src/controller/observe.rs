//! One look at Kubernetes: every object of a child's name, whoever made it. Reads only, none from a
//! cache, so that each is answered from the API server's quorum.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;

use k8s_openapi::Metadata;
use k8s_openapi::api::core::v1::{
    ContainerStatus, PersistentVolumeClaim, Pod as KubePod, PodCondition, Secret,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::{Api, Client, Resource as KubeResource, ResourceExt};
use nkeys::KeyPair;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::error::{Error, bounded};
use crate::api::v1alpha1::MembershipCluster;
use crate::api::{ACCEPT_LOSS, CLUSTER_ID, DATA, FINALIZER, RETRY_MIGRATION, SERVERS};
use crate::cluster::build::SEED_KEY;
use crate::cluster::names::{CLUSTER_LABEL, Role};
use crate::cluster::serving::{self, Seen};
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::world::{Claim, ClaimMark, Found, Pod, Resource, SecretSeen, World};

/// The seeds that the operator itself connects with.
pub(super) type Seeds = BTreeMap<Role, Zeroizing<String>>;

/// What a look found. What NATS says is not in it yet.
pub(super) struct Look {
    pub(super) world: World,
    pub(super) seeds: Seeds,
}

/// Looks at everything that belongs to a cluster.
pub(super) async fn observe(
    client: &Client,
    cluster: &ValidatedCluster,
    resource: &MembershipCluster,
) -> Result<Look, Error> {
    let (namespace, names) = (&cluster.names.namespace, &cluster.names);
    let eyes = Eyes { client, cluster, namespace };
    let (config_map, headless, service, disruption_budget, stateful_set) = tokio::try_join!(
        eyes.child(names.nats()),
        eyes.child(names.headless()),
        eyes.child(names.nats()),
        eyes.child(names.nats()),
        eyes.child(names.nats()),
    )?;
    let mut world = World {
        resource: about(resource),
        config_map,
        headless,
        client: service,
        disruption_budget,
        stateful_set,
        ..World::default()
    };
    let servers = world.ordinals(cluster);
    let ((secrets, seeds), claims, pods, migration, membershipd) = tokio::try_join!(
        eyes.secrets(),
        eyes.claims(servers.clone()),
        eyes.pods(servers),
        eyes.migration(),
        eyes.membershipd(),
    )?;
    (world.secrets, world.claims, world.migration) = (secrets, claims, migration);
    (world.pods, world.membershipd) = (pods.0, Seen { pods: pods.1, ..membershipd });
    Ok(Look { world, seeds })
}

/// What the resource says apart from its spec.
fn about(resource: &MembershipCluster) -> Resource {
    Resource {
        has_finalizer: resource.finalizers().iter().any(|finalizer| finalizer == FINALIZER),
        accept_loss: resource.annotations().get(ACCEPT_LOSS).cloned(),
        retry_migration: resource.annotations().get(RETRY_MIGRATION).cloned(),
        status: resource.status.clone().unwrap_or_default(),
    }
}

pub(super) struct Eyes<'a> {
    client: &'a Client,
    pub(super) cluster: &'a ValidatedCluster,
    namespace: &'a str,
}

impl Eyes<'_> {
    pub(super) fn api<T>(&self) -> Api<T>
    where
        T: KubeResource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), self.namespace)
    }

    pub(super) async fn get<T>(&self, name: &str) -> Result<Option<T>, Error>
    where
        T: KubeResource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let doing = format!("read {} {name}", T::kind(&()));
        bounded(doing, self.api::<T>().get_opt(name)).await
    }

    pub(super) async fn child<T>(&self, name: String) -> Result<Found<T>, Error>
    where
        T: KubeResource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Metadata<Ty = ObjectMeta>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        Ok(self.get::<T>(&name).await?.map_or(Found::Absent, |object| {
            let metadata = Metadata::metadata(&object).clone();
            Found::of(object, &metadata, self.cluster)
        }))
    }

    async fn secrets(&self) -> Result<(BTreeMap<Role, Found<SecretSeen>>, Seeds), Error> {
        let (mut found, mut seeds) = (BTreeMap::new(), Seeds::new());
        let names = Role::ALL.map(|role| self.cluster.names.secret(role));
        let [system, operator, membershipd, migration] = &names;
        let (system, operator, membershipd, migration) = tokio::try_join!(
            self.get(system),
            self.get(operator),
            self.get(membershipd),
            self.get(migration),
        )?;
        let read = [system, operator, membershipd, migration];
        for (role, secret) in Role::ALL.into_iter().zip(read) {
            let Some(secret) = secret else { continue };
            let (seen, seed) = see_secret(&secret);
            let seen = Found::of(seen, &secret.metadata, self.cluster);
            if let (Some(_), Some(seed), Role::System | Role::Operator) = (seen.ours(), seed, role)
            {
                seeds.insert(role, seed);
            }
            found.insert(role, seen);
        }
        Ok((found, seeds))
    }

    /// Everything with the cluster's label, and everything with one of these names.
    pub(super) async fn labelled_or_named<T>(&self, names: Vec<String>) -> Result<Vec<T>, Error>
    where
        T: KubeResource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let label = format!("{CLUSTER_LABEL}={}", self.cluster.names.cluster);
        let params = ListParams::default().labels(&label);
        let doing = format!("list {}", T::plural(&()));
        let mut found = bounded(doing, self.api::<T>().list(&params)).await?.items;
        for name in names {
            if !found.iter().any(|object| object.name_any() == name) {
                found.extend(self.get(&name).await?);
            }
        }
        Ok(found)
    }

    async fn claims(&self, servers: Range<u8>) -> Result<Vec<Claim>, Error> {
        let names = servers.map(|ordinal| self.cluster.names.claim(ordinal)).collect();
        let found = self.labelled_or_named::<PersistentVolumeClaim>(names).await?;
        Ok(found.iter().map(see_claim).collect())
    }

    /// The servers' pods and those of the membership service.
    async fn pods(&self, servers: Range<u8>) -> Result<(Vec<Pod>, Vec<serving::Pod>), Error> {
        let names: Vec<String> =
            servers.map(|ordinal| self.cluster.names.server(ordinal)).collect();
        let found = self.labelled_or_named::<KubePod>(names.clone()).await?;
        let servers = found.iter().filter(|pod| names.contains(&pod.name_any()));
        let servers = servers.map(see_pod).collect();
        Ok((servers, found.iter().filter_map(|pod| self.see_replica(pod)).collect()))
    }
}

/// What may be known of a Secret, and its seed. The public key follows from the seed: what the
/// Secret says beside it does not count.
fn see_secret(secret: &Secret) -> (SecretSeen, Option<Zeroizing<String>>) {
    let seed = secret
        .data
        .as_ref()
        .and_then(|data| String::from_utf8(data.get(SEED_KEY)?.0.clone()).ok())
        .map(Zeroizing::new);
    let pair = seed.as_ref().and_then(|seed| KeyPair::from_seed(seed.trim()).ok());
    let seen = SecretSeen {
        public_key: pair.as_ref().map(KeyPair::public_key),
        cluster_id: secret.annotations().get(CLUSTER_ID).cloned(),
        deleting: secret.metadata.deletion_timestamp.is_some(),
    };
    (seen, seed.filter(|_| pair.is_some()))
}

fn see_claim(claim: &PersistentVolumeClaim) -> Claim {
    let annotation = |key: &str| claim.annotations().get(key);
    Claim {
        name: claim.name_any(),
        uid: claim.uid().unwrap_or_default(),
        resource_version: claim.resource_version().unwrap_or_default(),
        cluster_id: annotation(CLUSTER_ID).cloned(),
        servers: annotation(SERVERS).and_then(|servers| servers.parse().ok()),
        mark: ClaimMark::read(annotation(DATA).map(String::as_str)),
        bound: claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound")),
        deleting: claim.metadata.deletion_timestamp.is_some(),
    }
}

pub(super) fn see_pod(pod: &KubePod) -> Pod {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    let conditions = conditions.unwrap_or_default();
    let ready =
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let container =
        |spec: &k8s_openapi::api::core::v1::PodSpec| spec.containers.first()?.image.clone();
    let owner = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    Pod {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        resource_version: pod.resource_version().unwrap_or_default(),
        ready,
        deleting: pod.metadata.deletion_timestamp.is_some(),
        revision: pod.labels().get("controller-revision-hash").cloned(),
        image: pod.spec.as_ref().and_then(container),
        owner_uid: owner.map(|owner| owner.uid.clone()),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        trouble: if ready { None } else { trouble(pod, conditions) },
    }
}

/// Kubernetes' own word for why a pod does not run. That it is only just starting is no trouble.
pub(super) fn trouble(pod: &KubePod, conditions: &[PodCondition]) -> Option<String> {
    let unschedulable = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .and_then(|condition| condition.reason.clone());
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref());
    let waiting = |status: &ContainerStatus| {
        let waiting = status.state.as_ref()?.waiting.as_ref()?;
        waiting.reason.clone().filter(|reason| reason != "ContainerCreating")
    };
    unschedulable.or_else(|| statuses.unwrap_or_default().iter().find_map(waiting))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(status: &serde_json::Value) -> Pod {
        let pod: KubePod = serde_json::from_value(json!({
            "metadata": {"name": "demo-nats-0", "uid": "u"},
            "spec": {"containers": [{"name": "nats", "image": "nats:1"}]},
            "status": status,
        }))
        .unwrap();
        see_pod(&pod)
    }

    #[test]
    fn a_pod_that_does_not_run_says_why_in_kubernetes_words() {
        let scheduled =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
        let waiting = |reason: &str| {
            json!({"containerStatuses": [{
                "name": "nats", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason}},
            }]})
        };
        let table = [
            (json!({"conditions": [scheduled]}), Some("Unschedulable")),
            (waiting("ImagePullBackOff"), Some("ImagePullBackOff")),
            (waiting("ContainerCreating"), None),
            (json!({"conditions": [{"type": "Ready", "status": "True"}]}), None),
        ];
        for (status, trouble) in table {
            assert_eq!(pod(&status).trouble.as_deref(), trouble, "{status}");
        }
    }

    #[test]
    fn a_secret_gives_the_public_key_of_its_seed_and_nothing_of_a_broken_one() {
        let pair = KeyPair::new_user();
        let secret = |seed: &str| Secret {
            data: Some([(SEED_KEY.to_owned(), k8s_openapi::ByteString(seed.into()))].into()),
            ..Secret::default()
        };
        let (seen, seed) = see_secret(&secret(&pair.seed().unwrap()));
        assert_eq!(seen.public_key, Some(pair.public_key()));
        assert!(seed.is_some());
        let (seen, seed) = see_secret(&secret("SUNOSEED"));
        assert_eq!((seen.public_key, seed.is_some()), (None, false));
    }
}
