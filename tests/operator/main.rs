//! The operator without a Kubernetes cluster: its CRD, its walls, its manifests and its plans.

#![allow(clippy::unwrap_used, reason = "a helper that meets the impossible fails its test")]

mod architecture;
mod argocd;
mod chart;
mod convergence;
mod crd;
mod cutover;
mod events;
mod examples;
mod fake;
mod fixture;
mod manifests;
mod migration;
mod nats_config;
mod operate;
mod plan_rules;
mod readme;
#[path = "../readme/commands.rs"]
mod readme_commands;
mod rendered;
mod servers;
mod serving;
mod status_walk;
mod tables;
