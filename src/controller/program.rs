//! `membership-operator run`: its flags, and the parts put together.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;
use kube::{Client, Config};
use prometheus_client::registry::Registry;
use thiserror::Error;
use tokio::net::TcpListener;

use super::access::NatsAccess;
use super::context::{Context, Settings};
use super::figures::Figures;
use super::reconcile;
use crate::runtime::admin::{self, Readiness};
use crate::runtime::lease::{Candidate, Claim};
use crate::runtime::listen::{ListenLimits, serve};
use crate::runtime::metrics::Metrics;
use crate::runtime::shutdown::{Stop, on_signals};
use crate::runtime::telemetry::{self, DEFAULT_LEVEL, LogFormat, LogSettings, TelemetryError};

/// The image of new servers, unless another is chosen.
const DEFAULT_NATS_IMAGE: &str = "docker.io/library/nats:2.15.2-scratch";

/// The image of `membershipd`, unless another is chosen: the operator's own has it, too.
const DEFAULT_MEMBERSHIPD_IMAGE: &str =
    concat!("ghcr.io/unibus/membership-operator:", env!("CARGO_PKG_VERSION"));

/// The Lease's name.
const LEASE: &str = "membership-operator";

/// Where Kubernetes puts the name of the pod's namespace.
const OWN_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Arguments of `run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Namespaces to work in, with commas between; all of them when none is given
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACE")]
    watch_namespaces: Vec<String>,
    /// Image of NATS servers when a resource names none
    #[arg(long, env = "DEFAULT_NATS_IMAGE", value_name = "IMAGE", default_value = DEFAULT_NATS_IMAGE)]
    default_nats_image: String,
    /// Image of membershipd when a resource names none
    #[arg(long, env = "DEFAULT_MEMBERSHIPD_IMAGE", value_name = "IMAGE",
          default_value = DEFAULT_MEMBERSHIPD_IMAGE)]
    default_membershipd_image: String,
    /// How to reach the servers; by pods in Kubernetes, else by port-forward
    #[arg(long, env = "NATS_ACCESS", value_enum, value_name = "WAY")]
    nats_access: Option<NatsAccess>,
    /// Where to answer for /livez, /readyz and /metrics
    #[arg(long, env = "ADMIN_ADDRESS", value_name = "ADDRESS", default_value = "[::]:8080")]
    admin_address: SocketAddr,
    /// Do without a Lease: only where never more than one instance runs
    #[arg(long, env = "NO_LEASE")]
    no_lease: bool,
    /// Namespace of the Lease; the operator's own when it runs in Kubernetes
    #[arg(long, env = "LEASE_NAMESPACE", value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
    /// Name of this instance, in the Lease and in Events; the pod's
    #[arg(long, env = "POD_NAME", value_name = "NAME", default_value = LEASE)]
    identity: String,
    /// Resources worked on at the same time
    #[arg(long, env = "CONCURRENCY", value_name = "NUMBER", default_value_t = 8,
          value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
    /// The form of log lines
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a list such as debug,async_nats=info
    #[arg(long, env = "LOG_LEVEL", value_name = "FILTER", default_value = DEFAULT_LEVEL)]
    log_level: String,
}

/// Why the operator ended.
#[derive(Debug, Error)]
enum RunError {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error("cannot {doing}: {source}")]
    System { doing: &'static str, source: std::io::Error },
    #[error("no way to a Kubernetes cluster: {0}; run it in one, or set KUBECONFIG")]
    NoCluster(#[from] kube::config::InferConfigError),
    #[error("the Kubernetes client cannot be made: {0}")]
    Client(#[from] kube::Error),
    #[error("another instance leads by now, or the API server was away too long")]
    LostLease,
}

/// Runs the operator until it is told to stop.
#[must_use]
pub fn run(args: &RunArgs) -> ExitCode {
    match begin(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("membership-operator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn begin(args: &RunArgs) -> Result<(), RunError> {
    telemetry::begin(&LogSettings { format: args.log_format, level: args.log_level.clone() })?;
    let system = |doing| move |source| RunError::System { doing, source };
    let runtime = tokio::runtime::Runtime::new().map_err(system("start"))?;
    let ended = runtime.block_on(Box::pin(operate(args)));
    // Probes and forwards that are still at work end here.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended
}

async fn operate(args: &RunArgs) -> Result<(), RunError> {
    let signals =
        on_signals().map_err(|source| RunError::System { doing: "hear signals", source })?;
    let config = Config::infer().await?;
    let namespace = lease_namespace(args, &config);
    let client = Client::try_from(config)?;
    let mut registry = Registry::default();
    let figures = Figures::register(&mut registry);
    let listener = TcpListener::bind(args.admin_address)
        .await
        .map_err(|source| RunError::System { doing: "listen on the admin address", source })?;
    let router = admin::router(Arc::new(Alive), Metrics::of(registry));
    tokio::spawn(serve(listener, router, ListenLimits::default(), signals.clone()));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "the operator has begun");
    if args.no_lease {
        figures.leads(true);
        work(args, client, Claim::always(), figures, signals).await;
        return Ok(());
    }
    let mut candidate = Candidate::new(client.clone(), &namespace, LEASE, &args.identity);
    if !candidate.acquire(&signals).await {
        return Ok(());
    }
    figures.leads(true);
    let working = work(args, client, candidate.claim(), figures, signals);
    let ended = tokio::select! {
        () = working => Ok(()),
        () = candidate.hold() => Err(RunError::LostLease),
    };
    candidate.vacate().await;
    ended
}

async fn work(args: &RunArgs, client: Client, claim: Claim, figures: Figures, stop: Stop) {
    let settings = Settings {
        namespaces: args.watch_namespaces.iter().filter(|one| !one.is_empty()).cloned().collect(),
        default_image: args.default_nats_image.clone(),
        default_membershipd_image: args.default_membershipd_image.clone(),
        access: args.nats_access.unwrap_or_else(usual_access),
        instance: args.identity.clone(),
        concurrency: args.concurrency,
    };
    let (context, woken) = Context::new(client, settings, claim, figures);
    Box::pin(reconcile::run(context, woken, stop)).await;
}

/// Pods' names resolve only where Kubernetes gave this process a service account.
fn usual_access() -> NatsAccess {
    if std::path::Path::new(OWN_NAMESPACE).exists() {
        NatsAccess::Pods
    } else {
        NatsAccess::PortForward
    }
}

fn lease_namespace(args: &RunArgs, config: &Config) -> String {
    args.lease_namespace.clone().unwrap_or_else(|| config.default_namespace.clone())
}

/// An instance that waits for the Lease is ready too: it is what another one's end is waited with.
struct Alive;

#[async_trait]
impl Readiness for Alive {
    async fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}
