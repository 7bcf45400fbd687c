//! Steps: what is done beyond applying children. Each is a value and idempotent: done twice, or
//! after a crash in its middle, it leaves the same.

use std::collections::BTreeSet;

use super::migrate::JobPlan;
use crate::cluster::names::{Bucket, Role};
use crate::cluster::world::ClaimMark;

/// One deed. The steps of a plan are done in order; the first that fails ends the pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Puts our finalizer on the resource.
    SetFinalizer,
    /// Takes our finalizer off the resource.
    RemoveFinalizer,
    /// Makes a role's Secret with a new random seed. Create-only: when one exists, nothing is
    /// changed and the pass ends.
    CreateSecret {
        /// Whose.
        role: Role,
        /// The id for its annotation.
        cluster_id: String,
    },
    /// Makes a bucket at one replica, by short attempts. One that exists stays as it is, whatever
    /// its replicas. The control record is read again first, where there is one: a bucket that it
    /// lists is not made.
    CreateBucket {
        /// Which.
        bucket: Bucket,
    },
    /// Writes the control record, create-only, listing the control bucket as made.
    CreateControl {
        /// The id of the cluster's data.
        cluster_id: String,
        /// Losses accepted before it was written.
        losses_accepted: BTreeSet<Bucket>,
    },
    /// Adds buckets to those that the control record lists as made, by compare-and-set: only those
    /// whose stream answers.
    RecordBuckets {
        /// Which.
        buckets: BTreeSet<Bucket>,
    },
    /// Takes a lost bucket from those made and notes that its loss was accepted, in one
    /// compare-and-set of the control record.
    AcceptLoss {
        /// Which; never the control bucket.
        bucket: Bucket,
    },
    /// Writes the annotation [`DATA`](crate::api::DATA) on claims.
    MarkClaims {
        /// Which.
        claims: Vec<ObjectId>,
        /// What it says from then on.
        mark: ClaimMark,
    },
    /// Raises a bucket's replicas in place. Risky.
    RaiseReplicas {
        /// Which.
        bucket: Bucket,
        /// What it had. With another number nothing is done.
        from: u8,
        /// What it gets.
        to: u8,
    },
    /// Asks the meta leader to hand over to a server. Risky.
    StepDownMeta {
        /// Who leads.
        from: String,
        /// Who shall lead.
        to: String,
    },
    /// Deletes a server's pod, which its StatefulSet makes anew. Risky.
    RestartServer {
        /// The pod.
        pod: ObjectId,
    },
    /// Asks a server to read its configuration again.
    ReloadServer {
        /// Its name.
        server: String,
    },
    /// Makes a Job that moves the SQLite file. Create-only: when one of its name exists, nothing is
    /// changed and the pass ends. Risky.
    RunMigration {
        /// Which.
        job: JobPlan,
    },
    /// Makes a Job that takes down the fence of a move that is given up. Create-only, as the one
    /// that moves. Risky.
    RunUnfence {
        /// Which.
        job: JobPlan,
    },
    /// Lets a Job of the migration rest: its pods end, and it stays. Risky.
    SuspendJob {
        /// Which.
        job: ObjectId,
    },
    /// Deletes a Job of the migration, and with it its pods.
    DeleteJob {
        /// Which.
        job: ObjectId,
    },
    /// Deletes an object of the membership service, and with it its pods. Risky.
    Remove {
        /// Its kind.
        kind: ChildKind,
        /// Which.
        object: ObjectId,
    },
    /// Deletes the StatefulSet, and with it its pods.
    DeleteStatefulSet {
        /// Which.
        stateful_set: ObjectId,
    },
    /// Deletes a claim and the data in its volume. Only planned for a resource that is itself being
    /// deleted under `deletionPolicy: Delete`.
    DeleteClaim {
        /// Which.
        claim: ObjectId,
    },
}

impl Step {
    /// Whether the step takes something away that others rely on, or cannot be taken back. Before
    /// the first such step of a plan the world is looked at once more, by reads that the API server
    /// answers from its quorum, and the risky ones are done only so far as the plan from that look
    /// has them too.
    #[must_use]
    pub const fn is_risky(&self) -> bool {
        match self {
            Self::RaiseReplicas { .. }
            | Self::StepDownMeta { .. }
            | Self::RestartServer { .. }
            | Self::AcceptLoss { .. }
            | Self::RunMigration { .. }
            | Self::RunUnfence { .. }
            | Self::SuspendJob { .. }
            | Self::Remove { .. }
            | Self::MarkClaims { mark: ClaimMark::LossAccepted, .. }
            | Self::DeleteStatefulSet { .. }
            | Self::DeleteClaim { .. } => true,
            Self::SetFinalizer
            | Self::RemoveFinalizer
            | Self::CreateSecret { .. }
            | Self::CreateBucket { .. }
            | Self::CreateControl { .. }
            | Self::RecordBuckets { .. }
            | Self::MarkClaims { .. }
            | Self::DeleteJob { .. }
            | Self::ReloadServer { .. } => false,
        }
    }

    /// Whether the step changes what NATS holds or says: what it said before is outdated then.
    #[must_use]
    pub const fn is_towards_nats(&self) -> bool {
        match self {
            Self::CreateBucket { .. }
            | Self::CreateControl { .. }
            | Self::RecordBuckets { .. }
            | Self::AcceptLoss { .. }
            | Self::RaiseReplicas { .. }
            | Self::StepDownMeta { .. }
            | Self::ReloadServer { .. } => true,
            Self::SetFinalizer
            | Self::RemoveFinalizer
            | Self::CreateSecret { .. }
            | Self::MarkClaims { .. }
            | Self::RestartServer { .. }
            | Self::RunMigration { .. }
            | Self::RunUnfence { .. }
            | Self::SuspendJob { .. }
            | Self::DeleteJob { .. }
            | Self::Remove { .. }
            | Self::DeleteStatefulSet { .. }
            | Self::DeleteClaim { .. } => false,
        }
    }
}

/// A kind of objects of the membership service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChildKind {
    /// Its pods.
    Deployment,
    /// Its address.
    Service,
    /// Its disruption budget.
    PodDisruptionBudget,
}

/// An object as it was seen. A deletion carries uid and resourceVersion as preconditions, so that
/// it never reaches a successor of the same name or a changed object.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectId {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
}
