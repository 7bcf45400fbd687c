//! Histories taken from a real store: many clients ask about few users at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use membership_operator::membership::authorize::{AuthorizeRequest, Consistency};
use membership_operator::membership::error::{ErrorKind, StoreError};
use membership_operator::membership::records::UserRole;
use membership_operator::membership::store::NewUser;
use membership_operator::membership::{Decision, DenyReason, MembershipStore};
use tokio::task::JoinSet;

use super::search::{Event, is_linearizable};
use super::users::{Op, User, admitted_after_revocation};
use crate::contract::Backend;
use crate::words::{soon, user};

const CLIENTS: u32 = 8;
const USERS: u32 = 40;
/// Questions of one client about one user. The search looks at all of a user's events together.
const QUESTIONS: u32 = 6;

/// What a client learnt of one request: nothing at all is no event.
struct Learnt {
    op: Option<Op>,
    answered: bool,
}

impl Learnt {
    const NOTHING: Self = Self { op: None, answered: true };

    fn of(op: Op) -> Self {
        Self { op: Some(op), answered: true }
    }

    /// A write that may still happen is an event without an answer; one that did not is none.
    fn of_failed_write(error: &StoreError, op: Op) -> Self {
        match error.kind() {
            ErrorKind::Unknown => Self { op: Some(op), answered: false },
            ErrorKind::NotFound => Self::of(Op::Seen(User::Absent)),
            ErrorKind::AlreadyExists => Self::of(Op::AddRefused),
            ErrorKind::Unavailable => Self::NOTHING,
            ErrorKind::Conflict
            | ErrorKind::Full
            | ErrorKind::Invalid
            | ErrorKind::Corrupt
            | ErrorKind::ForeignStore => panic!("an unexpected answer: {error}"),
        }
    }
}

async fn add(store: &dyn MembershipStore, n: u32) -> Learnt {
    let new = NewUser { key: user(n), handle: "x".parse().unwrap(), role: UserRole::User };
    match store.add_user(new, soon()).await {
        Ok(_) => Learnt::of(Op::Added),
        Err(error) => Learnt::of_failed_write(&error, Op::Added),
    }
}

async fn revoke(store: &dyn MembershipStore, n: u32) -> Learnt {
    match store.revoke_user(&user(n), soon()).await {
        Ok(_) => Learnt::of(Op::Revoked),
        Err(error) => Learnt::of_failed_write(&error, Op::Revoked),
    }
}

async fn ask(store: &dyn MembershipStore, n: u32) -> Learnt {
    let request = AuthorizeRequest { user: user(n), room: None, consistency: Consistency::Strict };
    match store.authorize(request, soon()).await {
        Decision::Admit(_) => Learnt::of(Op::Seen(User::Active)),
        Decision::Deny(deny) => match deny.reason {
            DenyReason::UnknownUser => Learnt::of(Op::Seen(User::Absent)),
            DenyReason::Revoked => Learnt::of(Op::Seen(User::Revoked)),
            DenyReason::Unavailable | DenyReason::Deadline => Learnt::NOTHING,
            reason @ (DenyReason::UnknownRoom
            | DenyReason::NotMember
            | DenyReason::Corrupt
            | DenyReason::Moved) => panic!("an unexpected denial: {reason:?}"),
        },
    }
}

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
                0 => add(&*store, n).await,
                1 => revoke(&*store, n).await,
                _ => ask(&*store, n).await,
            };
            let returned = learnt.answered.then(now);
            events.extend(learnt.op.map(|op| (n, Event { invoked, returned, op })));
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
