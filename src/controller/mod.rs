//! The hands towards Kubernetes, and what ties a reconcile together. Nothing is decided here: what
//! a look finds goes to [`plan`](crate::cluster::plan), and what the plan says is done.
//!
//! * `reconcile` is one pass from look to report, and the controller that calls it.
//! * `observe` reads Kubernetes; `probe` keeps asking NATS, in a task of its own a cluster; `access`
//!   is the way to a cluster's servers.
//! * [`program`] is `membership-operator run`.
//! * `context` is what every pass needs, `figures` what is counted.
//! * `apply` writes children, `execute` does steps, `report` writes status and Events,
//!   `events` each by its own words.

mod access;
mod apply;
mod context;
mod error;
mod events;
mod execute;
mod figures;
mod membershipd;
mod migrate;
mod observe;
mod probe;
pub mod program;
mod reconcile;
mod report;
