//! Histories taken from a real store: many clients ask about few users at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use membership_operator::membership::MembershipStore;
use tokio::task::JoinSet;

use super::requests::{add, ask, revoke};
use super::search::{Event, is_linearizable};
use super::users::{Op, User, admitted_after_revocation};
use crate::contract::Backend;
use crate::words::soon;

const CLIENTS: u32 = 8;
const USERS: u32 = 40;
/// Questions of one client about one user. The search looks at all of a user's events together.
const QUESTIONS: u32 = 6;

/// One client's requests: it adds some users, revokes some, and asks about all of them.
async fn client(
    store: Arc<dyn MembershipStore>,
    number: u32,
    clock: Instant,
) -> Vec<(u32, Event<Op>)> {
    let now = || u64::try_from(clock.elapsed().as_nanos()).unwrap();
    let mut events = Vec::new();
    for n in 0..USERS {
        for question in 0..QUESTIONS {
            let invoked = now();
            let learnt = match (number + n + question * 3) % 7 {
                0 => add(&*store, n, soon()).await,
                1 => revoke(&*store, n, soon()).await,
                _ => ask(&*store, n, soon()).await,
            };
            events.extend(learnt.event(invoked, now()).map(|event| (n, event)));
        }
    }
    events
}

/// Lets clients of two handles at one store go at it, and judges what they saw, user by user.
async fn what_clients_saw_is_linearizable(backend: impl Backend) {
    let fresh = backend.fresh().await;
    let beside = backend.beside(&fresh).await;
    let clock = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let store = if number % 2 == 0 { &fresh.store } else { &beside };
        clients.spawn(client(Arc::clone(store), number, clock));
    }
    let mut histories: BTreeMap<u32, Vec<Event<Op>>> = BTreeMap::new();
    for (n, event) in clients.join_all().await.into_iter().flatten() {
        histories.entry(n).or_default().push(event);
    }
    let saw = |op: Op| histories.values().flatten().filter(|event| event.op == op).count();
    assert!(saw(Op::Seen(User::Active)) > 0, "nobody was ever admitted");
    assert!(saw(Op::Seen(User::Revoked)) > 0, "no revocation was ever seen");
    for (n, history) in &histories {
        assert_eq!(admitted_after_revocation(history), Vec::<&Event<Op>>::new(), "user {n}");
        assert!(
            is_linearizable(history),
            "no order explains what was seen of user {n}: {history:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_of_one_file_saw_is_linearizable() {
    what_clients_saw_is_linearizable(crate::sqlite::Files).await;
}
