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

/// The finalizer that a resource carries only while its `deletionPolicy` is `Delete`.
pub const FINALIZER: &str = "membership.unibus.dev/delete-volumes";
