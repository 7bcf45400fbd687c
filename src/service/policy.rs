//! Who may do what, as one pure function. Its ground is what the store proved: the user's role and,
//! for a deed in a room, the user's place in it. Nothing here is asked of anybody else.

use crate::membership::authorize::Standing;
use crate::membership::ids::{Endpoint, UserKey};
use crate::membership::records::{MemberRole, UserRole};

/// What somebody wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Make a room and own it.
    CreateRoom,
    /// List the rooms that one is in.
    ListOwnRooms,
    /// See a room, its members, or the keys that are sealed for oneself.
    LookIntoRoom,
    /// Let somebody into a room.
    AddMember,
    /// Take somebody out of a room.
    RemoveMember(Endpoint),
    /// Give a member a key, or bring the room to its next epoch.
    HandOutKeys,
    /// Let a user in, or list all users.
    ManageUsers,
    /// See one user.
    ShowUser(UserKey),
    /// Send a user away.
    RevokeUser,
    /// Ask whether a user may act.
    AskAbout(UserKey),
}

/// Whether a user of this standing may do it. A deed in a room is only ever judged by a standing
/// that was proven for that room.
#[must_use]
pub fn may(caller: &UserKey, standing: Standing, deed: &Deed) -> bool {
    let admin = standing.user == UserRole::Admin;
    let owner = standing.member == Some(MemberRole::Owner);
    match deed {
        // A service asks about people; rooms are for people.
        Deed::CreateRoom => standing.user != UserRole::Service,
        Deed::ListOwnRooms => true,
        Deed::LookIntoRoom => standing.member.is_some(),
        Deed::AddMember | Deed::HandOutKeys => owner,
        // Everybody may leave; that the owner cannot is the store's own rule.
        Deed::RemoveMember(endpoint) => {
            owner || (standing.member.is_some() && *endpoint == Endpoint::from(caller))
        }
        Deed::ManageUsers | Deed::RevokeUser => admin,
        Deed::ShowUser(user) => admin || user == caller,
        Deed::AskAbout(user) => standing.user == UserRole::Service || user == caller,
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::membership::records::Revision;

    fn key(n: u8) -> UserKey {
        UserKey::try_from(SigningKey::from_bytes(&[n; 32]).verifying_key().to_bytes()).unwrap()
    }

    const ROLES: [UserRole; 3] = [UserRole::Admin, UserRole::User, UserRole::Service];
    const PLACES: [Option<MemberRole>; 3] =
        [None, Some(MemberRole::Member), Some(MemberRole::Owner)];

    /// For each deed the answers for (admin, user, service), each of (outside, member, owner).
    fn table() -> Vec<(Deed, [[bool; 3]; 3])> {
        const N: bool = false;
        const Y: bool = true;
        let all = [[Y, Y, Y]; 3];
        let inside = [[N, Y, Y]; 3];
        let owners = [[N, N, Y]; 3];
        let admins = [[Y, Y, Y], [N, N, N], [N, N, N]];
        let (me, other) = (key(1), key(2));
        vec![
            (Deed::CreateRoom, [[Y, Y, Y], [Y, Y, Y], [N, N, N]]),
            (Deed::ListOwnRooms, all),
            (Deed::LookIntoRoom, inside),
            (Deed::AddMember, owners),
            (Deed::RemoveMember(Endpoint::from(&me)), inside),
            (Deed::RemoveMember(Endpoint::from(&other)), owners),
            (Deed::HandOutKeys, owners),
            (Deed::ManageUsers, admins),
            (Deed::ShowUser(me), all),
            (Deed::ShowUser(other), admins),
            (Deed::RevokeUser, admins),
            (Deed::AskAbout(me), all),
            (Deed::AskAbout(other), [[N, N, N], [N, N, N], [Y, Y, Y]]),
        ]
    }

    #[test]
    fn each_deed_is_open_to_those_of_the_table_and_to_nobody_else() {
        for (deed, rows) in table() {
            for (user, row) in ROLES.into_iter().zip(rows) {
                for (member, expected) in PLACES.into_iter().zip(row) {
                    let standing = Standing { user, member, revision: Revision(1) };
                    let answer = may(&key(1), standing, &deed);
                    assert_eq!(answer, expected, "{deed:?} by {user} as {member:?}");
                }
            }
        }
    }
}
