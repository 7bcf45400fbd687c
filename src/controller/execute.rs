//! Does the steps of a plan, one function a step. Each is done as it is written in
//! [`Step`](crate::cluster::plan::Step); nothing is decided here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use nkeys::KeyPair;
use serde_json::json;
use tracing::info;
use zeroize::Zeroizing;

use super::apply::create;
use super::context::Context;
use super::error::{Error, bounded, says};
use super::migrate::jobs;
use super::probe::{Links, Probe, kv_bucket};
use crate::api::v1alpha1::MembershipCluster;
use crate::api::{DATA, FIELD_MANAGER, FINALIZER};
use crate::cluster::build::{build_migration_job, build_secret, build_unfence_job};
use crate::cluster::names::{Bucket, Role};
use crate::cluster::plan::{ChildKind, JobPlan, ObjectId, Step};
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::world::ClaimMark;
use crate::jetstream::api::{self, ApiErrorKind};
use crate::jetstream::bucket::{self, Budget, stream_of};
use crate::jetstream::meta;
use crate::membership::error::ErrorKind;
use crate::membership::kv::{Control, Size};
use crate::membership::records::{Revision, Versioned};
use crate::membership::store::Deadline;

/// How long one call to NATS may take, and the attempts of one step together: short, because the
/// next pass tries again, with a status in between.
const BUDGET: Budget = Budget { attempt: Duration::from_secs(2), total: Duration::from_secs(10) };

/// Whether the steps that follow may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    /// The world is not what the plan was made from: it is looked at again.
    LookAgain,
}

/// What steps are done with.
pub(super) struct Hands<'a> {
    pub(super) context: &'a Context,
    pub(super) cluster: &'a ValidatedCluster,
    pub(super) resource: &'a MembershipCluster,
    pub(super) probe: Option<&'a Probe>,
}

impl Hands<'_> {
    /// Does one step.
    pub(super) async fn execute(&self, step: &Step) -> Result<Then, Error> {
        let (namespace, name) = (&self.cluster.names.namespace, &self.cluster.names.cluster);
        info!(%namespace, %name, ?step, "doing");
        match step {
            Step::SetFinalizer => self.set_finalizer(true).await,
            Step::RemoveFinalizer => self.set_finalizer(false).await,
            Step::CreateSecret { role, cluster_id } => self.create_secret(*role, cluster_id).await,
            Step::CreateBucket { bucket } => self.create_bucket(*bucket).await,
            Step::CreateControl { cluster_id, losses_accepted } => {
                self.create_control(cluster_id, losses_accepted).await
            }
            Step::RecordBuckets { buckets } => self.record_buckets(buckets).await,
            Step::AcceptLoss { bucket } => self.accept_loss(*bucket).await,
            Step::MarkClaims { claims, mark } => self.mark_claims(claims, *mark).await,
            Step::RaiseReplicas { bucket, from, to } => self.raise(*bucket, *from, *to).await,
            Step::StepDownMeta { from: _, to } => self.step_down(to).await,
            Step::RestartServer { pod } => {
                let pods = Api::<Pod>::namespaced(self.context.client.clone(), namespace);
                self.delete(&pods, pod).await
            }
            Step::ReloadServer { server } => self.reload(server).await,
            Step::RunMigration { job } => self.run_migration(job).await,
            Step::RunUnfence { job } => self.run_unfence(job).await,
            Step::SuspendJob { job } => self.suspend(job).await,
            Step::DeleteJob { job } => {
                let jobs = jobs(&self.context.client, self.cluster);
                // By default a Job leaves its pods behind. So it stays until they are gone.
                self.delete_by(&jobs, job, DeleteParams::foreground()).await
            }
            Step::Remove { kind, object } => self.remove(*kind, object).await,
            Step::DeleteStatefulSet { stateful_set } => {
                let sets = Api::<StatefulSet>::namespaced(self.context.client.clone(), namespace);
                self.delete(&sets, stateful_set).await
            }
            Step::DeleteClaim { claim } => {
                let client = self.context.client.clone();
                let claims = Api::<PersistentVolumeClaim>::namespaced(client, namespace);
                self.delete(&claims, claim).await
            }
        }
    }

    /// The ways to NATS, if this instance still leads.
    fn links(&self) -> Result<&Links, Error> {
        self.context.must_lead()?;
        let probe = self.probe.ok_or_else(|| Error::nats("reach the servers", &"no keys yet"))?;
        Ok(&probe.links)
    }

    /// Puts the finalizer on or takes it off, on exactly the resource that was seen.
    async fn set_finalizer(&self, wanted: bool) -> Result<Then, Error> {
        let api: Api<MembershipCluster> =
            Api::namespaced(self.context.client.clone(), &self.cluster.names.namespace);
        let mut finalizers: Vec<String> = self.resource.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if wanted {
            finalizers.push(FINALIZER.to_owned());
        }
        let patch = json!({"metadata": {
            "uid": self.resource.uid(),
            "resourceVersion": self.resource.resource_version(),
            "finalizers": finalizers,
        }});
        let (name, params, patch) = (&self.cluster.names.cluster, manager(), Patch::Merge(patch));
        let call = api.patch_metadata(name, &params, &patch);
        settle(bounded("change the finalizer", call).await)
    }

    async fn create_secret(&self, role: Role, cluster_id: &str) -> Result<Then, Error> {
        let pair = KeyPair::new_user();
        let seed =
            pair.seed().map(Zeroizing::new).map_err(|error| Error::Key(error.to_string()))?;
        let secret = build_secret(self.cluster, role, cluster_id, &seed, &pair.public_key());
        let namespace = &self.cluster.names.namespace;
        let secrets = Api::namespaced(self.context.client.clone(), namespace);
        match create(&secrets, &secret).await? {
            true => Ok(Then::GoOn),
            false => Ok(Then::LookAgain),
        }
    }

    async fn run_migration(&self, plan: &JobPlan) -> Result<Then, Error> {
        let Some(wanted) = &self.cluster.migration else { return Ok(Then::LookAgain) };
        let job = build_migration_job(self.cluster, wanted, plan);
        match create(&jobs(&self.context.client, self.cluster), &job).await? {
            true => Ok(Then::GoOn),
            false => Ok(Then::LookAgain),
        }
    }

    async fn run_unfence(&self, plan: &JobPlan) -> Result<Then, Error> {
        let Some(wanted) = &self.cluster.migration else { return Ok(Then::LookAgain) };
        let job = build_unfence_job(self.cluster, wanted, plan);
        match create(&jobs(&self.context.client, self.cluster), &job).await? {
            true => Ok(Then::GoOn),
            false => Ok(Then::LookAgain),
        }
    }

    async fn suspend(&self, job: &ObjectId) -> Result<Then, Error> {
        let patch = Patch::Merge(json!({
            "metadata": {"uid": job.uid, "resourceVersion": job.resource_version},
            "spec": {"suspend": true},
        }));
        let jobs = jobs(&self.context.client, self.cluster);
        let (name, params) = (&job.name, manager());
        settle(bounded(format!("suspend Job {name}"), jobs.patch(name, &params, &patch)).await)
    }

    async fn create_bucket(&self, bucket: Bucket) -> Result<Then, Error> {
        let links = self.links()?;
        let name = bucket.name(&self.cluster.prefix);
        if bucket != Bucket::Control {
            let stored = self.read_control().await?;
            if stored.is_none_or(|stored| stored.record.buckets.contains(&name)) {
                return Ok(Then::LookAgain);
            }
            self.context.must_lead()?;
        }
        let size = Size { max_bytes: self.cluster.bucket_max_bytes, replicas: 1 };
        let settings = kv_bucket(bucket).settings(&links.prefix, size);
        match bucket::create(&*links.operator, &settings, BUDGET).await {
            Ok(_) => Ok(Then::GoOn),
            // It is there with other replicas or settings, and stays as it is.
            Err(error) if error.cause.api_kind() == Some(ApiErrorKind::StreamExistsOtherwise) => {
                Ok(Then::GoOn)
            }
            Err(error) => Err(Error::nats(format!("create bucket {name}"), &error.cause)),
        }
    }

    async fn create_control(
        &self,
        cluster_id: &str,
        losses_accepted: &BTreeSet<Bucket>,
    ) -> Result<Then, Error> {
        let record = Control {
            cluster_id: cluster_id.to_owned(),
            buckets: self.names([Bucket::Control]),
            losses_accepted: self.names(losses_accepted.iter().copied()),
            first_admin: None,
            served_since: None,
            born: BTreeMap::new(),
            migration: None,
        };
        self.write_control(&record, None).await
    }

    fn names(&self, buckets: impl IntoIterator<Item = Bucket>) -> Vec<String> {
        buckets.into_iter().map(|bucket| bucket.name(&self.cluster.prefix)).collect()
    }

    /// Notes buckets as made.
    async fn record_buckets(&self, buckets: &BTreeSet<Bucket>) -> Result<Then, Error> {
        let Some(mut stored) = self.read_control().await? else { return Ok(Then::LookAgain) };
        let mut made = self.names(Bucket::ALL.into_iter().filter(|one| buckets.contains(one)));
        made.retain(|name| !stored.record.buckets.contains(name));
        stored.record.buckets.append(&mut made);
        self.write_control(&stored.record, Some(stored.revision)).await
    }

    async fn accept_loss(&self, bucket: Bucket) -> Result<Then, Error> {
        let Some(mut stored) = self.read_control().await? else { return Ok(Then::LookAgain) };
        let name = bucket.name(&self.cluster.prefix);
        stored.record.buckets.retain(|made| *made != name);
        stored.record.born.remove(&name);
        stored.record.losses_accepted.push(name);
        self.write_control(&stored.record, Some(stored.revision)).await
    }

    async fn read_control(&self) -> Result<Option<Versioned<Control>>, Error> {
        let read = self.links()?.control.read(Deadline::after(BUDGET.attempt)).await;
        read.map_err(|error| Error::nats("read the control record", &error))
    }

    /// Writes the control record over a revision. Whether an unanswered write landed is seen in the
    /// next look.
    async fn write_control(&self, record: &Control, over: Option<Revision>) -> Result<Then, Error> {
        let deadline = Deadline::after(BUDGET.attempt);
        match self.links()?.control.write(record, over, deadline).await {
            Ok(_) => Ok(Then::GoOn),
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(Then::LookAgain),
            Err(error) => Err(Error::nats("write the control record", &error)),
        }
    }

    async fn mark_claims(&self, claims: &[ObjectId], mark: ClaimMark) -> Result<Then, Error> {
        let api: Api<PersistentVolumeClaim> =
            Api::namespaced(self.context.client.clone(), &self.cluster.names.namespace);
        for claim in claims {
            let patch = json!({"metadata": {
                "uid": claim.uid,
                "resourceVersion": claim.resource_version,
                "annotations": {DATA: mark.value()},
            }});
            let (name, params, patch) = (&claim.name, manager(), Patch::Merge(patch));
            let call = api.patch_metadata(name, &params, &patch);
            if settle(bounded(format!("mark claim {name}"), call).await)? == Then::LookAgain {
                return Ok(Then::LookAgain);
            }
        }
        Ok(Then::GoOn)
    }

    async fn raise(&self, bucket: Bucket, from: u8, to: u8) -> Result<Then, Error> {
        let operator = &*self.links()?.operator;
        let name = bucket.name(&self.cluster.prefix);
        let unable = |error| Error::nats(format!("raise bucket {name} to R{to}"), &error);
        let found =
            api::stream_info(operator, &stream_of(&name), BUDGET.attempt).await.map_err(unable)?;
        let has = found.and_then(|info| info.config["num_replicas"].as_u64());
        if has != Some(u64::from(from)) {
            return Ok(Then::LookAgain);
        }
        let raised = bucket::raise(operator, &name, to, BUDGET).await;
        raised.map(|_| Then::GoOn).map_err(|error| unable(error.cause))
    }

    async fn step_down(&self, to: &str) -> Result<Then, Error> {
        let system = &self.links()?.system;
        let asked = meta::step_down(system, to, BUDGET.attempt).await;
        asked.map(|()| Then::GoOn).map_err(|error| Error::nats("move the meta leader", &error))
    }

    async fn reload(&self, server: &str) -> Result<Then, Error> {
        let links = self.links()?;
        let Some(id) = self.probe.and_then(|probe| probe.server_id(server)) else {
            return Ok(Then::LookAgain);
        };
        let asked = meta::reload(&links.system, &id, BUDGET.attempt).await;
        asked.map(|()| Then::GoOn).map_err(|error| Error::nats(format!("reload {server}"), &error))
    }

    async fn remove(&self, kind: ChildKind, object: &ObjectId) -> Result<Then, Error> {
        let (client, namespace) = (self.context.client.clone(), &self.cluster.names.namespace);
        match kind {
            ChildKind::Deployment => {
                self.delete(&Api::<Deployment>::namespaced(client, namespace), object).await
            }
            ChildKind::Service => {
                self.delete(&Api::<Service>::namespaced(client, namespace), object).await
            }
            ChildKind::PodDisruptionBudget => {
                let budgets = Api::<PodDisruptionBudget>::namespaced(client, namespace);
                self.delete(&budgets, object).await
            }
        }
    }

    /// Deletes an object if it is exactly the one that was seen.
    async fn delete<T>(&self, api: &Api<T>, object: &ObjectId) -> Result<Then, Error>
    where
        T: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        self.delete_by(api, object, DeleteParams::default()).await
    }

    async fn delete_by<T>(
        &self,
        api: &Api<T>,
        object: &ObjectId,
        params: DeleteParams,
    ) -> Result<Then, Error>
    where
        T: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let params = params.preconditions(Preconditions {
            uid: Some(object.uid.clone()),
            resource_version: Some(object.resource_version.clone()),
        });
        let deleted = bounded(format!("delete {}", object.name), api.delete(&object.name, &params));
        settle(deleted.await)
    }
}

/// A change of what was seen: when it is another by now, or gone, it is looked at again.
fn settle<T>(changed: Result<T, Error>) -> Result<Then, Error> {
    match changed {
        Ok(_) => Ok(Then::GoOn),
        Err(error)
            if says(&error, kube::core::Status::is_conflict)
                || says(&error, kube::core::Status::is_not_found) =>
        {
            Ok(Then::LookAgain)
        }
        Err(error) => Err(error),
    }
}

fn manager() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}
