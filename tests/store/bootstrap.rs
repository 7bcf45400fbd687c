//! Buckets on servers that are only just starting, and raised while they are written to: as real
//! processes, again and again, because each start elects its leaders anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use membership_operator::jetstream::api::{self, ApiErrorKind, Condition, StreamInfo, Wanted};
use membership_operator::jetstream::bucket::{self, BucketSettings, Budget, stream_of, subject_of};
use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::jetstream::link::Link;
use membership_operator::jetstream::transport::Request;
use serde_json::json;
use testbed::nats::{Nats, NatsOptions as Servers, Role as User};

const BUCKET: &str = "UNIBUS_users";

/// How long the writer goes on before and after the replicas are raised.
const STEADY: Duration = Duration::from_secs(1);

/// The budget of the product's bucket calls bounds every wait here too.
fn patience() -> Duration {
    Budget::default().total
}

/// How often each start is tried: `TEST_ROUNDS` times, else five.
fn rounds() -> u32 {
    std::env::var("TEST_ROUNDS").map_or(5, |text| text.parse().expect("TEST_ROUNDS is a number"))
}

fn link(nats: &Nats, user: User, role: Role) -> Link {
    let seed = nats.seed_file(user).unwrap();
    Link::new(NatsOptions::new(&nats.urls().join(","), role).unwrap().nkey(Some(&seed)))
}

fn one_replica() -> BucketSettings {
    BucketSettings {
        name: BUCKET.to_owned(),
        replicas: 1,
        max_bytes: 64 << 20,
        max_message_bytes: 256 << 10,
        deny_purge: true,
        metadata: BTreeMap::new(),
    }
}

/// Starts three empty servers, the last one later, while the bucket is already being asked for.
async fn started_under_a_waiting_store(late: Duration) -> (Nats, Link) {
    let nats = Nats::prepare(Servers::cluster_of(3)).unwrap();
    let operator = Arc::new(link(&nats, User::Operator, Role::Operator));
    let asking = tokio::spawn({
        let operator = Arc::clone(&operator);
        async move { bucket::create(&*operator, &one_replica(), Budget::default()).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!asking.is_finished(), "a bucket was made without any server");
    for index in [0, 1] {
        nats.start(index).unwrap();
    }
    tokio::time::sleep(late).await;
    nats.start(2).unwrap();
    asking.await.unwrap().unwrap();
    nats.settled(patience()).await.unwrap();
    for index in 0..3 {
        has_one_route_a_peer(&nats, index).await;
    }
    (nats, link_again(operator))
}

/// With a leader that knows both, two followers may still have to find each other.
async fn has_one_route_a_peer(nats: &Nats, index: usize) {
    let give_up = Instant::now() + patience();
    loop {
        let routes = nats.monitor(index, "ROUTEZ", &json!({})).await.unwrap();
        let count = routes["num_routes"].as_u64().unwrap();
        assert!(count <= 2, "more than one route a peer: {routes}");
        if count == 2 {
            return;
        }
        assert!(Instant::now() < give_up, "less than one route a peer: {routes}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn link_again(operator: Arc<Link>) -> Link {
    Arc::into_inner(operator).expect("the asking task has ended")
}

/// An empty list of peers is not three replicas: the leader and two current ones are.
fn is_on_three(info: &StreamInfo) -> bool {
    info.cluster.as_ref().is_some_and(|cluster| {
        cluster.leader.is_some()
            && cluster.replicas.len() == 2
            && cluster.replicas.iter().all(|peer| peer.current && !peer.offline)
    })
}

async fn raised_to_three(operator: &Link) {
    bucket::raise(operator, BUCKET, 3, Budget::default()).await.unwrap();
    let end = Instant::now() + patience();
    loop {
        let info = bucket::info(operator, BUCKET, Budget::default()).await.unwrap();
        let info = info.expect("the bucket is gone");
        if is_on_three(&info) {
            return;
        }
        assert!(Instant::now() < end, "not on three servers: {info:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Writes one record after the other until told to stop; gives the number that was acknowledged.
/// Each is create-only and sent again until it lands, so that an unanswered one is not lost sight
/// of: "it is there already" after silence is its acknowledgement.
async fn steady_writes(service: Link, stop: Arc<AtomicBool>) -> u32 {
    let mut acknowledged = 0;
    while !stop.load(Ordering::Acquire) {
        let end = Instant::now() + patience();
        loop {
            let request = Request::new(subject_of(BUCKET, &acknowledged.to_string()), &b"v"[..]);
            let fresh = Condition { subject_at: Some(0), ..Condition::default() };
            let stream = stream_of(BUCKET);
            match api::publish(&service, &stream, request, fresh, Duration::from_secs(1)).await {
                Ok(_) => break,
                Err(error) if error.api_kind() == Some(ApiErrorKind::WrongLastSequence) => break,
                Err(error) => assert!(Instant::now() < end, "no write lands any more: {error}"),
            }
        }
        acknowledged += 1;
    }
    acknowledged
}

/// The acknowledged records that the stream's leader of the moment does not have.
async fn missing(service: &Link, acknowledged: u32) -> Vec<u32> {
    let mut missing = Vec::new();
    for number in 0..acknowledged {
        let subject = subject_of(BUCKET, &number.to_string());
        let end = Instant::now() + patience();
        let found = loop {
            let wanted = Wanted::Last(&subject);
            match api::read(service, &stream_of(BUCKET), wanted, Duration::from_secs(2)).await {
                Ok(found) => break found,
                Err(error) => assert!(Instant::now() < end, "no leader answers: {error}"),
            }
        };
        if found.is_none() {
            missing.push(number);
        }
    }
    missing
}

#[tokio::test(flavor = "multi_thread")]
async fn three_empty_servers_started_under_a_waiting_store_come_to_three_replicas() {
    for round in 1..=rounds() {
        let began = Instant::now();
        let (_nats, operator) = started_under_a_waiting_store(Duration::ZERO).await;
        raised_to_three(&operator).await;
        eprintln!("round {round}: three replicas after {:.1?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_twenty_seconds_late_still_joins() {
    for round in 1..=rounds() {
        let began = Instant::now();
        let (_nats, operator) = started_under_a_waiting_store(Duration::from_secs(20)).await;
        raised_to_three(&operator).await;
        eprintln!("round {round}: three replicas after {:.1?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_when_a_bucket_is_raised_under_load() {
    for round in 1..=rounds() {
        let nats = Nats::started(Servers::cluster_of(3)).await.unwrap();
        let operator = link(&nats, User::Operator, Role::Operator);
        bucket::create(&operator, &one_replica(), Budget::default()).await.unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let service = link(&nats, User::Membershipd, Role::Membershipd);
        let writing = tokio::spawn(steady_writes(service, Arc::clone(&stop)));
        tokio::time::sleep(STEADY).await;
        raised_to_three(&operator).await;
        tokio::time::sleep(STEADY).await;
        stop.store(true, Ordering::Release);
        let acknowledged = writing.await.unwrap();
        assert!(acknowledged > 100, "only {acknowledged} writes: no load to speak of");

        let service = link(&nats, User::Membershipd, Role::Membershipd);
        for replica in 0..3 {
            lead(&nats, replica).await;
            let missing = missing(&service, acknowledged).await;
            assert!(missing.is_empty(), "replica {replica} lacks {missing:?} of {acknowledged}");
        }
        eprintln!("round {round}: {acknowledged} acknowledged writes, on all three replicas");
    }
}

/// Makes a replica the stream's leader, so that a leader read is a read of this replica.
async fn lead(nats: &Nats, replica: usize) {
    let stream = stream_of(BUCKET);
    let end = Instant::now() + patience();
    while nats.stream_leader(&stream, patience()).await.unwrap() != replica {
        assert!(Instant::now() < end, "replica {replica} does not become the leader");
        // A refusal means that an election is on: look again.
        let _ = nats.step_down_stream(&stream, Some(replica)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
