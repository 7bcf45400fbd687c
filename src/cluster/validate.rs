//! Spec to [`ValidatedCluster`]: checked once, defaults resolved, then trusted. The CRD refuses the
//! same mistakes first; this is for resources that were stored under another CRD.

use std::time::Duration;

use kube::ResourceExt;
use thiserror::Error;

use super::migration::Wanted;
use super::names::Names;
use super::serving::{self, Source};
use crate::api::v1alpha1::{
    AntiAffinity, ByteSize, DeletionPolicy, InvalidScalar, MembershipCluster,
    MembershipClusterSpec, Membershipd, PodOptions, Sqlite, Store,
};

/// How many servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Servers {
    /// A standalone server, for development.
    One,
    /// Survives the loss of one.
    Three,
    /// Survives the loss of two.
    Five,
}

impl Servers {
    /// As a number.
    #[must_use]
    pub const fn count(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Three => 3,
            Self::Five => 5,
        }
    }

    /// How many make a majority.
    #[must_use]
    pub const fn quorum(self) -> u8 {
        self.count() / 2 + 1
    }

    /// The ordinals of the servers.
    pub fn ordinals(self) -> impl Iterator<Item = u8> {
        0..self.count()
    }
}

impl TryFrom<i32> for Servers {
    type Error = InvalidSpec;

    fn try_from(number: i32) -> Result<Self, InvalidSpec> {
        match number {
            1 => Ok(Self::One),
            3 => Ok(Self::Three),
            5 => Ok(Self::Five),
            _ => Err(InvalidSpec::Replicas { number }),
        }
    }
}

/// Why a spec cannot be acted on. The text is shown in the resource's status.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidSpec {
    /// Not one of the sizes on offer.
    #[error("replicas must be 1, 3 or 5, not {number}")]
    Replicas {
        /// What was asked for.
        number: i32,
    },
    /// More replicas than servers.
    #[error("buckets.replicas ({buckets}) must not exceed replicas ({servers})")]
    TooManyBucketReplicas {
        /// Replicas asked for.
        buckets: u8,
        /// Servers asked for.
        servers: u8,
    },
    /// A size or duration that cannot be read.
    #[error(transparent)]
    Scalar(#[from] InvalidScalar),
    /// The buckets do not fit.
    #[error("seven buckets of buckets.maxBytes must fit into 80 % of nats.storage.size")]
    BucketsTooLarge,
    /// SQLite is to be served from, and nothing says which file.
    #[error("membershipd.store: SQLite needs sqlite: it says which file is served")]
    NoFile,
    /// Fewer than one of the membership service, or many more than are of use.
    #[error("membershipd.replicas must be 1 to 9, not {number}")]
    MembershipdReplicas {
        /// What was asked for.
        number: i32,
    },
    /// No name, namespace or uid: the object did not come from an API server.
    #[error("the resource has no {field}")]
    Incomplete {
        /// What is missing.
        field: &'static str,
    },
}

/// A spec that has been checked: the only input of builders and plans.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedCluster {
    /// Names of the children.
    pub names: Names,
    /// The resource's uid, which every child's owner reference carries.
    pub uid: String,
    /// The generation of the spec.
    pub generation: i64,
    /// Whether the resource is being deleted.
    pub deleting: bool,
    /// How many servers.
    pub servers: Servers,
    /// How many replicas each bucket has in the end.
    pub bucket_replicas: u8,
    /// First part of the buckets' names.
    pub prefix: String,
    /// Largest size of each bucket, in bytes.
    pub bucket_max_bytes: u64,
    /// Size of each volume, as written.
    pub storage_size: ByteSize,
    /// Bytes that JetStream may fill: 80 % of the volume.
    pub file_store_bytes: u64,
    /// Storage class of the volumes.
    pub storage_class: Option<String>,
    /// Debug logging in the servers.
    pub debug: bool,
    /// Whether servers may share a node.
    pub anti_affinity: AntiAffinity,
    /// Options of the server pods.
    pub pod: PodOptions,
    /// How long the meta leader must hold.
    pub settle: Duration,
    /// How long the first start may take once the servers are ready.
    pub timeout: Duration,
    /// The SQLite file that the cluster begins from, and how it is moved.
    pub migration: Option<Wanted>,
    /// The membership service.
    pub membershipd: Option<serving::Wanted>,
    /// What becomes of the volumes.
    pub deletion_policy: DeletionPolicy,
    /// Whether to change nothing.
    pub suspend: bool,
}

/// Checks a resource and resolves its defaults.
///
/// # Errors
/// The first thing that makes the spec impossible to act on.
pub fn validate(resource: &MembershipCluster) -> Result<ValidatedCluster, InvalidSpec> {
    let meta = &resource.metadata;
    let incomplete = |field| InvalidSpec::Incomplete { field };
    // Without `..`: a new field of the spec that nobody reads must not compile.
    let MembershipClusterSpec {
        replicas,
        nats,
        buckets,
        bootstrap,
        sqlite,
        migration: _,
        membershipd,
        deletion_policy,
        suspend,
    } = &resource.spec;
    let servers = Servers::try_from(*replicas)?;
    let file_store_bytes = file_store_bytes(&nats.storage.size)?;
    let bucket_max_bytes = buckets.max_bytes.bytes()?;
    if u128::from(bucket_max_bytes) * 7 > u128::from(file_store_bytes) {
        return Err(InvalidSpec::BucketsTooLarge);
    }
    Ok(ValidatedCluster {
        names: Names {
            cluster: resource.name_any(),
            namespace: resource.namespace().ok_or(incomplete("namespace"))?,
        },
        uid: resource.uid().ok_or(incomplete("uid"))?,
        generation: meta.generation.ok_or(incomplete("generation"))?,
        deleting: meta.deletion_timestamp.is_some(),
        servers,
        bucket_replicas: bucket_replicas(buckets.replicas, servers)?,
        prefix: buckets.prefix.clone(),
        bucket_max_bytes,
        storage_size: nats.storage.size.clone(),
        file_store_bytes,
        storage_class: nats.storage.storage_class_name.clone(),
        debug: nats.debug,
        anti_affinity: nats.anti_affinity,
        pod: nats.pod.clone(),
        settle: bootstrap.settle.duration()?,
        timeout: bootstrap.timeout.duration()?,
        migration: Wanted::of(&resource.spec),
        membershipd: membershipd.as_ref().map(|part| service(part, sqlite.as_ref())).transpose()?,
        deletion_policy: *deletion_policy,
        suspend: *suspend,
    })
}

impl ValidatedCluster {
    /// The file that is to be moved into the buckets: none while it is served as it is.
    #[must_use]
    pub fn to_move(&self) -> Option<&Wanted> {
        self.migration.as_ref().filter(|_| !self.serves_file())
    }

    /// Whether the file is to be served as it is.
    #[must_use]
    pub fn serves_file(&self) -> bool {
        self.membershipd.as_ref().is_some_and(|part| part.source == Source::File)
    }
}

fn service(part: &Membershipd, sqlite: Option<&Sqlite>) -> Result<serving::Wanted, InvalidSpec> {
    let number = part.replicas;
    let replicas = u8::try_from(number).ok().filter(|number| (1..=9).contains(number));
    let replicas = replicas.ok_or(InvalidSpec::MembershipdReplicas { number })?;
    let source = match (part.store, sqlite) {
        (Store::JetStream, _) => Source::Buckets,
        (Store::SQLite, Some(_)) => Source::File,
        (Store::SQLite, None) => return Err(InvalidSpec::NoFile),
    };
    let (first_admin, pod) = (part.first_admin.clone(), part.pod.clone());
    Ok(serving::Wanted { source, replicas, first_admin, pod })
}

/// A full volume breaks every stream on it, so the last fifth is never given to JetStream.
fn file_store_bytes(volume: &ByteSize) -> Result<u64, InvalidScalar> {
    Ok(volume.bytes()? / 5 * 4)
}

fn bucket_replicas(asked: Option<i32>, servers: Servers) -> Result<u8, InvalidSpec> {
    let buckets = match asked {
        None => servers.count().min(3),
        Some(number) => Servers::try_from(number)?.count(),
    };
    if buckets > servers.count() {
        return Err(InvalidSpec::TooManyBucketReplicas { buckets, servers: servers.count() });
    }
    Ok(buckets)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn resource(spec: &Value) -> MembershipCluster {
        serde_json::from_value(json!({
            "apiVersion": "membership.unibus.dev/v1alpha1",
            "kind": "MembershipCluster",
            "metadata": {"name": "demo", "namespace": "chat", "uid": "u-1", "generation": 1},
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn the_wanted_replicas_follow_the_servers_unless_said() {
        for (spec, wanted) in [
            (json!({}), 3),
            (json!({"replicas": 1}), 1),
            (json!({"replicas": 5}), 3),
            (json!({"replicas": 5, "buckets": {"replicas": 5}}), 5),
            (json!({"replicas": 3, "buckets": {"replicas": 1}}), 1),
        ] {
            assert_eq!(validate(&resource(&spec)).unwrap().bucket_replicas, wanted, "{spec}");
        }
    }

    #[test]
    fn a_fifth_of_the_volume_stays_free() {
        let cluster = validate(&resource(&json!({}))).unwrap();
        assert_eq!(cluster.file_store_bytes, 8 << 30);
    }

    #[test]
    fn specs_that_slipped_past_the_crd_are_refused() {
        let table = [
            (json!({"replicas": 2}), "replicas must be 1, 3 or 5, not 2"),
            (json!({"replicas": 1, "buckets": {"replicas": 3}}), "buckets.replicas (3)"),
            (json!({"buckets": {"maxBytes": "2Gi"}}), "80 %"),
            (json!({"bootstrap": {"settle": "0s"}}), "duration above zero"),
            (json!({"nats": {"storage": {"size": "ten"}}}), "a size above zero"),
            (json!({"membershipd": {"store": "SQLite"}}), "needs sqlite"),
            (json!({"membershipd": {"replicas": 0}}), "must be 1 to 9, not 0"),
        ];
        for (spec, words) in table {
            let error = validate(&resource(&spec)).unwrap_err().to_string();
            assert!(error.contains(words), "{spec}: {error}");
        }
    }
}
