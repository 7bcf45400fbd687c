//! What real servers say of themselves, and the calls that move leaders.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use membership_operator::jetstream::api;
use membership_operator::jetstream::bucket::{self, BucketSettings, Budget};
use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::jetstream::link::Link;
use membership_operator::jetstream::meta::{self, ServerView};
use nkeys::KeyPair;
use testbed::nats::{Nats, NatsOptions as Servers, Role as User};
use zeroize::Zeroizing;

const WITHIN: Duration = Duration::from_secs(1);

/// How long leaders may take to change on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn link(nats: &Nats, user: User, role: Role) -> Link {
    let seed = Zeroizing::new(nats.users().get(user).seed.clone());
    Link::new(NatsOptions::new(&nats.urls().join(","), role).unwrap().seed(seed))
}

async fn until(
    system: &Link,
    servers: usize,
    enough: impl Fn(&BTreeMap<String, ServerView>) -> bool,
) -> BTreeMap<String, ServerView> {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = meta::survey(system, servers, WITHIN).await.unwrap_or_default();
        if enough(&found) {
            return found;
        }
        assert!(Instant::now() < end, "{found:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn leader(views: &BTreeMap<String, ServerView>) -> Option<&str> {
    let mut named = views.values().map(|view| view.meta.as_ref()?.leader.as_deref());
    let first = named.next()??;
    named.all(|other| other == Some(first)).then_some(first)
}

fn rooms() -> BucketSettings {
    BucketSettings {
        name: "UNIBUS_rooms".to_owned(),
        replicas: 3,
        max_bytes: 64 << 20,
        max_message_bytes: 4096,
        deny_purge: true,
        metadata: BTreeMap::new(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_tell_what_they_hold_and_a_stopped_one_is_missed_in_time() {
    let nats = Nats::started(Servers::cluster_of(3)).await.unwrap();
    let operator = link(&nats, User::Operator, Role::Operator);
    let system = link(&nats, User::System, Role::System);
    bucket::create(&operator, &rooms(), Budget::default()).await.unwrap();

    let all = until(&system, 3, |views| {
        views.len() == 3 && views.values().all(|v| v.healthy && v.streams.len() == 1)
    })
    .await;
    let leads = leader(&all).unwrap().to_owned();
    let group = all[&leads].meta.as_ref().unwrap();
    assert_eq!((group.size, group.peers.len()), (3, 2));
    assert!(group.peers.values().all(|peer| peer.current && !peer.offline), "{group:?}");
    let stream = &all[&leads].streams["KV_UNIBUS_rooms"];
    assert!(all.contains_key(stream.leader.as_deref().unwrap()), "{stream:?}");
    assert!(all.values().all(|view| !view.version.is_empty() && !view.id.is_empty()));

    let index = (0..3).find(|index| nats.name(*index) != leads).unwrap();
    nats.stop(index).await.unwrap();
    let began = Instant::now();
    let rest = until(&system, 3, |views| views.len() == 2).await;
    assert!(!rest.contains_key(&nats.name(index)));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_of_the_meta_group_and_of_a_stream_step_down_when_asked() {
    let nats = Nats::started(Servers::cluster_of(3)).await.unwrap();
    let operator = link(&nats, User::Operator, Role::Operator);
    let system = link(&nats, User::System, Role::System);
    bucket::create(&operator, &rooms(), Budget::default()).await.unwrap();

    let before = until(&system, 3, |views| views.len() == 3 && leader(views).is_some()).await;
    let heir = before.keys().find(|name| Some(name.as_str()) != leader(&before)).unwrap();
    meta::step_down(&system, heir, Duration::from_secs(5)).await.unwrap();
    until(&system, 3, |views| leader(views) == Some(heir)).await;
    // The operator's user in the membership account may not do it.
    assert!(meta::step_down(&operator, heir, WITHIN).await.is_err());

    let stream_leader = |views: &BTreeMap<String, ServerView>| -> Option<String> {
        views.values().find_map(|view| view.streams.get("KV_UNIBUS_rooms")?.leader.clone())
    };
    let old = stream_leader(&until(&system, 3, |views| stream_leader(views).is_some()).await);
    let made = async || {
        let info = bucket::info(&operator, "UNIBUS_rooms", Budget::default()).await;
        info.unwrap().unwrap().created
    };
    let before = made().await;
    api::step_down_stream(&operator, "KV_UNIBUS_rooms", Duration::from_secs(5)).await.unwrap();
    until(&system, 3, |views| {
        let new = stream_leader(views);
        new.is_some() && new != old
    })
    .await;
    assert_eq!(made().await, before, "to the new leader it is another stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_alone_has_no_meta_group_and_reloads_by_its_id() {
    let nats = Nats::started(Servers::single()).await.unwrap();
    let system = link(&nats, User::System, Role::System);
    let views = until(&system, 1, |views| views.len() == 1).await;
    let view = &views[&nats.name(0)];
    assert_eq!((view.healthy, &view.meta), (true, &None));
    meta::reload(&system, &view.id, WITHIN).await.unwrap();
    assert!(meta::reload(&system, "NOBODY", WITHIN).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_a_server_alone_is_still_the_same_one_when_the_server_starts_again() {
    let nats = Nats::started(Servers::single()).await.unwrap();
    let operator = link(&nats, User::Operator, Role::Operator);
    let settings = BucketSettings { replicas: 1, ..rooms() };
    let made = bucket::create(&operator, &settings, Budget::default()).await.unwrap().created;
    nats.stop(0).await.unwrap();
    nats.start(0).unwrap();
    let found = bucket::info(&operator, &settings.name, Budget::default()).await.unwrap();
    assert_eq!(found.unwrap().created, made);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_no_server_knows_is_told_from_servers_that_are_not_there() {
    let nats = Nats::started(Servers::single()).await.unwrap();
    let seed = Zeroizing::new(KeyPair::new_user().seed().unwrap());
    let url = nats.url(0);
    let stranger = Link::new(NatsOptions::new(&url, Role::System).unwrap().seed(seed));
    assert!(meta::survey(&stranger, 1, WITHIN).await.is_err());
    assert!(stranger.was_refused());

    let system = link(&nats, User::System, Role::System);
    nats.stop(0).await.unwrap();
    assert!(meta::survey(&system, 1, WITHIN).await.is_err());
    assert!(!system.was_refused());
}
