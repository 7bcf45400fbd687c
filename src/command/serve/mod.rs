//! `membershipd serve`: opens the store, listens, and stops when it is told to.

pub mod config;
pub mod open;
mod store;

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use ed25519_dalek::SigningKey;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use self::config::{ServeArgs, ServeConfig, parse};
use self::open::{Awaited, Backing, opened};
use super::choice::of_process;
use super::error::{CommandError, CommandResult};
use crate::membership::MembershipStore;
use crate::membership::ids::UserKey;
use crate::runtime::admin::{self, Readiness};
use crate::runtime::listen::{self, ListenLimits};
use crate::runtime::metrics::Metrics;
use crate::runtime::shutdown;
use crate::runtime::telemetry;
use crate::service::admission::Service;
use crate::service::limits::Limits;
use crate::service::observe::Figures;
use crate::service::{readiness, router, sweeper};

/// Serves until a signal says to stop.
///
/// # Errors
/// When it cannot begin.
pub async fn run(args: ServeArgs, out: &mut dyn Write) -> CommandResult<()> {
    let config = configured(args)?;
    telemetry::begin(&config.log).map_err(|error| CommandError::Usage(error.to_string()))?;
    let stop = shutdown::on_signals()?;
    let (listener, admin_listener) = (bind(config.listen).await?, bind(config.admin_listen).await?);
    let (at, admin_at) = (listener.local_addr()?, admin_listener.local_addr()?);
    tracing::info!(%at, %admin_at, "listening");
    let mut registry = Registry::default();
    let figures = Figures::register(&mut registry);
    let awaited = Awaited::default();
    let (store, nobody) = (OnceLock::new(), nobody()?);
    let ready = Arc::new(StoreReadiness { store, awaited: awaited.clone(), nobody });
    let admin = admin::router(Arc::clone(&ready) as Arc<dyn Readiness>, Metrics::of(registry));
    // The admin endpoints come first and go last: they say what is going on meanwhile.
    let (admin_stopper, admin_stop) = shutdown::stop();
    let admin = listen::serve(admin_listener, admin, ListenLimits::default(), admin_stop);
    let admin = tokio::spawn(admin);
    let Some(Backing { store, log }) = opened(&config, &awaited, &stop).await? else {
        return Ok(());
    };
    // It is set here only.
    let _ = ready.store.set(Arc::clone(&store));
    let tidying = tokio::spawn(sweeper::sweep(Arc::clone(&store), Arc::clone(&log)));
    let service = Service::new(store, log, config.authorities, Limits::default());
    let router = router::router(Arc::new(service), figures);
    // A script that started it waits for this line.
    writeln!(out, "serving {} on http://{at}, admin on http://{admin_at}", config.store)?;
    out.flush()?;
    tracing::info!(store = %config.store, "serving");
    listen::serve(listener, router, ListenLimits::default(), stop).await;
    tidying.abort();
    admin_stopper.say();
    // It ends by itself within its own bounds; that it panicked would be in the log.
    let _ = admin.await;
    tracing::info!("stopped");
    Ok(())
}

fn configured(args: ServeArgs) -> CommandResult<ServeConfig> {
    let file = match args.file(&of_process) {
        None => String::new(),
        Some(path) => fs::read_to_string(&path).map_err(|error| {
            CommandError::Usage(format!("{} cannot be read: {error}", path.display()))
        })?,
    };
    args.decide(parse(&file)?, &of_process)
}

async fn bind(address: SocketAddr) -> CommandResult<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        CommandError::Usage(format!("nothing can listen on {address}: {error}; name another"))
    })
}

/// A key that nobody can hold: its other half is thrown away at once.
fn nobody() -> CommandResult<UserKey> {
    let refused = || CommandError::Refused("the system has no random bytes".to_owned());
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|_| refused())?;
    let key = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
    UserKey::try_from(key).map_err(|_| refused())
}

struct StoreReadiness {
    /// Once it is open.
    store: OnceLock<Arc<dyn MembershipStore>>,
    awaited: Awaited,
    nobody: UserKey,
}

#[async_trait]
impl Readiness for StoreReadiness {
    async fn ready(&self) -> Result<(), String> {
        match self.store.get() {
            Some(store) => readiness::ready(store, self.nobody).await,
            None => Err(self.awaited.words()),
        }
    }
}
