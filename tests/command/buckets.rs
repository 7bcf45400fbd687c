//! The same commands on JetStream buckets, under exactly the keys that the product gives.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use testbed::nats::{Nats, NatsOptions as Servers, Role};

use crate::program::{Host, Ran, user};

/// Runs the program as somebody who has this role's key.
fn as_role(host: &Host, nats: &Nats, role: Role, args: &[&str]) -> Ran {
    let mut command = host.command(args);
    command
        .env("NATS_URL", nats.urls().join(","))
        .env("MEMBERSHIPD_NKEY", nats.seed_file(role).unwrap());
    command.output().unwrap().into()
}

async fn server() -> Nats {
    Nats::started(Servers::single().max_file_store(16 << 30)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_made_once_and_users_come_and_go() {
    let (host, nats) = (Host::new(), server().await);
    let operator = |args: &[&str]| as_role(&host, &nats, Role::Operator, args);
    let service = |args: &[&str]| as_role(&host, &nats, Role::Membershipd, args);
    let missing = service(&["user", "list", "--timeout", "10"]).refused(3);
    assert!(missing.contains("membershipd init"), "{missing}");
    assert_eq!(operator(&["init", "-o", "json"]).json()["created"], true);
    assert_eq!(operator(&["init", "-o", "json"]).json()["created"], false);
    assert_eq!(service(&["user", "list", "-o", "json"]).json(), json!([]));

    let (ada, bob) = (user(1), user(2));
    service(&["user", "add", "--admin", &ada, "Ada L"]).done();
    service(&["user", "add", "--admin", &bob, "Bob"]).done();
    service(&["user", "add", &ada, "Ada again"]).refused(1);
    service(&["user", "show", &user(3)]).refused(1);
    assert_eq!(service(&["user", "revoke", &bob, "-o", "json"]).json()["status"], "revoked");
    service(&["user", "add", &bob, "Bob"]).refused(1);
    let listed = service(&["user", "list"]).done();
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_go_from_any_store_to_any_other() {
    let (host, nats) = (Host::with_store(), server().await);
    let service = |args: &[&str]| as_role(&host, &nats, Role::Membershipd, args);
    as_role(&host, &nats, Role::Operator, &["init"]).done();
    fs::write(host.path("lines"), crate::transfer::everything()).unwrap();
    host.run(["import", "lines"]).done();
    host.run(["export", "out.jsonl"]).done();
    let before = host.lines(&host.db());

    let counts = service(&["import", "out.jsonl", "-o", "json"]).json();
    assert_eq!(counts["keptNewer"], 0, "{counts}");
    service(&["export", "back.jsonl"]).done();
    let again = service(&["import", "out.jsonl", "-o", "json"]).json();
    assert_eq!(again, json!({"created": 0, "equal": 10, "overwritten": 0, "keptNewer": 0}));
    host.run(["init", "--db", "second.db"]).done();
    host.run(["import", "back.jsonl", "--db", "second.db"]).done();
    assert_eq!(host.lines(Path::new("second.db")), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_against_it_has_its_exit_code() {
    let (host, nats) = (Host::new(), server().await);
    let seed = nats.seed_file(Role::Membershipd).unwrap();
    let (url, seed) = (nats.urls().join(","), seed.to_str().unwrap().to_owned());
    let list = |more: &[&str]| {
        let args = ["user", "list", "--nats-url", &url, "--timeout", "2"];
        host.run(args.iter().chain(more))
    };
    let began = Instant::now();
    // Nobody comes in without a key, or asks for buckets that are not its own.
    list(&[]).refused(4);
    list(&["--nkey", &seed, "--bucket-prefix", "OTHER"]).refused(4);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    fs::write(host.path("no-seed"), "SUSECRETSECRET").unwrap();
    for args in [
        &["--nkey", "missing.nk"][..],
        &["--nkey", "no-seed"],
        &["--nkey", &seed, "--ca", "no-seed"],
        &["--nkey", &seed, "--bucket-prefix", "a.b"],
    ] {
        let said = list(args).refused(2);
        assert!(!said.contains("SECRET"), "{args:?}: {said}");
    }
    nats.kill(0).unwrap();
    let said = list(&["--nkey", &seed]).refused(4);
    assert_eq!(said.lines().count(), 1, "{said}");
}
