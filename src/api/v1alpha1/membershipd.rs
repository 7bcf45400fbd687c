//! The membership service: where it serves from, how many of it there are, and who is let in first.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PodOptions;

const A_KEY: &str = "self.matches('^[0-9a-f]{64}$')";
/// The service checks more; this is what people get wrong.
const A_HANDLE: &str = "!self.startsWith(' ') && !self.endsWith(' ') && \
    !self.contains('\\n') && !self.contains('\\t')";

/// The membership service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Membershipd {
    /// How many of it there are. With `store: SQLite` there is exactly one, whatever this says.
    #[serde(default = "default_replicas")]
    #[schemars(range(min = 1, max = 9))]
    pub replicas: i32,

    /// What it serves from. Edit `SQLite` to `JetStream` to move a live service over. There is no
    /// way back once the membership has moved.
    #[serde(default)]
    pub store: Store,

    /// The first user, who may manage the others. Let in only to a store that never served and
    /// that nothing was moved into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_admin: Option<FirstAdmin>,

    /// Options of its pods.
    #[serde(flatten)]
    pub pod: PodOptions,
}

const fn default_replicas() -> i32 {
    2
}

/// What a membership is served from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Store {
    /// The replicated buckets.
    #[default]
    JetStream,
    /// The SQLite file that `spec.sqlite` names.
    SQLite,
}

/// A user who is let in first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirstAdmin {
    /// The user's Ed25519 public key, in 64 lower-case hexadecimal digits.
    #[schemars(length(max = 64))]
    #[x_kube(validation = Rule::new(A_KEY).message("publicKey must be an Ed25519 public key in 64 lower-case hexadecimal digits, as `membershipd keygen` prints it"))]
    pub public_key: String,

    /// What people call the user.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(validation = Rule::new(A_HANDLE).message("handle must be one line and neither begin nor end with a space"))]
    pub handle: String,
}
