//! The membership that figures are taken of: the same in each store.

use ed25519_dalek::SigningKey;
use membership_operator::membership::MembershipStore;
use membership_operator::membership::ids::{Endpoint, Epoch, RoomId, UserKey};
use membership_operator::membership::records::{MemberRole, UnixMillis, UserRole, UserStatus};
use membership_operator::membership::snapshot::{MemberRecord, Record, RoomRecord, UserRecord};
use membership_operator::membership::store::{Deadline, ImportMode};

use crate::http::PATIENCE;

pub const ROOMS: u32 = 10_000;
pub const USERS: u32 = 100_000;

/// In how many rooms each user is.
const PLACES: u32 = 3;

/// How many records are brought at once.
const BATCH: usize = 500;

/// The n-th user's key to sign with. The one after the last is a service's.
pub fn signing_key(n: u32) -> SigningKey {
    let mut seed = [0x5a; 32];
    seed[..4].copy_from_slice(&n.to_le_bytes());
    SigningKey::from_bytes(&seed)
}

pub fn user(n: u32) -> UserKey {
    UserKey::try_from(signing_key(n).verifying_key().to_bytes()).unwrap()
}

/// The name of the n-th room.
pub fn room(n: u32) -> RoomId {
    format!("room-{n}").parse().unwrap()
}

/// The rooms that a user is in.
pub fn rooms_of(user: u32) -> impl Iterator<Item = u32> {
    (0..PLACES).map(move |place| (user + place * (ROOMS / PLACES)) % ROOMS)
}

/// The users who are in a room.
fn users_of(room: u32) -> impl Iterator<Item = u32> {
    (0..PLACES).flat_map(move |place| {
        let first = (room + ROOMS - place * (ROOMS / PLACES)) % ROOMS;
        (first..USERS).step_by(ROOMS as usize)
    })
}

/// The user who made a room: the room of the same number.
pub const fn owns(user: u32, room: u32) -> bool {
    user == room
}

/// All keys, made once: each is a multiplication on the curve.
pub struct World {
    pub users: Vec<UserKey>,
}

impl World {
    pub fn new() -> Self {
        Self { users: (0..USERS).map(user).collect() }
    }

    fn endpoint(&self, n: u32) -> Endpoint {
        Endpoint::from(&self.users[n as usize])
    }

    fn user_records(&self) -> impl Iterator<Item = Record> {
        let record = |key, role| {
            let handle = "bench".parse().unwrap();
            Record::User(UserRecord { key, handle, role, status: UserStatus::Active })
        };
        let service = record(user(USERS), UserRole::Service);
        self.users.iter().map(move |key| record(*key, UserRole::User)).chain([service])
    }

    fn room_records(&self) -> impl Iterator<Item = Record> {
        (0..ROOMS).map(|n| {
            Record::Room(RoomRecord {
                room: room(n),
                subject: format!("bus.room-{n}").parse().unwrap(),
                owner: self.endpoint(n),
                encrypted: false,
                epoch: Epoch::FIRST,
                created_at: UnixMillis(1),
            })
        })
    }

    /// Room by room, as every export brings them: a room is told of its newcomers but a few times.
    fn member_records(&self) -> impl Iterator<Item = Record> {
        let places = (0..ROOMS).flat_map(|room| users_of(room).map(move |user| (user, room)));
        places.filter(|(user, room)| !owns(*user, *room)).map(|(user, n)| {
            Record::Member(MemberRecord {
                room: room(n),
                endpoint: self.endpoint(user),
                role: MemberRole::Member,
                added_by: self.endpoint(n),
                added_at: UnixMillis(1),
            })
        })
    }

    /// Brings all of it into a store.
    pub async fn fill(&self, store: &dyn MembershipStore) {
        let all = self.user_records().chain(self.room_records()).chain(self.member_records());
        let mut all = all.peekable();
        while all.peek().is_some() {
            let kind = std::mem::discriminant(all.peek().unwrap());
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH
                && all.peek().is_some_and(|next| std::mem::discriminant(next) == kind)
            {
                batch.extend(all.next());
            }
            let deadline = Deadline::after(PATIENCE);
            store.import(batch, ImportMode::KeepNewer, deadline).await.unwrap();
        }
    }
}
