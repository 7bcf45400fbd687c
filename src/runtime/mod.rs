//! What both programs stand on: the version they report, logs, figures, listeners, the admin
//! endpoints and the way to stop. Nothing of the membership domain and nothing of a particular
//! resource lives here.

pub mod admin;
pub mod listen;
pub mod metrics;
pub mod shutdown;
pub mod telemetry;
pub mod version;
