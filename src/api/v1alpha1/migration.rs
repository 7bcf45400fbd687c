//! The one SQLite file that a cluster begins from, how it is moved into the buckets, and how far
//! that has come.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PodOptions;

/// A path inside the volume: no folder above it, nothing hidden, no option of a command.
const A_PATH: &str = "self.matches('^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$')";
const BACKUP_IS_KEPT: &str = "!has(self.backupClaimName) || self.backup == 'Always'";

/// The SQLite file that the cluster begins from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sqlite {
    /// The claim of this namespace whose volume holds the file. It must carry the annotation
    /// `membership.unibus.dev/release-to` with this resource's name.
    #[schemars(length(min = 1, max = 253), pattern(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub claim_name: String,

    /// The file's path inside the volume.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 200))]
    #[x_kube(validation = Rule::new(A_PATH).message("path must be a path inside the volume, such as membership.db or data/membership.db: letters, digits, '_', '.', '-', and no part that begins with '.' or '-'"))]
    pub path: String,
}

fn default_path() -> String {
    "membership.db".to_owned()
}

/// How the SQLite file is moved into the buckets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(BACKUP_IS_KEPT).message("backupClaimName needs backup: Always"))]
pub struct Migration {
    /// Whether a checked copy of the file is kept.
    #[serde(default)]
    pub backup: BackupPolicy,

    /// The claim of this namespace whose volume takes the backup. Unset: the folder `backups` beside
    /// the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), pattern(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub backup_claim_name: Option<String>,

    /// Options of the Job's pod.
    #[serde(flatten)]
    pub pod: PodOptions,
}

/// Whether a checked copy of the file is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupPolicy {
    /// It is kept.
    #[default]
    Always,
    /// It is thrown away when the move is done.
    Never,
}

/// How far the move of the SQLite file has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationStatus {
    /// How far.
    pub state: MigrationState,

    /// What is or was moved, as `claim/path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,

    /// The newest Job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,

    /// When the first Job began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,

    /// When the last Job ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,

    /// What the file held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<MigrationCounts>,

    /// Which membership it is: a digest over all of its records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,

    /// Where the backup is, as `claim/path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
}

/// How far the move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MigrationState {
    /// It is asked for, and something has to be there first.
    Waiting,
    /// A Job is at work.
    Running,
    /// The last Job ended without success.
    Failed,
    /// Everything is in the buckets; the control record says so.
    Done,
    /// It had begun, and the SQLite file is served again.
    GivenUp,
}

/// What a SQLite file held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MigrationCounts {
    /// Users.
    pub users: i64,
    /// Rooms.
    pub rooms: i64,
    /// Members of the rooms.
    pub members: i64,
    /// Sealed keys.
    pub room_keys: i64,
}
