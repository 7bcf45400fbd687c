//! Requests about users, and what each one's answer, or its lack, tells.

use membership_operator::membership::authorize::{AuthorizeRequest, Consistency};
use membership_operator::membership::error::{ErrorKind, StoreError};
use membership_operator::membership::records::UserRole;
use membership_operator::membership::store::{Deadline, NewUser};
use membership_operator::membership::{Decision, DenyReason, MembershipStore};

use super::search::Event;
use super::users::{Op, User};
use crate::words::user;

/// What a client learnt of one request: nothing at all is no event.
pub struct Learnt {
    op: Option<Op>,
    answered: bool,
}

impl Learnt {
    const NOTHING: Self = Self { op: None, answered: true };

    fn of(op: Op) -> Self {
        Self { op: Some(op), answered: true }
    }

    /// The event it is in a history, if it is one.
    pub fn event(self, invoked: u64, now: u64) -> Option<Event<Op>> {
        let returned = self.answered.then_some(now);
        self.op.map(|op| Event { invoked, returned, op })
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

/// Adds the n-th user.
pub async fn add(store: &dyn MembershipStore, n: u32, deadline: Deadline) -> Learnt {
    let new = NewUser { key: user(n), handle: "x".parse().unwrap(), role: UserRole::User };
    match store.add_user(new, deadline).await {
        Ok(_) => Learnt::of(Op::Added),
        Err(error) => Learnt::of_failed_write(&error, Op::Added),
    }
}

/// Revokes the n-th user.
pub async fn revoke(store: &dyn MembershipStore, n: u32, deadline: Deadline) -> Learnt {
    match store.revoke_user(&user(n), deadline).await {
        Ok(_) => Learnt::of(Op::Revoked),
        Err(error) => Learnt::of_failed_write(&error, Op::Revoked),
    }
}

/// Asks whether the n-th user may come in.
pub async fn ask(store: &dyn MembershipStore, n: u32, deadline: Deadline) -> Learnt {
    let request = AuthorizeRequest { user: user(n), room: None, consistency: Consistency::Strict };
    match store.authorize(request, deadline).await {
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
