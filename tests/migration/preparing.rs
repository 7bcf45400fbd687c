//! Checking, copying and reading a source, before anything is asked of NATS.

use std::os::unix::fs::{PermissionsExt, symlink};

use membership_operator::membership::ids::{Endpoint, RoomId};
use membership_operator::membership::records::{MemberRole, UserRole};
use membership_operator::membership::records::{SealedKey, UnixMillis};
use membership_operator::membership::snapshot::{Record, Table};
use membership_operator::membership::store::{EpochKey, NewMember, NewRoom, NewUser};
use membership_operator::membership::{MembershipStore, sqlite};
use membership_operator::migration::Reason;
use membership_operator::migration::prepare::{Backup, Prepared};
use membership_operator::migration::source::schema::SourceKind;

use crate::sources::{LEGACY_TABLES, Source, dump, legacy_rows, soon, user};

fn lines(prepared: &Prepared) -> Vec<String> {
    let mut lines: Vec<String> = Table::ALL
        .iter()
        .flat_map(|table| prepared.staging.page(*table, 0, 1000).unwrap())
        .map(|staged| serde_json::to_string(&staged.record).unwrap())
        .collect();
    lines.sort();
    lines
}

fn sealed(text: &str) -> SealedKey {
    text.as_bytes().to_vec().try_into().unwrap()
}

async fn filled() -> (Source, sqlite::SqliteStore) {
    let source = Source::ours().await;
    let store =
        sqlite::SqliteStore::open(&source.path, sqlite::Settings::default(), soon()).await.unwrap();
    let owner = Endpoint::from(&user(1));
    for n in 1..=3 {
        let role = if n == 1 { UserRole::Admin } else { UserRole::User };
        let new = NewUser { key: user(n), handle: format!("user {n}").parse().unwrap(), role };
        store.add_user(new, soon()).await.unwrap();
    }
    store.revoke_user(&user(3), soon()).await.unwrap();
    for name in ["open", "sealed"] {
        let new = NewRoom {
            room: name.parse().unwrap(),
            subject: format!("bus.{name}").parse().unwrap(),
            owner: owner.clone(),
            owner_key: (name == "sealed").then(|| sealed("owner 1")),
            now: UnixMillis(7),
        };
        store.create_room(new, soon()).await.unwrap();
    }
    let room: RoomId = "sealed".parse().unwrap();
    for guest in ["stays", "leaves"] {
        let new = NewMember {
            room: room.clone(),
            endpoint: guest.parse().unwrap(),
            added_by: owner.clone(),
            key: Some(EpochKey { epoch: 1.try_into().unwrap(), sealed: sealed(guest) }),
            now: UnixMillis(8),
        };
        store.add_member(new, soon()).await.unwrap();
    }
    store.remove_member(&room, &"leaves".parse().unwrap(), soon()).await.unwrap();
    (source, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn our_file_is_read_as_its_store_exports_it() {
    let (source, store) = filled().await;
    let mut exported = Vec::new();
    for table in Table::ALL {
        let page = store.export(table, Default::default(), soon()).await.unwrap();
        assert!(page.next.is_none());
        exported.extend(page.items.iter().map(|record| serde_json::to_string(record).unwrap()));
    }
    exported.sort();
    let prepared = source.prepare().unwrap();
    assert_eq!(prepared.schema.kind, SourceKind::Ours);
    assert_eq!(lines(&prepared), exported);
    assert_eq!(prepared.staging.tallies().members.count, 3);
    assert_eq!(prepared.notes.keys_of_non_members, 1, "the key of the one who left");
}

#[test]
fn the_old_programs_file_is_read_and_what_is_not_needed_is_named() {
    let source = Source::legacy();
    source.execute(
        "ALTER TABLE users ADD COLUMN colour TEXT;
         CREATE TABLE notes (text);
         INSERT INTO room_keys VALUES ('sealed', 'gone', 2, x'04');
         UPDATE rooms SET epoch = 5 WHERE room_id = 'sealed';",
    );
    let prepared = source.prepare().unwrap();
    let extras = vec!["column users.colour".to_owned(), "table notes".to_owned()];
    assert_eq!(prepared.schema.kind, SourceKind::Legacy { extras });
    assert_eq!(prepared.notes.keys_of_old_epochs, 4, "epochs 1 and 2 of a room at 5");
    let lines = lines(&prepared);
    assert!(lines.iter().any(|line| line.contains(r#""status":"revoked""#)));
    assert!(lines.iter().any(|line| line.contains(r#""epoch":5"#)));
    assert_eq!(prepared.staging.tallies().total(), 3 + 2 + 4);
}

#[test]
fn an_owner_is_made_a_member_and_capitals_are_made_small() {
    let source = Source::of_sql(LEGACY_TABLES);
    let loud = user(1).to_string().to_uppercase();
    source.execute(&format!(
        "INSERT INTO users VALUES ('{loud}', 'Ada', 'admin', 0);
         INSERT INTO rooms VALUES ('r', 's', '{loud}', 0, 1, 5);"
    ));
    let prepared = source.prepare().unwrap();
    assert_eq!(prepared.notes.owners_made_members, 1);
    assert_eq!(prepared.notes.respelled, 2);
    let members = prepared.staging.page(Table::Members, 0, 10).unwrap();
    let Record::Member(owner) = &members[0].record else { panic!("a member") };
    assert_eq!((owner.role, &owner.endpoint), (MemberRole::Owner, &Endpoint::from(&user(1))));
}

#[test]
fn every_text_encoding_comes_out_the_same() {
    let plain = Source::legacy().prepare().unwrap().staging.tallies().digest();
    for encoding in ["UTF-16le", "UTF-16be"] {
        let source = Source::of_sql(&format!(
            "PRAGMA encoding = '{encoding}'; {LEGACY_TABLES}{}",
            legacy_rows()
        ));
        assert_eq!(source.prepare().unwrap().staging.tallies().digest(), plain, "{encoding}");
    }
}

#[test]
fn tables_without_rowid_strict_or_with_odd_rowids_come_out_the_same() {
    let plain = Source::legacy().prepare().unwrap().staging.tallies().digest();
    let tables = LEGACY_TABLES.replace("epoch));", "epoch)) WITHOUT ROWID, STRICT;");
    assert_ne!(tables, LEGACY_TABLES);
    let source = Source::of_sql(&format!("{tables}{}", legacy_rows()));
    assert_eq!(source.prepare().unwrap().staging.tallies().digest(), plain);
    let source = Source::legacy();
    source.execute("UPDATE users SET rowid = -1 WHERE handle = 'Ada'; UPDATE rooms SET rowid = 9223372036854775807 WHERE room_id = 'open'");
    assert_eq!(source.prepare().unwrap().staging.tallies().digest(), plain);
}

#[test]
fn a_backup_holds_the_same_rows_is_private_and_one_a_membership() {
    let source = Source::legacy();
    let before = dump(&source.path);
    let first = source.prepare().unwrap().backup.unwrap();
    assert_eq!(dump(&first), before);
    assert_eq!(std::fs::metadata(&first).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(source.backups()).unwrap().permissions().mode() & 0o777, 0o700);
    let second = source.prepare().unwrap().backup.unwrap();
    assert_eq!(first, second);
    source.execute("UPDATE users SET revoked = 1");
    let third = source.prepare().unwrap().backup.unwrap();
    assert_ne!(first, third);
    assert_eq!(std::fs::read_dir(source.backups()).unwrap().count(), 2, "nothing else is left");
    assert_eq!(dump(&first), before);
}

#[test]
fn a_dry_run_or_no_backup_leaves_nothing_behind() {
    let source = Source::legacy();
    let mut dry = source.options();
    dry.dry_run = true;
    let mut none = source.options();
    none.backup = Backup::None(source.backups());
    for options in [dry, none] {
        let watch = membership_operator::migration::watch::Nobody;
        let prepared = membership_operator::migration::prepare::prepare(&options, &watch).unwrap();
        assert_eq!(prepared.backup, None);
        drop(prepared);
        assert_eq!(std::fs::read_dir(source.backups()).unwrap().count(), 0);
    }
}

#[test]
fn what_a_killed_try_left_is_taken_away_unless_it_is_in_use() {
    let source = Source::legacy();
    let left = source.backups().join(".migration-left");
    std::fs::create_dir_all(left.join("deep")).unwrap();
    let held = source.backups().join(".migration-held");
    std::fs::create_dir_all(&held).unwrap();
    let handle = std::fs::File::open(&held).unwrap();
    handle.lock().unwrap();
    source.prepare().unwrap();
    assert!(!left.exists());
    assert!(held.exists());
}

#[test]
fn a_backup_folder_that_cannot_serve_ends_the_move() {
    for (what, make) in [
        ("a file", (|path| std::fs::write(path, "").unwrap()) as fn(&std::path::Path)),
        ("a broken link", |path| symlink("/nowhere/at/all", path).unwrap()),
        ("a folder that cannot be made", |path| std::fs::write(path, "").unwrap()),
    ] {
        let source = Source::legacy();
        make(&source.backups());
        let failure = source.prepare().err().unwrap();
        assert_eq!(failure.reason(), Reason::BackupFailed, "{what}");
    }
}

#[test]
fn a_name_with_quotes_is_only_a_name() {
    let source = Source::legacy();
    let mut options = source.options();
    options.backup = Backup::In(source.folder.path().join("it's \"odd\"; DROP TABLE users"));
    let watch = membership_operator::migration::watch::Nobody;
    let prepared = membership_operator::migration::prepare::prepare(&options, &watch).unwrap();
    assert_eq!(dump(&prepared.backup.unwrap()), dump(&source.path));
}

#[test]
fn a_link_or_file_laid_where_a_backup_goes_is_replaced_and_never_followed() {
    let source = Source::legacy();
    let target = source.prepare().unwrap().backup.unwrap();
    let victim = source.folder.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::remove_file(&target).unwrap();
    symlink(&victim, &target).unwrap();
    assert_eq!(source.prepare().unwrap().backup.unwrap(), target);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(dump(&target), dump(&source.path));
}
