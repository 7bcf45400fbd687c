//! The servers of the test bed against what the other tests take for granted.
#![cfg(test)]

use std::time::{Duration, Instant};

use async_nats::Client;
use serde_json::{Value, json};
use testbed::nats::{LinkState, Nats, NatsOptions, Role};

const PATIENCE: Duration = Duration::from_secs(60);

/// What befalls a server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Parted(LinkState),
    Frozen,
}

async fn create_bucket(client: &Client, table: &str, replicas: u64) {
    let stream = format!("KV_UNIBUS_{table}");
    let subjects = [format!("$KV.UNIBUS_{table}.>")];
    let config = json!({"name": stream, "subjects": subjects, "num_replicas": replicas,
        "storage": "file", "discard": "new", "max_msgs_per_subject": 1});
    let request = format!("$JS.API.STREAM.CREATE.{stream}");
    let answer = client.request(request, config.to_string().into());
    let answer = tokio::time::timeout(Duration::from_secs(5), answer).await.unwrap().unwrap();
    answer_in(&answer.payload).unwrap();
}

/// The answer, if it is one and says no error.
fn answer_in(payload: &[u8]) -> Result<Value, String> {
    let answer: Value = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if answer["error"].is_null() { Ok(answer) } else { Err(answer.to_string()) }
}

async fn put(client: &Client, key: &str) -> Result<Value, String> {
    let answer = client.request(format!("$KV.UNIBUS_users.{key}"), "value".into());
    match tokio::time::timeout(Duration::from_secs(2), answer).await {
        Ok(Ok(answer)) => answer_in(&answer.payload),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("timed out".to_owned()),
    }
}

#[tokio::test]
async fn one_server_keeps_a_bucket_over_kill_and_stop_but_not_over_a_wipe() {
    let nats = Nats::started(NatsOptions::single()).await.unwrap();
    create_bucket(&nats.connect(Role::Operator).await.unwrap(), "users", 1).await;
    let first = put(&nats.connect(Role::Membershipd).await.unwrap(), "a").await.unwrap();
    assert_eq!(first["seq"], 1, "{first}");
    nats.kill(0).unwrap();
    nats.start(0).unwrap();
    nats.settled(PATIENCE).await.unwrap();
    nats.stop(0).await.unwrap();
    nats.start(0).unwrap();
    nats.settled(PATIENCE).await.unwrap();
    let second = put(&nats.connect(Role::Membershipd).await.unwrap(), "b").await.unwrap();
    assert_eq!(second["seq"], 2, "{second}");
    nats.stop(0).await.unwrap();
    nats.wipe(0).unwrap();
    nats.start(0).unwrap();
    nats.settled(PATIENCE).await.unwrap();
    assert!(put(&nats.connect(Role::Membershipd).await.unwrap(), "c").await.is_err());
}

#[tokio::test]
async fn a_cluster_has_one_route_a_peer_and_its_leaders_step_down() {
    let nats = Nats::started(NatsOptions::cluster_of(3)).await.unwrap();
    for index in 0..3 {
        let routes = nats.monitor(index, "ROUTEZ", &json!({})).await.unwrap();
        assert_eq!(routes["num_routes"], 2, "{routes}");
    }
    create_bucket(&nats.connect(Role::Operator).await.unwrap(), "users", 3).await;

    let old = nats.stream_leader("KV_UNIBUS_users", PATIENCE).await.unwrap();
    let wanted = (old + 1) % 3;
    nats.step_down_stream("KV_UNIBUS_users", Some(wanted)).await.unwrap();
    let new = nats.stream_leader("KV_UNIBUS_users", PATIENCE).await.unwrap();
    assert_eq!(new, wanted);

    let old = nats.meta_leader(PATIENCE).await.unwrap();
    let wanted = (old + 1) % 3;
    nats.step_down_meta(Some(wanted)).await.unwrap();
    assert_eq!(nats.settled(PATIENCE).await.unwrap(), wanted);
}

#[tokio::test]
async fn a_parted_or_frozen_leader_loses_its_place_and_comes_back() {
    let nats = Nats::started(NatsOptions::cluster_of(3)).await.unwrap();
    create_bucket(&nats.connect(Role::Operator).await.unwrap(), "users", 3).await;
    for fault in [Fault::Parted(LinkState::Cut), Fault::Parted(LinkState::Held), Fault::Frozen] {
        let old = nats.stream_leader("KV_UNIBUS_users", PATIENCE).await.unwrap();
        match fault {
            Fault::Parted(state) => nats.part(old, state),
            Fault::Frozen => nats.freeze(old).unwrap(),
        }
        let other = nats.connect_to(Role::Membershipd, (old + 1) % 3).await.unwrap();
        let end = Instant::now() + PATIENCE;
        while put(&other, "a").await.is_err() {
            assert!(Instant::now() < end, "{fault:?} brought no new leader");
        }
        match fault {
            Fault::Parted(state) => {
                let parted = nats.connect_to(Role::Membershipd, old).await.unwrap();
                assert!(put(&parted, "b").await.is_err(), "parted by {state:?}, yet it writes");
                nats.part(old, LinkState::Open);
            }
            Fault::Frozen => nats.thaw(old).unwrap(),
        }
        nats.settled(PATIENCE).await.unwrap();
    }
}

/// Its peers tell each other where they are. One who dialled that would be parted by no link.
#[tokio::test]
async fn servers_reach_each_other_by_their_links_alone() {
    let nats = Nats::started(NatsOptions::cluster_of(3)).await.unwrap();
    nats.part_two(0, 1, LinkState::Cut);
    nats.kill(0).unwrap();
    nats.start(0).unwrap();
    let end = Instant::now() + PATIENCE;
    while !nats.monitor(2, "ROUTEZ", &json!({})).await.is_ok_and(|said| said["num_routes"] == 2) {
        assert!(Instant::now() < end, "the third server does not reach both");
    }
    // The third one has told the second one of the first; a dial on loopback takes milliseconds.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let routes = nats.monitor(1, "ROUTEZ", &json!({})).await.unwrap();
    assert_eq!(routes["num_routes"], 1, "{routes}");
}

#[tokio::test]
async fn each_role_is_held_to_its_own_subjects() {
    let nats = Nats::started(NatsOptions::single()).await.unwrap();
    let operator = nats.connect(Role::Operator).await.unwrap();
    create_bucket(&operator, "users", 1).await;
    create_bucket(&operator, "requests", 1).await;
    let may = [
        (Role::Membershipd, "$JS.API.STREAM.INFO.KV_UNIBUS_users", true),
        (Role::Membershipd, "$JS.API.STREAM.PURGE.KV_UNIBUS_requests", true),
        (Role::Membershipd, "$JS.API.STREAM.PURGE.KV_UNIBUS_users", false),
        (Role::Membershipd, "$JS.API.STREAM.DELETE.KV_UNIBUS_users", false),
        (Role::Membershipd, "$JS.API.STREAM.NAMES", false),
        (Role::Migration, "$JS.API.STREAM.INFO.KV_UNIBUS_requests", false),
        (Role::Migration, "$KV.UNIBUS_users.a", true),
        (Role::Operator, "$KV.UNIBUS_users.a", false),
        (Role::Operator, "$JS.API.STREAM.DELETE.KV_UNIBUS_users", false),
        (Role::System, "$SYS.REQ.SERVER.PING.HEALTHZ", true),
        (Role::System, "$JS.API.STREAM.INFO.KV_UNIBUS_users", false),
        (Role::Operator, "$SYS.REQ.SERVER.PING.HEALTHZ", false),
    ];
    for (role, subject, allowed) in may {
        let client = nats.connect(role).await.unwrap();
        let answer = client.request(subject, "{}".into());
        let answered = tokio::time::timeout(Duration::from_millis(500), answer).await;
        let taken = matches!(&answered, Ok(Ok(message)) if answer_in(&message.payload).is_ok());
        assert_eq!(taken, allowed, "{role:?} on {subject}: {answered:?}");
    }
}

#[tokio::test]
async fn a_client_on_a_held_wire_is_paused_and_goes_on() {
    let nats = Nats::started(NatsOptions::single()).await.unwrap();
    create_bucket(&nats.connect(Role::Operator).await.unwrap(), "users", 1).await;
    let links = nats.client_links().unwrap();
    let client = nats.options(Role::Membershipd).connect(links[0].url()).await.unwrap();
    put(&client, "a").await.unwrap();
    links[0].set(LinkState::Held);
    assert!(put(&client, "b").await.is_err());
    links[0].set(LinkState::Open);
    put(&client, "c").await.unwrap();
}
