//! Version `v1alpha1` of the resource. Changes are additive; a field enters together with the
//! code that acts on it.

mod membershipd;
mod migration;
mod pod_options;
mod scalars;
mod spec;
mod status;

pub use membershipd::{FirstAdmin, Membershipd, Store};
pub use migration::{
    BackupPolicy, Migration, MigrationCounts, MigrationState, MigrationStatus, Sqlite,
};
pub use pod_options::{
    ImagePullPolicy, LocalSecret, PodOptions, PodSecurityContext, ResourceAmounts, Resources,
    Toleration, TolerationEffect, TolerationOperator, TopologySpreadConstraint, WhenUnsatisfiable,
};
pub use scalars::{ByteSize, DurationText, InvalidScalar, ResourceQuantity};
pub use spec::{
    AntiAffinity, Bootstrap, Buckets, DeletionPolicy, MembershipCluster, MembershipClusterSpec,
    Nats, Storage,
};
pub use status::{
    BucketState, BucketStatus, Endpoints, MembershipClusterStatus, MembershipdStatus, MetaLeader,
};
