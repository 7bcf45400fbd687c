//! A part's [`PodOptions`](crate::api::v1alpha1::PodOptions) in the words of a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, PodAffinity, PodAffinityTerm, PodAntiAffinity,
    PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile, Toleration,
    TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api::v1alpha1::{
    self as api, AntiAffinity, ImagePullPolicy, PodOptions, ResourceAmounts, Resources,
    TolerationEffect, TolerationOperator, WhenUnsatisfiable,
};
use crate::cluster::validate::ValidatedCluster;

/// The user and groups when nothing is said: "nobody" in distroless images.
const NOBODY: i64 = 65_532;

/// The pod with the options of a part whose pods, which these labels find, keep apart.
pub(super) fn apply(
    options: &PodOptions,
    labels: BTreeMap<String, String>,
    rule: AntiAffinity,
    spec: PodSpec,
) -> PodSpec {
    let selector = LabelSelector { match_labels: Some(labels), ..LabelSelector::default() };
    PodSpec {
        affinity: Some(apart(rule, &selector)),
        security_context: Some(users(options.pod_security_context.as_ref(), Some(NOBODY))),
        ..placed(options, &selector, spec)
    }
}

/// The pod with the options of a part that works on a volume of somebody else: no group takes over
/// the files in it unless that was asked for.
pub(super) fn apply_to_guest(
    options: &PodOptions,
    labels: &BTreeMap<String, String>,
    spec: PodSpec,
) -> PodSpec {
    let selector = LabelSelector { match_labels: Some(labels.clone()), ..LabelSelector::default() };
    PodSpec {
        security_context: Some(users(options.pod_security_context.as_ref(), None)),
        ..placed(options, &selector, spec)
    }
}

/// Where the pod runs, and by whose leave its image is had.
fn placed(options: &PodOptions, selector: &LabelSelector, spec: PodSpec) -> PodSpec {
    PodSpec {
        image_pull_secrets: some(options.image_pull_secrets.iter().map(pull_secret).collect()),
        node_selector: (!options.node_selector.is_empty()).then(|| options.node_selector.clone()),
        priority_class_name: options.priority_class_name.clone(),
        tolerations: some(options.tolerations.iter().map(toleration).collect()),
        topology_spread_constraints: some(
            options.topology_spread_constraints.iter().map(|one| spread(one, selector)).collect(),
        ),
        ..spec
    }
}

/// Two servers on one node would fall together.
fn apart(rule: AntiAffinity, selector: &LabelSelector) -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(selector.clone()),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let anti = match rule {
        AntiAffinity::Required => PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        },
        AntiAffinity::Preferred => PodAntiAffinity {
            preferred_during_scheduling_ignored_during_execution: Some(vec![
                WeightedPodAffinityTerm { pod_affinity_term: term, weight: 100 },
            ]),
            ..PodAntiAffinity::default()
        },
    };
    Affinity { pod_anti_affinity: Some(anti), ..Affinity::default() }
}

/// On the node of the pods with these labels: a volume for one node is there.
pub(super) fn beside(labels: BTreeMap<String, String>) -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some(labels),
            ..LabelSelector::default()
        }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let near = PodAffinity {
        required_during_scheduling_ignored_during_execution: Some(vec![term]),
        ..PodAffinity::default()
    };
    Affinity { pod_affinity: Some(near), ..Affinity::default() }
}

/// `OnRootMismatch`: changing the owner of every file of a large volume would delay each start.
fn users(options: Option<&api::PodSecurityContext>, group: Option<i64>) -> PodSecurityContext {
    let options = options.cloned().unwrap_or_default();
    PodSecurityContext {
        fs_group_change_policy: options.fs_group.or(group).map(|_| "OnRootMismatch".to_owned()),
        fs_group: options.fs_group.or(group),
        run_as_group: Some(options.run_as_group.unwrap_or(NOBODY)),
        run_as_non_root: Some(true),
        run_as_user: Some(options.run_as_user.unwrap_or(NOBODY)),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        supplemental_groups: some(options.supplemental_groups),
        ..PodSecurityContext::default()
    }
}

/// CPU and memory of the container.
pub(super) fn requirements(resources: &Resources) -> ResourceRequirements {
    ResourceRequirements {
        limits: resources.limits.as_ref().map(amounts),
        requests: resources.requests.as_ref().map(amounts),
        ..ResourceRequirements::default()
    }
}

/// The memory limit of the NATS container, if one is set.
pub(super) fn memory_limit_bytes(cluster: &ValidatedCluster) -> Option<u64> {
    let limits = cluster.pod.resources.as_ref()?.limits.as_ref()?;
    limits.memory.as_ref()?.whole()
}

fn amounts(amounts: &ResourceAmounts) -> BTreeMap<String, Quantity> {
    let ResourceAmounts { cpu, memory, ephemeral_storage } = amounts;
    [("cpu", cpu), ("memory", memory), ("ephemeral-storage", ephemeral_storage)]
        .into_iter()
        .filter_map(|(name, amount)| Some((name.to_owned(), Quantity(amount.as_ref()?.0.clone()))))
        .collect()
}

/// The pull policy in Kubernetes' words.
pub(super) fn pull_policy(policy: ImagePullPolicy) -> String {
    match policy {
        ImagePullPolicy::Always => "Always",
        ImagePullPolicy::IfNotPresent => "IfNotPresent",
        ImagePullPolicy::Never => "Never",
    }
    .to_owned()
}

fn pull_secret(secret: &api::LocalSecret) -> LocalObjectReference {
    LocalObjectReference { name: secret.name.clone() }
}

fn toleration(toleration: &api::Toleration) -> Toleration {
    let operator = toleration.operator.map(|operator| match operator {
        TolerationOperator::Exists => "Exists",
        TolerationOperator::Equal => "Equal",
    });
    let effect = toleration.effect.map(|effect| match effect {
        TolerationEffect::NoSchedule => "NoSchedule",
        TolerationEffect::PreferNoSchedule => "PreferNoSchedule",
        TolerationEffect::NoExecute => "NoExecute",
    });
    Toleration {
        effect: effect.map(str::to_owned),
        key: toleration.key.clone(),
        operator: operator.map(str::to_owned),
        toleration_seconds: toleration.toleration_seconds,
        value: toleration.value.clone(),
    }
}

fn spread(
    constraint: &api::TopologySpreadConstraint,
    selector: &LabelSelector,
) -> TopologySpreadConstraint {
    let when = match constraint.when_unsatisfiable {
        WhenUnsatisfiable::DoNotSchedule => "DoNotSchedule",
        WhenUnsatisfiable::ScheduleAnyway => "ScheduleAnyway",
    };
    TopologySpreadConstraint {
        label_selector: Some(selector.clone()),
        max_skew: constraint.max_skew,
        topology_key: constraint.topology_key.clone(),
        when_unsatisfiable: when.to_owned(),
        ..TopologySpreadConstraint::default()
    }
}

fn some<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}
