//! Streams that an administrator deletes under a store, or deletes and makes anew: nobody is let in,
//! nothing that was there looks as if it had never been, and what was served or moved to is not
//! opened again.

use std::time::Duration;

use membership_operator::jetstream::bucket::{self, Budget};
use membership_operator::jetstream::connect::Role;
use membership_operator::jetstream::transport::{Request, Transport};
use membership_operator::membership::authorize::{AuthorizeRequest, Consistency};
use membership_operator::membership::error::StoreResult;
use membership_operator::membership::ids::Endpoint;
use membership_operator::membership::kv::{Bucket, KvStore, Settings, Size, init};
use membership_operator::membership::records::UserRole;
use membership_operator::membership::store::{Deadline, NewMember};
use membership_operator::membership::{Decision, ErrorKind, MembershipStore};

use super::servers::{Home, administered};
use crate::contract::{any_page, denial, refusal};
use crate::words::{guest, new_user, plain_room, room, soon, user};

/// How long one question is waited for in vain.
fn brief() -> Deadline {
    Deadline::after(Duration::from_millis(700))
}

/// User 1 is an admin and user 2 a member of the lobby; the store says that it was served from.
async fn served(home: &Home) -> KvStore {
    home.init().await;
    let store = open(home).await.unwrap();
    store.add_first_admin(user(1), "root".parse().unwrap(), soon()).await.unwrap();
    store.add_user(new_user(2, UserRole::User), soon()).await.unwrap();
    store.create_room(plain_room("lobby", "owner"), soon()).await.unwrap();
    let own = Endpoint::from(&user(2));
    store.add_member(NewMember { endpoint: own, ..guest("lobby", "x") }, soon()).await.unwrap();
    let mut control = store.control(soon()).await.unwrap();
    control.record.note_born(store.born());
    store.set_control(&control.record, control.revision, soon()).await.unwrap();
    assert!(ask(&store, soon()).await.is_admit());
    store
}

async fn open(home: &Home) -> StoreResult<KvStore> {
    let service = home.options(Role::Membershipd);
    KvStore::open(&service, home.prefix.clone(), Settings::default()).await
}

async fn ask(store: &KvStore, deadline: Deadline) -> Decision {
    let (user, room) = (user(2), Some(room("lobby")));
    let request = AuthorizeRequest { user, room, consistency: Consistency::Strict };
    store.authorize(request, deadline).await
}

async fn delete(home: &Home, bucket: Bucket) {
    let subject = format!("$JS.API.STREAM.DELETE.KV_{}", bucket.name(&home.prefix));
    let within = Duration::from_secs(5);
    let answer =
        home.link(Role::Operator).request(Request::new(subject, Vec::new()), within).await.unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("\"success\":true"), "{answer:?}");
}

async fn make(home: &Home, bucket: Bucket) {
    let settings = bucket.settings(&home.prefix, home.size());
    bucket::create(&home.link(Role::Operator), &settings, Budget::default()).await.unwrap();
}

/// Neither opened nor made complete again, as the service or by `init`.
async fn is_refused(home: &Home, what: &str) {
    assert_eq!(refusal(open(home).await), ErrorKind::Corrupt, "{what}");
    let (operator, size) = (home.options(Role::Operator), home.size());
    let again = init(&operator, &home.prefix, size, "test", Budget::default()).await;
    assert_eq!(refusal(again), ErrorKind::Corrupt, "{what}");
}

/// Whoever lists, looks or asks learns that nothing is known.
async fn knows_nothing(store: &KvStore, bucket: Bucket) {
    let all = any_page;
    let error = if bucket == Bucket::Rooms {
        refusal(store.room(&room("lobby"), brief()).await)
    } else if bucket == Bucket::Members {
        refusal(store.members(&room("lobby"), all(), brief()).await)
    } else {
        assert_eq!(refusal(store.has_admin(brief()).await), ErrorKind::Unavailable);
        assert_eq!(refusal(store.user(&user(2), brief()).await), ErrorKind::Unavailable);
        assert_eq!(refusal(store.revoke_user(&user(2), brief()).await), ErrorKind::Unavailable);
        refusal(store.users(all(), brief()).await)
    };
    assert_eq!(error, ErrorKind::Unavailable, "{bucket:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_deleted_or_made_anew_lets_nobody_in_and_does_not_look_empty() {
    for servers in [1, 3] {
        let homes = administered(servers, 3).await;
        for (home, bucket) in homes.iter().zip([Bucket::Users, Bucket::Rooms, Bucket::Members]) {
            let what = format!("{bucket:?} on {servers}");
            let store = served(home).await;
            delete(home, bucket).await;
            denial(&ask(&store, brief()).await);
            knows_nothing(&store, bucket).await;
            is_refused(home, &what).await;

            make(home, bucket).await;
            denial(&ask(&store, soon()).await);
            is_refused(home, &what).await;
            if bucket == Bucket::Users {
                // Not even a user who is added to the new one, whoever did it.
                let _ = store.add_user(new_user(2, UserRole::Admin), soon()).await;
                denial(&ask(&store, brief()).await);
                assert_eq!(refusal(store.has_admin(brief()).await), ErrorKind::Unavailable);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_whose_control_record_is_gone_are_nobodys_new_store() {
    let homes = administered(1, 1).await;
    let home = &homes[0];
    let store = served(home).await;
    for make_anew in [false, true] {
        if make_anew {
            make(home, Bucket::Control).await;
        } else {
            delete(home, Bucket::Control).await;
        }
        assert_eq!(refusal(open(home).await), ErrorKind::ForeignStore);
        let (operator, size) = (home.options(Role::Operator), home.size());
        let again = init(&operator, &home.prefix, size, "test", Budget::default()).await;
        assert_eq!(refusal(again), ErrorKind::ForeignStore);
    }
    let thief = store.add_first_admin(user(3), "thief".parse().unwrap(), brief()).await;
    assert_eq!(refusal(thief), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_stays_the_same_one_when_it_is_raised_and_its_servers_start_again() {
    let homes = administered(3, 1).await;
    let home = &homes[0];
    let (operator, size) = (home.options(Role::Operator), Size { replicas: 1, ..home.size() });
    init(&operator, &home.prefix, size, "test", Budget::default()).await.unwrap();
    let born = open(home).await.unwrap().born().clone();
    assert_eq!(born.len(), Bucket::ALL.len());
    for bucket in Bucket::ALL {
        let (link, name) = (home.link(Role::Operator), bucket.name(&home.prefix));
        bucket::raise(&link, &name, 3, Budget::default()).await.unwrap();
    }
    assert_eq!(*open(home).await.unwrap().born(), born, "raised");
    for server in 0..3 {
        home.nats.stop(server).await.unwrap();
    }
    (0..3).for_each(|server| home.nats.start(server).unwrap());
    assert_eq!(*open(home).await.unwrap().born(), born, "started again");
}
