//! What both programs stand on: the version they report, logs, figures, leases, listeners, the admin
//! endpoints and the way to stop. Nothing of the membership domain and nothing of a particular
//! resource lives here.

pub mod admin;
#[cfg(feature = "operator")]
pub mod lease;
pub mod listen;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;
pub mod version;
