//! The library behind `membership-operator` and `membershipd`.
//!
//! The floor plan, from the words inwards:
//!
//! * [`membership`] is the domain: rooms, members, sealed room keys by epoch and the users who may
//!   come in, kept in one SQLite file or in replicated JetStream buckets. It knows nothing of
//!   Kubernetes.
//! * [`jetstream`] is the hands towards NATS: connections and bucket calls. It knows neither
//!   Kubernetes nor the domain.
//! * `migration` moves an old SQLite file into the buckets, once. It exists with the feature
//!   `service`.
//! * `api` is the words of the Kubernetes resource, `cluster` the pure decisions about it and
//!   `controller` the hands that carry them out. They exist with the feature `operator`.
//! * `command` is the command line of `membershipd`. It exists with the feature `service`.
//! * `service` is the membership over HTTP: signatures, policy, handlers. It exists with the feature
//!   `service`.
//! * [`runtime`] is the floor both programs stand on.
//!
//! The programs in `src/bin` only wire these together.

#[cfg(feature = "operator")]
pub mod api;
#[cfg(feature = "operator")]
pub mod cluster;
#[cfg(feature = "service")]
pub mod command;
#[cfg(feature = "operator")]
pub mod controller;
pub mod jetstream;
pub mod membership;
#[cfg(feature = "service")]
pub mod migration;
pub mod runtime;
#[cfg(feature = "service")]
pub mod service;
