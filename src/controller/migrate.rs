//! The hands of a migration: looks at its source, its Jobs and their pods, and makes a Job. Nothing
//! is decided here.

use k8s_openapi::api::batch::v1::{Job as KubeJob, JobCondition};
use k8s_openapi::api::core::v1::{ContainerStateTerminated, PersistentVolumeClaim, Pod as KubePod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::ListParams;
use kube::{Api, Client};

use super::error::Error;
use super::observe::{Eyes, trouble};
use crate::api::{JOB_ASKED, JOB_CIRCUMSTANCES, JOB_SOURCE, JOB_TRIES, RELEASE_TO};
use crate::cluster::migration::{
    Backup, Job, JobEnd, JobWords, Mark, Seen, SourceClaim, SourceUser, Wanted,
};
use crate::cluster::names::CLUSTER_LABEL;
use crate::cluster::plan::ObjectId;
use crate::cluster::serving::Source;
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::world::Found;
use crate::migration::marker::{Marker, Phase};

/// Jobs by name, and whose they are.
type Jobs = Vec<(String, Found<Job>)>;

/// How long after it should have ended a pod counts as one of a lost node.
const OVERDUE: SignedDuration = SignedDuration::from_secs(15);

/// The label by which Kubernetes names the Job of a pod.
const JOB_LABEL: &str = "batch.kubernetes.io/job-name";

impl Eyes<'_> {
    /// Everything about the migration. Pods of others are looked at only where one is wanted.
    pub(super) async fn migration(&self) -> Result<Seen, Error> {
        let jobs = self.labelled_or_named::<KubeJob>(Vec::new()).await?;
        let names = &self.cluster.names;
        let Some(wanted) = &self.cluster.migration else {
            let pods = if jobs.is_empty() { Vec::new() } else { self.pods_of_jobs().await? };
            let (moves, unfences) = self.see_jobs(&jobs, &pods);
            return Ok(Seen { jobs: moves, unfences, ..Seen::default() });
        };
        let number = |job: &KubeJob| names.migration_number(&job.name_any());
        let next = jobs.iter().filter_map(number).max().unwrap_or(0).saturating_add(1);
        let next = names.migration_job(next);
        let number = |job: &KubeJob| names.unfence_number(&job.name_any());
        let unfence = jobs.iter().filter_map(number).max().unwrap_or(0).saturating_add(1);
        let unfence = names.unfence_job(unfence);
        let claims = async {
            let claim = self.get::<PersistentVolumeClaim>(&wanted.source.claim).await?;
            let backup = match &wanted.backup {
                Backup::Claim(claim) => self.get::<PersistentVolumeClaim>(claim).await?.is_some(),
                Backup::None | Backup::BesideSource => true,
            };
            Ok((claim, backup))
        };
        let ((claim, backup_claim), pods, next, unfence) = tokio::try_join!(
            claims,
            self.all_pods(),
            self.get::<KubeJob>(&next),
            self.get::<KubeJob>(&unfence)
        )?;
        let mut all = jobs;
        all.extend(next.into_iter().chain(unfence));
        let (jobs, unfences) = self.see_jobs(&all, &pods);
        Ok(Seen {
            claim: claim.as_ref().map(see_claim),
            backup_claim,
            users: self.users(wanted, &pods),
            jobs,
            unfences,
        })
    }

    async fn pods_of_jobs(&self) -> Result<Vec<KubePod>, Error> {
        self.labelled_or_named::<KubePod>(Vec::new()).await
    }

    async fn all_pods(&self) -> Result<Vec<KubePod>, Error> {
        let pods = self.api::<KubePod>();
        let listed = super::error::bounded("list pods", pods.list(&ListParams::default())).await?;
        Ok(listed.items)
    }

    fn users(&self, wanted: &Wanted, pods: &[KubePod]) -> Vec<SourceUser> {
        let now = Timestamp::now();
        let others = pods.iter().filter(|pod| !self.is_of_a_job(pod) && !has_ended(pod));
        others
            .filter(|pod| mounts(pod, &wanted.source.claim))
            .map(|pod| SourceUser {
                own: self.see_replica(pod).is_some_and(|pod| pod.source == Some(Source::File)),
                ..see_user(pod, now)
            })
            .collect()
    }

    fn is_of_a_job(&self, pod: &KubePod) -> bool {
        let labels = pod.labels();
        let job = labels.get(JOB_LABEL);
        labels.get(CLUSTER_LABEL) == Some(&self.cluster.names.cluster)
            && job.is_some_and(|job| {
                let names = &self.cluster.names;
                names.migration_number(job).or_else(|| names.unfence_number(job)).is_some()
            })
    }

    /// The Jobs that move, and those that take down a fence.
    fn see_jobs(&self, jobs: &[KubeJob], pods: &[KubePod]) -> (Jobs, Jobs) {
        let names = &self.cluster.names;
        let see = |number: &dyn Fn(&str) -> Option<u32>| -> Jobs {
            let numbered = jobs.iter().filter_map(|job| Some((job, number(&job.name_any())?)));
            numbered
                .map(|(job, number)| {
                    let seen = see_job(job, number, pods);
                    (job.name_any(), Found::of(seen, &job.metadata, self.cluster))
                })
                .collect()
        };
        (see(&|job| names.migration_number(job)), see(&|job| names.unfence_number(job)))
    }
}

fn mounts(pod: &KubePod, claim: &str) -> bool {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    volumes.iter().any(|volume| {
        volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == claim)
    })
}

/// Whether none of a pod's containers runs any more.
pub(super) fn has_ended(pod: &KubePod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn see_user(pod: &KubePod, now: Timestamp) -> SourceUser {
    // Kubernetes writes the time at which the pod must have ended.
    let deadline = pod.metadata.deletion_timestamp.as_ref();
    SourceUser {
        name: pod.name_any(),
        uid: pod.uid().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        overdue: deadline.is_some_and(|deadline| now.duration_since(deadline.0) > OVERDUE),
        own: false,
    }
}

fn see_claim(claim: &PersistentVolumeClaim) -> SourceClaim {
    SourceClaim {
        uid: claim.uid().unwrap_or_default(),
        resource_version: claim.resource_version().unwrap_or_default(),
        bound: claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound")),
        deleting: claim.metadata.deletion_timestamp.is_some(),
        released_to: claim.annotations().get(RELEASE_TO).cloned(),
        exclusive: claim
            .spec
            .as_ref()
            .and_then(|spec| spec.access_modes.as_deref())
            .is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod")),
    }
}

fn see_job(job: &KubeJob, number: u32, pods: &[KubePod]) -> Job {
    let annotation = |key: &str| job.annotations().get(key).cloned();
    let uid = job.uid();
    let owned = pods
        .iter()
        .filter(|pod| pod.owner_references().iter().any(|owner| Some(&owner.uid) == uid.as_ref()));
    let working = owned.clone().any(|pod| !has_ended(pod));
    let newest = owned.max_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
    let last = newest.and_then(terminated);
    Job {
        id: ObjectId {
            name: job.name_any(),
            uid: uid.unwrap_or_default(),
            resource_version: job.resource_version().unwrap_or_default(),
        },
        number,
        source: annotation(JOB_SOURCE),
        image: image(job),
        asked: annotation(JOB_ASKED),
        circumstances: annotation(JOB_CIRCUMSTANCES),
        tries: annotation(JOB_TRIES).and_then(|tries| tries.parse().ok()).unwrap_or(1),
        started: job.status.as_ref().and_then(|status| Some(status.start_time.as_ref()?.0)),
        end: end(job, last),
        suspended: job.spec.as_ref().is_some_and(|spec| spec.suspend == Some(true)),
        working,
        deleting: job.metadata.deletion_timestamp.is_some(),
        trouble: newest.filter(|pod| !has_ended(pod)).and_then(|pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
            lost(pod).or_else(|| trouble(pod, conditions.unwrap_or_default()))
        }),
        words: last.and_then(|last| last.message.as_deref()).map(words),
    }
}

fn image(job: &KubeJob) -> Option<String> {
    job.spec.as_ref()?.template.spec.as_ref()?.containers.first()?.image.clone()
}

/// That a pod should have ended and has not, for nobody hears of its node.
fn lost(pod: &KubePod) -> Option<String> {
    let SourceUser { node, overdue, .. } = see_user(pod, Timestamp::now());
    node.filter(|_| overdue).map(|node| format!("node {node} is not heard of"))
}

fn terminated(pod: &KubePod) -> Option<&ContainerStateTerminated> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.first()?.state.as_ref()?.terminated.as_ref()
}

/// What the program wrote, or else the end of its log.
fn words(message: &str) -> JobWords {
    let plain = || JobWords { message: Some(message.trim().to_owned()), ..JobWords::default() };
    serde_json::from_str(message).unwrap_or_else(|_| plain())
}

fn end(job: &KubeJob, last: Option<&ContainerStateTerminated>) -> Option<JobEnd> {
    let status = job.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let holds =
        |kind: &str| conditions.iter().find(|found| found.type_ == kind && found.status == "True");
    let (condition, succeeded) = match (holds("Complete"), holds("Failed")) {
        (Some(complete), _) => (complete, true),
        (None, Some(failed)) => (failed, false),
        (None, None) => return None,
    };
    let at = condition.last_transition_time.as_ref().map(|time| time.0);
    let exit_code = last.map(|last| last.exit_code).or_else(|| told_code(condition));
    Some(JobEnd { at: at.unwrap_or_else(Timestamp::now), succeeded, exit_code })
}

/// The exit code in the words of the Job controller, for when the pod is gone.
fn told_code(condition: &JobCondition) -> Option<i32> {
    let (_, rest) = condition.message.as_deref()?.split_once("exit code ")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// What the control record's marker says, if it can be read.
pub(super) fn mark(value: &serde_json::Value) -> Result<Mark, String> {
    let marker: Marker = serde_json::from_value(value.clone())
        .map_err(|error| format!("its migration is of a newer program: {error}"))?;
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let source = &marker.source;
    Ok(Mark {
        done: marker.phase == Phase::Done,
        digest: marker.digest,
        counts: crate::api::v1alpha1::MigrationCounts {
            users: number(source.users),
            rooms: number(source.rooms),
            members: number(source.members),
            room_keys: number(source.room_keys),
        },
    })
}

/// The Jobs of a cluster's namespace.
pub(super) fn jobs(client: &Client, cluster: &ValidatedCluster) -> Api<KubeJob> {
    Api::namespaced(client.clone(), &cluster.names.namespace)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(conditions: &serde_json::Value) -> KubeJob {
        serde_json::from_value(json!({
            "metadata": {"name": "demo-migrate-2", "uid": "j"},
            "spec": {"template": {"spec": {"containers": [
                {"name": "migrate", "image": "registry.example/membership:1"},
            ]}}},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    fn pod(name: &str, created: &str, state: &serde_json::Value) -> KubePod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": created, "ownerReferences": [
                {"apiVersion": "batch/v1", "kind": "Job", "name": "demo-migrate-2", "uid": "j"},
            ]},
            "status": {"containerStatuses": [{
                "name": "migrate", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": state,
            }]},
        }))
        .unwrap()
    }

    #[test]
    fn the_last_pod_of_a_job_says_how_it_ended_and_why() {
        let failed = json!([{"type": "Failed", "status": "True", "reason": "PodFailurePolicy",
            "message": "Container migrate for pod chat/x failed with exit code 3 matching FailJob \
                        rule at index 1"}]);
        let said = r#"{"state":"failed","reason":"NotADatabase","exitCode":3,"message":"no"}"#;
        let pods = [
            pod(
                "b",
                "2026-01-01T00:00:09Z",
                &json!({"terminated": {"exitCode": 3, "message": said}}),
            ),
            pod("a", "2026-01-01T00:00:01Z", &json!({"terminated": {"exitCode": 4}})),
        ];
        let seen = see_job(&job(&failed), 2, &pods);
        let end = seen.end.clone().unwrap();
        assert_eq!((end.succeeded, end.exit_code), (false, Some(3)));
        assert_eq!(seen.image.as_deref(), Some("registry.example/membership:1"));
        assert_eq!(seen.failure(&end).reason.to_string(), "NotADatabase");
        // Without its pods, the Job's own words are left.
        let end = see_job(&job(&failed), 2, &[]).end.unwrap();
        assert_eq!((end.succeeded, end.exit_code), (false, Some(3)));
    }

    #[test]
    fn a_job_has_ended_only_by_its_own_word_and_an_image_that_is_missing_is_told() {
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff"}});
        let seen = see_job(&job(&json!([])), 2, &[pod("a", "2026-01-01T00:00:01Z", &waiting)]);
        assert_eq!((seen.end, seen.trouble.as_deref()), (None, Some("ImagePullBackOff")));
        let done = json!([{"type": "Complete", "status": "True"}]);
        assert!(see_job(&job(&done), 2, &[]).end.unwrap().succeeded);
        let suspended = json!([{"type": "Failed", "status": "False"}]);
        assert_eq!(see_job(&job(&suspended), 2, &[]).end, None);
    }

    #[test]
    fn a_pod_that_should_have_ended_long_ago_is_overdue() {
        let pod: KubePod = serde_json::from_value(json!({"metadata": {
            "name": "old", "deletionTimestamp": "2026-01-01T00:00:00Z",
        }}))
        .unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(!see_user(&pod, at("2026-01-01T00:00:10Z")).overdue);
        assert!(see_user(&pod, at("2026-01-01T00:00:20Z")).overdue);
    }

    #[test]
    fn a_marker_that_cannot_be_read_is_not_taken_for_none() {
        assert!(mark(&json!({"phase": "twisting"})).is_err());
        let value = json!({"phase": "importing", "attempt": "00000000000000000000000000000000",
            "digest": "d", "source": {"kind": "ours", "users": 1, "rooms": 2, "members": 3,
            "roomKeys": 4}});
        let read = mark(&value).unwrap();
        assert_eq!((read.done, read.counts.room_keys), (false, 4));
    }
}
