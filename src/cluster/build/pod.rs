//! The pod of a NATS server: one container under the restricted profile.

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource,
    ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler, ObjectFieldSelector, PodSpec, Probe,
    SeccompProfile, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::config_map::CONFIG_FILE;
use super::nats_config::NAME_VARIABLE;
use super::pod_options;
use crate::cluster::names::CLAIM_TEMPLATE;
use crate::cluster::validate::ValidatedCluster;

/// Longer than lame duck's grace (10 s) and duration (30 s) together.
const GRACE_SECONDS: i64 = 60;

/// A server listens only when it has read back all its streams. One that is killed over that begins
/// again and never ends.
const START_SECONDS: i32 = 900;

/// Where the configuration is mounted. As a folder: a file mount would never see a change.
const CONFIG_FOLDER: &str = "/etc/nats";

pub(super) fn build(cluster: &ValidatedCluster, image: &str) -> PodSpec {
    let config = Volume {
        name: "config".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: cluster.names.nats(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let spec = PodSpec {
        automount_service_account_token: Some(false),
        containers: vec![container(cluster, image)],
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        volumes: Some(vec![config]),
        ..PodSpec::default()
    };
    let selector = cluster.names.selector();
    pod_options::apply(&cluster.pod, selector, cluster.anti_affinity, spec)
}

fn container(cluster: &ValidatedCluster, image: &str) -> Container {
    let config = format!("{CONFIG_FOLDER}/{CONFIG_FILE}");
    let args = ["--config", &config];
    Container {
        name: "nats".to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: cluster.pod.image_pull_policy.map(pod_options::pull_policy),
        args: Some(args.map(str::to_owned).into()),
        env: Some(environment(cluster)),
        lifecycle: Some(lame_duck()),
        ports: Some(vec![port("client", 4222), port("cluster", 6222), port("monitor", 8222)]),
        startup_probe: Some(probe("/healthz?js-server-only=true", 1, START_SECONDS)),
        readiness_probe: Some(probe("/healthz?js-server-only=true", 2, 3)),
        liveness_probe: Some(probe("/healthz?js-enabled-only=true", 10, 6)),
        resources: cluster.pod.resources.as_ref().map(pod_options::requirements),
        security_context: Some(restricted()),
        volume_mounts: Some(vec![
            VolumeMount { read_only: Some(true), ..mount("config", CONFIG_FOLDER) },
            mount(CLAIM_TEMPLATE, "/data"),
        ]),
        ..Container::default()
    }
}

/// The pod's name is the server's; Go keeps its heap under the memory limit.
fn environment(cluster: &ValidatedCluster) -> Vec<EnvVar> {
    let name = EnvVar {
        name: NAME_VARIABLE.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".to_owned()),
                field_path: "metadata.name".to_owned(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let heap = pod_options::memory_limit_bytes(cluster).map(|bytes| EnvVar {
        name: "GOMEMLIMIT".to_owned(),
        value: Some((bytes / 10 * 9).to_string()),
        ..EnvVar::default()
    });
    std::iter::once(name).chain(heap).collect()
}

/// Hands leaderships over and lets clients go one by one. The server ignores the SIGTERM that
/// follows while it does so.
fn lame_duck() -> Lifecycle {
    let command = ["nats-server", "--signal", "ldm=1"].map(str::to_owned);
    Lifecycle {
        pre_stop: Some(LifecycleHandler {
            exec: Some(ExecAction { command: Some(command.into()) }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    }
}

/// Readiness asks for this server alone: full health would take every endpoint away when quorum is
/// lost, and as liveness it would restart the survivors.
fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("monitor".to_owned()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}

pub(super) fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..SecurityContext::default()
    }
}

pub(super) fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

pub(super) fn mount(name: &str, path: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: path.to_owned(), ..VolumeMount::default() }
}
