//! The same random history on a file and on buckets: each call comes to the same, and so does the
//! whole. A failure names its seed.

use fastrand::Rng;
use membership_operator::membership::error::StoreResult;
use membership_operator::membership::records::{UnixMillis, UserRole};
use membership_operator::membership::sqlite::Settings;
use membership_operator::membership::store::{EpochKey, ImportMode, MemberKey, NewMember, NewRoom};
use membership_operator::membership::{ErrorKind, MembershipStore};

use super::servers::ONE;
use crate::contract::{exported, exported_lines, members_of, rooms_of};
use crate::sqlite::made;
use crate::words::{
    encrypted_room, endpoint, guest, invited, member_key, new_user, plain_room, room, sealed, soon,
    user,
};

const HISTORIES: u64 = 8;
const CALLS: usize = 120;
const NOW: UnixMillis = UnixMillis(7);
const ROOMS: [&str; 3] = ["open", "closed", "a.b"];
const PEOPLE: [&str; 4] = ["owner", "guest", "b.c", "*"];

/// One call, and what is chosen about it.
#[derive(Clone, Debug)]
enum Call {
    Create { room: &'static str, owner: &'static str, encrypted: bool },
    Add { room: &'static str, who: &'static str, at: Option<u64> },
    Remove { room: &'static str, who: &'static str },
    PutKey { room: &'static str, who: &'static str, at: u64 },
    Rekey { room: &'static str, left_out: Option<&'static str> },
    AddUser { n: u32, role: UserRole },
    FirstAdmin { n: u32 },
    Revoke { n: u32 },
    ImportAgain { mode: ImportMode },
    Sweep,
}

fn call(random: &mut Rng) -> Call {
    let room = ROOMS[random.usize(..ROOMS.len())];
    let who = PEOPLE[random.usize(..PEOPLE.len())];
    let n = random.u32(..4);
    match random.u8(..20) {
        0..2 => Call::Create { room, owner: who, encrypted: random.bool() },
        2..7 => {
            let at = random.bool().then(|| random.u64(1..5));
            Call::Add { room, who, at }
        }
        7..10 => Call::Remove { room, who },
        10..12 => Call::PutKey { room, who, at: random.u64(1..6) },
        12..15 => {
            let left_out = (random.u8(..4) == 0).then_some(who);
            Call::Rekey { room, left_out }
        }
        15 => {
            let role = [UserRole::Admin, UserRole::User, UserRole::Service][random.usize(..3)];
            Call::AddUser { n, role }
        }
        16 => Call::FirstAdmin { n },
        17 => Call::Revoke { n },
        18 => {
            let force = random.u8(..4) == 0;
            let mode = if force { ImportMode::Force } else { ImportMode::KeepNewer };
            Call::ImportAgain { mode }
        }
        _ => Call::Sweep,
    }
}

/// What a call came to.
async fn outcome(store: &dyn MembershipStore, call: Call) -> Result<(), ErrorKind> {
    let done: StoreResult<()> = match call {
        Call::Create { room, owner, encrypted: true } => store
            .create_room(NewRoom { now: NOW, ..encrypted_room(room, owner) }, soon())
            .await
            .map(drop),
        Call::Create { room, owner, encrypted: false } => store
            .create_room(NewRoom { now: NOW, ..plain_room(room, owner) }, soon())
            .await
            .map(drop),
        Call::Add { room, who, at: Some(at) } => store
            .add_member(NewMember { now: NOW, ..invited(room, who, at) }, soon())
            .await
            .map(drop),
        Call::Add { room, who, at: None } => {
            store.add_member(NewMember { now: NOW, ..guest(room, who) }, soon()).await.map(drop)
        }
        Call::Remove { room: name, who } => {
            store.remove_member(&room(name), &endpoint(who), soon()).await
        }
        Call::PutKey { room: name, who, at } => {
            let sealed = sealed(&format!("{who} at {at}"));
            let key = EpochKey { epoch: at.try_into().unwrap(), sealed };
            store.put_key(&room(name), key, &endpoint(who), soon()).await
        }
        Call::Rekey { room, left_out } => rekey(store, room, left_out).await,
        Call::AddUser { n, role } => store.add_user(new_user(n, role), soon()).await.map(drop),
        Call::FirstAdmin { n } => {
            let handle = "root".parse().unwrap();
            store.add_first_admin(user(n), handle, soon()).await.map(drop)
        }
        Call::Revoke { n } => store.revoke_user(&user(n), soon()).await.map(drop),
        Call::ImportAgain { mode } => {
            store.import(exported(store).await, mode, soon()).await.map(drop)
        }
        Call::Sweep => store.sweep(soon()).await.map(drop),
    };
    done.map_err(|error| error.kind())
}

async fn rekey(store: &dyn MembershipStore, name: &str, left_out: Option<&str>) -> StoreResult<()> {
    let rekey = store.begin_rekey(&room(name), soon()).await?;
    let there = PEOPLE.iter().filter(|who| Some(**who) != left_out);
    let keys: Vec<MemberKey> =
        there.map(|who| member_key(who, &format!("{who} at {}", rekey.epoch))).collect();
    store.put_rekey_keys(&rekey, keys, soon()).await?;
    store.commit_rekey(&rekey, soon()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_come_to_the_same_on_a_file_and_on_buckets() {
    for seed in 0..HISTORIES {
        let (_folder, file) = made(Settings::default()).await;
        let home = ONE.home().await;
        home.init().await;
        let buckets = home.open().await;
        let mut random = Rng::with_seed(seed);
        for step in 0..CALLS {
            let call = call(&mut random);
            let (one, other) =
                (outcome(&*file, call.clone()).await, outcome(&*buckets, call.clone()).await);
            assert_eq!(one, other, "seed {seed}, step {step}: {call:?}");
        }
        let lines = exported_lines(&*file).await;
        assert_eq!(exported_lines(&*buckets).await, lines, "seed {seed}");
        for name in ROOMS.map(room) {
            if file.room(&name, soon()).await.is_ok() {
                let members = members_of(&*file, &name).await;
                assert_eq!(members_of(&*buckets, &name).await, members, "seed {seed}");
            }
        }
        for who in PEOPLE.map(endpoint) {
            assert_eq!(rooms_of(&*buckets, &who).await, rooms_of(&*file, &who).await, "{seed}");
        }
        let admin = file.has_admin(soon()).await.unwrap();
        assert_eq!(buckets.has_admin(soon()).await.unwrap(), admin, "seed {seed}");
    }
}
