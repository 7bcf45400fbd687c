//! What is. Written by the operator only, made anew from the world at each pass and never read
//! back as a memory of progress. No counter that moves under load: those are metrics.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MigrationStatus, Store};

/// What the operator last saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembershipClusterStatus {
    /// The generation of the spec that this status speaks of; -1 before the first look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready, Degraded, Reconciling, Stalled and the steps towards Ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,

    /// When the cluster was ready for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_ready_time: Option<Time>,

    /// NATS server pods that exist.
    #[serde(default)]
    pub replicas: i32,

    /// NATS server pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,

    /// Label selector of the NATS server pods, for `kubectl scale` and autoscalers to read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// Ready and wanted servers, as in `3/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<String>,

    /// The replicas that every bucket has for certain, as in `R3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket_replicas: Option<String>,

    /// Version of the NATS servers; the oldest while an upgrade goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nats_version: Option<String>,

    /// A newer default image of the operator, while the spec sets none and another one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_image: Option<String>,

    /// The leader of JetStream's meta group, once settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta_leader: Option<MetaLeader>,

    /// Each bucket.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub buckets: Vec<BucketStatus>,

    /// How far the move of the SQLite file has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationStatus>,

    /// The membership service, where one is wanted or runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membershipd: Option<MembershipdStatus>,

    /// Where clients connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,

    /// The random id of this cluster's data, made once and kept by its volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
}

/// The server that leads JetStream's meta group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MetaLeader {
    /// The server's name, which is its pod's.
    pub server: String,
    /// Since when it has been seen to lead without a break.
    pub since: Time,
}

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BucketStatus {
    /// The bucket's name.
    pub name: String,
    /// Replicas that hold the same data for certain.
    pub replicas: i32,
    /// Replicas wanted in the end.
    pub desired_replicas: i32,
    /// The server that leads the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// How it is.
    pub state: BucketState,
}

/// How a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BucketState {
    /// NATS does not answer, so nothing is known.
    Unknown,
    /// It does not exist yet.
    Missing,
    /// It exists at fewer replicas than wanted.
    Raising,
    /// A replica is behind or was not yet compared.
    Syncing,
    /// Every wanted replica holds the same data.
    Equal,
    /// It has no leader: nothing can be written.
    NoLeader,
    /// Replicas differ although none is behind.
    Diverged,
    /// It held data and is gone.
    Lost,
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoints {
    /// The NATS client address inside the Kubernetes cluster.
    pub nats: String,

    /// The HTTP address of the membership service inside the Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub membershipd: Option<String>,
}

/// The membership service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MembershipdStatus {
    /// What it serves from; none while nothing serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<Store>,

    /// Ready and wanted replicas, as in `2/2`.
    pub replicas: String,
}
