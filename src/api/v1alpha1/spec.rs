//! What a user wants. The operator never writes here.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ByteSize, DurationText, MembershipClusterStatus, Membershipd, Migration, PodOptions, Sqlite,
};

const NAME: &str = "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && \
    size(self.metadata.name) <= 40";
const BUCKET_REPLICAS_FIT: &str =
    "!has(self.buckets.replicas) || self.buckets.replicas <= self.replicas";
/// Seven buckets may fill at most 80 % of the volume: 7 m <= 0.8 s, so 35 m <= 4 s. Floating point
/// cannot overflow where a product of integers could.
const BUCKETS_FIT_THE_VOLUME: &str = "35.0 * quantity(self.buckets.maxBytes).asApproximateFloat() <= \
    4.0 * quantity(self.nats.storage.size).asApproximateFloat()";
const MIGRATION_HAS_A_SOURCE: &str = "!has(self.migration) || has(self.sqlite)";
const BACKUP_GOES_ELSEWHERE: &str = "!has(self.migration) || !has(self.sqlite) || \
    !has(self.migration.backupClaimName) || self.migration.backupClaimName != self.sqlite.claimName";
const SQLITE_HAS_A_FILE: &str =
    "!has(self.membershipd) || self.membershipd.store != 'SQLite' || has(self.sqlite)";
const SAME_SIZE: &str = "quantity(self).compareTo(quantity(oldSelf)) == 0";
const SAME_CLASS: &str = "has(self.storageClassName) == has(oldSelf.storageClassName) && \
    (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)";
const A_SIZE: &str = "self.matches('^[1-9][0-9]{0,8}(Ki|Mi|Gi|Ti|k|M|G|T)$')";
/// No text of at most 32 characters that fits the pattern is longer than a duration can be.
const A_DURATION: &str =
    "self.matches('^([0-9]{1,5}(h|m|s|ms)){1,4}$') && duration(self) > duration('0s')";
const SETTLE_WITHIN_TIMEOUT: &str = "duration(self.settle) < duration(self.timeout)";

/// A replicated membership cluster: NATS servers with JetStream and the buckets that hold rooms,
/// members, sealed room keys and users.
#[derive(Clone, Debug, PartialEq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "membership.unibus.dev",
    version = "v1alpha1",
    kind = "MembershipCluster",
    plural = "membershipclusters",
    singular = "membershipcluster",
    shortname = "mbc",
    category = "membership",
    namespaced,
    status = "MembershipClusterStatus",
    derive = "PartialEq",
    doc = "A replicated membership cluster: NATS servers with JetStream and the buckets that hold rooms, members, sealed room keys and users.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the cluster serves as wanted"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", description = "Why it is ready, or why not"),
    printcolumn(name = "Servers", type_ = "string", json_path = ".status.servers", description = "NATS servers ready and wanted"),
    printcolumn(name = "Buckets", type_ = "string", json_path = ".status.bucketReplicas", description = "Replicas that every bucket has"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.metaLeader.server", description = "The server that leads JetStream's meta group"),
    printcolumn(name = "Migrated", type_ = "string", json_path = ".status.conditions[?(@.type==\"Migrated\")].status", description = "Whether a SQLite file was moved into the buckets"),
    printcolumn(name = "Membershipd", type_ = "string", json_path = ".status.membershipd.replicas", description = "Replicas of the membership service ready and wanted"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "NATS", type_ = "string", json_path = ".status.natsVersion", description = "Version of the servers", priority = 1),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoints.nats", description = "Where clients inside the Kubernetes cluster connect", priority = 1),
    printcolumn(name = "Service", type_ = "string", json_path = ".status.endpoints.membershipd", description = "Where the membership service is, inside the Kubernetes cluster", priority = 1),
    printcolumn(name = "Store", type_ = "string", json_path = ".status.membershipd.store", description = "What the membership is served from", priority = 1),
    validation = Rule::new(NAME).message("metadata.name must start with a lower-case letter, hold only lower-case letters, digits and '-', and have at most 40 characters: pod and volume names are made from it")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new(BUCKET_REPLICAS_FIT).message("buckets.replicas must not exceed replicas: each replica needs a server of its own"),
    validation = Rule::new(BUCKETS_FIT_THE_VOLUME).message("buckets.maxBytes is too large: seven buckets of that size must fit into 80 % of nats.storage.size"),
    validation = Rule::new(MIGRATION_HAS_A_SOURCE).message("migration needs sqlite: there is nothing to move without it"),
    validation = Rule::new(BACKUP_GOES_ELSEWHERE).message("migration.backupClaimName must name another claim than sqlite.claimName; leave it out to keep the backup beside the file"),
    validation = Rule::new(SQLITE_HAS_A_FILE).message("membershipd.store: SQLite needs sqlite: it says which file is served")
)]
pub struct MembershipClusterSpec {
    /// Number of NATS servers: 1, 3 or 5. One server is for development: it has no failover.
    #[serde(default = "default_replicas")]
    #[x_kube(
        validation = Rule::new("self in [1, 3, 5]").message("replicas must be 1, 3 or 5: an even number of servers survives no more failures than one server less"),
        validation = Rule::new("self == oldSelf").message("replicas cannot be changed yet: create a new cluster with the wanted number of servers")
    )]
    pub replicas: i32,

    /// The NATS servers.
    #[serde(default)]
    pub nats: Nats,

    /// The buckets that hold the membership.
    #[serde(default)]
    pub buckets: Buckets,

    /// How the first start is judged.
    #[serde(default)]
    pub bootstrap: Bootstrap,

    /// The SQLite file that the cluster begins from. It is moved into the buckets once, or served
    /// as it is with `membershipd.store: SQLite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlite: Option<Sqlite>,

    /// How the SQLite file is moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Migration>,

    /// The membership service. Unset: the operator runs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membershipd: Option<Membershipd>,

    /// What becomes of the volumes when the resource is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Stop changing anything; status is still reported.
    #[serde(default)]
    pub suspend: bool,
}

const fn default_replicas() -> i32 {
    3
}

/// The NATS servers and their pods.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Nats {
    /// The volume of each server.
    #[serde(default)]
    pub storage: Storage,

    /// Debug logging in the servers. Switched without a restart.
    #[serde(default)]
    pub debug: bool,

    /// Whether two servers may share a node.
    #[serde(default)]
    pub anti_affinity: AntiAffinity,

    /// Options of the server pods.
    #[serde(flatten)]
    pub pod: PodOptions,
}

/// Whether two pods of a part may share a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AntiAffinity {
    /// Never: a pod without a node of its own waits.
    #[default]
    Required,
    /// Only when there is no other node.
    Preferred,
}

/// The volume of each NATS server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(SAME_CLASS).message("storageClassName cannot be changed: the volumes exist already"))]
pub struct Storage {
    /// Size of each volume, such as `10Gi`.
    #[serde(default = "default_storage_size")]
    #[x_kube(
        validation = Rule::new(A_SIZE).message("size must be a whole number with a unit, such as 10Gi"),
        validation = Rule::new(SAME_SIZE).message("size cannot be changed yet, and volumes never shrink: create a new cluster with the wanted size")
    )]
    pub size: ByteSize,

    /// Storage class of the volumes. Unset: the default class of the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), pattern(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub storage_class_name: Option<String>,
}

fn default_storage_size() -> ByteSize {
    ByteSize::from("10Gi")
}

impl Default for Storage {
    fn default() -> Self {
        Self { size: default_storage_size(), storage_class_name: None }
    }
}

/// The buckets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Buckets {
    /// First part of every bucket's name, as in `UNIBUS_rooms`.
    #[serde(default = "default_prefix")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(
        validation = Rule::new("self.matches('^[A-Za-z][A-Za-z0-9-]*$')").message("prefix must start with a letter and hold only letters, digits and '-'"),
        validation = Rule::new("self == oldSelf").message("prefix cannot be changed: the buckets exist under it")
    )]
    pub prefix: String,

    /// Replicas that each bucket has in the end: 1, 3 or 5. Unset: 3, or 1 with one server. Every
    /// bucket starts at 1 and is raised when the meta leader has settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self in [1, 3, 5]").message("buckets.replicas must be 1, 3 or 5"))]
    pub replicas: Option<i32>,

    /// Largest size of each bucket. Seven buckets must fit into 80 % of the volume.
    #[serde(default = "default_max_bytes")]
    #[x_kube(
        validation = Rule::new(A_SIZE).message("maxBytes must be a whole number with a unit, such as 1Gi"),
        validation = Rule::new(SAME_SIZE).message("maxBytes cannot be changed: the buckets were made with it")
    )]
    pub max_bytes: ByteSize,
}

fn default_prefix() -> String {
    "UNIBUS".to_owned()
}

fn default_max_bytes() -> ByteSize {
    ByteSize::from("1Gi")
}

impl Default for Buckets {
    fn default() -> Self {
        Self { prefix: default_prefix(), replicas: None, max_bytes: default_max_bytes() }
    }
}

/// How the first start is judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(SETTLE_WITHIN_TIMEOUT).message("settle must be shorter than timeout"))]
pub struct Bootstrap {
    /// How long the meta leader must stay the same, with every server current, before any bucket
    /// is raised.
    #[serde(default = "default_settle")]
    #[x_kube(validation = Rule::new(A_DURATION).message("settle must be a duration above zero, such as 5s or 1m30s"))]
    pub settle: DurationText,

    /// How long the first start may take once the servers are ready, before it is reported as
    /// stalled. The operator goes on trying.
    #[serde(default = "default_timeout")]
    #[x_kube(validation = Rule::new(A_DURATION).message("timeout must be a duration above zero, such as 120s or 5m"))]
    pub timeout: DurationText,
}

fn default_settle() -> DurationText {
    DurationText::from("5s")
}

fn default_timeout() -> DurationText {
    DurationText::from("120s")
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { settle: default_settle(), timeout: default_timeout() }
    }
}

/// What becomes of the volumes when the resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They stay, and a new resource of the same name takes them up with their data.
    #[default]
    Retain,
    /// They are deleted with the resource.
    Delete,
}
