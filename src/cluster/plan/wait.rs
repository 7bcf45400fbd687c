//! What a pass waits for, and what only a person can mend. Both are data, never errors.

use std::collections::BTreeSet;

use super::migrate::{MigrationTrouble, MigrationWait};
use super::serve::ServeWait;
use crate::cluster::names::Bucket;

/// What stands between the world after a pass and the wanted one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: all is as wanted.
    #[default]
    Nothing,
    /// The children and Secrets of this pass, to be seen in the next.
    Children,
    /// `spec.suspend` is set.
    Suspended,
    /// Objects of a deleted resource of the same name are still there.
    OldChildrenGone {
        /// Their kinds and names.
        children: Vec<String>,
    },
    /// Servers that are not ready.
    Servers {
        /// Their names.
        missing: Vec<String>,
    },
    /// An answer from NATS.
    Nats,
    /// A settled meta leader.
    MetaLeader,
    /// Buckets to be made.
    BucketsMade {
        /// Which.
        buckets: BTreeSet<Bucket>,
    },
    /// Buckets to get a leader.
    BucketLeaders {
        /// Which.
        buckets: BTreeSet<Bucket>,
    },
    /// Buckets below their wanted replicas.
    BucketsRaised {
        /// Which.
        buckets: BTreeSet<Bucket>,
    },
    /// Replicas to be equal.
    BucketsEqual {
        /// Which.
        buckets: BTreeSet<Bucket>,
    },
    /// Servers to be restarted with what changed.
    Restarts {
        /// Their names.
        servers: Vec<String>,
        /// Servers that are not ready, so that no other is restarted yet.
        missing: Vec<String>,
    },
    /// Servers to take up a changed configuration without a restart.
    Reloads {
        /// Their names.
        servers: Vec<String>,
    },
    /// The SQLite file to be moved into the buckets.
    Migration(MigrationWait),
    /// The membership service.
    Serving(ServeWait),
    /// Pods and claims of this resource, which is being deleted, to be gone.
    OwnChildrenGone {
        /// Their kinds and names.
        children: Vec<String>,
    },
    /// A person.
    Person(Trouble),
}

/// What only a person can mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// An object with a name of ours belongs to someone else.
    NameTaken {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Whose it is.
        owner: String,
    },
    /// Claims or buckets belong to another cluster.
    ForeignData {
        /// What was found where.
        what: String,
    },
    /// Fewer retained claims than a quorum are left.
    QuorumAtRisk {
        /// How many are left.
        left: u8,
        /// How many make a majority.
        quorum: u8,
    },
    /// A bucket that held data is gone.
    BucketLost {
        /// Which.
        bucket: Bucket,
        /// The cluster that it was part of.
        cluster_id: String,
    },
    /// The number of servers differs from what exists.
    ReplicasChanged {
        /// What exists.
        from: i32,
        /// What the spec says.
        to: i32,
    },
    /// Something stands against the move of the SQLite file.
    Migration(MigrationTrouble),
    /// SQLite was asked for again, and the membership is in the buckets.
    NoWayBack {
        /// Whether it was moved there from the file; else it began there.
        moved: bool,
    },
    /// The size of the volumes differs from what exists.
    StorageChanged {
        /// What exists.
        from: String,
        /// What the spec says.
        to: String,
    },
}
