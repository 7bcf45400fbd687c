//! What both programs stand on: the version they report, and later telemetry, metrics, leases and
//! shutdown. Nothing of the membership domain and nothing of a particular resource lives here.

pub mod version;
