//! Faults, several at a time, in an order that a seed decides. Each is undone again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use membership_operator::jetstream::bucket::stream_of;
use testbed::nats::{Link, LinkState, Nats};

/// How many faults may be there at once.
const HANDS: u64 = 3;

/// How many servers may be in trouble at once: two of three, so that now and then there is no
/// quorum.
const SERVERS: usize = 2;

/// One of so many faults outlasts an election (4 to 9 s); the others are short.
const LONG_EVERY: u32 = 8;

/// One kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Kill,
    Freeze,
    HoldRoutes,
    CutRoutes,
    StreamStepsDown,
    MetaStepsDown,
    PauseClient,
    CutClient,
}

const FAULTS: [Fault; 8] = [
    Fault::Kill,
    Fault::Freeze,
    Fault::HoldRoutes,
    Fault::CutRoutes,
    Fault::StreamStepsDown,
    Fault::MetaStepsDown,
    Fault::PauseClient,
    Fault::CutClient,
];

/// How often each was done.
pub type Done = BTreeMap<Fault, usize>;

/// Servers and wires that harm is done to.
pub struct Trouble {
    nats: Arc<Nats>,
    clients: Vec<Vec<Link>>,
    seed: u64,
    /// The servers in trouble.
    busy: Mutex<Vec<usize>>,
    done: Mutex<Done>,
}

impl Trouble {
    pub fn new(nats: Arc<Nats>, clients: Vec<Vec<Link>>, seed: u64) -> Self {
        Self { nats, clients, seed, busy: Mutex::default(), done: Mutex::default() }
    }

    /// Does harm until there were so many faults and it is enough; then all is healed.
    pub async fn make_until(&self, faults: usize, enough: impl Fn() -> bool + Sync) -> Done {
        let over = || enough() && self.count() >= faults;
        let hand = async |number: u64| {
            let mut rng = Rng::with_seed(self.seed.wrapping_mul(31).wrapping_add(number));
            while !over() {
                self.harm(&mut rng).await;
                tokio::time::sleep(Duration::from_millis(rng.u64(50..400))).await;
            }
        };
        const { assert!(HANDS == 3) };
        tokio::join!(hand(0), hand(1), hand(2));
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self) -> usize {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    async fn harm(&self, rng: &mut Rng) {
        let fault = FAULTS[rng.usize(..FAULTS.len())];
        let long = rng.u32(..LONG_EVERY) == 0;
        let lasting =
            Duration::from_millis(if long { rng.u64(6000..11_000) } else { rng.u64(100..1500) });
        let did = match fault {
            Fault::Kill | Fault::Freeze | Fault::HoldRoutes | Fault::CutRoutes => {
                self.harm_a_server(fault, lasting, rng).await
            }
            Fault::StreamStepsDown => {
                // It fails while there is no leader, which is trouble enough.
                self.nats.step_down_stream(&stream_of("UNIBUS_users"), None).await.is_ok()
            }
            Fault::MetaStepsDown => self.nats.step_down_meta(None).await.is_ok(),
            Fault::PauseClient => self.harm_a_client(LinkState::Held, lasting, rng).await,
            Fault::CutClient => self.harm_a_client(LinkState::Cut, lasting, rng).await,
        };
        if did {
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            *done.entry(fault).or_default() += 1;
        }
    }

    async fn harm_a_server(&self, fault: Fault, lasting: Duration, rng: &mut Rng) -> bool {
        let Some(server) = self.claim(rng.usize(..self.nats.size())) else {
            return false;
        };
        self.begin(fault, server);
        tokio::time::sleep(lasting).await;
        self.heal(fault, server);
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).retain(|busy| *busy != server);
        true
    }

    /// A server that nobody else harms, unless too many are in trouble.
    fn claim(&self, server: usize) -> Option<usize> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if busy.len() >= SERVERS || busy.contains(&server) {
            return None;
        }
        busy.push(server);
        Some(server)
    }

    fn begin(&self, fault: Fault, server: usize) {
        match fault {
            Fault::Kill => self.nats.kill(server).unwrap(),
            Fault::Freeze => self.nats.freeze(server).unwrap(),
            Fault::HoldRoutes => self.nats.part(server, LinkState::Held),
            Fault::CutRoutes => self.nats.part(server, LinkState::Cut),
            Fault::StreamStepsDown
            | Fault::MetaStepsDown
            | Fault::PauseClient
            | Fault::CutClient => unreachable!("{fault:?} is not done to a server"),
        }
    }

    fn heal(&self, fault: Fault, server: usize) {
        match fault {
            Fault::Kill => self.nats.start(server).unwrap(),
            Fault::Freeze => self.nats.thaw(server).unwrap(),
            Fault::HoldRoutes | Fault::CutRoutes => self.nats.part(server, LinkState::Open),
            Fault::StreamStepsDown
            | Fault::MetaStepsDown
            | Fault::PauseClient
            | Fault::CutClient => unreachable!("{fault:?} is not done to a server"),
        }
    }

    async fn harm_a_client(&self, state: LinkState, lasting: Duration, rng: &mut Rng) -> bool {
        let wires = &self.clients[rng.usize(..self.clients.len())];
        wires.iter().for_each(|wire| wire.set(state));
        tokio::time::sleep(lasting).await;
        wires.iter().for_each(|wire| wire.set(LinkState::Open));
        true
    }
}
