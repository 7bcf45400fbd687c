//! The Job that moves the SQLite file: `membershipd migrate-to-kv` in one pod that sees the source's
//! volume and the migration role's key, and nothing else; and the one that takes its fence down.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Container, KeyToPath, PersistentVolumeClaimVolumeSource, PodSpec, PodTemplateSpec,
    SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::pod::{mount, restricted};
use super::secret::SEED_KEY;
use super::{membershipd, metadata, pod_options};
use crate::api::{JOB_ASKED, JOB_CIRCUMSTANCES, JOB_SOURCE, JOB_TRIES};
use crate::cluster::migration::{BACKUP_FOLDER, Backup, SOURCE_FOLDER, Wanted};
use crate::cluster::names::Role;
use crate::cluster::plan::JobPlan;
use crate::cluster::serving::Source;
use crate::cluster::validate::ValidatedCluster;

/// The container, by whose exit code the Job is judged.
const CONTAINER: &str = "migrate";

/// Where the program leaves its last words for the operator.
const LAST_WORDS: &str = "/dev/termination-log";

/// How often a pod is made anew after NATS was away or it was killed, before the operator looks at
/// it as a whole.
const RETRIES: i32 = 5;

/// The exit codes after which the same pod would end the same: usage, an unusable source, not
/// verified, refused.
const FINAL: [i32; 4] = [2, 3, 5, 6];

/// The Job of one try to move the file.
#[must_use]
pub fn build_migration_job(cluster: &ValidatedCluster, wanted: &Wanted, plan: &JobPlan) -> Job {
    let name = cluster.names.migration_job(plan.number);
    let spec = PodSpec {
        containers: vec![container(cluster, wanted, plan)],
        volumes: Some(volumes(cluster, wanted)),
        ..PodSpec::default()
    };
    job(cluster, wanted, plan, (name, spec))
}

/// The Job of one try to take down the fence of a move that is given up. It needs no NATS.
#[must_use]
pub fn build_unfence_job(cluster: &ValidatedCluster, wanted: &Wanted, plan: &JobPlan) -> Job {
    let arguments = [
        "migrate-to-kv".to_owned(),
        format!("--db={SOURCE_FOLDER}/{}", wanted.source.path),
        "--unfence".to_owned(),
    ];
    let container = Container {
        args: Some(arguments.into()),
        volume_mounts: Some(vec![mount("source", SOURCE_FOLDER)]),
        ..container(cluster, wanted, plan)
    };
    let spec = PodSpec {
        containers: vec![container],
        volumes: Some(vec![volume_of("source", &wanted.source.claim)]),
        ..PodSpec::default()
    };
    job(cluster, wanted, plan, (cluster.names.unfence_job(plan.number), spec))
}

fn job(
    cluster: &ValidatedCluster,
    wanted: &Wanted,
    plan: &JobPlan,
    (name, pod): (String, PodSpec),
) -> Job {
    let mut metadata = metadata(cluster, name);
    metadata.labels = Some(cluster.names.migration_labels());
    let annotations = [
        (JOB_SOURCE, wanted.source.to_string()),
        (JOB_ASKED, plan.asked.clone()),
        (JOB_CIRCUMSTANCES, plan.circumstances.clone()),
        (JOB_TRIES, plan.tries.to_string()),
    ];
    metadata.annotations =
        Some(annotations.map(|(key, value)| (key.to_owned(), value)).into_iter().collect());
    Job {
        metadata,
        spec: Some(JobSpec {
            backoff_limit: Some(RETRIES),
            completions: Some(1),
            parallelism: Some(1),
            pod_failure_policy: Some(failure_policy()),
            // Never two pods over one file: not before the first has really ended.
            pod_replacement_policy: Some("Failed".to_owned()),
            template: template(cluster, wanted, plan, pod),
            ..JobSpec::default()
        }),
        ..Job::default()
    }
}

fn failure_policy() -> PodFailurePolicy {
    let evicted = PodFailurePolicyOnPodConditionsPattern {
        type_: "DisruptionTarget".to_owned(),
        status: Some("True".to_owned()),
    };
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_pod_conditions: Some(vec![evicted]),
                ..PodFailurePolicyRule::default()
            },
            PodFailurePolicyRule {
                action: "FailJob".to_owned(),
                on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                    container_name: Some(CONTAINER.to_owned()),
                    operator: "In".to_owned(),
                    values: FINAL.into(),
                }),
                ..PodFailurePolicyRule::default()
            },
        ],
    }
}

fn template(
    cluster: &ValidatedCluster,
    wanted: &Wanted,
    plan: &JobPlan,
    pod: PodSpec,
) -> PodTemplateSpec {
    let own = cluster.names.migration_labels();
    let mut labels: BTreeMap<String, String> = wanted.pod.labels.clone();
    labels.extend(own.clone());
    let spec = PodSpec {
        affinity: plan
            .beside
            .then(|| pod_options::beside(membershipd::labels(cluster, Source::File))),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        restart_policy: Some("Never".to_owned()),
        // The kernel keeps SIGTERM from a first process that does not ask for it, and a move may be
        // killed anywhere: one that is given up must not go on for the usual half minute.
        termination_grace_period_seconds: Some(1),
        ..pod
    };
    let annotations = Some(wanted.pod.annotations.clone()).filter(|some| !some.is_empty());
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels), annotations, ..ObjectMeta::default() }),
        spec: Some(pod_options::apply_to_guest(&wanted.pod, &own, spec)),
    }
}

fn container(cluster: &ValidatedCluster, wanted: &Wanted, plan: &JobPlan) -> Container {
    let backup = matches!(wanted.backup, Backup::Claim(_)).then(|| mount("backup", BACKUP_FOLDER));
    let keys = VolumeMount { read_only: Some(true), ..mount("key", "/key") };
    let mounts = [mount("source", SOURCE_FOLDER), keys].into_iter().chain(backup);
    Container {
        name: CONTAINER.to_owned(),
        image: Some(plan.image.clone()),
        image_pull_policy: wanted.pod.image_pull_policy.map(pod_options::pull_policy),
        command: Some(vec!["/membershipd".to_owned()]),
        args: Some(arguments(cluster, wanted)),
        resources: wanted.pod.resources.as_ref().map(pod_options::requirements),
        security_context: Some(restricted()),
        termination_message_path: Some(LAST_WORDS.to_owned()),
        // When it cannot even begin, the end of its log says why.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts.collect()),
        ..Container::default()
    }
}

fn arguments(cluster: &ValidatedCluster, wanted: &Wanted) -> Vec<String> {
    let mut arguments = vec![
        "migrate-to-kv".to_owned(),
        format!("--db={SOURCE_FOLDER}/{}", wanted.source.path),
        format!("--nats-url={}", cluster.names.client_url()),
        format!("--nkey=/key/{SEED_KEY}"),
        format!("--bucket-prefix={}", cluster.prefix),
        format!("--summary-file={LAST_WORDS}"),
        "--output=json".to_owned(),
    ];
    arguments.extend(match &wanted.backup {
        Backup::None => Some("--no-backup".to_owned()),
        Backup::BesideSource => None,
        Backup::Claim(_) => Some(format!("--backup-dir={BACKUP_FOLDER}/{}", cluster.names.cluster)),
    });
    arguments
}

/// The seed of a role, and nothing else of its Secret.
pub(super) fn seed_of(cluster: &ValidatedCluster, role: Role) -> Volume {
    Volume {
        name: "key".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(cluster.names.secret(role)),
            // The seed alone, and readable whatever user the source asks for: only this pod sees it.
            items: Some(vec![KeyToPath {
                key: SEED_KEY.to_owned(),
                path: SEED_KEY.to_owned(),
                ..KeyToPath::default()
            }]),
            default_mode: Some(0o444),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn volumes(cluster: &ValidatedCluster, wanted: &Wanted) -> Vec<Volume> {
    let key = seed_of(cluster, Role::Migration);
    let backup = match &wanted.backup {
        Backup::Claim(claim) => Some(volume_of("backup", claim)),
        Backup::None | Backup::BesideSource => None,
    };
    [volume_of("source", &wanted.source.claim), key].into_iter().chain(backup).collect()
}

pub(super) fn volume_of(name: &str, claim: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            ..PersistentVolumeClaimVolumeSource::default()
        }),
        ..Volume::default()
    }
}
