//! Many clients ask about a few users at a time, who come, are seen, and are sent away. The few move
//! on as answers come in, so that no user's history grows past what can be judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use membership_operator::membership::MembershipStore;
use membership_operator::membership::store::Deadline;
use tokio::task::JoinSet;

use crate::checker::requests::{add, ask, revoke};
use crate::checker::search::Event;
use crate::checker::users::Op;

/// Clients of one store.
const CLIENTS: u64 = 5;

/// How many users are asked about at a time, and how many answers each gets.
const USERS: u64 = 24;
const ANSWERS_EACH: u64 = 40;

/// A question must be answered in this time, a write ends in this time.
const QUESTION: Duration = Duration::from_secs(1);
const WRITE: Duration = Duration::from_secs(3);

/// Who gets no answer asks again after this.
const PAUSE: Duration = Duration::from_millis(5);

type Seen = Vec<(u32, Event<Op>)>;

struct Progress {
    wanted: u64,
    answered: AtomicU64,
    over: AtomicBool,
    clock: Instant,
}

/// Clients at work.
pub struct Load {
    progress: Arc<Progress>,
    clients: JoinSet<Seen>,
}

impl Load {
    /// Lets clients of these stores go at it.
    pub fn begin(stores: &[Arc<dyn MembershipStore>], wanted: u64, seed: u64) -> Self {
        let progress = Arc::new(Progress {
            wanted,
            answered: AtomicU64::new(0),
            over: AtomicBool::new(false),
            clock: Instant::now(),
        });
        let mut clients = JoinSet::new();
        for (store, number) in stores.iter().cycle().zip(0..CLIENTS * stores.len() as u64) {
            let rng = Rng::with_seed(seed.wrapping_add(number));
            clients.spawn(client(Arc::clone(store), Arc::clone(&progress), rng));
        }
        Self { progress, clients }
    }

    /// Whether enough was answered.
    pub fn has_enough(&self) -> bool {
        self.progress.answered.load(Ordering::Relaxed) >= self.progress.wanted
    }

    /// Lets the clients end; what they saw, user by user.
    pub async fn end(self) -> BTreeMap<u32, Vec<Event<Op>>> {
        self.progress.over.store(true, Ordering::Relaxed);
        let mut histories: BTreeMap<u32, Vec<Event<Op>>> = BTreeMap::new();
        for (n, event) in self.clients.join_all().await.into_iter().flatten() {
            histories.entry(n).or_default().push(event);
        }
        histories
    }
}

async fn client(store: Arc<dyn MembershipStore>, progress: Arc<Progress>, mut rng: Rng) -> Seen {
    let now = || u64::try_from(progress.clock.elapsed().as_nanos()).unwrap();
    let mut seen = Vec::new();
    while !progress.over.load(Ordering::Relaxed) {
        let oldest = progress.answered.load(Ordering::Relaxed) / ANSWERS_EACH;
        let youth = rng.u64(0..USERS);
        let n = u32::try_from(oldest + youth).unwrap();
        let invoked = now();
        let learnt = match rng.u64(0..USERS) {
            // The younger the user, the likelier an add; the older, the likelier a revocation.
            chance if chance + USERS / 2 < youth => add(&*store, n, Deadline::after(WRITE)).await,
            chance if chance > youth + USERS * 3 / 4 => {
                revoke(&*store, n, Deadline::after(WRITE)).await
            }
            _ => ask(&*store, n, Deadline::after(QUESTION)).await,
        };
        match learnt.event(invoked, now()) {
            Some(event) => {
                progress.answered.fetch_add(1, Ordering::Relaxed);
                seen.push((n, event));
            }
            None => tokio::time::sleep(PAUSE).await,
        }
    }
    seen
}
