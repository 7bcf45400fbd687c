//! The question that must never be answered wrongly: may this user act, and in this room?
//!
//! An admission cannot exist without its proof. [`Admit`] has one constructor, which takes a
//! [`Proof`], and each proof can only be made by the store that did the proving: a SQLite read
//! transaction, or a fence that a quorum of JetStream servers acknowledged. Doubt, error and
//! time-out have no way to an admission.

use super::error::{ErrorKind, StoreError, StoreResult};
use super::ids::{Endpoint, RoomId, UserKey};
use super::kv::Fence;
use super::records::{Member, MemberRole, Revision, Room, User, UserRole, UserStatus, Versioned};
use super::rules;
use super::sqlite::SqliteTxn;
use super::store::Deadline;

/// How fresh the answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// No admission may begin after a revocation was acknowledged. The only choice in v1.
    #[default]
    Strict,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizeRequest {
    /// Who wants to act.
    pub user: UserKey,
    /// The room to act in; `None` asks whether the user may come in at all.
    pub room: Option<RoomId>,
    /// How fresh the answer must be.
    pub consistency: Consistency,
}

/// Why a user was not admitted. For logs and metrics; a stranger is told none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// There is no such user.
    UnknownUser,
    /// The user was revoked.
    Revoked,
    /// There is no such room.
    UnknownRoom,
    /// The user is not in the room.
    NotMember,
    /// A record could not be read as what it should be.
    Corrupt,
    /// The store could not prove its answer: unreachable, without quorum, or not ours.
    Unavailable,
    /// The time for the decision ran out.
    Deadline,
    /// The store no longer serves: its records were moved to another one.
    Moved,
}

impl DenyReason {
    /// The reason as one stable word, for logs and metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownUser => "UnknownUser",
            Self::Revoked => "Revoked",
            Self::UnknownRoom => "UnknownRoom",
            Self::NotMember => "NotMember",
            Self::Corrupt => "Corrupt",
            Self::Unavailable => "Unavailable",
            Self::Deadline => "Deadline",
            Self::Moved => "Moved",
        }
    }
}

/// The answer.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// The user may act.
    Admit(Admit),
    /// The user may not, or it could not be proven in time that they may.
    Deny(Deny),
}

impl Decision {
    /// A denial for a reason, at the revision of the record that decided it, where there was one.
    pub const fn deny(reason: DenyReason, revision: Option<Revision>) -> Self {
        Self::Deny(Deny { reason, revision })
    }

    /// Whether the user may act.
    #[must_use]
    pub const fn is_admit(&self) -> bool {
        match self {
            Self::Admit(_) => true,
            Self::Deny(_) => false,
        }
    }
}

/// A denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deny {
    /// Why.
    pub reason: DenyReason,
    /// The revision of the record that decided it, where there was one.
    pub revision: Option<Revision>,
}

/// What the proven records say of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What the user may do at all.
    pub user: UserRole,
    /// What the user is in the room that was asked about.
    pub member: Option<MemberRole>,
    /// The highest revision among the records that were proven.
    pub revision: Revision,
}

/// The records that one question needs, as a store read them, all at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The user; `None` when there is none.
    pub user: Option<Versioned<User>>,
    /// The place asked about; `None` when the question names no room.
    pub place: Option<Place>,
}

/// What was read about the user's place in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The room; `None` when there is none.
    pub room: Option<Versioned<Room>>,
    /// The user's membership; `None` when there is none.
    pub member: Option<Versioned<Member>>,
}

/// What records say, without proof: every store asks this, then proves that the records stood.
///
/// # Errors
/// The denial, when they say no.
pub fn judge(key: &UserKey, evidence: &Evidence) -> Result<Standing, Deny> {
    let Some(Versioned { record: user, revision }) = &evidence.user else {
        return Err(Deny { reason: DenyReason::UnknownUser, revision: None });
    };
    match user.status {
        UserStatus::Active => {}
        UserStatus::Revoked => {
            return Err(Deny { reason: DenyReason::Revoked, revision: Some(*revision) });
        }
    }
    let standing = Standing { user: user.role, member: None, revision: *revision };
    match &evidence.place {
        None => Ok(standing),
        Some(place) => {
            let (role, revision) = judge_place(key, place)?;
            let revision = standing.revision.max(revision);
            Ok(Standing { member: Some(role), revision, ..standing })
        }
    }
}

/// The owner is a member by the room's own word; everybody else by a membership of this very life
/// of the room.
fn judge_place(key: &UserKey, place: &Place) -> Result<(MemberRole, Revision), Deny> {
    let Some(Versioned { record: room, revision: room_revision }) = &place.room else {
        return Err(Deny { reason: DenyReason::UnknownRoom, revision: None });
    };
    let role = rules::role_of(room, &Endpoint::from(key));
    let member = place
        .member
        .as_ref()
        .filter(|member| member.record.incarnation == room.incarnation)
        .map(|member| member.revision);
    match (role, member) {
        (MemberRole::Owner | MemberRole::Member, Some(revision)) => Ok((role, revision)),
        (MemberRole::Owner, None) => Ok((role, *room_revision)),
        (MemberRole::Member, None) => {
            Err(Deny { reason: DenyReason::NotMember, revision: Some(*room_revision) })
        }
    }
}

/// The last word: any doubt denies, and so does an answer that came too late.
pub(super) fn conclude(decided: StoreResult<Decision>, deadline: Deadline) -> Decision {
    match decided {
        Ok(Decision::Admit(_)) | Err(_) if deadline.has_passed() => {
            Decision::deny(DenyReason::Deadline, None)
        }
        Ok(decision) => decision,
        Err(error) => Decision::Deny(Deny { reason: reason(&error), revision: None }),
    }
}

fn reason(error: &StoreError) -> DenyReason {
    match error.kind() {
        ErrorKind::Corrupt | ErrorKind::ForeignStore => DenyReason::Corrupt,
        ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::Conflict
        | ErrorKind::Full
        | ErrorKind::Invalid
        | ErrorKind::Unavailable
        | ErrorKind::Unknown => DenyReason::Unavailable,
    }
}

/// What makes an admission true at one moment between question and answer.
#[derive(Debug)]
pub enum Proof {
    /// All records were read in one transaction of the one file there is.
    SqliteTxn(SqliteTxn),
    /// A quorum acknowledged that the records still stood as read.
    Fence(Fence),
}

/// An admission, with the proof that it was true.
///
/// It cannot be made without one:
///
/// ```compile_fail,E0451
/// use membership_operator::membership::authorize::{Admit, Standing};
/// fn forged(standing: Standing) -> Admit {
///     Admit { standing, proof: unimplemented!() }
/// }
/// ```
///
/// nor can a proof:
///
/// ```compile_fail,E0451
/// use membership_operator::membership::sqlite::SqliteTxn;
/// let forged = SqliteTxn { sealed: () };
/// ```
///
/// ```compile_fail,E0451
/// use membership_operator::membership::kv::Fence;
/// let forged = Fence { sealed: () };
/// ```
#[derive(Debug)]
pub struct Admit {
    standing: Standing,
    proof: Proof,
}

impl Admit {
    /// The only way to an admission.
    pub(super) const fn proven(standing: Standing, proof: Proof) -> Self {
        Self { standing, proof }
    }

    /// What the proven records say of the user.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// What made it true.
    #[must_use]
    pub const fn proof(&self) -> &Proof {
        &self.proof
    }
}
