//! The promise under fault: while servers are killed, frozen, parted and made to hand over, and
//! clients are paused and cut off, nobody is admitted by a question that began after an
//! acknowledged revocation, and nothing acknowledged is lost.
//!
//! * [`trouble`] does harm to servers and to the wires of clients, several at once, and heals it.
//! * [`load`] asks meanwhile, and keeps what it saw.

mod load;
mod trouble;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use membership_operator::membership::MembershipStore;
use testbed::nats::{Link, Nats, NatsOptions};

use self::load::Load;
use self::trouble::Trouble;
use crate::checker::requests::ask;
use crate::checker::search::{Event, is_linearizable};
use crate::checker::users::{Op, User, admitted_after_revocation};
use crate::kv;
use crate::words::soon;

/// What one run must reach, together: enough answers and enough faults.
const ANSWERS: u64 = 100_000;
const FAULTS: usize = 100;

/// How many stores ask, each as a process of its own would: with a connection of its own.
const STORES: usize = 6;

/// How long servers may take until they are of use again.
const HEALING: Duration = Duration::from_secs(90);

/// Ten times as much for a night.
fn scale() -> u64 {
    if std::env::var_os("TEST_ROUNDS").is_some() { 10 } else { 1 }
}

/// Printed, so that a run that failed can be begun the same way again.
fn seed() -> u64 {
    let given = std::env::var("TEST_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |text| text.parse().expect("a number"));
    eprintln!("TEST_SEED={seed}");
    seed
}

struct Client {
    store: Arc<dyn MembershipStore>,
    wires: Vec<Link>,
}

async fn client(nats: &Nats) -> Client {
    let wires = nats.client_links().unwrap();
    let addresses: Vec<String> = wires.iter().map(Link::url).collect();
    let store = kv::opened_at(nats, &addresses.join(",")).await;
    Client { store, wires }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_faults_no_revoked_user_is_admitted_and_nothing_acknowledged_is_lost() {
    let nats = Arc::new(Nats::started(NatsOptions::cluster_of(3)).await.unwrap());
    kv::made(&nats, 3).await;
    let mut stores = Vec::new();
    let mut wires = Vec::new();
    for _ in 0..STORES {
        let client = client(&nats).await;
        stores.push(client.store);
        wires.push(client.wires);
    }
    let began = Instant::now();
    let seed = seed();
    let load = Load::begin(&stores, ANSWERS * scale(), seed);
    let faults = FAULTS * usize::try_from(scale()).unwrap();
    let trouble = Trouble::new(Arc::clone(&nats), wires, seed);
    let done = Box::pin(trouble.make_until(faults, || load.has_enough())).await;
    let mut histories = load.end().await;
    nats.settled(HEALING).await.unwrap();
    look_at_the_end(&*stores[0], &mut histories).await;

    let events = || histories.values().flatten();
    let saw = |op: Op| events().filter(|event| event.op == op).count();
    eprintln!(
        "{} events about {} users in {:.0?} under {done:?}: {} admissions, {} revocations, {} writes of unknown outcome",
        events().count(),
        histories.len(),
        began.elapsed(),
        saw(Op::Seen(User::Active)),
        saw(Op::Revoked),
        events().filter(|event| event.returned.is_none()).count(),
    );
    judge(&histories);
    assert!(saw(Op::Seen(User::Active)) > 1000, "hardly anybody was ever admitted");
    assert!(saw(Op::Revoked) > 1000, "hardly anybody was ever revoked");
}

/// Once all is well again, each user is what the acknowledged writes made of it. The look came after
/// everything: a write that was never answered began before it, too.
async fn look_at_the_end(store: &dyn MembershipStore, histories: &mut Histories) {
    let times = |event: &Event<Op>| event.returned.unwrap_or_default().max(event.invoked);
    let end = histories.values().flatten().map(times).max().unwrap_or_default();
    for (n, history) in histories.iter_mut() {
        let seen = ask(store, *n, soon()).await.event(end + 1, end + 2);
        history.push(seen.expect("a healthy store answers"));
    }
}

type Histories = BTreeMap<u32, Vec<Event<Op>>>;

fn judge(histories: &Histories) {
    for (n, history) in histories {
        assert_eq!(admitted_after_revocation(history), Vec::<&Event<Op>>::new(), "user {n}");
        assert!(
            is_linearizable(history),
            "no order explains what was seen of user {n}:\n{}",
            told(history)
        );
    }
}

/// A line an event, in the order in which they were asked.
fn told(history: &[Event<Op>]) -> String {
    let mut history: Vec<&Event<Op>> = history.iter().collect();
    history.sort_by_key(|event| event.invoked);
    let line = |event: &&Event<Op>| {
        let Event { invoked, returned, op } = event;
        let returned = returned.map_or("never".to_owned(), |at| at.to_string());
        format!("{invoked} to {returned}: {op:?}")
    };
    history.iter().map(line).collect::<Vec<_>>().join("\n")
}
