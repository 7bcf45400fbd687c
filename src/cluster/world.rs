//! What one look at Kubernetes and NATS found, as plain data; whose an object is, and whether a
//! bucket is still the one that was made.
//!
//! Nothing else is decided here. Who looks, and how, is no business of this room; what a
//! field must mean is written at the field.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::equal::Equality;
use super::migration;
use super::names::{Bucket, CLUSTER_LABEL, Role};
use super::sample::Round;
use super::serving;
use super::settled::{Streak, Unsettled};
use super::validate::ValidatedCluster;
use crate::api::GROUP;
use crate::api::v1alpha1::MembershipClusterStatus;

/// Everything that one look found.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The resource itself, apart from its spec.
    pub resource: Resource,
    /// The Secret of each role. A role that is missing here was not found.
    pub secrets: BTreeMap<Role, Found<SecretSeen>>,
    /// The NATS configuration.
    pub config_map: Found<ConfigMap>,
    /// The Service with the servers' own names.
    pub headless: Found<Service>,
    /// The Service for clients.
    pub client: Found<Service>,
    /// The disruption budget.
    pub disruption_budget: Found<PodDisruptionBudget>,
    /// The servers.
    pub stateful_set: Found<StatefulSet>,
    /// Every claim with the cluster's label, and every claim with the name of a server's, whoever
    /// made it.
    pub claims: Vec<Claim>,
    /// Every pod with the name of a server.
    pub pods: Vec<Pod>,
    /// The source of a migration and its Jobs.
    pub migration: migration::Seen,
    /// The membership service.
    pub membershipd: serving::Seen,
    /// What NATS said; `None` when it did not answer yet, or does not any more.
    pub nats: Option<ProbeSnapshot>,
    /// For how long nobody answered: since the last answer, or since the probe began.
    pub silence: Duration,
    /// A server answered and refused the system role's key: its Secret was made anew, and the
    /// servers do not know the new key yet.
    pub key_refused: bool,
}

impl World {
    /// The ordinals of the servers that there are to ask: as many as the StatefulSet has, for
    /// another number in the spec is refused; else as many as the spec wants.
    pub fn ordinals(&self, cluster: &ValidatedCluster) -> std::ops::Range<u8> {
        let made = self.stateful_set.ours().and_then(|set| set.spec.as_ref()?.replicas);
        let made = made.and_then(|made| u8::try_from(made).ok());
        0..made.unwrap_or_else(|| cluster.servers.count())
    }

    /// The names of these servers.
    #[must_use]
    pub fn servers(&self, cluster: &ValidatedCluster) -> Vec<String> {
        self.ordinals(cluster).map(|ordinal| cluster.names.server(ordinal)).collect()
    }
}

/// What the resource says apart from its spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// Whether it carries our finalizer.
    pub has_finalizer: bool,
    /// The accept-loss annotation.
    pub accept_loss: Option<String>,
    /// The retry-migration annotation.
    pub retry_migration: Option<String>,
    /// The status as it was last written. A report, never trusted where the world can be asked.
    pub status: MembershipClusterStatus,
}

/// An object of a child's name.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Found<T> {
    /// There is none.
    #[default]
    Absent,
    /// It is this resource's.
    Ours(T),
    /// It belongs to a deleted MembershipCluster of this name and has not gone yet.
    Old,
    /// It belongs to somebody else.
    Foreign {
        /// Whose it is, in words.
        owner: String,
    },
}

impl<T> Found<T> {
    /// The object, if it is ours.
    pub const fn ours(&self) -> Option<&T> {
        match self {
            Self::Ours(object) => Some(object),
            Self::Absent | Self::Old | Self::Foreign { .. } => None,
        }
    }

    /// The object of this name with its metadata, by whose it is.
    pub fn of(object: T, metadata: &ObjectMeta, cluster: &ValidatedCluster) -> Self {
        match ownership(metadata, cluster) {
            Ownership::Ours => Self::Ours(object),
            Ownership::Old => Self::Old,
            Ownership::Foreign { owner } => Self::Foreign { owner },
        }
    }
}

/// Whose an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// This resource's.
    Ours,
    /// A deleted resource's of the same name: the name is ours now, so the other uid is gone.
    Old,
    /// Somebody else's.
    Foreign {
        /// Whose, in words.
        owner: String,
    },
}

/// Whose an object with a child's name is. One without a controller is ours when it carries our
/// labels: its owner reference was stripped, or its old owner was deleted without its children.
#[must_use]
pub fn ownership(metadata: &ObjectMeta, cluster: &ValidatedCluster) -> Ownership {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    let Some(owner) = owners.iter().find(|owner| owner.controller == Some(true)) else {
        let labels = metadata.labels.as_ref();
        let labelled = labels.and_then(|labels| labels.get(CLUSTER_LABEL));
        return if labelled == Some(&cluster.names.cluster) {
            Ownership::Ours
        } else {
            Ownership::Foreign { owner: "nobody that the operator knows".to_owned() }
        };
    };
    let is_kind = owner.kind == "MembershipCluster"
        && owner.api_version.split('/').next() == Some(GROUP)
        && owner.name == cluster.names.cluster;
    match (is_kind, owner.uid == cluster.uid) {
        (true, true) => Ownership::Ours,
        (true, false) => Ownership::Old,
        (false, _) => Ownership::Foreign { owner: format!("{} {}", owner.kind, owner.name) },
    }
}

/// What may be known of a role's Secret. Never its seed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretSeen {
    /// The public key; `None` when the Secret has none that can be read.
    pub public_key: Option<String>,
    /// The cluster id in its annotation.
    pub cluster_id: Option<String>,
    /// Its deletion has begun.
    pub deleting: bool,
}

/// A server's claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// Its uid, for the precondition of a change.
    pub uid: String,
    /// Its resourceVersion, for the precondition of a deletion.
    pub resource_version: String,
    /// The cluster id in its annotation.
    pub cluster_id: Option<String>,
    /// Of how many servers its server was one, by its annotation.
    pub servers: Option<u8>,
    /// Whether its volume may hold data.
    pub mark: ClaimMark,
    /// A volume is bound to it.
    pub bound: bool,
    /// Its deletion has begun.
    pub deleting: bool,
}

/// What a claim's annotation [`DATA`](crate::api::DATA) says of its volume: the memory that
/// outlives the control record, should that be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimMark {
    /// Nothing was ever written, so far as is known.
    #[default]
    Fresh,
    /// The control record was made: from then on buckets may hold data.
    Made,
    /// The control record was lost, and a person accepted that.
    LossAccepted,
    /// It was made again after that. A second loss is not covered by the same word.
    MadeAgain,
}

impl ClaimMark {
    /// The annotation's value; none for a fresh claim.
    #[must_use]
    pub const fn value(self) -> Option<&'static str> {
        match self {
            Self::Fresh => None,
            Self::Made => Some("made"),
            Self::LossAccepted => Some("loss-accepted"),
            Self::MadeAgain => Some("made-again"),
        }
    }

    /// What an annotation says. A word that is not ours is taken to protect data.
    #[must_use]
    pub fn read(value: Option<&str>) -> Self {
        match value {
            None => Self::Fresh,
            Some("loss-accepted") => Self::LossAccepted,
            Some("made-again") => Self::MadeAgain,
            Some(_) => Self::Made,
        }
    }

    /// Whether the volume held a control record whose loss nobody accepted.
    #[must_use]
    pub const fn holds_data(self) -> bool {
        match self {
            Self::Made | Self::MadeAgain => true,
            Self::Fresh | Self::LossAccepted => false,
        }
    }
}

/// A server's pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its name, which is its server's.
    pub name: String,
    /// Its uid, for the precondition of a deletion.
    pub uid: String,
    /// Its resourceVersion, for the same.
    pub resource_version: String,
    /// Its Ready condition is true.
    pub ready: bool,
    /// Its deletion has begun.
    pub deleting: bool,
    /// The template revision that it was made from (`controller-revision-hash`).
    pub revision: Option<String>,
    /// The image in its spec.
    pub image: Option<String>,
    /// The uid of the StatefulSet that owns it; `None` when nothing does.
    pub owner_uid: Option<String>,
    /// The node it is on.
    pub node: Option<String>,
    /// Why it does not run, in a few words of Kubernetes' own, such as `ImagePullBackOff` or
    /// `Unschedulable`.
    pub trouble: Option<String>,
}

/// What the probe knows of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeSnapshot {
    /// How long ago the newest round was asked, when this snapshot was taken.
    pub age: Duration,
    /// The newest round.
    pub round: Round,
    /// The meta group by the rounds so far: its streak, or what is wrong in the newest round.
    pub meta: Result<Streak, Unsettled>,
    /// The control record. Asked before the streams, so that a bucket which it lists was looked up
    /// after it had been made.
    pub control: Lookup<ControlRecord>,
    /// Every bucket of [`Bucket::ALL`].
    pub buckets: BTreeMap<Bucket, BucketSeen>,
    /// What each server that answers runs with, by server name.
    pub servers: BTreeMap<String, ServerFacts>,
}

impl ProbeSnapshot {
    /// Whether a bucket has lost what it held: the control record lists it and it is gone, or it was
    /// made at another time than the record says.
    #[must_use]
    pub fn has_lost(&self, bucket: Bucket) -> bool {
        let (Some(record), Some(seen)) = (self.control.present(), self.buckets.get(&bucket)) else {
            return false;
        };
        match &seen.stream {
            Lookup::Unknown | Lookup::Unreadable { .. } => false,
            Lookup::Absent => record.made.contains(&bucket),
            Lookup::Present(stream) => {
                record.born.get(&bucket).is_some_and(|born| *born != stream.created)
            }
        }
    }
}

/// The answer to "is it there?". Only a server that knows may say no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Lookup<T> {
    /// No answer, or one from a server that does not know.
    #[default]
    Unknown,
    /// The leader says that there is none.
    Absent,
    /// It is there and cannot be read: broken, or written by a newer program.
    Unreadable {
        /// Why, in words.
        why: String,
    },
    /// It is there.
    Present(T),
}

impl<T> Lookup<T> {
    /// What is there.
    pub const fn present(&self) -> Option<&T> {
        match self {
            Self::Present(found) => Some(found),
            Self::Unknown | Self::Absent | Self::Unreadable { .. } => None,
        }
    }
}

/// A bucket as its stream's leader and the rounds show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSeen {
    /// The stream. `Absent` only by the meta leader's own word ("stream not found").
    pub stream: Lookup<StreamFacts>,
    /// Whether all its replicas hold the same, judged for the replicas that it has.
    pub equality: Equality,
}

/// A stream as its leader reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamFacts {
    /// The replicas in its configuration.
    pub replicas: u8,
    /// The server that leads it.
    pub leader: Option<String>,
    /// The messages in it.
    pub messages: u64,
    /// When it was made, in the servers' words: another time is another stream.
    pub created: String,
}

/// The part of the control record that plans are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlRecord {
    /// The cluster whose data this is.
    pub cluster_id: String,
    /// The buckets that were made, and hold data since.
    pub made: BTreeSet<Bucket>,
    /// The buckets whose loss a person accepted once.
    pub losses_accepted: BTreeSet<Bucket>,
    /// When buckets were made that something was kept in since, in the servers' words. Compared for
    /// being the same, never with a clock.
    pub born: BTreeMap<Bucket, String>,
    /// How far a migration into the buckets has come, if one began.
    pub migration: Option<migration::Mark>,
    /// Whether the buckets were ever served from.
    pub served: bool,
}

/// What a server runs with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its version.
    pub version: String,
    /// The digest of its configuration, as the configuration itself says.
    pub config: Option<String>,
}

/// What a decision is given besides the spec and the world: the time, a random value and the
/// operator's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The time.
    pub now: Timestamp,
    /// A random id, used when the cluster has none yet.
    pub fresh_id: String,
    /// The image of servers when the spec sets none and none runs.
    pub default_image: String,
    /// The image of `membershipd` when the spec sets none.
    pub default_membershipd_image: String,
}
