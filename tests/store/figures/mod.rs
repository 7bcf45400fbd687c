//! Figures of the stores, side by side in one run: `make bench`. Printed, never asserted.

mod beside;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use membership_operator::jetstream::api::{self, ApiErrorKind, Condition};
use membership_operator::jetstream::bucket::{stream_of, subject_of};
use membership_operator::jetstream::connect::{NatsOptions, Role};
use membership_operator::jetstream::link::Link;
use membership_operator::jetstream::transport::Request;
use membership_operator::membership::MembershipStore;
use membership_operator::membership::authorize::{AuthorizeRequest, Consistency};
use membership_operator::membership::ids::{Endpoint, RoomId, UserKey};
use membership_operator::membership::records::{MemberRole, UserRole, UserStatus};
use membership_operator::membership::snapshot::{MemberRecord, Record, RoomRecord, UserRecord};
use membership_operator::membership::sqlite::Settings;
use membership_operator::membership::store::ImportMode;
use testbed::bench::Spread;
use testbed::nats::{Nats, NatsOptions as Servers, Role as User};
use testbed::rate::{Contender, Table, Work};

use self::beside::Beside;
use crate::kv;
use crate::sqlite;
use crate::words::{endpoint, epoch, first_page, next_page, now, room, soon, user};

/// Every contender goes this many rounds, in turn.
const ROUNDS: usize = 5;

/// As many users as the largest crowd of callers.
const USERS: u32 = 256;

const CROWDS: [usize; 3] = [1, 32, 256];

/// What the aims are about.
const RAW_PUT: &str = "put: raw create, R3";
const OUR_PUT: &str = "put: add a user, R3";
const RAW_GET: &str = "get: raw entry of the leader, R3";
const OUR_GET: &str = "get: read a user, R3";
const OUR_DECISION: &str = "authorize: R3";

fn users() -> Vec<UserKey> {
    (0..USERS).map(user).collect()
}

fn the_room() -> RoomId {
    room("bench")
}

/// A room that every user is in.
async fn fill(store: &dyn MembershipStore) {
    let users = users();
    let records = users.iter().map(|key| {
        Record::User(UserRecord {
            key: *key,
            handle: "bench".parse().unwrap(),
            role: UserRole::User,
            status: UserStatus::Active,
        })
    });
    import(store, records.collect()).await;
    let owner = Endpoint::from(&users[0]);
    import(store, vec![Record::Room(a_room(owner.clone()))]).await;
    let members =
        users.iter().skip(1).map(|key| a_member(the_room(), Endpoint::from(key), owner.clone()));
    import(store, members.collect()).await;
}

fn a_room(owner: Endpoint) -> RoomRecord {
    RoomRecord {
        room: the_room(),
        subject: "bus.bench".parse().unwrap(),
        owner,
        encrypted: false,
        epoch: epoch(1),
        created_at: now(),
    }
}

fn a_member(in_room: RoomId, endpoint: Endpoint, owner: Endpoint) -> Record {
    Record::Member(MemberRecord {
        room: in_room,
        endpoint,
        role: MemberRole::Member,
        added_by: owner,
        added_at: now(),
    })
}

async fn import(store: &dyn MembershipStore, records: Vec<Record>) {
    store.import(records, ImportMode::KeepNewer, soon()).await.unwrap();
}

/// Asks for the caller's own user; in the room, if one is given.
fn authorize(store: &Arc<dyn MembershipStore>, place: Option<RoomId>) -> Work {
    let (store, users) = (Arc::clone(store), users());
    Arc::new(move |caller| {
        let (store, place, user) = (Arc::clone(&store), place.clone(), users[caller]);
        async move {
            let request = AuthorizeRequest { user, room: place, consistency: Consistency::Strict };
            assert!(store.authorize(request, soon()).await.is_admit());
        }
        .boxed()
    })
}

/// The same in the room, for every other user: two processes that begin at 0 and 1 share them all.
fn authorize_every_other(store: &Arc<dyn MembershipStore>, place: &RoomId, first: usize) -> Work {
    let all = authorize(store, Some(place.clone()));
    Arc::new(move |caller| all(2 * caller + first))
}

fn get(store: &Arc<dyn MembershipStore>) -> Work {
    let (store, key) = (Arc::clone(store), user(0));
    Arc::new(move |_| {
        let (store, key) = (Arc::clone(&store), key);
        async move { drop(store.user(&key, soon()).await.unwrap()) }.boxed()
    })
}

/// Adds a user that nobody added.
fn put(store: &Arc<dyn MembershipStore>, next: &Arc<AtomicU32>) -> Work {
    let (store, next) = (Arc::clone(store), Arc::clone(next));
    Arc::new(move |_| {
        let (store, n) = (Arc::clone(&store), next.fetch_add(1, Ordering::Relaxed));
        async move {
            let new = crate::words::new_user(n, UserRole::User);
            drop(store.add_user(new, soon()).await.unwrap());
        }
        .boxed()
    })
}

/// The service's permissions and, for the client library's own calls, all of the bucket's.
fn servers() -> Servers {
    let users = testbed::nats::Users::of_prefix("UNIBUS").unwrap();
    let everything = ["$KV.>", "$JS.API.>"];
    Servers::cluster_of(3).users(users.allow(User::Operator, &everything))
}

/// All clients are at this server, and it leads every stream: chance decides nothing then.
const HERE: usize = 0;

async fn raw_bucket(nats: &Nats, name: &str, direct: bool) -> async_nats::jetstream::kv::Store {
    let client = nats.connect_to(User::Operator, HERE).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let config = async_nats::jetstream::stream::Config {
        name: stream_of(name),
        subjects: vec![subject_of(name, ">")],
        num_replicas: 3,
        max_messages_per_subject: 1,
        allow_rollup: true,
        allow_direct: direct,
        ..Default::default()
    };
    jetstream.create_stream(config).await.unwrap();
    lead(nats, name).await;
    jetstream.get_key_value(name).await.unwrap()
}

/// Lets the clients' server lead a bucket's stream.
async fn lead(nats: &Nats, bucket: &str) {
    let (stream, within) = (stream_of(bucket), Duration::from_secs(30));
    let end = Instant::now() + within;
    while nats.stream_leader(&stream, within).await.unwrap() != HERE {
        assert!(Instant::now() < end, "the server never leads {stream}");
        // Refused while an election goes on.
        let _ = nats.step_down_stream(&stream, Some(HERE)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Creates a key as long as a user's, with a value as long as a user's.
fn raw_put(bucket: &async_nats::jetstream::kv::Store, next: &Arc<AtomicU32>) -> Work {
    let (bucket, next) = (bucket.clone(), Arc::clone(next));
    Arc::new(move |_| {
        let (bucket, n) = (bucket.clone(), next.fetch_add(1, Ordering::Relaxed));
        async move {
            let key = user(n).to_string();
            bucket.create(key, vec![b'x'; 256].into()).await.unwrap();
        }
        .boxed()
    })
}

/// As this bucket is set up: from the nearest replica, or from the leader.
fn raw_get(bucket: &async_nats::jetstream::kv::Store) -> Work {
    let bucket = bucket.clone();
    Arc::new(move |_| {
        let bucket = bucket.clone();
        async move { drop(bucket.entry("there").await.unwrap().unwrap()) }.boxed()
    })
}

/// The least that proves anything: a publish on a condition, each caller's on a record of its own.
async fn bare_fence(nats: &Nats) -> Work {
    let seed = nats.seed_file(User::Membershipd).unwrap();
    let options = NatsOptions::new(&nats.url(HERE), Role::Membershipd).unwrap();
    let link = Arc::new(Link::new(options.nkey(Some(&seed))));
    let (bucket, within) = ("UNIBUS_users", Duration::from_secs(5));
    let mut records = Vec::new();
    for caller in 0..USERS {
        let subject = subject_of(bucket, &format!("bench.{caller}"));
        let request = Request::new(subject.clone(), &b"{}"[..]);
        let (stream, any) = (stream_of(bucket), Condition::default());
        let at = api::publish(&*link, &stream, request, any, within).await.unwrap();
        records.push((subject, at));
    }
    let records = Arc::new(records);
    Arc::new(move |caller| {
        let (link, records) = (Arc::clone(&link), Arc::clone(&records));
        async move {
            let (subject, at) = &records[caller];
            let fence = subject_of(bucket, &format!("_fence.bench{caller}"));
            let condition =
                Condition { other_subject_at: Some((subject, *at)), ..Condition::default() };
            let stream = stream_of(bucket);
            let request = Request::new(fence, &b""[..]);
            // Now and then even the only one on a record meets the condition before its own.
            while let Err(error) =
                api::publish(&*link, &stream, request.clone(), condition, within).await
            {
                assert_eq!(error.api_kind(), Some(ApiErrorKind::ConditionInFlight), "{error}");
                tokio::time::sleep(Duration::from_millis(fastrand::u64(1..=5))).await;
            }
        }
        .boxed()
    })
}

async fn puts_and_gets(
    nats: &Nats,
    here: &Arc<dyn MembershipStore>,
    file: &Arc<dyn MembershipStore>,
) -> Vec<Contender> {
    let raw = raw_bucket(nats, "raw", true).await;
    let led = raw_bucket(nats, "led", false).await;
    for bucket in [&raw, &led] {
        bucket.put("there", vec![b'x'; 256].into()).await.unwrap();
    }
    let next = Arc::new(AtomicU32::new(1_000_000));
    vec![
        Contender::new(RAW_PUT, 1, raw_put(&raw, &next)),
        Contender::new(OUR_PUT, 1, put(here, &next)),
        Contender::new("put: add a user, SQLite", 1, put(file, &next)),
        Contender::new("get: raw entry of any replica, R3", 1, raw_get(&raw)),
        Contender::new(RAW_GET, 1, raw_get(&led)),
        Contender::new(OUR_GET, 1, get(here)),
        Contender::new("get: read a user, SQLite", 1, get(file)),
    ]
}

async fn decisions(
    nats: &Nats,
    here: &Arc<dyn MembershipStore>,
    file: &Arc<dyn MembershipStore>,
) -> Vec<Contender> {
    let fence = bare_fence(nats).await;
    let key = nats.seed_file(User::Membershipd).unwrap();
    let there = Beside::started(&nats.url(HERE), &key);
    let of_a_crowd = |callers| {
        let shared = authorize_every_other(here, &the_room(), 0);
        let in_file = authorize(file, Some(the_room()));
        [
            Contender::new("authorize: a bare fence, R3", callers, Arc::clone(&fence)),
            Contender::new(OUR_DECISION, callers, authorize(here, None)),
            Contender::new("authorize: R3, one room, two processes", callers, shared)
                .shared(there.others()),
            Contender::new("authorize: SQLite", callers, authorize(file, None)),
            Contender::new("authorize: SQLite, one room", callers, in_file),
        ]
    };
    CROWDS.into_iter().flat_map(of_a_crowd).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: run by `make bench`"]
async fn figures_of_the_stores() {
    let nats = Nats::started(servers()).await.unwrap();
    kv::made(&nats, 3).await;
    for bucket in ["users", "rooms", "members"] {
        lead(&nats, &format!("UNIBUS_{bucket}")).await;
    }
    let here = kv::opened_at(&nats, &nats.url(HERE)).await;
    fill(&*here).await;
    let (_home, file) = sqlite::made(Settings::default()).await;
    let file: Arc<dyn MembershipStore> = file;
    fill(&*file).await;
    let mut contenders = puts_and_gets(&nats, &here, &file).await;
    contenders.extend(decisions(&nats, &here, &file).await);
    let table = Table::of(contenders, ROUNDS).await;
    println!(
        "three servers on this machine, sync_interval: always, one leads all streams and has all"
    );
    println!("clients; medians of {ROUNDS} rounds");
    print!("{table}");
    let per_second = |name, callers| table.per_second(name, callers).unwrap();
    let times = |raw, ours| per_second(raw, 1) / per_second(ours, 1);
    println!("a put takes {:.2} times as long as a raw one (aim: 1.3)", times(RAW_PUT, OUR_PUT));
    println!("a get takes {:.2} times as long as a leader's (aim: 1.3)", times(RAW_GET, OUR_GET));
    println!("{:.0} decisions a second at 32 callers (aim: 10000)", per_second(OUR_DECISION, 32));
    list_many(&*here).await;
}

const MANY: u32 = 100_000;

/// A list of many members, page by page.
async fn list_many(store: &dyn MembershipStore) {
    let (crowd, owner) = (room("crowd"), Endpoint::from(&user(0)));
    import(store, vec![Record::Room(RoomRecord { room: crowd.clone(), ..a_room(owner.clone()) })])
        .await;
    for first in (0..MANY).step_by(500) {
        let members = (first..first + 500)
            .map(|n| a_member(crowd.clone(), endpoint(&format!("member{n}")), owner.clone()));
        import(store, members.collect()).await;
    }
    let (mut seconds, mut kib) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        forget_the_peak();
        let (before, began) = (peak_kib(), Instant::now());
        let mut page = store.members(&crowd, first_page(1000), soon()).await.unwrap();
        let mut count = page.items.len();
        while let Some(after) = page.next {
            page = store.members(&crowd, next_page(after, 1000), soon()).await.unwrap();
            count += page.items.len();
        }
        assert_eq!(count, usize::try_from(MANY).unwrap() + 1, "and the owner");
        seconds.push(began.elapsed().as_secs_f64());
        kib.push(f64::from(peak_kib().saturating_sub(before)));
    }
    let [seconds, kib] = [seconds, kib].map(|figures| Spread::of(&figures).unwrap());
    println!(
        "{MANY} members listed in pages of 1000: {:.1} s ({:.1} to {:.1}), {:.0} KiB more memory \
         ({:.0} to {:.0})",
        seconds.median, seconds.least, seconds.greatest, kib.median, kib.least, kib.greatest
    );
}

/// From here on the peak is counted anew.
fn forget_the_peak() {
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// The most memory that this process had.
fn peak_kib() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
