//! Sentences for people: what is going on, and what a person has to do. They stay the same while
//! the state does: no times, no counters.

use std::collections::BTreeSet;

use super::{migration, serving};
use crate::api::ACCEPT_LOSS;
use crate::api::conditions::Reason;
use crate::cluster::names::Bucket;
use crate::cluster::plan::{Trouble, Wait};
use crate::cluster::settled::Unsettled;
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::world::Pod;

/// A list for people, cut after three.
pub(super) fn list<T: AsRef<str>>(items: &[T]) -> String {
    let shown: Vec<&str> = items.iter().take(3).map(AsRef::as_ref).collect();
    let more = items.len().saturating_sub(shown.len());
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

fn names(cluster: &ValidatedCluster, buckets: &BTreeSet<Bucket>) -> String {
    if buckets.len() == Bucket::ALL.len() {
        return "all buckets".to_owned();
    }
    let names: Vec<String> = buckets.iter().map(|bucket| bucket.name(&cluster.prefix)).collect();
    list(&names)
}

/// Servers by name, each with Kubernetes' word for why it does not run.
pub(super) fn servers(pods: &[Pod], names: &[String]) -> String {
    let words = names.iter().map(|name| {
        let pod = pods.iter().find(|pod| pod.name == *name);
        match pod.and_then(|pod| pod.trouble.as_ref()) {
            Some(trouble) => format!("{name} ({trouble})"),
            None => name.clone(),
        }
    });
    list(&words.collect::<Vec<String>>())
}

/// What is waited for, as a reason and a sentence.
#[must_use]
pub fn wait_words(cluster: &ValidatedCluster, pods: &[Pod], wait: &Wait) -> (Reason, String) {
    match wait {
        Wait::Nothing => (Reason::ReconcileComplete, "nothing is left to do".to_owned()),
        Wait::Children => (Reason::Applying, "writing Secrets and manifests".to_owned()),
        Wait::Suspended => (
            Reason::Suspended,
            "suspended: nothing is changed until spec.suspend is false".to_owned(),
        ),
        Wait::OldChildrenGone { children } => (
            Reason::OldChildrenGoing,
            format!("waiting for what a deleted resource of this name left: {}", list(children)),
        ),
        Wait::OwnChildrenGone { children } if children.is_empty() => {
            (Reason::Deleting, "being deleted".to_owned())
        }
        Wait::OwnChildrenGone { children } => {
            (Reason::Deleting, format!("being deleted: {}", list(children)))
        }
        Wait::Servers { missing } => {
            (Reason::ServersNotReady, format!("waiting for servers: {}", servers(pods, missing)))
        }
        Wait::Nats => (Reason::NatsUnreachable, "waiting for an answer of NATS".to_owned()),
        Wait::MetaLeader => (Reason::Settling, "waiting for the meta leader to settle".to_owned()),
        Wait::Restarts { servers: left, missing } => {
            (Reason::RollingRestart, restarts(left, &servers(pods, missing)))
        }
        Wait::Reloads { servers } => {
            (Reason::Reloading, format!("reloading the configuration of {}", list(servers)))
        }
        Wait::BucketsMade { .. }
        | Wait::BucketLeaders { .. }
        | Wait::BucketsRaised { .. }
        | Wait::BucketsEqual { .. } => bucket_words(cluster, wait),
        Wait::Migration(wait) => migration::wait_words(wait),
        Wait::Serving(wait) => serving::wait_words(wait),
        Wait::Person(trouble) => (trouble_reason(trouble), trouble_words(cluster, trouble)),
    }
}

fn bucket_words(cluster: &ValidatedCluster, wait: &Wait) -> (Reason, String) {
    match wait {
        Wait::BucketsMade { buckets } => {
            (Reason::CreatingBuckets, format!("creating {} at R1", names(cluster, buckets)))
        }
        Wait::BucketLeaders { buckets } => (
            Reason::BucketWithoutLeader,
            format!("waiting for a leader of {}", names(cluster, buckets)),
        ),
        Wait::BucketsRaised { buckets } => (
            Reason::RaisingReplicas,
            format!("raising {} to R{}", names(cluster, buckets), cluster.bucket_replicas),
        ),
        Wait::BucketsEqual { buckets } => (
            Reason::ReplicasSyncing,
            format!("waiting for equal replicas of {}", names(cluster, buckets)),
        ),
        Wait::Nothing
        | Wait::Children
        | Wait::Suspended
        | Wait::OldChildrenGone { .. }
        | Wait::OwnChildrenGone { .. }
        | Wait::Servers { .. }
        | Wait::Nats
        | Wait::MetaLeader
        | Wait::Restarts { .. }
        | Wait::Reloads { .. }
        | Wait::Migration(_)
        | Wait::Serving(_)
        | Wait::Person(_) => (Reason::ReconcileComplete, String::new()),
    }
}

fn restarts(left: &[String], missing: &str) -> String {
    let left = list(left);
    if missing.is_empty() {
        return format!("restarting one server at a time, still to come: {left}");
    }
    format!("restarting one server at a time, waiting for {missing}, still to come: {left}")
}

/// The reason of a trouble.
pub(super) const fn trouble_reason(trouble: &Trouble) -> Reason {
    match trouble {
        Trouble::NameTaken { .. } => Reason::NameTaken,
        Trouble::ForeignData { .. } => Reason::ForeignData,
        Trouble::QuorumAtRisk { .. } => Reason::QuorumAtRisk,
        Trouble::BucketLost { .. } => Reason::BucketLost,
        Trouble::ReplicasChanged { .. } => Reason::ReplicasChanged,
        Trouble::StorageChanged { .. } => Reason::StorageChanged,
        Trouble::Migration(trouble) => migration::trouble_reason(trouble),
        Trouble::NoWayBack { .. } => Reason::NoWayBack,
    }
}

/// What happened, why nothing is done, and what a person can do.
pub(super) fn trouble_words(cluster: &ValidatedCluster, trouble: &Trouble) -> String {
    match trouble {
        Trouble::Migration(trouble) => migration::trouble_words(cluster, trouble),
        Trouble::NoWayBack { moved } => {
            let why = if *moved { "has moved to" } else { "began in" };
            format!(
                "the membership {why} the buckets and is served from there for good: set \
                 membershipd.store back to JetStream"
            )
        }
        Trouble::NameTaken { kind, name, owner } => format!(
            "{kind} {name} belongs to {owner} and is left alone: delete it, or give this resource \
             another name"
        ),
        Trouble::ForeignData { what } => format!(
            "{what}: nothing is started, so that no data is mixed; remove what is not this \
             cluster's, or give this resource another name"
        ),
        Trouble::QuorumAtRisk { left, quorum } => format!(
            "{left} of the volumes that held data are left and a majority is {quorum}: nothing is \
             started, so that no empty majority overrules them; restore the missing claims"
        ),
        Trouble::BucketLost { bucket, cluster_id } => {
            let name = bucket.name(&cluster.prefix);
            format!(
                "what bucket {name} held is gone: restore it, or go on with an empty one by the \
                 annotation {ACCEPT_LOSS}={name}/{cluster_id}"
            )
        }
        Trouble::ReplicasChanged { from, to } => format!(
            "replicas cannot be changed from {from} to {to} yet: set it back to {from}, or create \
             a new cluster"
        ),
        Trouble::StorageChanged { from, to } => format!(
            "nats.storage.size cannot be changed from {from} to {to} yet: set it back to {from}, \
             or create a new cluster"
        ),
    }
}

/// What is wrong with the meta group.
pub(super) fn unsettled_words(unsettled: &Unsettled) -> (Reason, String) {
    match unsettled {
        Unsettled::Silent { server } => (Reason::Settling, format!("{server} does not answer")),
        Unsettled::NoLeader { server } => {
            (Reason::NoMetaLeader, format!("{server} follows no meta leader"))
        }
        Unsettled::Disagreement { one, other } => (
            Reason::NoMetaLeader,
            format!("the servers do not agree on a meta leader: {one} and {other} are named"),
        ),
        Unsettled::WrongSize { size } => {
            (Reason::Settling, format!("the meta group takes itself to have {size} members"))
        }
        Unsettled::Behind { server } => {
            (Reason::Settling, format!("{server} is away from the meta group or behind it"))
        }
    }
}
