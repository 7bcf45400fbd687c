//! Condition types and reasons as closed sets, and how a new look merges into the old conditions.
//!
//! Reasons are an interface: alerts, scripts and GitOps health checks match on them. What they
//! follow from is decided in [`cluster::status`](crate::cluster::status).

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as ValueError, StrDeserializer};

/// Every condition of a MembershipCluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConditionType {
    /// Quorum, every bucket led and equal at its wanted replicas.
    Ready,
    /// Abnormal when true: something is missing or behind, while Ready can still be true.
    Degraded,
    /// Abnormal when true: work goes on.
    Reconciling,
    /// Abnormal when true: a person must mend something.
    Stalled,
    /// All wanted server pods are ready.
    ServersReady,
    /// One meta leader, named by every server, with every peer current for the settle time.
    MetaLeaderSettled,
    /// Every bucket exists at its wanted replicas with equal data.
    BucketsReady,
    /// The SQLite file is in the buckets, as their control record says.
    Migrated,
    /// Every wanted replica of the membership service is ready.
    MembershipdReady,
}

impl ConditionType {
    /// Every type, in the order in which they are written.
    pub const ALL: [Self; 9] = [
        Self::Ready,
        Self::Degraded,
        Self::Reconciling,
        Self::Stalled,
        Self::ServersReady,
        Self::MetaLeaderSettled,
        Self::BucketsReady,
        Self::Migrated,
        Self::MembershipdReady,
    ];
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a condition has its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub enum Reason {
    /// All is as wanted.
    AsExpected,
    /// Everything that was wanted is done.
    ReconcileComplete,
    /// Children are being written.
    Applying,
    /// `spec.suspend` is set.
    Suspended,
    /// The resource is being deleted.
    Deleting,
    /// Children of a deleted resource of the same name have not gone yet.
    OldChildrenGoing,
    /// Server pods are not ready.
    ServersNotReady,
    /// Fewer than a majority of the servers are there.
    QuorumLost,
    /// NATS did not answer, so nothing is known.
    NatsUnreachable,
    /// There is no agreed meta leader.
    NoMetaLeader,
    /// The meta leader is not yet the same, with every peer current, for the settle time.
    Settling,
    /// The meta leader has settled.
    Settled,
    /// One server without a meta group answers for JetStream.
    Standalone,
    /// The first start has taken longer than `bootstrap.timeout`.
    BootstrapTimeout,
    /// Buckets are being created.
    CreatingBuckets,
    /// Buckets are being raised to their wanted replicas.
    RaisingReplicas,
    /// Replicas of a bucket are catching up.
    ReplicasSyncing,
    /// A bucket has no leader.
    BucketWithoutLeader,
    /// Replicas of a bucket differ although none is behind.
    Diverged,
    /// A bucket that once held data is gone.
    BucketLost,
    /// Servers restart one at a time to take up a change.
    RollingRestart,
    /// Servers take up a changed configuration without a restart.
    Reloading,
    /// The spec cannot be acted on.
    InvalidSpec,
    /// An object with a name of ours belongs to someone else.
    NameTaken,
    /// Claims or buckets belong to another cluster.
    ForeignData,
    /// Fewer retained claims than a quorum are left.
    QuorumAtRisk,
    /// Another number of servers was asked for, which cannot be done yet.
    ReplicasChanged,
    /// Another size of volumes was asked for, which cannot be done yet.
    StorageChanged,
    /// The API server refused a write for good.
    ApplyRefused,
    /// It was not asked for: no SQLite file to be moved, or no membership service.
    NotRequested,
    /// The SQLite file is moved when the buckets are ready.
    BucketsNotReady,
    /// A Job moves the SQLite file.
    Migrating,
    /// Everything is moved.
    MigrationDone,
    /// The pod of the migration's Job does not run.
    MigrationPodNotRunning,
    /// The migration's Job ended without a word.
    MigrationFailed,
    /// Another source was named after the move had begun.
    MigrationChanged,
    /// There is no claim of the named source or backup.
    ClaimMissing,
    /// The source's claim has no volume.
    ClaimNotBound,
    /// The source's claim is not released to this resource.
    ClaimNotReleased,
    /// A pod uses the source.
    SourceInUse,
    /// A pod that used the source is on a node that is lost.
    SourceOnLostNode,
    /// There is no such file, or its mode or its folder keeps us out.
    SourceNotReadable,
    /// The file can be read but not written, so the fence cannot be put up.
    SourceNotWritable,
    /// The file system ignores locks.
    LocksIgnored,
    /// The file is no SQLite database.
    NotADatabase,
    /// The file, or a value in it, is larger than any membership can be.
    TooLarge,
    /// The file belongs to another program.
    ForeignDatabase,
    /// A newer program wrote the file.
    NewerSchema,
    /// The tables are not those of a membership.
    SchemaMismatch,
    /// The file is damaged.
    IntegrityCheckFailed,
    /// A crash of another program left the file in a state that only that program can mend.
    SourceNotClean,
    /// The file took longer to check than any file of its size should.
    TooSlow,
    /// There is nothing in the file.
    EmptySource,
    /// Rows that are no membership records.
    BadRows,
    /// Two rows speak of the same thing.
    ConflictingRows,
    /// The backup could not be written, or is not what it should be.
    BackupFailed,
    /// The disk has no room for the backup.
    NoSpace,
    /// Another program holds the file.
    SourceBusy,
    /// NATS, or a part of it, could not be reached in time.
    NatsUnavailable,
    /// Something that was true of the source at the start no longer is.
    SourceChanged,
    /// The buckets do not hold what the source held.
    VerificationFailed,
    /// The buckets have served, or hold somebody else's records.
    StoreNotEmpty,
    /// The source does not fit into the buckets.
    StoreTooSmall,
    /// Another source was or is being moved into these buckets.
    OtherMigration,
    /// The source was moved away for good, so its fence stays.
    AlreadyMoved,
    /// A move that had begun is given up.
    GivingUp,
    /// A move that had begun was given up.
    GivenUp,
    /// Replicas of the membership service are not ready.
    MembershipdNotReady,
    /// Replicas of the membership service are replaced to take up a change.
    MembershipdRolling,
    /// The membership service starts once the buckets are ready and hold what was moved.
    MembershipdWaiting,
    /// A membership service that is not wanted any more is going.
    MembershipdLeaving,
    /// SQLite was asked for again after the membership had moved to the buckets.
    NoWayBack,
}

impl Reason {
    /// The reason of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name: StrDeserializer<'_, ValueError> = name.into_deserializer();
        Self::deserialize(name).ok()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A condition's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody could look.
    Unknown,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl fmt::Display for Truth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What one look found about one condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which condition.
    pub kind: ConditionType,
    /// Its status.
    pub truth: Truth,
    /// Why.
    pub reason: Reason,
    /// One short sentence for people.
    pub message: String,
}

impl Finding {
    /// A finding from its parts.
    pub fn new(
        kind: ConditionType,
        truth: impl Into<Truth>,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, truth: truth.into(), reason, message: message.into() }
    }
}

/// The conditions after a look: each finding with the generation it speaks of, and with the old
/// transition time where the status did not move. Types that are not found again are dropped.
#[must_use]
pub fn merge(
    old: &[Condition],
    findings: Vec<Finding>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    findings
        .into_iter()
        .map(|finding| {
            let kind = finding.kind.to_string();
            let status = finding.truth.to_string();
            let since = old
                .iter()
                .find(|condition| condition.type_ == kind && condition.status == status)
                .map_or_else(
                    || whole_seconds(now),
                    |condition| condition.last_transition_time.clone(),
                );
            Condition {
                last_transition_time: since,
                message: finding.message,
                observed_generation: Some(generation),
                reason: finding.reason.to_string(),
                status,
                type_: kind,
            }
        })
        .collect()
}

/// Kubernetes writes times in whole seconds; more would differ after the first read.
#[must_use]
pub fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

/// The condition of a type, if it was written.
#[must_use]
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    let kind = kind.to_string();
    conditions.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(truth: Truth, reason: Reason) -> Vec<Finding> {
        vec![Finding::new(ConditionType::Ready, truth, reason, "words")]
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let first = merge(&[], ready(Truth::False, Reason::Settling), 1, at(10));
        let second = merge(&first, ready(Truth::False, Reason::RaisingReplicas), 2, at(20));
        let third = merge(&second, ready(Truth::True, Reason::AsExpected), 2, at(30));
        let times = [&first, &second, &third].map(|c| c[0].last_transition_time.0.as_second());
        assert_eq!(times, [10, 10, 30]);
        assert_eq!(second[0].observed_generation, Some(2));
        assert_eq!(second[0].reason, "RaisingReplicas");
    }

    #[test]
    fn a_reason_is_read_back_by_its_name() {
        for reason in [Reason::AsExpected, Reason::RollingRestart, Reason::StorageChanged] {
            assert_eq!(Reason::parse(&reason.to_string()), Some(reason));
        }
        assert_eq!(Reason::parse("MadeUp"), None);
    }

    #[test]
    fn an_unknown_is_a_status_of_its_own() {
        let first = merge(&[], ready(Truth::True, Reason::AsExpected), 1, at(10));
        let second = merge(&first, ready(Truth::Unknown, Reason::NatsUnreachable), 1, at(20));
        assert_eq!(
            (second[0].status.as_str(), second[0].last_transition_time.0),
            ("Unknown", at(20))
        );
    }
}
