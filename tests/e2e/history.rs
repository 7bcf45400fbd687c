//! Writers and askers at work at a membership service, and the history of what they were told:
//! judged in the end against what the buckets hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bed::within;
use crate::callers::{Caller, Reach, Said};

/// The users that the file holds who may act for others.
pub const ADMIN: u64 = 1;
pub const SERVICE: u64 = 2;

/// The next of the users that writers add: another one in every story.
static NEXT: AtomicU64 = AtomicU64::new(1_000_000);

/// How often they ask for something together: 200 times a second.
const WRITES_A_SECOND: u32 = 80;
const QUESTIONS_A_SECOND: u32 = 120;

/// Begins its requests at their times, whatever the service does. What is late by more than this is
/// left out.
struct Beat {
    every: Duration,
    next: Instant,
}

const LATE: Duration = Duration::from_secs(1);

impl Beat {
    /// One of so many who begin so many together in a second.
    fn of(callers: u32, each_second: u32) -> Self {
        let every = Duration::from_secs(1) * callers / each_second;
        // So that they do not all begin at once.
        Self { every, next: Instant::now() + every.mul_f64(fastrand::f64()) }
    }

    fn comes(&mut self) {
        sleep(self.next.saturating_duration_since(Instant::now()));
        self.next = (self.next + self.every).max(Instant::now() - LATE);
    }
}

/// What is known of a user that a writer tried to add.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    added: Deed,
    revoked: Deed,
    /// When the revocation was acknowledged.
    revoked_at: Option<Instant>,
}

/// What is known of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Deed {
    #[default]
    NotTried,
    Refused,
    Unknown,
    Acknowledged,
}

impl Deed {
    /// What an answer means. Anything that is neither done, nor clearly refused, nor unknown is a
    /// fault of the service.
    fn of(said: &Said, done: u16, faults: &Mutex<Vec<String>>) -> Self {
        if said.status() == done {
            return Self::Acknowledged;
        }
        if said.refuses() {
            return Self::Refused;
        }
        if said.status() != 504 && !matches!(said, Said::Nothing) {
            lock(faults).push(format!("an answer that is neither yes nor a clear no: {said:?}"));
        }
        Self::Unknown
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    users: Mutex<BTreeMap<String, Known>>,
    faults: Mutex<Vec<String>>,
    /// When a change was acknowledged, and when somebody was admitted.
    writes: Mutex<Vec<Instant>>,
    reads: Mutex<Vec<Instant>>,
    sent: AtomicU64,
    refused: AtomicU64,
    unknown: AtomicU64,
}

/// They at work, until this is dropped.
pub struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Crowd {
    /// Twenty who write and twenty who ask.
    pub fn of(reach: &Reach) -> Self {
        Self::of_pairs(reach, 20)
    }

    /// So many who write and so many who ask. More of them begin no more together; but while some
    /// wait for an answer, others keep to their times.
    pub fn of_pairs(reach: &Reach, pairs: u32) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = (0..pairs).flat_map(|_| {
            let (one, other) = (Arc::clone(&shared), Arc::clone(&shared));
            let writes = Beat::of(pairs, WRITES_A_SECOND);
            let questions = Beat::of(pairs, QUESTIONS_A_SECOND);
            [
                reach.spawn(move |to| write(&one, to, writes)),
                reach.spawn(move |to| ask(&other, to, questions)),
            ]
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// How many changes were acknowledged so far, and how many questions answered by yes.
    pub fn counts(&self) -> (usize, usize) {
        (lock(&self.shared.writes).len(), lock(&self.shared.reads).len())
    }

    /// How many requests were sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// How many changes were clearly refused so far.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Waits until changes and answers go on.
    pub fn goes_on(&self) {
        let (writes, reads) = self.counts();
        within("changes and answers to go on", || {
            let (more, answers) = self.counts();
            (more > writes + 50 && answers > reads + 50).then_some(())
        });
    }

    /// Lets them end.
    pub fn history(mut self) -> History {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        let shared = &self.shared;
        let faults = lock(&shared.faults).clone();
        assert!(faults.is_empty(), "{} faults, such as {:?}", faults.len(), &faults[..1]);
        let times = |times: &Mutex<Vec<Instant>>| lock(times).clone();
        History {
            users: lock(&shared.users).clone(),
            writes: times(&shared.writes),
            reads: times(&shared.reads),
            refused: shared.refused.load(Ordering::Relaxed),
            unknown: shared.unknown.load(Ordering::Relaxed),
        }
    }
}

fn write(shared: &Shared, reach: &Reach, mut beat: Beat) {
    let (admin, mut own) = (Caller::new(ADMIN), Vec::<String>::new());
    for turn in 1_u64.. {
        beat.comes();
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let victim = if turn % 4 == 0 { own.pop() } else { None };
        shared.sent.fetch_add(1, Ordering::Relaxed);
        let deed = if let Some(key) = victim {
            revoke(shared, reach, &admin, &key)
        } else {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let key = Caller::new(number).key();
            let body = json!({"key": key, "handle": format!("user {number}"), "role": "user"});
            let said = reach.send(&admin, "POST", "/v1/users", &body.to_string());
            let added = Deed::of(&said, 201, &shared.faults);
            lock(&shared.users).insert(key.clone(), Known { added, ..Known::default() });
            if added == Deed::Acknowledged {
                own.push(key);
            }
            added
        };
        match deed {
            Deed::Acknowledged => lock(&shared.writes).push(Instant::now()),
            Deed::Unknown => drop(shared.unknown.fetch_add(1, Ordering::Relaxed)),
            Deed::Refused | Deed::NotTried => drop(shared.refused.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

fn revoke(shared: &Shared, reach: &Reach, admin: &Caller, key: &str) -> Deed {
    // From here on nobody knows what an asker hears.
    let note = |revoked, revoked_at| {
        if let Some(known) = lock(&shared.users).get_mut(key) {
            (known.revoked, known.revoked_at) = (revoked, revoked_at);
        }
    };
    note(Deed::Unknown, None);
    let said = reach.send(admin, "POST", &format!("/v1/users/{key}/revoke"), "");
    let revoked = Deed::of(&said, 200, &shared.faults);
    note(revoked, (revoked == Deed::Acknowledged).then(Instant::now));
    revoked
}

fn ask(shared: &Shared, reach: &Reach, mut beat: Beat) {
    let service = Caller::new(SERVICE);
    while !shared.stop.load(Ordering::Relaxed) {
        beat.comes();
        let chosen = {
            let users = lock(&shared.users);
            let added = users.iter().filter(|(_, known)| known.added == Deed::Acknowledged);
            fastrand::choice(added.collect::<Vec<_>>()).map(|(key, known)| (key.clone(), *known))
        };
        if let Some((key, known)) = chosen {
            shared.sent.fetch_add(1, Ordering::Relaxed);
            let sent = Instant::now();
            let body = json!({"questions": [{"user": key}]}).to_string();
            let said = reach.send(&service, "POST", "/v1/authorize", &body);
            judge(shared, &key, &known, sent, &said);
        }
    }
}

fn judge(shared: &Shared, key: &str, before: &Known, sent: Instant, said: &Said) {
    let Said::Answer { status: 200, body, .. } = said else {
        if !said.refuses() && said.status() != 504 && !matches!(said, Said::Nothing) {
            lock(&shared.faults).push(format!("an answer to a question: {said:?}"));
        }
        return;
    };
    let allowed = body["decisions"][0]["allowed"] == true;
    if allowed {
        lock(&shared.reads).push(Instant::now());
        if before.revoked_at.is_some_and(|at| at < sent) {
            lock(&shared.faults).push(format!("{key} was admitted after its revocation"));
        }
        return;
    }
    let now = lock(&shared.users).get(key).copied().unwrap_or_default();
    let doubt = !matches!(now.revoked, Deed::NotTried | Deed::Refused);
    let because = &body["decisions"][0]["reason"];
    let unsure = ["Unavailable", "Deadline", "Moved"].iter().any(|word| because == word);
    if !doubt && !unsure {
        lock(&shared.faults).push(format!("{key} was denied: {because}"));
    }
}

/// What they were told.
pub struct History {
    users: BTreeMap<String, Known>,
    writes: Vec<Instant>,
    reads: Vec<Instant>,
    pub refused: u64,
    pub unknown: u64,
}

/// The longest time without one.
fn gap(times: &[Instant]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(Duration::MAX)
}

impl History {
    /// In one line.
    pub fn tell(&self, story: &str) {
        eprintln!(
            "{story}: {} changes acknowledged, {} refused, {} unknown; {:.1} s without a change, \
             {:.1} s without an answer",
            self.writes.len(),
            self.refused,
            self.unknown,
            self.write_gap().as_secs_f64(),
            self.read_gap().as_secs_f64(),
        );
    }

    pub fn write_gap(&self) -> Duration {
        gap(&self.writes)
    }

    pub fn read_gap(&self) -> Duration {
        gap(&self.reads)
    }

    pub fn writes(&self) -> usize {
        self.writes.len()
    }

    /// Every acknowledged change is in the buckets, and none that was refused. `held` is the status
    /// of every user there.
    pub fn is_held(&self, held: &BTreeMap<String, String>) {
        let mut wrong = Vec::new();
        for (key, known) in &self.users {
            let status = held.get(key).map(String::as_str);
            let there = match known.added {
                Deed::Acknowledged => status.is_some(),
                Deed::Refused | Deed::NotTried => status.is_none(),
                Deed::Unknown => true,
            };
            let right = match known.revoked {
                Deed::Acknowledged => status == Some("revoked"),
                Deed::Refused | Deed::NotTried => status != Some("revoked"),
                Deed::Unknown => true,
            };
            if !there || !right {
                wrong.push(format!("{key}: {known:?}, but {status:?}"));
            }
        }
        assert!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), self.users.len(), &wrong[..1]);
    }
}
