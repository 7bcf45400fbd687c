//! The membership service: a Deployment over the buckets or over the SQLite file, one Service for
//! both and one disruption budget.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment,
};
use k8s_openapi::api::core::v1::{
    Container, HTTPGetAction, Lifecycle, LifecycleHandler, PodSpec, PodTemplateSpec, Probe,
    Service, SleepAction, Volume, VolumeMount,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::job::{seed_of, volume_of};
use super::pod::{mount, port, restricted};
use super::secret::SEED_KEY;
use super::{Facts, digest, metadata, pod_disruption_budget, pod_options, service};
use crate::api::CONFIG_DIGEST;
use crate::api::v1alpha1::{AntiAffinity, FirstAdmin};
use crate::cluster::migration;
use crate::cluster::names::{Role, STORE_LABEL};
use crate::cluster::serving::{Begins, Source, Wanted};
use crate::cluster::validate::ValidatedCluster;

/// Where the volume with the SQLite file is mounted.
const FILE_FOLDER: &str = "/data";

/// How long a pod that is to end goes on answering: until nobody sends requests to it any more.
const LINGER_SECONDS: i64 = 5;

/// Longer than that and the ten seconds that the last answers may take.
const GRACE_SECONDS: i64 = 30;

/// How long a pod over the buckets waits for them before it begins again. One that waits for a move
/// does so without end.
const START_SECONDS: u16 = 3600;

/// The objects of the membership service.
#[derive(Clone, Debug, PartialEq)]
pub struct Serving {
    /// Where callers come in.
    pub service: Service,
    /// At most one replica over the buckets away at a time.
    pub disruption_budget: PodDisruptionBudget,
    /// The pods over the buckets.
    pub buckets: Deployment,
    /// The pod over the SQLite file, where there is one.
    pub file: Option<Deployment>,
}

/// Builds the membership service.
#[must_use]
pub fn build_serving(cluster: &ValidatedCluster, wanted: &Wanted, facts: &Facts) -> Serving {
    let file = cluster.migration.as_ref().map(|file| file_deployment(cluster, wanted, file, facts));
    Serving {
        service: service::build_membershipd(cluster),
        disruption_budget: budget(cluster),
        buckets: buckets_deployment(cluster, wanted, facts),
        file,
    }
}

/// A pod that serves nobody may go at any time: while a move is waited for, that is each of them. The
/// one pod over a file is not counted, for nothing could take its place.
fn budget(cluster: &ValidatedCluster) -> PodDisruptionBudget {
    let mut metadata = metadata(cluster, cluster.names.membershipd());
    metadata.labels = Some(cluster.names.membershipd_labels());
    let selector = labels(cluster, Source::Buckets);
    let mut budget = pod_disruption_budget::one_at_a_time(metadata, selector);
    budget.spec.get_or_insert_default().unhealthy_pod_eviction_policy =
        Some("AlwaysAllow".to_owned());
    budget
}

/// Not one replica less than wanted while a change is rolled out.
fn buckets_deployment(cluster: &ValidatedCluster, wanted: &Wanted, facts: &Facts) -> Deployment {
    let rolling = DeploymentStrategy {
        type_: Some("RollingUpdate".to_owned()),
        rolling_update: Some(RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        }),
    };
    let key = VolumeMount { read_only: Some(true), ..mount("key", "/key") };
    let container = container(wanted, facts, bucket_arguments(cluster, facts.begins), key);
    let own = labels(cluster, Source::Buckets);
    let spec = pod(container, seed_of(cluster, Role::Membershipd));
    // Without a volume of its own, none need wait for a node of its own.
    let spec = pod_options::apply(&wanted.pod, own, AntiAffinity::Preferred, spec);
    let mut template = template(cluster, wanted, Source::Buckets, spec);
    // A new key is read at the start only.
    let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
    annotations.insert(CONFIG_DIGEST.to_owned(), digest(&facts.keys.membershipd));
    deployment(cluster, (Source::Buckets, i32::from(wanted.replicas)), rolling, template)
}

/// Never two programs over one file: the old one goes before the new one comes.
fn file_deployment(
    cluster: &ValidatedCluster,
    wanted: &Wanted,
    file: &migration::Wanted,
    facts: &Facts,
) -> Deployment {
    let recreate = DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
    let path = format!("{FILE_FOLDER}/{}", file.source.path);
    let arguments = ["--store=sqlite".to_owned(), format!("--db={path}")];
    let container = container(wanted, facts, arguments.to_vec(), mount("source", FILE_FOLDER));
    let own = labels(cluster, Source::File);
    let spec = pod(container, volume_of("source", &file.source.claim));
    let spec = pod_options::apply_to_guest(&wanted.pod, &own, spec);
    let template = template(cluster, wanted, Source::File, spec);
    deployment(cluster, (Source::File, 1), recreate, template)
}

/// The labels that tell the pods of a source from all others; never changed, as a Deployment's
/// selector.
pub(super) fn labels(cluster: &ValidatedCluster, source: Source) -> BTreeMap<String, String> {
    let mut labels = cluster.names.membershipd_selector();
    labels.insert(STORE_LABEL.to_owned(), source.label().to_owned());
    labels
}

fn deployment(
    cluster: &ValidatedCluster,
    (source, replicas): (Source, i32),
    strategy: DeploymentStrategy,
    template: PodTemplateSpec,
) -> Deployment {
    let name = match source {
        Source::Buckets => cluster.names.membershipd(),
        Source::File => cluster.names.membershipd_sqlite(),
    };
    let mut metadata = metadata(cluster, name);
    metadata.labels = Some(cluster.names.membershipd_labels());
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            revision_history_limit: Some(2),
            selector: LabelSelector {
                match_labels: Some(labels(cluster, source)),
                ..LabelSelector::default()
            },
            strategy: Some(strategy),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

fn template(
    cluster: &ValidatedCluster,
    wanted: &Wanted,
    source: Source,
    spec: PodSpec,
) -> PodTemplateSpec {
    let mut all = wanted.pod.labels.clone();
    all.extend(cluster.names.membershipd_labels());
    all.extend(labels(cluster, source));
    let annotations = Some(wanted.pod.annotations.clone()).filter(|some| !some.is_empty());
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(all), annotations, ..ObjectMeta::default() }),
        spec: Some(spec),
    }
}

fn pod(container: Container, volume: Volume) -> PodSpec {
    PodSpec {
        automount_service_account_token: Some(false),
        containers: vec![container],
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        volumes: Some(vec![volume]),
        ..PodSpec::default()
    }
}

fn container(wanted: &Wanted, facts: &Facts, store: Vec<String>, volume: VolumeMount) -> Container {
    let listen = ["serve", "--listen=[::]:8080", "--admin-listen=[::]:8081", "--log-format=json"];
    let arguments = listen.map(str::to_owned).into_iter().chain(store);
    let arguments = arguments.chain(wanted.first_admin.iter().flat_map(first_admin));
    Container {
        name: "membershipd".to_owned(),
        image: Some(facts.membershipd_image.clone()),
        image_pull_policy: wanted.pod.image_pull_policy.map(pod_options::pull_policy),
        command: Some(vec!["/membershipd".to_owned()]),
        args: Some(arguments.collect()),
        lifecycle: Some(linger()),
        ports: Some(vec![port("http", 8080), port("admin", 8081)]),
        readiness_probe: Some(probe("/readyz", (1, 3, 2))),
        liveness_probe: Some(probe("/livez", (10, 3, 6))),
        resources: wanted.pod.resources.as_ref().map(pod_options::requirements),
        security_context: Some(restricted()),
        volume_mounts: Some(vec![volume]),
        ..Container::default()
    }
}

fn bucket_arguments(cluster: &ValidatedCluster, begins: Begins) -> Vec<String> {
    // Each by its own name: one address would lead to a server that is away as often as not.
    let servers = cluster.servers.ordinals().map(|ordinal| cluster.names.server_host(ordinal));
    let servers: Vec<String> = servers.map(|host| format!("nats://{host}:4222")).collect();
    let mut arguments = vec![
        "--store=jetstream".to_owned(),
        format!("--nats-url={}", servers.join(",")),
        format!("--nkey=/key/{SEED_KEY}"),
        format!("--bucket-prefix={}", cluster.prefix),
        format!("--start-timeout={START_SECONDS}"),
    ];
    arguments.extend((begins == Begins::AfterMigration).then(|| Begins::ARGUMENT.to_owned()));
    arguments
}

fn first_admin(admin: &FirstAdmin) -> [String; 2] {
    // Kubernetes takes `$(NAME)` in an argument for a variable.
    let handle = admin.handle.replace('$', "$$");
    [format!("--first-admin={}", admin.public_key), format!("--first-admin-handle={handle}")]
}

/// A pod that is to end leaves the Service at once, but those who send to it hear of that later.
fn linger() -> Lifecycle {
    Lifecycle {
        pre_stop: Some(LifecycleHandler {
            sleep: Some(SleepAction { seconds: LINGER_SECONDS }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    }
}

/// Ready means that the store proves something: a replica that is cut off leaves the Service within
/// ten seconds, and one whose store has come is in it within two.
fn probe(path: &str, (period, timeout, failures): (i32, i32, i32)) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("admin".to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(timeout),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}
