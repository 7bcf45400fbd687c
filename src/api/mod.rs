//! Words: the `MembershipCluster` resource as users write and read it.
//!
//! Here live the custom resource's types, its condition types and reasons, and the CRD made from
//! them. No client, no async and no decision lives here: a field says what it means, and
//! [`cluster`](crate::cluster) decides what follows from it.

pub mod conditions;
pub mod crd;
pub mod v1alpha1;

/// The API group of every resource, label and annotation of ours.
pub const GROUP: &str = "membership.unibus.dev";

/// The field manager under which the operator applies children.
pub const FIELD_MANAGER: &str = "membership-operator";

/// The field manager of the status, apart from the children's so that neither takes the other's
/// fields away.
pub const STATUS_MANAGER: &str = "membership-operator-status";

/// Annotation on claims and Secrets: the random id of the cluster whose data or keys they hold.
pub const CLUSTER_ID: &str = "membership.unibus.dev/cluster-id";

/// Annotation on claims: that the volume may hold data, which outlives the record of it in NATS.
pub const DATA: &str = "membership.unibus.dev/data";

/// Annotation on claims: the number of servers that their StatefulSet had, which outlives it.
pub const SERVERS: &str = "membership.unibus.dev/servers";

/// Annotation on applied children: a digest of what was applied, so that a field taken out of the
/// wanted object is noticed although the live one still contains all that is wanted.
pub const APPLIED_DIGEST: &str = "membership.unibus.dev/applied-digest";

/// Annotation on the pod template: a digest of the part of the NATS configuration that only a
/// restart takes up.
pub const CONFIG_DIGEST: &str = "membership.unibus.dev/config-digest";

/// Annotation on the resource: `<bucket>/<clusterId>` of a lost bucket that may be made anew.
pub const ACCEPT_LOSS: &str = "membership.unibus.dev/accept-loss";

/// Annotation on a source claim: the name of the resource that may move what is in it.
pub const RELEASE_TO: &str = "membership.unibus.dev/release-to";

/// Annotation on the resource: with a new value, a failed migration is tried again.
pub const RETRY_MIGRATION: &str = "membership.unibus.dev/retry-migration";

/// Annotation on a migration's Job: what it moves, as `claim/path`.
pub const JOB_SOURCE: &str = "membership.unibus.dev/source";

/// Annotation on a migration's Job: a digest of everything that it was asked for.
pub const JOB_ASKED: &str = "membership.unibus.dev/asked";

/// Annotation on a migration's Job: a digest of the claim and its users when it was made.
pub const JOB_CIRCUMSTANCES: &str = "membership.unibus.dev/circumstances";

/// Annotation on a migration's Job: how many Jobs in a row were asked for the same.
pub const JOB_TRIES: &str = "membership.unibus.dev/tries";

/// The finalizer that a resource carries only while its `deletionPolicy` is `Delete`.
pub const FINALIZER: &str = "membership.unibus.dev/delete-volumes";
