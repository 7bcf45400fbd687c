//! The membership domain. No Kubernetes in here.
