//! Export and import: the same membership in another store, and nothing newer lost.

use membership_operator::membership::records::{MemberRole, UnixMillis, UserRole, UserStatus};
use membership_operator::membership::snapshot::{
    MemberRecord, Record, RoomKeyRecord, RoomRecord, UserRecord,
};
use membership_operator::membership::store::{ImportCounts, ImportMode, MemberKey};
use membership_operator::membership::{ErrorKind, MembershipStore};

use super::rekey::rekeyed;
use super::{Backend, exported, exported_lines, members_of, refusal};
use crate::words::{
    encrypted_room, endpoint, epoch, guest, invited, member_key, new_user, plain_room, room,
    sealed, soon, user,
};

const KEEP: ImportMode = ImportMode::KeepNewer;

/// A little of everything: users of each kind, an encrypted room that was rekeyed often, an open
/// room, a member that left, and keys that no longer count.
async fn furnish(store: &dyn MembershipStore) {
    for (n, role) in [(1, UserRole::Admin), (2, UserRole::User), (3, UserRole::Service)] {
        store.add_user(new_user(n, role), soon()).await.unwrap();
    }
    store.revoke_user(&user(2), soon()).await.unwrap();
    store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    store.add_member(invited("lobby", "guest", 1), soon()).await.unwrap();
    store.add_member(invited("lobby", "left", 1), soon()).await.unwrap();
    store.remove_member(&room("lobby"), &endpoint("left"), soon()).await.unwrap();
    for n in 2..=5 {
        let name = |who: &str| format!("{who}-{n}");
        let keys: [MemberKey; 2] =
            [member_key("owner", &name("owner")), member_key("guest", &name("guest"))];
        rekeyed(store, "lobby", &keys).await;
    }
    store.create_room(plain_room("open", "owner"), soon()).await.unwrap();
    store.add_member(guest("open", "guest"), soon()).await.unwrap();
}

async fn import(store: &dyn MembershipStore, records: &[Record], mode: ImportMode) -> ImportCounts {
    store.import(records.to_vec(), mode, soon()).await.unwrap()
}

fn member_record(in_room: &str, name: &str) -> MemberRecord {
    let added_at = UnixMillis(7);
    MemberRecord {
        room: room(in_room),
        endpoint: endpoint(name),
        role: MemberRole::Member,
        added_by: endpoint("owner"),
        added_at,
    }
}

fn user_record(n: u32, status: UserStatus) -> Record {
    let handle = format!("imported {n}").parse().unwrap();
    Record::User(UserRecord { key: user(n), handle, role: UserRole::User, status })
}

fn room_record(name: &str, encrypted: bool, at: u64) -> RoomRecord {
    RoomRecord {
        room: room(name),
        subject: format!("bus.{name}").parse().unwrap(),
        owner: endpoint("owner"),
        encrypted,
        epoch: epoch(at),
        created_at: UnixMillis(7),
    }
}

fn key_record(in_room: &str, name: &str, at: u64) -> Record {
    Record::RoomKey(RoomKeyRecord {
        room: room(in_room),
        endpoint: endpoint(name),
        epoch: epoch(at),
        sealed: sealed(&format!("{name}-{at}")),
    })
}

pub async fn an_export_makes_the_same_store_anywhere(backend: &dyn Backend) {
    let (from, to) = (backend.fresh().await, backend.fresh().await);
    furnish(&*from.store).await;
    let records = exported(&*from.store).await;
    // 3 users, 2 rooms, 4 members, 2 keys in each of the 3 kept epochs.
    assert_eq!(records.len(), 15);
    let counts = import(&*to.store, &records, KEEP).await;
    assert_eq!(counts.created + counts.equal, 15, "{counts:?}");
    assert_eq!((counts.overwritten, counts.kept_newer), (0, 0));
    let lines = exported_lines(&*from.store).await;
    assert_eq!(exported_lines(&*to.store).await, lines);
    let key = to.store.latest_key(&room("lobby"), &endpoint("guest"), soon()).await.unwrap();
    assert_eq!(key.epoch, epoch(5));
    assert!(key.sealed == sealed("guest-5"));
    assert!(to.store.has_admin(soon()).await.unwrap());
    let gate = to.store.add_first_admin(user(9), "thief".parse().unwrap(), soon()).await;
    assert_eq!(refusal(gate), ErrorKind::AlreadyExists, "an admin came with the import");
}

pub async fn importing_again_changes_nothing(backend: &dyn Backend) {
    let (from, to) = (backend.fresh().await, backend.fresh().await);
    furnish(&*from.store).await;
    let records = exported(&*from.store).await;
    import(&*to.store, &records, KEEP).await;
    let before = to.store.room(&room("lobby"), soon()).await.unwrap();
    for mode in [KEEP, ImportMode::Force] {
        let counts = import(&*to.store, &records, mode).await;
        assert_eq!(counts, ImportCounts { equal: 15, ..ImportCounts::default() });
    }
    assert_eq!(to.store.room(&room("lobby"), soon()).await.unwrap(), before);
    // Where it came from, everything is there already, and it is the service's.
    let counts = import(&*from.store, &records, KEEP).await;
    assert_eq!(counts, ImportCounts { equal: 15, ..ImportCounts::default() });
}

pub async fn what_an_import_wrote_an_import_writes_over(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let member = member_record("lobby", "guest");
    let first = [
        user_record(1, UserStatus::Active),
        Record::Room(room_record("lobby", true, 1)),
        Record::Member(member.clone()),
        key_record("lobby", "guest", 1),
    ];
    import(store, &first, KEEP).await;
    let changed = [
        user_record(1, UserStatus::Revoked),
        Record::Room(room_record("lobby", true, 2)),
        Record::Member(MemberRecord { added_by: endpoint("somebody"), ..member }),
        key_record("lobby", "guest", 2),
    ];
    let counts = import(store, &changed, KEEP).await;
    assert_eq!(counts, ImportCounts { overwritten: 3, created: 1, ..ImportCounts::default() });
    assert_eq!(store.user(&user(1), soon()).await.unwrap().record.status, UserStatus::Revoked);
    let now = store.room(&room("lobby"), soon()).await.unwrap().record;
    assert_eq!(now.epochs.current().epoch, epoch(2));
    let member = store.member(&room("lobby"), &endpoint("guest"), soon()).await.unwrap();
    assert_eq!(member.added_by, endpoint("somebody"));
    let key = store.latest_key(&room("lobby"), &endpoint("guest"), soon()).await.unwrap();
    assert!(key.sealed == sealed("guest-2"));
}

pub async fn what_the_service_wrote_is_kept_unless_forced(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let old = [user_record(1, UserStatus::Active), user_record(2, UserStatus::Active)];
    import(store, &old, KEEP).await;
    store.revoke_user(&user(1), soon()).await.unwrap();
    store.add_user(new_user(3, UserRole::User), soon()).await.unwrap();
    let again = [old[0].clone(), old[1].clone(), user_record(3, UserStatus::Revoked)];
    let counts = import(store, &again, KEEP).await;
    assert_eq!(counts, ImportCounts { equal: 1, kept_newer: 2, ..ImportCounts::default() });
    let status = |n: u32| async move { store.user(&user(n), soon()).await.unwrap().record.status };
    assert_eq!(status(1).await, UserStatus::Revoked, "an import takes no revocation back");
    assert_eq!(status(3).await, UserStatus::Active);
    let counts = import(store, &again[2..], ImportMode::Force).await;
    assert_eq!(counts, ImportCounts { overwritten: 1, ..ImportCounts::default() });
    assert_eq!(status(3).await, UserStatus::Revoked);
}

pub async fn a_removed_member_does_not_come_back(backend: &dyn Backend) {
    let (from, to) = (backend.fresh().await, backend.fresh().await);
    from.store.create_room(encrypted_room("lobby", "owner"), soon()).await.unwrap();
    from.store.add_member(invited("lobby", "guest", 1), soon()).await.unwrap();
    let records = exported(&*from.store).await;
    import(&*to.store, &records, KEEP).await;
    let (lobby, guest) = (room("lobby"), endpoint("guest"));
    to.store.remove_member(&lobby, &guest, soon()).await.unwrap();
    to.store.sweep(soon()).await.unwrap();
    let counts = import(&*to.store, &records, KEEP).await;
    assert_eq!(counts.created + counts.overwritten, 0, "{counts:?}");
    assert_eq!(members_of(&*to.store, &lobby).await, [endpoint("owner")].into());
    let counts = import(&*to.store, &records, ImportMode::Force).await;
    assert!(counts.overwritten >= 1, "{counts:?}");
    assert_eq!(members_of(&*to.store, &lobby).await, [endpoint("owner"), guest].into());
}

pub async fn records_that_the_room_contradicts_are_refused(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    let rooms =
        [Record::Room(room_record("lobby", true, 2)), Record::Room(room_record("open", false, 1))];
    import(store, &rooms, KEEP).await;
    let owner = MemberRecord { role: MemberRole::Owner, ..member_record("lobby", "guest") };
    let lobby = room_record("lobby", true, 2);
    for (record, kind) in [
        (Record::Member(member_record("none", "guest")), ErrorKind::Invalid),
        (key_record("none", "guest", 1), ErrorKind::Invalid),
        (key_record("lobby", "guest", 2), ErrorKind::Invalid),
        (key_record("lobby", "owner", 3), ErrorKind::Invalid),
        (key_record("open", "owner", 1), ErrorKind::Invalid),
        (Record::Member(owner), ErrorKind::Invalid),
        (Record::Member(member_record("lobby", "owner")), ErrorKind::Invalid),
        (
            Record::Room(RoomRecord { owner: endpoint("thief"), ..lobby.clone() }),
            ErrorKind::Conflict,
        ),
        (Record::Room(RoomRecord { encrypted: false, ..lobby }), ErrorKind::Conflict),
    ] {
        let line = serde_json::to_string(&record).unwrap();
        for mode in [KEEP, ImportMode::Force] {
            let refused = store.import(vec![record.clone()], mode, soon()).await;
            assert_eq!(refusal(refused), kind, "{line}");
        }
    }
    assert_eq!(members_of(store, &room("lobby")).await, [endpoint("owner")].into());
}

pub async fn keys_of_epochs_left_behind_are_kept_out(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let store = &*fresh.store;
    import(store, &[Record::Room(room_record("lobby", true, 5))], KEEP).await;
    let keys: Vec<Record> = (1..=5).map(|at| key_record("lobby", "owner", at)).collect();
    let counts = import(store, &keys, KEEP).await;
    assert_eq!(counts, ImportCounts { created: 3, kept_newer: 2, ..ImportCounts::default() });
    for at in 1..=5 {
        let held = store.key(&room("lobby"), &endpoint("owner"), epoch(at), soon()).await;
        assert_eq!(held.is_ok(), at >= 3, "epoch {at}");
    }
}

pub async fn an_imported_room_goes_on_as_any_other(backend: &dyn Backend) {
    let (from, to) = (backend.fresh().await, backend.fresh().await);
    furnish(&*from.store).await;
    import(&*to.store, &exported(&*from.store).await, KEEP).await;
    let store = &*to.store;
    rekeyed(store, "lobby", &[member_key("owner", "o6"), member_key("guest", "g6")]).await;
    store.add_member(invited("lobby", "late", 6), soon()).await.unwrap();
    store.remove_member(&room("open"), &endpoint("guest"), soon()).await.unwrap();
    store.sweep(soon()).await.unwrap();
    for (at, text) in [(4, "owner-4"), (5, "owner-5"), (6, "o6")] {
        let key = store.key(&room("lobby"), &endpoint("owner"), epoch(at), soon()).await.unwrap();
        assert!(key.sealed == sealed(text), "epoch {at}");
    }
    // What went on is the service's now: the old export changes nothing of it.
    let before = exported_lines(store).await;
    import(store, &exported(&*from.store).await, KEEP).await;
    assert_eq!(exported_lines(store).await, before);
}
