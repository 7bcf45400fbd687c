//! Everything that can be changed, as data, and the one call of the store that each is. So a change
//! can be tried again, and told again when only its answer was lost.

use super::problem::Answer;
use super::reply::{Reply, segment};
use super::wire;
use crate::membership::ids::{Endpoint, RoomId, UserKey};
use crate::membership::records::{CommittedEpoch, Room, User, Versioned};
use crate::membership::requests::{Growth, Target};
use crate::membership::store::{
    Deadline, EpochKey, MemberAdded, MemberKey, MembershipStore, NewMember, NewRoom, NewUser, Rekey,
};

/// A change.
#[derive(Clone)]
pub enum Change {
    /// Make a room.
    CreateRoom(NewRoom),
    /// Let somebody into a room.
    AddMember(NewMember),
    /// Take somebody out of a room.
    RemoveMember {
        /// The room.
        room: RoomId,
        /// Whom.
        endpoint: Endpoint,
    },
    /// Give a member a key.
    GiveKey {
        /// The room.
        room: RoomId,
        /// Whom.
        endpoint: Endpoint,
        /// The key.
        key: EpochKey,
    },
    /// Begin a rekey.
    BeginRekey(RoomId),
    /// Bring some of a rekey's keys.
    BringKeys(Rekey, Vec<MemberKey>),
    /// Bring a room to its next epoch.
    CommitRekey(Rekey),
    /// Let a user in.
    AddUser(NewUser),
    /// Send a user away.
    RevokeUser(UserKey),
}

impl Change {
    /// Whether it makes the store grow.
    #[must_use]
    pub const fn growth(&self) -> Growth {
        match self {
            Self::RemoveMember { .. } | Self::RevokeUser(_) => Growth::Frees,
            Self::CreateRoom(_)
            | Self::AddMember(_)
            | Self::GiveKey { .. }
            | Self::BeginRekey(_)
            | Self::BringKeys(..)
            | Self::CommitRekey(_)
            | Self::AddUser(_) => Growth::Grows,
        }
    }

    /// The one record by which it is made.
    #[must_use]
    pub fn target(&self) -> Target {
        match self {
            Self::CreateRoom(new) => Target::Room(new.room.clone()),
            Self::AddMember(NewMember { room, endpoint, .. })
            | Self::RemoveMember { room, endpoint } => {
                Target::Member(room.clone(), endpoint.clone())
            }
            Self::CommitRekey(Rekey { room, epoch, attempt, .. }) => {
                let committed = CommittedEpoch { epoch: *epoch, attempt: *attempt };
                Target::Epoch(room.clone(), committed)
            }
            Self::AddUser(new) => Target::User(new.key),
            Self::RevokeUser(key) => Target::User(*key),
            Self::GiveKey { .. } | Self::BeginRekey(_) | Self::BringKeys(..) => Target::Nothing,
        }
    }

    /// Makes the change.
    ///
    /// # Errors
    /// The store's.
    pub async fn make(self, store: &dyn MembershipStore, deadline: Deadline) -> Answer<Reply> {
        match self {
            Self::CreateRoom(new) => made_room(store.create_room(new, deadline).await?),
            Self::AddMember(new) => added(store.add_member(new, deadline).await?),
            Self::RemoveMember { room, endpoint } => {
                done(store.remove_member(&room, &endpoint, deadline).await?)
            }
            Self::GiveKey { room, endpoint, key } => {
                done(store.put_key(&room, key, &endpoint, deadline).await?)
            }
            Self::BeginRekey(room) => begun(store.begin_rekey(&room, deadline).await?),
            Self::BringKeys(rekey, keys) => {
                done(store.put_rekey_keys(&rekey, keys, deadline).await?)
            }
            Self::CommitRekey(rekey) => room(store.commit_rekey(&rekey, deadline).await?),
            Self::AddUser(new) => made_user(store.add_user(new, deadline).await?),
            Self::RevokeUser(key) => user(store.revoke_user(&key, deadline).await?),
        }
    }

    /// Answers for a change that was made and whose answer was lost: from what there is now.
    ///
    /// # Errors
    /// The store's; also when what was made is gone again.
    pub async fn tell(self, store: &dyn MembershipStore, deadline: Deadline) -> Answer<Reply> {
        match self {
            Self::CreateRoom(new) => made_room(store.room(&new.room, deadline).await?),
            Self::AddMember(NewMember { room, endpoint, .. }) => added(MemberAdded {
                member: store.member(&room, &endpoint, deadline).await?,
                room: store.room(&room, deadline).await?,
            }),
            Self::RemoveMember { .. } | Self::GiveKey { .. } | Self::BringKeys(..) => done(()),
            // The one that was begun is swept; another one serves as well.
            Self::BeginRekey(room) => begun(store.begin_rekey(&room, deadline).await?),
            Self::CommitRekey(rekey) => room(store.room(&rekey.room, deadline).await?),
            Self::AddUser(new) => made_user(store.user(&new.key, deadline).await?),
            Self::RevokeUser(key) => user(store.user(&key, deadline).await?),
        }
    }
}

/// Nothing comes back from the store but that it was done.
fn done((): ()) -> Answer<Reply> {
    Ok(Reply::done())
}

/// A room as it stands.
pub(super) fn room(room: Versioned<Room>) -> Answer<Reply> {
    Ok(Reply::document(&wire::Room::from(room.record))?.at(room.revision))
}

fn made_room(made: Versioned<Room>) -> Answer<Reply> {
    let location = format!("/v1/rooms/{}", segment(made.record.id.as_str()));
    Ok(room(made)?.made(location))
}

fn added(added: MemberAdded) -> Answer<Reply> {
    let MemberAdded { member, room } = added;
    let location = format!(
        "/v1/rooms/{}/members/{}",
        segment(member.room.as_str()),
        segment(member.endpoint.as_str())
    );
    let document = wire::MemberAdded { member: member.into(), room: room.record.into() };
    Ok(Reply::document(&document)?.made(location))
}

fn begun(rekey: Rekey) -> Answer<Reply> {
    let location = format!("/v1/rooms/{}/rekeys/{}", segment(rekey.room.as_str()), rekey.attempt);
    Ok(Reply::document(&wire::Rekey::from(rekey))?.made(location))
}

/// A user as it stands.
pub(super) fn user(user: Versioned<User>) -> Answer<Reply> {
    Ok(Reply::document(&wire::User::from(user.record))?.at(user.revision))
}

fn made_user(made: Versioned<User>) -> Answer<Reply> {
    let location = format!("/v1/users/{}", made.record.key);
    Ok(user(made)?.made(location))
}
