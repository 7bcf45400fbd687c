//! A process that dies between any two writes of a mutation leaves what the design's table of writes
//! says: nothing that shows before the commit, and nothing that stays broken after it.

use std::sync::Arc;
use std::time::Duration;

use membership_operator::jetstream::connect::Role;
use membership_operator::membership::error::StoreResult;
use membership_operator::membership::kv::KvStore;
use membership_operator::membership::records::{MemberRole, UserRole, UserStatus};
use membership_operator::membership::snapshot::Record;
use membership_operator::membership::store::{Deadline, ImportMode};
use membership_operator::membership::{ErrorKind, MembershipStore};

use super::servers::{Home, ONE};
use super::wires::{DiesAfter, Wire};
use crate::contract::rekey::rekeyed;
use crate::contract::{exported, exported_lines, members_of, refusal, rooms_of};
use crate::words::{
    encrypted_room, endpoint, epoch, invited, member_key, new_user, room, sealed, soon, user,
};

/// Long enough for the writes before the death, short enough to wait for in vain.
fn brief() -> Deadline {
    Deadline::after(Duration::from_millis(1500))
}

/// A store, and one that dies.
struct Case {
    home: Home,
    wire: Arc<Wire<DiesAfter>>,
    dying: Arc<KvStore>,
}

impl Case {
    /// A process on a store that is there.
    async fn at(home: Home, writes: usize) -> Self {
        let (link, nature) = (home.link(Role::Membershipd), DiesAfter::writes(writes));
        let wire = Arc::new(Wire { link, nature });
        let dying = home.open_through(Arc::clone(&wire) as _).await;
        Self { home, wire, dying }
    }

    /// What the dying process was told: no success unless it lived, and that nothing is known once
    /// the write that counts was made.
    fn told<T>(&self, writes: usize, commit: usize, result: &StoreResult<T>) {
        assert!(self.wire.nature.is_dead() || result.is_ok(), "{writes} writes are enough");
        if let Err(error) = result {
            let kinds = if writes < commit {
                vec![ErrorKind::Unavailable, ErrorKind::Unknown]
            } else {
                vec![ErrorKind::Unknown]
            };
            assert!(kinds.contains(&error.kind()), "{writes}: {error}");
        }
    }
}

/// Runs the cases with 0, 1, 2 ... writes until one lived to the end.
macro_rules! until_it_lives {
    ($writes:ident, $commit:expr, $prepare:expr, $mutate:expr, $check:expr) => {{
        let mut lived = false;
        for $writes in 0..20 {
            let home = ONE.home().await;
            home.init().await;
            let prepared = $prepare(home.open().await).await;
            let case = Case::at(home, $writes).await;
            let result = $mutate(Arc::clone(&case.dying), prepared.clone()).await;
            case.told($writes, $commit, &result);
            lived = result.is_ok();
            let store = case.home.open().await;
            $check($writes, lived, store, prepared).await;
            if lived {
                assert!($writes > 0, "a mutation without a write");
                break;
            }
        }
        assert!(lived, "20 writes were not enough");
    }};
}

async fn nothing(_: Arc<KvStore>) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_that_died_left_a_whole_room_or_none_that_shows() {
    const COMMIT: usize = 3;
    until_it_lives!(
        writes,
        COMMIT,
        nothing,
        async |dying: Arc<KvStore>, ()| {
            dying.create_room(encrypted_room("lobby", "owner"), brief()).await
        },
        async |writes: usize, _: bool, store: Arc<KvStore>, ()| {
            let (lobby, owner) = (room("lobby"), endpoint("owner"));
            if writes < COMMIT {
                assert_eq!(refusal(store.room(&lobby, soon()).await), ErrorKind::NotFound);
                assert!(rooms_of(&*store, &owner).await.is_empty(), "{writes}");
                assert!(exported(&*store).await.is_empty(), "{writes}");
                store.create_room(encrypted_room("lobby", "other"), soon()).await.unwrap();
                assert!(rooms_of(&*store, &owner).await.is_empty(), "{writes}");
                let other = endpoint("other");
                let held = store.latest_key(&lobby, &other, soon()).await.unwrap();
                assert!(held.sealed == sealed("other"));
                return;
            }
            let member = store.member(&lobby, &owner, soon()).await.unwrap();
            assert_eq!(member.role, MemberRole::Owner, "{writes}");
            assert_eq!(members_of(&*store, &lobby).await, [owner.clone()].into());
            assert_eq!(rooms_of(&*store, &owner).await, [lobby.clone()].into());
            let held = store.latest_key(&lobby, &owner, soon()).await.unwrap();
            assert!(held.sealed == sealed("owner"));
            rekeyed(&*store, "lobby", &[member_key("owner", "o2")]).await;
            store.sweep(soon()).await.unwrap();
            let lines = exported(&*store).await;
            assert!(lines.iter().any(|line| matches!(line, Record::Member(_))), "{writes}");
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_add_that_died_left_a_whole_member_or_none_that_shows() {
    const COMMIT: usize = 3;
    until_it_lives!(
        writes,
        COMMIT,
        async |store: Arc<KvStore>| {
            store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
            let rekey = store.begin_rekey(&room("lobby"), soon()).await.unwrap();
            let keys = vec![member_key("owner", "o2"), member_key("guest", "g2")];
            store.put_rekey_keys(&rekey, keys, soon()).await.unwrap();
            rekey
        },
        async |dying: Arc<KvStore>, _| dying
            .add_member(invited("lobby", "guest", 1), brief())
            .await,
        async |writes: usize, _: bool, store: Arc<KvStore>, rekey| {
            let (lobby, guest) = (room("lobby"), endpoint("guest"));
            let inside = writes >= COMMIT;
            assert_eq!(store.member(&lobby, &guest, soon()).await.is_ok(), inside, "{writes}");
            assert_eq!(members_of(&*store, &lobby).await.contains(&guest), inside);
            assert_eq!(rooms_of(&*store, &guest).await.contains(&lobby), inside);
            assert_eq!(store.latest_key(&lobby, &guest, soon()).await.is_ok(), inside);
            let commit = store.commit_rekey(&rekey, soon()).await;
            if inside {
                // The change of the roster is counted, by whomever.
                assert_eq!(refusal(commit), ErrorKind::Conflict, "{writes}");
                let again = store.add_member(invited("lobby", "guest", 1), soon()).await;
                assert_eq!(refusal(again), ErrorKind::AlreadyExists);
            } else {
                commit.unwrap();
                store.add_member(invited("lobby", "guest", 2), soon()).await.unwrap();
            }
            assert_eq!(rooms_of(&*store, &guest).await, [lobby].into());
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_died_is_done_or_not_begun() {
    const COMMIT: usize = 1;
    until_it_lives!(
        writes,
        COMMIT,
        async |store: Arc<KvStore>| {
            store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
            store.add_member(invited("lobby", "guest", 1), soon()).await.unwrap();
            let rekey = store.begin_rekey(&room("lobby"), soon()).await.unwrap();
            let keys = vec![member_key("owner", "o2"), member_key("guest", "g2")];
            store.put_rekey_keys(&rekey, keys, soon()).await.unwrap();
            rekey
        },
        async |dying: Arc<KvStore>, _| {
            dying.remove_member(&room("lobby"), &endpoint("guest"), brief()).await
        },
        async |writes: usize, _: bool, store: Arc<KvStore>, rekey| {
            let (lobby, guest) = (room("lobby"), endpoint("guest"));
            let inside = writes < COMMIT;
            assert_eq!(store.member(&lobby, &guest, soon()).await.is_ok(), inside, "{writes}");
            assert_eq!(members_of(&*store, &lobby).await.contains(&guest), inside);
            assert_eq!(rooms_of(&*store, &guest).await.contains(&lobby), inside, "{writes}");
            let commit = store.commit_rekey(&rekey, soon()).await;
            let epoch_now = if inside {
                commit.unwrap();
                store.remove_member(&lobby, &guest, soon()).await.unwrap();
                2
            } else {
                assert_eq!(refusal(commit), ErrorKind::Conflict, "{writes}");
                let again = store.remove_member(&lobby, &guest, soon()).await;
                assert_eq!(refusal(again), ErrorKind::NotFound);
                1
            };
            store.sweep(soon()).await.unwrap();
            assert!(rooms_of(&*store, &guest).await.is_empty());
            store.add_member(invited("lobby", "guest", epoch_now), soon()).await.unwrap();
            store.sweep(soon()).await.unwrap();
            assert_eq!(rooms_of(&*store, &guest).await, [lobby].into());
        }
    );
}

/// Who made the change died before the room said so. Whoever asks for the same and is told that it is
/// so already has been told of the change, and no rekey that began before may end after that: not even
/// one that a leader of the past lets see nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_died_uncounted_is_counted_before_anybody_is_told_of_it() {
    for adds in [true, false] {
        let home = ONE.home().await;
        home.init().await;
        let store = home.open().await;
        let (lobby, guest) = (room("lobby"), endpoint("guest"));
        store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
        if !adds {
            store.add_member(invited("lobby", "guest", 1), soon()).await.unwrap();
        }
        let rekey = store.begin_rekey(&lobby, soon()).await.unwrap();
        let Case { dying, .. } = &Case::at(home, if adds { 3 } else { 1 }).await;
        let told = if adds {
            let died = dying.add_member(invited("lobby", "guest", 1), brief()).await;
            assert_eq!(refusal(died), ErrorKind::Unknown);
            refusal(store.add_member(invited("lobby", "guest", 1), soon()).await)
        } else {
            let died = dying.remove_member(&lobby, &guest, brief()).await;
            assert_eq!(refusal(died), ErrorKind::Unknown);
            refusal(store.remove_member(&lobby, &guest, soon()).await)
        };
        assert_eq!(told, if adds { ErrorKind::AlreadyExists } else { ErrorKind::NotFound });
        let now = store.room(&lobby, soon()).await.unwrap().revision;
        assert!(now > rekey.revision, "the room says that its roster changed");
        let late = store.put_rekey_keys(&rekey, vec![member_key("owner", "o2")], soon()).await;
        assert_eq!(refusal(late), ErrorKind::Conflict);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rekey_that_died_left_the_room_at_its_epoch_or_at_the_next_one() {
    const COMMIT: usize = 3;
    until_it_lives!(
        writes,
        COMMIT,
        async |store: Arc<KvStore>| {
            store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
            store.add_member(invited("lobby", "guest", 1), soon()).await.unwrap();
        },
        async |dying: Arc<KvStore>, ()| {
            let rekey = dying.begin_rekey(&room("lobby"), brief()).await?;
            let keys = vec![member_key("owner", "o2"), member_key("guest", "g2")];
            dying.put_rekey_keys(&rekey, keys, brief()).await?;
            dying.commit_rekey(&rekey, brief()).await
        },
        async |writes: usize, _: bool, store: Arc<KvStore>, ()| {
            let lobby = room("lobby");
            let now = store.room(&lobby, soon()).await.unwrap().record.epochs.current().epoch;
            let expected = if writes < COMMIT { 1 } else { 2 };
            assert_eq!(now, epoch(expected), "{writes}");
            for name in ["owner", "guest"] {
                let held = store.latest_key(&lobby, &endpoint(name), soon()).await.unwrap();
                assert_eq!(held.epoch, epoch(expected), "{writes}");
            }
            let keys = [member_key("owner", "o3"), member_key("guest", "g3")];
            rekeyed(&*store, "lobby", &keys).await;
            store.sweep(soon()).await.unwrap();
            let held = store.latest_key(&lobby, &endpoint("guest"), soon()).await.unwrap();
            assert!(held.sealed == sealed("g3"));
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_added_and_revoked_by_one_write_each() {
    until_it_lives!(
        writes,
        1,
        nothing,
        async |dying: Arc<KvStore>, ()| dying.add_user(new_user(1, UserRole::User), brief()).await,
        async |_: usize, lived: bool, store: Arc<KvStore>, ()| {
            assert_eq!(store.user(&user(1), soon()).await.is_ok(), lived);
        }
    );
    until_it_lives!(
        writes,
        1,
        async |store: Arc<KvStore>| {
            store.add_user(new_user(1, UserRole::User), soon()).await.unwrap();
        },
        async |dying: Arc<KvStore>, ()| dying.revoke_user(&user(1), brief()).await,
        async |_: usize, lived: bool, store: Arc<KvStore>, ()| {
            let status = store.user(&user(1), soon()).await.unwrap().record.status;
            assert_eq!(status == UserStatus::Revoked, lived);
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_admin_who_died_at_the_gate_still_comes_in_and_nobody_else_does() {
    const COMMIT: usize = 1;
    until_it_lives!(
        writes,
        COMMIT,
        nothing,
        async |dying: Arc<KvStore>, ()| {
            dying.add_first_admin(user(1), "root".parse().unwrap(), brief()).await
        },
        async |writes: usize, lived: bool, store: Arc<KvStore>, ()| {
            assert_eq!(store.has_admin(soon()).await.unwrap(), lived, "{writes}");
            let thief = store.add_first_admin(user(2), "thief".parse().unwrap(), soon()).await;
            if writes < COMMIT {
                thief.unwrap();
                return;
            }
            assert_eq!(refusal(thief), ErrorKind::AlreadyExists);
            assert_eq!(refusal(store.user(&user(2), soon()).await), ErrorKind::NotFound);
            if lived {
                return;
            }
            let again = store.add_first_admin(user(1), "root".parse().unwrap(), soon()).await;
            assert_eq!(again.unwrap().record.role, UserRole::Admin, "{writes}");
            assert!(store.has_admin(soon()).await.unwrap(), "{writes}");
        }
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_died_is_finished_by_the_next_one() {
    let from = ONE.home().await;
    from.init().await;
    let source = from.open().await;
    source.add_user(new_user(1, UserRole::Admin), soon()).await.unwrap();
    for name in ["lobby", "attic"] {
        source.create_room(encrypted_room(name, "owner"), soon()).await.unwrap();
        source.add_member(invited(name, "guest", 1), soon()).await.unwrap();
    }
    let records = exported(&*source).await;
    let lines = exported_lines(&*source).await;
    until_it_lives!(
        writes,
        20,
        nothing,
        async |dying: Arc<KvStore>, ()| {
            dying.import(records.clone(), ImportMode::KeepNewer, brief()).await
        },
        async |writes: usize, _: bool, store: Arc<KvStore>, ()| {
            let kept = ImportMode::KeepNewer;
            let counts = store.import(records.clone(), kept, soon()).await.unwrap();
            assert_eq!((counts.kept_newer, counts.overwritten), (0, 0), "{writes}: {counts:?}");
            assert_eq!(exported_lines(&*store).await, lines, "{writes}");
            for name in ["owner", "guest"] {
                assert_eq!(rooms_of(&*store, &endpoint(name)).await.len(), 2, "{writes}");
            }
            let keys = [member_key("owner", "o2"), member_key("guest", "g2")];
            let rekey = store.begin_rekey(&room("lobby"), soon()).await.unwrap();
            store.put_rekey_keys(&rekey, keys.to_vec(), soon()).await.unwrap();
            // A change that the dead import did not live to count makes it begin anew, once.
            if let Err(error) = store.commit_rekey(&rekey, soon()).await {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{writes}: {error}");
                rekeyed(&*store, "lobby", &keys).await;
            }
        }
    );
}
