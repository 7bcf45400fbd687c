//! Finding a store and making one: nothing is made by opening, and nothing foreign is touched.

use std::time::Duration;

use membership_operator::jetstream::bucket::{self, BucketSettings, Budget};
use membership_operator::jetstream::connect::Role;
use membership_operator::jetstream::transport::{Request, Transport};
use membership_operator::membership::ErrorKind;
use membership_operator::membership::error::StoreResult;
use membership_operator::membership::kv::{self, Bucket, Control, Created, KvStore, Settings};
use membership_operator::membership::records::{Revision, UnixMillis};
use testbed::nats::Role as User;

use super::servers::{Home, ONE};
use crate::contract::refusal;
use crate::words::soon;

async fn open(home: &Home, role: Role) -> StoreResult<KvStore> {
    let total = Duration::from_secs(20);
    let budget = Budget { total, ..Budget::default() };
    let settings = Settings { budget, ..Settings::default() };
    KvStore::open(&home.options(role), home.prefix.clone(), settings).await
}

async fn init(home: &Home) -> StoreResult<Created> {
    let (operator, budget) = (home.options(Role::Operator), Budget::default());
    kv::init(&operator, &home.prefix, home.size(), "test", budget).await
}

async fn make(home: &Home, settings: &BucketSettings) {
    bucket::create(&home.link(Role::Operator), settings, Budget::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_makes_nothing_and_init_makes_a_store_once() {
    let home = ONE.home().await;
    let none = open(&home, Role::Membershipd).await;
    assert_eq!(refusal(none), ErrorKind::NotFound);
    for bucket in Bucket::ALL {
        let (link, name) = (home.link(Role::Operator), bucket.name(&home.prefix));
        let info = bucket::info(&link, &name, Budget::default()).await.unwrap();
        assert!(info.is_none(), "{bucket:?}");
    }
    assert_eq!(init(&home).await.unwrap(), Created::New);
    assert_eq!(init(&home).await.unwrap(), Created::Existing);
    let store = open(&home, Role::Membershipd).await.unwrap();
    let control = store.control(soon()).await.unwrap().record;
    assert_eq!(control.cluster_id, "test");
    assert_eq!(control.buckets.len(), Bucket::ALL.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_opens_the_store_without_the_requests_that_it_may_not_see() {
    let home = ONE.home().await;
    home.init().await;
    open(&home, Role::Migration).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_init_that_died_is_finished_by_the_next_one() {
    for made in 1..Bucket::ALL.len() {
        let home = ONE.home().await;
        for bucket in &Bucket::ALL[..made] {
            make(&home, &bucket.settings(&home.prefix, home.size())).await;
        }
        let early = open(&home, Role::Membershipd).await;
        assert_eq!(refusal(early), ErrorKind::NotFound, "{made}");
        assert_eq!(init(&home).await.unwrap(), Created::New, "{made}");
        open(&home, Role::Membershipd).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_that_are_not_ours_are_left_alone() {
    for bucket in [Bucket::Users, Bucket::Control] {
        let home = ONE.home().await;
        make(&home, &bucket.settings(&home.prefix, home.size())).await;
        let client = home.nats.connect(User::Membershipd).await.unwrap();
        let subject = format!("$KV.{}.other", bucket.name(&home.prefix));
        client.request(subject, "x".into()).await.unwrap();
        foreign(&home, "a strange record").await;
    }
    let home = ONE.home().await;
    let right = Bucket::Users.settings(&home.prefix, home.size());
    make(&home, &BucketSettings { deny_purge: false, ..right }).await;
    foreign(&home, "other settings").await;
}

async fn foreign(home: &Home, what: &str) {
    let refused = open(home, Role::Membershipd).await;
    assert_eq!(refusal(refused), ErrorKind::ForeignStore, "{what}");
    assert_eq!(refusal(init(home).await), ErrorKind::ForeignStore, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_settings_somebody_changed_is_not_served() {
    let home = ONE.home().await;
    home.init().await;
    let link = home.link(Role::Operator);
    let name = Bucket::Users.name(&home.prefix);
    let found = bucket::info(&link, &name, Budget::default()).await.unwrap();
    let mut config = found.unwrap().config;
    // Any replica would answer then, also one that is behind.
    config["allow_direct"] = true.into();
    let subject = format!("$JS.API.STREAM.UPDATE.KV_{name}");
    let request = Request::new(subject, config.to_string().into_bytes());
    link.request(request, Duration::from_secs(5)).await.unwrap();
    let error = open(&home, Role::Membershipd).await.err().expect("a refusal");
    assert_eq!(error.kind(), ErrorKind::ForeignStore);
    assert!(error.to_string().contains("allow_direct"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_record_is_written_by_compare_and_set() {
    let home = ONE.home().await;
    home.init().await;
    let store = open(&home, Role::Migration).await.unwrap();
    let first = store.control(soon()).await.unwrap();
    let marked = Control {
        migration: Some(serde_json::json!({"phase": "importing", "any": [1, 2]})),
        served_since: Some(UnixMillis(7)),
        ..first.record.clone()
    };
    let second = store.set_control(&marked, first.revision, soon()).await.unwrap();
    for stale in [Revision(0), first.revision, Revision(99)] {
        let refused = store.set_control(&first.record, stale, soon()).await;
        assert_eq!(refusal(refused), ErrorKind::Conflict, "{stale:?}");
    }
    let read = store.control(soon()).await.unwrap();
    assert_eq!((read.record, read.revision), (marked, second));
}
