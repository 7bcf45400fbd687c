//! What every pass needs: the client, the settings, and what is remembered between passes, which is
//! never progress.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::events::Reporter;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc;

use super::access::NatsAccess;
use super::error::Error;
use super::events::Events;
use super::figures::Figures;
use super::probe::Probes;
use crate::api::FIELD_MANAGER;
use crate::api::v1alpha1::MembershipCluster;
use crate::cluster::plan::BackOff;
use crate::runtime::lease::Claim;

/// A resource that may be unreadable under our types.
pub type Guarded = DeserializeGuard<MembershipCluster>;

/// Which resource.
pub type Key = ObjectRef<Guarded>;

/// What a person who runs the operator chooses.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The namespaces to work in; none for all of them.
    pub namespaces: Vec<String>,
    /// The image of servers when the spec sets none.
    pub default_image: String,
    /// The image of `membershipd` when the spec sets none.
    pub default_membershipd_image: String,
    /// The way to the servers.
    pub access: NatsAccess,
    /// This instance's name, in Events.
    pub instance: String,
    /// How many resources are worked on at the same time.
    pub concurrency: u16,
}

/// What every pass needs.
pub struct Context {
    pub(super) client: Client,
    pub(super) settings: Settings,
    pub(super) claim: Claim,
    pub(super) figures: Figures,
    pub(super) events: Events,
    pub(super) probes: Probes,
    back_offs: Mutex<HashMap<Key, BackOff>>,
}

impl Context {
    /// A context, and where the probes' wishes for a pass come out.
    #[must_use]
    pub fn new(
        client: Client,
        settings: Settings,
        claim: Claim,
        figures: Figures,
    ) -> (Arc<Self>, mpsc::Receiver<Key>) {
        let (wake, woken) = mpsc::channel(64);
        let reporter = Reporter {
            controller: FIELD_MANAGER.to_owned(),
            instance: Some(settings.instance.clone()),
        };
        let context = Self {
            events: Events::new(client.clone(), reporter),
            probes: Probes::new(client.clone(), settings.access, wake),
            client,
            settings,
            claim,
            figures,
            back_offs: Mutex::default(),
        };
        (Arc::new(context), woken)
    }

    /// The API server cannot fence what is done to NATS, so this is asked before each such deed.
    pub(super) fn must_lead(&self) -> Result<(), Error> {
        if self.claim.is_current() { Ok(()) } else { Err(Error::NotLeading) }
    }

    /// The pause after one more error of a resource.
    pub(super) fn failed(&self, key: &Key, error: &Error) -> Duration {
        let mut back_offs = self.back_offs.lock().unwrap_or_else(PoisonError::into_inner);
        back_offs.entry(key.clone()).or_default().failed(error.towards())
    }

    /// A pass went well.
    pub(super) fn succeeded(&self, key: &Key) {
        self.back_offs.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Forgets the resources that are gone.
    pub(super) fn keep(&self, exists: impl Fn(&Key) -> bool) {
        self.probes.keep(&exists);
        let mut back_offs = self.back_offs.lock().unwrap_or_else(PoisonError::into_inner);
        back_offs.retain(|key, _| exists(key));
        self.figures.keep(|namespace, name| exists(&Key::new(name).within(namespace)));
    }
}
