//! Atomic batches as the real server takes them: the ground that an import stands on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use membership_operator::jetstream::api::{self, ApiErrorKind, CallError, Condition, Wanted};
use membership_operator::jetstream::batch::{BATCH_MAX, Batch};
use membership_operator::jetstream::bucket::{self, BucketSettings, Budget, stream_of, subject_of};
use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::jetstream::link::Link;
use membership_operator::jetstream::message::{KV_DELETE, KV_OPERATION};
use membership_operator::jetstream::transport::Request;
use testbed::nats::{Nats, NatsOptions as Servers, Role as User};
use tokio::task::JoinSet;

const BUCKET: &str = "UNIBUS_users";
const WITHIN: Duration = Duration::from_secs(10);
const FRESH: Condition<'static> =
    Condition { subject_at: Some(0), other_subject_at: None, stream_at: None };

async fn servers(count: usize) -> (Nats, Link) {
    let nats = Nats::started(Servers::cluster_of(count)).await.unwrap();
    let operator = link(&nats, User::Operator, Role::Operator);
    let settings = BucketSettings {
        name: BUCKET.to_owned(),
        replicas: u8::try_from(count).unwrap(),
        max_bytes: 64 << 20,
        max_message_bytes: 256 << 10,
        deny_purge: true,
        metadata: BTreeMap::new(),
    };
    bucket::create(&operator, &settings, Budget::default()).await.unwrap();
    let migration = link(&nats, User::Migration, Role::Migration);
    (nats, migration)
}

fn link(nats: &Nats, user: User, role: Role) -> Link {
    let seed = nats.seed_file(user).unwrap();
    Link::new(NatsOptions::new(&nats.urls().join(","), role).unwrap().nkey(Some(&seed)))
}

fn message(key: &str, payload: impl Into<Vec<u8>>) -> Request {
    Request::new(subject_of(BUCKET, key), payload.into())
}

fn batch_of(keys: impl IntoIterator<Item = String>, bytes: usize) -> Batch {
    let mut batch = Batch::new();
    for key in keys {
        batch.push(message(&key, vec![b'v'; bytes]), FRESH).unwrap();
    }
    batch
}

async fn publish(link: &Link, batch: Batch) -> Result<u64, CallError> {
    batch.publish(link, &stream_of(BUCKET), WITHIN).await
}

async fn stands_at(link: &Link, key: &str) -> Option<u64> {
    let subject = subject_of(BUCKET, key);
    let found = api::read(link, &stream_of(BUCKET), Wanted::Last(&subject), WITHIN).await.unwrap();
    found.map(|message| message.sequence)
}

fn keys(name: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |n| format!("{name}{n}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_stored_together_and_only_where_there_was_nothing() {
    let (_nats, link) = servers(1).await;
    assert_eq!(publish(&link, batch_of(keys("a", BATCH_MAX), 200)).await.unwrap(), 500);
    assert_eq!(stands_at(&link, "a0").await, Some(1));
    assert_eq!(stands_at(&link, "a499").await, Some(500));

    // One that is there keeps out all that came with it.
    let mixed = ["new1", "a7", "new2"].map(str::to_owned);
    let refused = publish(&link, batch_of(mixed, 10)).await.unwrap_err();
    assert_eq!(refused.api_kind(), Some(ApiErrorKind::WrongLastSequence));
    assert_eq!(stands_at(&link, "new1").await, None);
    assert_eq!(stands_at(&link, "new2").await, None);
    assert_eq!(stands_at(&link, "a7").await, Some(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_marker_is_something_and_keeps_a_batch_out() {
    let (_nats, link) = servers(1).await;
    let mut marker = message("gone", "");
    marker.headers =
        HeaderMap::from_iter([(KV_OPERATION.parse().unwrap(), KV_DELETE.parse().unwrap())]);
    let stream = stream_of(BUCKET);
    let at = api::publish(&link, &stream, marker, FRESH, WITHIN).await.unwrap();
    let refused = publish(&link, batch_of(["gone".to_owned()], 10)).await.unwrap_err();
    assert_eq!(refused.api_kind(), Some(ApiErrorKind::WrongLastSequence));
    assert_eq!(stands_at(&link, "gone").await, Some(at));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_without_room_leaves_nothing() {
    let (_nats, link) = servers(1).await;
    let refused = publish(&link, batch_of(keys("big", 400), 200 << 10)).await.unwrap_err();
    assert_eq!(refused.api_kind(), Some(ApiErrorKind::Full), "{refused}");
    assert_eq!(stands_at(&link, "big0").await, None);
    publish(&link, batch_of(keys("small", 400), 200)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_go_on_after_the_leader_was_killed_and_none_is_stored_in_part() {
    let (nats, link) = servers(3).await;
    let leader = nats.stream_leader(&stream_of(BUCKET), WITHIN).await.unwrap();
    let mut stored = Vec::new();
    for n in 0..40 {
        if n == 10 {
            nats.kill(leader).unwrap();
        }
        stored.push(publish_until_known(&link, n).await);
    }
    // Each batch is there whole: its rows stand at numbers that follow each other.
    for (n, end) in stored.iter().enumerate() {
        for row in [0, 49, 99] {
            let found = stands_at_soon(&link, &format!("k{n}_{row}")).await;
            assert_eq!(found, Some(end - 99 + row), "batch {n}, row {row}");
        }
    }
}

/// Sends a batch again until it is known to be stored, as an import does.
async fn publish_until_known(link: &Link, n: usize) -> u64 {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let batch = batch_of(keys(&format!("k{n}_"), 100), 200);
        match batch.publish(link, &stream_of(BUCKET), Duration::from_secs(2)).await {
            Ok(end) => return end,
            // An earlier try was stored and its answer was lost.
            Err(error) if error.api_kind() == Some(ApiErrorKind::WrongLastSequence) => {
                return stands_at_soon(link, &format!("k{n}_99")).await.unwrap();
            }
            Err(error) => assert!(Instant::now() < until, "batch {n}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn stands_at_soon(link: &Link, key: &str) -> Option<u64> {
    let subject = subject_of(BUCKET, key);
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let asked = Wanted::Last(&subject);
        match api::read(link, &stream_of(BUCKET), asked, Duration::from_secs(2)).await {
            Ok(found) => return found.map(|message| message.sequence),
            Err(error) => assert!(Instant::now() < until, "{key}: {error}"),
        }
    }
}

/// Rows a second by batches, one by one, and by pipelined publishes on the same condition.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures and asserts none: run by `make bench`"]
async fn figures_of_batches() {
    println!("rows of 200 bytes a second, each on the condition that there was none");
    println!("replicas  batches of 500  one by one  pipelined by 500");
    for count in [1, 3] {
        let (_nats, link) = servers(count).await;
        let began = Instant::now();
        for n in 0..40 {
            publish(&link, batch_of(keys(&format!("b{n}_"), BATCH_MAX), 200)).await.unwrap();
        }
        let batches = 40.0 * 500.0 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        for key in keys("o", 2000) {
            let row = message(&key, vec![b'v'; 200]);
            api::publish(&link, &stream_of(BUCKET), row, FRESH, WITHIN).await.unwrap();
        }
        let singles = 2000.0 / began.elapsed().as_secs_f64();
        let pipelined = pipelined_rate(link).await;
        println!("{count:>8}  {batches:>14.0}  {singles:>10.0}  {pipelined:>16.0}");
    }
}

/// As many requests at once as a batch has messages, each waiting for its own answer.
async fn pipelined_rate(link: Link) -> f64 {
    let link = Arc::new(link);
    let began = Instant::now();
    for n in 0..40 {
        let mut rows = JoinSet::new();
        for key in keys(&format!("p{n}_"), BATCH_MAX) {
            let link = Arc::clone(&link);
            rows.spawn(async move {
                let row = message(&key, vec![b'v'; 200]);
                api::publish(&*link, &stream_of(BUCKET), row, FRESH, WITHIN).await
            });
        }
        for stored in rows.join_all().await {
            stored.unwrap();
        }
    }
    40.0 * 500.0 / began.elapsed().as_secs_f64()
}
