//! One task a cluster that keeps asking NATS, and what it remembers: the rounds of the last half
//! minute. Verdicts over the rounds are [`settled`](crate::cluster::settled)'s and
//! [`equal`](crate::cluster::equal)'s. It makes no call to the API server, and everything it knows
//! is lost with the process: then it watches again.

mod ask;
mod memory;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::Client;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::debug;
use zeroize::Zeroizing;

pub(super) use self::ask::kv_bucket;
use self::ask::{Answer, ask};
use self::memory::Memory;
use super::access::{self, NatsAccess, Way};
use super::context::Key;
use super::error::Error;
use super::observe::Seeds;
use crate::cluster::names::Role;
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::world::World;
use crate::jetstream::connect::{NatsOptions, Role as NatsRole};
use crate::jetstream::link::Link;
use crate::membership::kv::{ControlFile, Prefix, Wire};

/// How often a new probe asks, and any while the meta leader is settling: a slower one would never
/// see it hold without a break.
const QUICK: Duration = Duration::from_millis(250);

/// How long a pass waits for what NATS says after a deed.
const AFTER_A_DEED: Duration = Duration::from_secs(3);

/// The connections to one cluster, one a role.
pub(super) struct Links {
    /// In the system account.
    pub(super) system: Link,
    /// In the membership account.
    pub(super) operator: Arc<Link>,
    /// What the buckets are named after.
    pub(super) prefix: Prefix,
    /// The record that speaks for them.
    pub(super) control: ControlFile,
    _way: Way,
}

/// The probes of all clusters.
pub(super) struct Probes {
    client: Client,
    access: NatsAccess,
    wake: mpsc::Sender<Key>,
    running: Mutex<HashMap<Key, Arc<Probe>>>,
}

/// What a probe is of. With any part of it another, it is another probe.
#[derive(Clone, PartialEq)]
struct Subject {
    uid: String,
    prefix: String,
    servers: Vec<String>,
    settle: Duration,
    system_seed: Zeroizing<String>,
    operator_seed: Zeroizing<String>,
}

/// The probe of one cluster. Its task ends with it.
pub(super) struct Probe {
    subject: Subject,
    /// The ways to the servers.
    pub(super) links: Arc<Links>,
    memory: Arc<Mutex<Memory>>,
    pace: watch::Sender<Duration>,
    hurry: Arc<Notify>,
    /// When the newest finished round was asked.
    finished: watch::Receiver<Instant>,
    task: JoinHandle<()>,
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Probes {
    pub(super) fn new(client: Client, access: NatsAccess, wake: mpsc::Sender<Key>) -> Self {
        Self { client, access, wake, running: Mutex::default() }
    }

    /// The probe of a cluster's servers; a new one when there is none or when it knows other keys.
    /// None while the keys are not there.
    pub(super) async fn of(
        &self,
        key: &Key,
        cluster: &ValidatedCluster,
        ordinals: Range<u8>,
        seeds: &Seeds,
    ) -> Result<Option<Arc<Probe>>, Error> {
        let (Some(system), Some(operator)) = (seeds.get(&Role::System), seeds.get(&Role::Operator))
        else {
            return Ok(None);
        };
        let names = &cluster.names;
        let subject = Subject {
            uid: cluster.uid.clone(),
            prefix: cluster.prefix.clone(),
            servers: ordinals.clone().map(|ordinal| names.server(ordinal)).collect(),
            settle: cluster.settle,
            system_seed: system.clone(),
            operator_seed: operator.clone(),
        };
        if let Some(probe) = self.running().get(key).filter(|probe| probe.subject == subject) {
            return Ok(Some(Arc::clone(probe)));
        }
        let way = access::open(self.access, &self.client, names, ordinals).await?;
        let links = Arc::new(links(way, &subject)?);
        let probe = Arc::new(Probe::start(key.clone(), subject, links, self.wake.clone()));
        self.running().insert(key.clone(), Arc::clone(&probe));
        Ok(Some(probe))
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Arc<Probe>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the probes of resources that are gone.
    pub(super) fn keep(&self, exists: impl Fn(&Key) -> bool) {
        self.running().retain(|key, _| exists(key));
    }

    /// Ends the probe of a resource.
    pub(super) fn end(&self, key: &Key) {
        self.running().remove(key);
    }
}

fn links(way: Way, subject: &Subject) -> Result<Links, Error> {
    let link = |role, seed: &Zeroizing<String>| {
        let options = NatsOptions::new(&way.addresses, role)
            .map_err(|error| Error::nats("reach the servers", &error))?;
        Ok::<_, Error>(Link::new(options.seed(seed.clone())))
    };
    let system = link(NatsRole::System, &subject.system_seed)?;
    let operator = Arc::new(link(NatsRole::Operator, &subject.operator_seed)?);
    let prefix: Prefix =
        subject.prefix.parse().map_err(|error| Error::nats("name the buckets", &error))?;
    let control = ControlFile::new(prefix.clone(), Arc::clone(&operator) as Arc<dyn Wire>);
    Ok(Links { system, operator, prefix, control, _way: way })
}

impl Probe {
    fn start(key: Key, subject: Subject, links: Arc<Links>, wake: mpsc::Sender<Key>) -> Self {
        let memory = Arc::new(Mutex::new(Memory::new(
            subject.servers.clone(),
            subject.settle,
            subject.prefix.clone(),
            Instant::now(),
        )));
        let (pace, paced) = watch::channel(QUICK);
        let (finish, finished) = watch::channel(Instant::now());
        let hurry = Arc::new(Notify::new());
        let asking = Asking {
            key,
            servers: subject.servers.len(),
            links: Arc::clone(&links),
            memory: Arc::clone(&memory),
            pace: paced,
            hurry: Arc::clone(&hurry),
            finish,
            wake,
        };
        let task = tokio::spawn(asking.keep_on());
        Self { subject, links, memory, pace, hurry, finished, task }
    }

    /// Asks anew after a deed, and waits until that is answered: what was asked before it says
    /// nothing of it. When it takes too long, nothing is known until it is.
    pub(super) async fn ask_anew(&self) {
        let done = Instant::now();
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).outdate(done);
        self.hurry.notify_one();
        let mut finished = self.finished.clone();
        let newer = finished.wait_for(|asked| *asked >= done);
        // Late or ended: what was outdated stays outdated.
        let _ = tokio::time::timeout(AFTER_A_DEED, newer).await;
    }

    /// How often it asks from now on.
    pub(super) fn set_pace(&self, pace: Duration) {
        self.pace.send_if_modified(|old| std::mem::replace(old, pace) != pace);
    }

    /// Puts what NATS said into a look at the world.
    pub(super) fn fill(&self, world: &mut World) {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        world.nats = memory.snapshot(Instant::now());
        world.silence = memory.silence(Instant::now());
        world.key_refused = memory.key_refused();
    }

    /// The id of a server as it was last seen.
    pub(super) fn server_id(&self, server: &str) -> Option<String> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).server_id(server)
    }
}

/// What the task of a probe works with.
struct Asking {
    key: Key,
    servers: usize,
    links: Arc<Links>,
    memory: Arc<Mutex<Memory>>,
    pace: watch::Receiver<Duration>,
    hurry: Arc<Notify>,
    finish: watch::Sender<Instant>,
    wake: mpsc::Sender<Key>,
}

impl Asking {
    async fn keep_on(mut self) {
        loop {
            let asked = Instant::now();
            let answer: Answer = ask(&self.links, self.servers).await;
            let changed =
                self.memory.lock().unwrap_or_else(PoisonError::into_inner).take_in(asked, answer);
            self.finish.send_replace(asked);
            if changed {
                debug!(cluster = %self.key, "NATS says something new");
                if self.wake.send(self.key.clone()).await.is_err() {
                    return;
                }
            }
            if !self.rest(asked).await {
                return;
            }
        }
    }

    /// Waits until the next round is due: a pace after the last one was asked, or at once in a
    /// hurry. False when nobody wants to know any more.
    async fn rest(&mut self, asked: Instant) -> bool {
        loop {
            let settling = self.memory.lock().unwrap_or_else(PoisonError::into_inner).is_settling();
            let pace = *self.pace.borrow_and_update();
            let due = asked + if settling { pace.min(QUICK) } else { pace };
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => return true,
                () = self.hurry.notified() => return true,
                changed = self.pace.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                }
            }
        }
    }
}
