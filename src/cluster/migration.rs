//! What a migration is, as plain data: what is wanted, and what one look at Kubernetes found of it.
//! What follows from these is decided in [`plan`](super::plan) and told in
//! [`status`](super::status).

use std::fmt;

use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::build::digest;
use super::plan::ObjectId;
use super::world::Found;
use crate::api::conditions::Reason;
use crate::api::v1alpha1::{BackupPolicy, MembershipClusterSpec, MigrationCounts, PodOptions};

/// Where the source's volume is mounted in the Job's pod.
pub const SOURCE_FOLDER: &str = "/source";

/// Where the backup's volume is mounted, when it is another one.
pub const BACKUP_FOLDER: &str = "/backup";

/// The file that is moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// The claim of its volume.
    pub claim: String,
    /// Its path in the volume.
    pub path: String,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.claim, self.path)
    }
}

/// What becomes of the backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Backup {
    /// None is kept.
    None,
    /// It stays beside the source.
    BesideSource,
    /// It goes to the volume of this claim.
    Claim(String),
}

/// The migration that a spec asks for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wanted {
    /// What is moved.
    pub source: Source,
    /// What becomes of the backup.
    pub backup: Backup,
    /// Options of the Job's pod.
    pub pod: PodOptions,
}

impl Wanted {
    /// What a spec asks for; nothing without a SQLite file.
    #[must_use]
    pub fn of(spec: &MembershipClusterSpec) -> Option<Self> {
        let sqlite = spec.sqlite.as_ref()?;
        let migration = spec.migration.clone().unwrap_or_default();
        let backup = match (migration.backup, migration.backup_claim_name) {
            (BackupPolicy::Never, _) => Backup::None,
            (BackupPolicy::Always, None) => Backup::BesideSource,
            (BackupPolicy::Always, Some(claim)) => Backup::Claim(claim),
        };
        let source = Source { claim: sqlite.claim_name.clone(), path: sqlite.path.clone() };
        let mut pod = migration.pod;
        // Who serves a file owns it, unless another is said to.
        if pod.pod_security_context.is_none() {
            let service = spec.membershipd.as_ref();
            pod.pod_security_context =
                service.and_then(|service| service.pod.pod_security_context.clone());
        }
        Some(Self { source, backup, pod })
    }

    /// A digest of everything that a Job of this image would be asked for. Another one is another
    /// Job.
    #[must_use]
    pub fn asked(&self, image: &str, retry: Option<&str>) -> String {
        digest(&serde_json::to_string(&(self, image, retry)).unwrap_or_default())
    }
}

/// What one look found of a migration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The source's claim, if there is one.
    pub claim: Option<SourceClaim>,
    /// Whether the claim for the backup is there; true where none is named.
    pub backup_claim: bool,
    /// Every pod that mounts the source's claim and has not ended, except for those of our Jobs.
    pub users: Vec<SourceUser>,
    /// Every Job with the cluster's label, and the one with the next Job's name.
    pub jobs: Vec<(String, Found<Job>)>,
    /// The same for Jobs that take down the fence of a move that is given up.
    pub unfences: Vec<(String, Found<Job>)>,
}

impl Seen {
    /// Our Jobs.
    pub fn ours(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().filter_map(|(_, job)| job.ours())
    }

    /// Our newest Job.
    #[must_use]
    pub fn newest(&self) -> Option<&Job> {
        self.ours().max_by_key(|job| job.number)
    }

    /// Our Jobs that take down the fence.
    pub fn our_unfences(&self) -> impl Iterator<Item = &Job> {
        self.unfences.iter().filter_map(|(_, job)| job.ours())
    }

    /// Our newest Job that takes down the fence.
    #[must_use]
    pub fn newest_unfence(&self) -> Option<&Job> {
        self.our_unfences().max_by_key(|job| job.number)
    }

    /// A digest of what a person may have changed to let the next try succeed.
    #[must_use]
    pub fn circumstances(&self) -> String {
        let mut users: Vec<&str> = self.users.iter().map(|user| user.uid.as_str()).collect();
        users.sort_unstable();
        let claim = self.claim.as_ref().map(|claim| (&claim.uid, &claim.resource_version));
        digest(&serde_json::to_string(&(claim, users)).unwrap_or_default())
    }
}

/// The source's claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceClaim {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// A volume is bound to it.
    pub bound: bool,
    /// Its deletion has begun.
    pub deleting: bool,
    /// The resource that its annotation releases it to.
    pub released_to: Option<String>,
    /// Only one pod at a time may use it, wherever it runs (`ReadWriteOncePod`).
    pub exclusive: bool,
}

/// A pod that mounts the source's claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceUser {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The node it is on.
    pub node: Option<String>,
    /// It should have ended some time ago and has not: nobody hears of its node.
    pub overdue: bool,
    /// It is our own membership service over the file.
    pub own: bool,
}

/// One of our Jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// Which.
    pub id: ObjectId,
    /// Its number.
    pub number: u32,
    /// What it moves.
    pub source: Option<String>,
    /// The image of its pods.
    pub image: Option<String>,
    /// The digest of what it was asked for.
    pub asked: Option<String>,
    /// The digest of the circumstances that it was made in.
    pub circumstances: Option<String>,
    /// How many Jobs in a row were asked for the same, this one included.
    pub tries: u32,
    /// When it began.
    pub started: Option<Timestamp>,
    /// How it ended, once it has.
    pub end: Option<JobEnd>,
    /// It was told to rest.
    pub suspended: bool,
    /// A pod of it has not ended.
    pub working: bool,
    /// Its deletion has begun.
    pub deleting: bool,
    /// Why its pod does not run, in Kubernetes' words.
    pub trouble: Option<String>,
    /// What its last pod said at its end.
    pub words: Option<JobWords>,
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobEnd {
    /// When.
    pub at: Timestamp,
    /// Whether its pod ended in 0.
    pub succeeded: bool,
    /// Its last pod's exit code, if anybody knows.
    pub exit_code: Option<i32>,
}

/// What a Job's pod says at its end, as `migrate-to-kv --summary-file` writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobWords {
    /// The reason, in one word, when it failed.
    pub reason: Option<String>,
    /// What happened, why, and what to do.
    pub message: Option<String>,
    /// Where the backup is, in the pod.
    pub backup: Option<String>,
}

/// Why a Job did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFailure {
    /// The Job.
    pub job: String,
    /// In one word.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
}

/// As much of a Job's words as a status shows.
const WORDS_MAX: usize = 700;

impl Job {
    /// Why it did not succeed.
    #[must_use]
    pub fn failure(&self, end: &JobEnd) -> JobFailure {
        let words = self.words.clone().unwrap_or_default();
        let reason = words.reason.as_deref().and_then(Reason::parse);
        let message = match (words.message, end.exit_code) {
            (Some(message), _) => message.chars().take(WORDS_MAX).collect(),
            (None, Some(code)) => {
                format!("its pod ended with exit code {code} and said nothing: read its log")
            }
            (None, None) => "its pod is gone and nobody knows why it ended".to_owned(),
        };
        let reason = reason.unwrap_or(Reason::MigrationFailed);
        JobFailure { job: self.id.name.clone(), reason, message }
    }
}

/// What the control record says of a migration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Everything was moved and read back. Else records are being written.
    pub done: bool,
    /// Which membership it is.
    pub digest: String,
    /// What the source held.
    pub counts: MigrationCounts,
}
