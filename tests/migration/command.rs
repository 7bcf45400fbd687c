//! The whole move by the real program into real buckets: what was there is there, twice is once,
//! nobody comes back, and each way to fail has its exit code.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use membership_operator::migration::lock::Lock;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use testbed::nats::{Nats, NatsOptions as Servers, Role};

use crate::program::{Bus, Ran, lines, lines_of_file, migrate, migrating, run};
use crate::scale::large;
use crate::sources::{Source, dump, user};

/// Two rooms, one of them rekeyed to epoch 2, members, keys and a revoked user: a file of ours.
fn ours(bus: &Bus) -> Source {
    let (ada, bob) = (user(1).to_string(), user(2).to_string());
    let records = [
        json!({"kind":"user","key":ada,"handle":"Ada L","role":"admin","status":"active"}),
        json!({"kind":"user","key":bob,"handle":"Bob","role":"user","status":"revoked"}),
        json!({"kind":"room","room":"lobby","subject":"bus.lobby","owner":ada,"encrypted":false,"epoch":1,"createdAt":5}),
        json!({"kind":"room","room":"va.ult*","subject":"bus.vault","owner":ada,"encrypted":true,"epoch":2,"createdAt":6}),
        json!({"kind":"member","room":"lobby","endpoint":ada,"role":"owner","addedBy":ada,"addedAt":5}),
        json!({"kind":"member","room":"lobby","endpoint":bob,"role":"member","addedBy":ada,"addedAt":5}),
        json!({"kind":"member","room":"va.ult*","endpoint":ada,"role":"owner","addedBy":ada,"addedAt":6}),
        json!({"kind":"member","room":"va.ult*","endpoint":"phone.7","role":"member","addedBy":ada,"addedAt":7}),
        json!({"kind":"roomKey","room":"va.ult*","endpoint":ada,"epoch":1,"sealed":"AAEC"}),
        json!({"kind":"roomKey","room":"va.ult*","endpoint":ada,"epoch":2,"sealed":"AwQF"}),
        json!({"kind":"roomKey","room":"va.ult*","endpoint":"phone.7","epoch":2,"sealed":"BgcI"}),
    ];
    let source = Source::new();
    let file = source.folder.path().join("lines");
    let text: Vec<String> = records.iter().map(Value::to_string).collect();
    fs::write(&file, text.join("\n")).unwrap();
    let db = source.path.to_str().unwrap();
    run(bus, "UNUSED", ["init", "--db", db]).done();
    run(bus, "UNUSED", ["import", file.to_str().unwrap(), "--db", db]).done();
    source
}

fn backup_of(source: &Source) -> PathBuf {
    let mut backups = fs::read_dir(source.backups()).unwrap().map(|entry| entry.unwrap().path());
    let backup = backups.next().expect("there is a backup");
    assert_eq!(backups.next(), None, "there is one backup");
    backup
}

fn is_fenced(source: &Source) -> bool {
    let lock = Lock::take(&source.path, std::time::Duration::from_secs(5)).unwrap();
    lock.fence().unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_buckets_hold_what_the_file_held_and_moving_again_writes_nothing() {
    let bus = Bus::of(1).await;
    let source = ours(&bus);
    let before = lines_of_file(&bus, &source.path);
    assert_eq!(before.len(), 11);
    let summary = migrate(&bus, "UNIBUS", &source.path, &[]).summary(0);
    assert_eq!((&summary["state"], &summary["source"]["kind"]), (&json!("done"), &json!("ours")));
    assert_eq!(summary["comparison"], json!({"equal": 11, "newer": 0, "missing": 0, "extra": 0}));
    assert_eq!(lines(&bus, "UNIBUS"), before);
    assert_eq!(lines_of_file(&bus, &source.path), before, "the file's rows are untouched");
    assert_eq!(lines_of_file(&bus, &backup_of(&source)), before, "the backup is the file");

    let again = migrate(&bus, "UNIBUS", &source.path, &[]).summary(0);
    assert_eq!((&again["state"], &again["digest"]), (&json!("alreadyDone"), &summary["digest"]));
    assert_eq!(again["imported"]["created"], 0);
    assert_eq!(lines(&bus, "UNIBUS"), before);
    assert_eq!(lines_of_file(&bus, &backup_of(&source)), before);
}

/// Each with the key that the product gives it: none may do the others' work.
#[tokio::test(flavor = "multi_thread")]
async fn each_roles_own_key_is_enough_for_its_part() {
    let nats = Nats::started(Servers::single().max_file_store(64 << 30)).await.unwrap();
    let nats = Arc::new(nats);
    let bus = |role| Bus { key: nats.seed_file(role).unwrap(), nats: Arc::clone(&nats) };
    let (operator, migration) = (bus(Role::Operator), bus(Role::Migration));
    let service = bus(Role::Membershipd);
    let source = ours(&service);
    let before = lines_of_file(&service, &source.path);
    run(&operator, "UNIBUS", ["init"]).done();
    migrate(&migration, "UNIBUS", &source.path, &["--timeout", "20"]).summary(0);
    assert_eq!(lines(&service, "UNIBUS"), before);
    run(&service, "UNIBUS", ["user", "revoke", &user(1).to_string()]).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_programs_file_moves_to_three_servers() {
    let bus = Bus::of(3).await;
    let source = Source::legacy();
    let rows = dump(&source.path);
    let ran = migrate(&bus, "UNIBUS", &source.path, &["--replicas", "3"]);
    assert!(ran.err.contains("the fence is up") && ran.err.contains("(100 %)"), "{ran:?}");
    assert_eq!(ran.summary(0)["source"]["kind"], "legacy");
    assert_eq!(dump(&source.path), rows);
    let lines = lines(&bus, "UNIBUS");
    assert!(lines.iter().any(|line| line.contains("\"epoch\":2")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("revoked")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_would_be_and_writes_nothing_anywhere() {
    let bus = Bus::of(1).await;
    let source = ours(&bus);
    let files = || fs::read_dir(source.folder.path()).unwrap().count();
    let before = files();
    let summary = migrate(&bus, "UNIBUS", &source.path, &["--dry-run"]).summary(0);
    assert_eq!((&summary["state"], &summary["backup"]), (&json!("dryRun"), &Value::Null));
    assert_eq!(summary["counts"]["members"]["count"], 4);
    assert_eq!(files(), before, "something was left beside the file");
    assert!(!is_fenced(&source));
    assert_eq!(run(&bus, "UNIBUS", ["user", "list"]).code, 3, "there are still no buckets");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_was_sent_away_after_the_move_comes_back() {
    let bus = Bus::of(1).await;
    let source = Source::legacy();
    migrate(&bus, "UNIBUS", &source.path, &[]).summary(0);
    run(&bus, "UNIBUS", ["user", "revoke", &user(2).to_string()]).done();
    let after = lines(&bus, "UNIBUS");
    for flags in [&[][..], &["--force"]] {
        let again = migrate(&bus, "UNIBUS", &source.path, flags).summary(0);
        assert_eq!(again["state"], "alreadyDone", "{flags:?}");
        assert_eq!(again["comparison"]["newer"], 1, "{flags:?}");
        assert_eq!(lines(&bus, "UNIBUS"), after, "{flags:?}");
    }
}

/// Stops a run at the moment that it says this.
fn frozen_at(bus: &Bus, source: &Path, words: &str) -> std::process::Child {
    let mut child = migrating(bus, "UNIBUS", source);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains(words)), "it never said {words:?}");
    kill_process(Pid::from_child(&child), Signal::STOP).unwrap();
    // It goes on speaking after it is thawed; somebody must listen.
    std::thread::spawn(move || said.for_each(drop));
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_frozen_and_goes_on_late_brings_nobody_back() {
    for words in ["the fence is up", "import: "] {
        let bus = Bus::of(1).await;
        let source = Source::legacy();
        let late = frozen_at(&bus, &source.path, words);
        migrate(
            &bus,
            "UNIBUS",
            &source.path,
            &["--backup-dir", source.folder.path().to_str().unwrap()],
        )
        .summary(0);
        run(&bus, "UNIBUS", ["user", "revoke", &user(2).to_string()]).done();
        let after = lines(&bus, "UNIBUS");
        kill_process(Pid::from_child(&late), Signal::CONT).unwrap();
        let late = Ran::from(late.wait_with_output().unwrap());
        assert!([0, 4, 5, 6].contains(&late.code), "{late:?}");
        assert_eq!(lines(&bus, "UNIBUS"), after, "after {words:?}");
    }
}

/// The fence binds rows and no tables: another program can still change those.
#[tokio::test(flavor = "multi_thread")]
async fn tables_that_change_behind_the_fence_end_the_run_and_nobody_serves_from_it() {
    let bus = Bus::of(1).await;
    // Large enough that it cannot be over before it is stopped.
    let source = large(9_000);
    let frozen = frozen_at(&bus, &source.path, "the fence is up");
    source.execute("ALTER TABLE room_members ADD COLUMN note");
    kill_process(Pid::from_child(&frozen), Signal::CONT).unwrap();
    let ended = Ran::from(frozen.wait_with_output().unwrap());
    assert_eq!(ended.failed(5), "SourceChanged");
    let control = run(&bus, "UNIBUS", ["export"]);
    assert_eq!(control.code, 0, "what was written stays to be gone over: {control:?}");
    // Once the fence is down and it is clear what the file is now, it moves.
    migrate(&bus, "UNIBUS", &source.path, &["--unfence"]).summary(0);
    source.execute("ALTER TABLE room_members DROP COLUMN note");
    assert_eq!(migrate(&bus, "UNIBUS", &source.path, &[]).summary(0)["state"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_at_once_end_as_one() {
    let bus = Bus::of(1).await;
    let source = ours(&bus);
    let before = lines_of_file(&bus, &source.path);
    let both = [migrating(&bus, "UNIBUS", &source.path), migrating(&bus, "UNIBUS", &source.path)];
    let codes = both.map(|child| Ran::from(child.wait_with_output().unwrap()).code);
    assert!(codes.contains(&0), "{codes:?}");
    assert_eq!(migrate(&bus, "UNIBUS", &source.path, &[]).summary(0)["state"], "alreadyDone");
    assert_eq!(lines(&bus, "UNIBUS"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn buckets_in_use_are_refused_and_the_file_stays_free() {
    let bus = Bus::of(1).await;
    run(&bus, "UNIBUS", ["init"]).done();
    run(&bus, "UNIBUS", ["user", "add", "--admin", &user(9).to_string(), "Root"]).done();
    let source = Source::legacy();
    assert_eq!(migrate(&bus, "UNIBUS", &source.path, &[]).failed(6), "StoreNotEmpty");
    assert!(!is_fenced(&source));
    assert_eq!(lines(&bus, "UNIBUS").len(), 1);

    // Another membership is not moved on top of one that was.
    migrate(&bus, "OTHER", &source.path, &[]).summary(0);
    let second = ours(&bus);
    assert_eq!(migrate(&bus, "OTHER", &second.path, &[]).failed(6), "OtherMigration");
    assert!(!is_fenced(&second));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_servers_it_ends_in_time_and_the_file_stays_free() {
    let bus = Bus::of(1).await;
    let source = Source::legacy();
    bus.nats.freeze(0).unwrap();
    let began = std::time::Instant::now();
    assert_eq!(
        migrate(&bus, "UNIBUS", &source.path, &["--timeout", "3"]).failed(4),
        "NatsUnavailable"
    );
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(!is_fenced(&source));
    bus.nats.thaw(0).unwrap();
    bus.nats.kill(0).unwrap();
    assert_eq!(
        migrate(&bus, "UNIBUS", &source.path, &["--timeout", "2"]).failed(4),
        "NatsUnavailable"
    );
    bus.nats.start(0).unwrap();
    assert_eq!(migrate(&bus, "UNIBUS", &source.path, &[]).summary(0)["state"], "done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_moved_makes_no_buckets() {
    let bus = Bus::of(1).await;
    for (source, reason) in [
        (Source::new(), "SourceNotReadable"),
        (Source::of_bytes(b"a text that is no database"), "NotADatabase"),
        (Source::of_sql("CREATE TABLE cats (name)"), "SchemaMismatch"),
        (Source::of_sql(crate::sources::LEGACY_TABLES), "EmptySource"),
    ] {
        let ran = migrate(&bus, "UNIBUS", &source.path, &[]);
        assert!(
            ran.err.starts_with("membershipd: ") || ran.err.contains("\nmembershipd: "),
            "{ran:?}"
        );
        assert_eq!(ran.failed(3), reason);
    }
    let rows = Source::legacy();
    rows.execute("UPDATE users SET revoked = 'yes' WHERE handle = 'Ada'");
    let failed = migrate(&bus, "UNIBUS", &rows.path, &[]).summary(3);
    assert_eq!(
        (&failed["reason"], &failed["badRows"]["counts"]["notABoolean"]),
        (&json!("BadRows"), &json!(1))
    );
    assert_eq!(run(&bus, "UNIBUS", ["user", "list"]).code, 3, "no buckets were made");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fence_comes_down_until_the_move_is_done() {
    let bus = Bus::of(1).await;
    let source = Source::legacy();
    let unfence = || migrate(&bus, "UNIBUS", &source.path, &["--unfence"]);
    assert_eq!(unfence().summary(0)["state"], "notFenced");
    let mut stopped = frozen_at(&bus, &source.path, "the fence is up");
    stopped.kill().unwrap();
    stopped.wait().unwrap();
    assert!(source.connect().execute_batch("DELETE FROM users").is_err());
    assert_eq!(unfence().summary(0)["state"], "unfenced");
    source.execute("UPDATE users SET handle = 'Ada again' WHERE handle = 'Ada'");
    migrate(&bus, "UNIBUS", &source.path, &[]).summary(0);
    assert!(lines(&bus, "UNIBUS").iter().any(|line| line.contains("Ada again")));
    assert_eq!(unfence().failed(6), "AlreadyMoved");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_backup_is_kept_when_none_is_wanted_and_it_is_said_loudly() {
    let bus = Bus::of(1).await;
    let source = Source::legacy();
    let ran = migrate(&bus, "UNIBUS", &source.path, &["--no-backup"]);
    assert!(ran.err.contains("WARNING: no backup"), "{ran:?}");
    assert_eq!(ran.summary(0)["backup"], Value::Null);
    let names: Vec<_> = fs::read_dir(source.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("membership.db"))
        .collect();
    assert_eq!(names, Vec::<String>::new());
}

/// The commands of a page that stand below this mark, with another address.
fn commands(page: &str, mark: &str, bus: &Bus) -> Vec<String> {
    page.split(&format!("<!-- {mark} -->\n```sh\n"))
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().replace("nats://127.0.0.1:4222", &bus.url()))
        .collect()
}

/// Runs commands as somebody types them, in the source's folder.
fn typed(bus: &Bus, source: &Source, commands: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_membershipd")).parent().unwrap();
    let ran: Ran = std::process::Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(source.folder.path())
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
        .env("MEMBERSHIPD_NKEY", &bus.key)
        .stdin(Stdio::null())
        .output()
        .unwrap()
        .into();
    ran.done()
}

/// The commands of `docs/migrate.md`, as they stand there, with another address.
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_commands_work_as_written() {
    let bus = Bus::of(1).await;
    let source = Source::legacy();
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migrate.md")).unwrap();
    let mut stopped = frozen_at(&bus, &source.path, "the fence is up");
    stopped.kill().unwrap();
    stopped.wait().unwrap();
    let unfence = commands(&page, "run: unfence", &bus);
    assert_eq!(unfence.len(), 1);
    assert!(typed(&bus, &source, &unfence[0]).contains("the fence is down"));
    assert!(!is_fenced(&source));
    let blocks = commands(&page, "run", &bus);
    assert_eq!(blocks.len(), 3);
    let out = typed(&bus, &source, &blocks.concat());
    for said in
        ["could be moved; nothing was written", "\"state\":\"done\"", "Bo B", "moved before"]
    {
        assert!(out.contains(said), "{said}: {out}");
    }
    assert!(page.contains("--force"));
}
