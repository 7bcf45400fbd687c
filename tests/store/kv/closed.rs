//! Whatever is wrong with the servers or the records, nobody is admitted, and nobody waits longer
//! than the deadline.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use membership_operator::jetstream::connect::Role;
use membership_operator::membership::authorize::{AuthorizeRequest, Consistency};
use membership_operator::membership::ids::Endpoint;
use membership_operator::membership::kv::KvStore;
use membership_operator::membership::records::UserRole;
use membership_operator::membership::store::{Deadline, NewMember};
use membership_operator::membership::{Decision, DenyReason, ErrorKind, MembershipStore};
use testbed::nats::{LinkState, Role as User};

use super::servers::{HEALING, Home, ONE, own};
use super::wires::{Answers, CountsFences, FallsBack, Nature, Wire};
use crate::contract::{denial, refusal};
use crate::words::{guest, new_user, plain_room, room, soon, user};

/// How long a caller waits at most.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The same where an answer comes at once, and only is no use.
const BRIEF: Duration = Duration::from_millis(200);

/// How much later than its deadline an answer may come on a loaded machine.
const LATE: Duration = Duration::from_secs(1);

fn question(n: u32, in_room: Option<&str>) -> AuthorizeRequest {
    let room = in_room.map(room);
    AuthorizeRequest { user: user(n), room, consistency: Consistency::Strict }
}

async fn ask(store: &KvStore, n: u32, in_room: Option<&str>) -> Decision {
    store.authorize(question(n, in_room), soon()).await
}

/// User 1 is an admin and user 2 a member of the lobby.
async fn furnished(store: &KvStore) {
    store.add_first_admin(user(1), "root".parse().unwrap(), soon()).await.unwrap();
    store.add_user(new_user(2, UserRole::User), soon()).await.unwrap();
    store.create_room(plain_room("lobby", "owner"), soon()).await.unwrap();
    let own = Endpoint::from(&user(2));
    store.add_member(NewMember { endpoint: own, ..guest("lobby", "x") }, soon()).await.unwrap();
}

/// Every question is refused, in time.
async fn denies_within(store: &KvStore, patience: Duration) {
    for (n, in_room) in [(1, None), (2, None), (2, Some("lobby"))] {
        let begun = Instant::now();
        let decision = store.authorize(question(n, in_room), Deadline::after(patience)).await;
        let reason = denial(&decision);
        assert!(begun.elapsed() < patience + LATE, "{:?}", begun.elapsed());
        assert!([DenyReason::Unavailable, DenyReason::Deadline].contains(&reason), "{reason:?}");
    }
    let begun = Instant::now();
    let error = store.has_admin(Deadline::after(patience)).await.expect_err("doubt is an error");
    assert!(begun.elapsed() < patience + LATE, "{:?}", begun.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

async fn denies_in_time(store: &KvStore) {
    denies_within(store, PATIENCE).await;
}

/// It admits again, sooner or later.
async fn admits_again(store: &KvStore) {
    let end = Instant::now() + Duration::from_secs(60);
    while !ask(store, 2, Some("lobby")).await.is_admit() {
        assert!(Instant::now() < end, "nobody is admitted any more");
    }
    assert!(store.has_admin(soon()).await.unwrap());
}

async fn admits_now(store: &KvStore) {
    assert!(ask(store, 1, None).await.is_admit());
    assert!(ask(store, 2, Some("lobby")).await.is_admit());
    assert!(store.has_admin(soon()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_or_frozen_admits_nobody() {
    let home = own(1).await;
    home.init().await;
    let store = home.open().await;
    furnished(&store).await;
    admits_now(&store).await;
    home.nats.freeze(0).unwrap();
    denies_in_time(&store).await;
    home.nats.thaw(0).unwrap();
    admits_again(&store).await;
    home.nats.stop(0).await.unwrap();
    denies_in_time(&store).await;
    home.nats.start(0).unwrap();
    admits_again(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_without_a_quorum_admit_nobody() {
    let home = own(3).await;
    home.init().await;
    let store = home.open().await;
    furnished(&store).await;
    admits_now(&store).await;
    home.nats.freeze(0).unwrap();
    home.nats.freeze(1).unwrap();
    denies_in_time(&store).await;
    home.nats.thaw(0).unwrap();
    home.nats.thaw(1).unwrap();
    admits_again(&store).await;
    home.nats.kill(1).unwrap();
    home.nats.kill(2).unwrap();
    denies_in_time(&store).await;
    home.nats.start(1).unwrap();
    home.nats.start(2).unwrap();
    admits_again(&store).await;
}

/// A leader that others have replaced, and that does not know it yet, knows nobody who came since.
/// Who is told "there is no such user" sends nobody away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_of_the_past_cannot_say_that_there_is_nobody_to_send_away() {
    let home = own(3).await;
    home.init().await;
    furnished(&*home.open().await).await;
    let (past, other) = (0, 1);
    for bucket in ["users", "members", "rooms"] {
        home.lead(bucket, past).await;
    }
    let (deaf, well) = (home.open_at(past).await, home.open_at(other).await);
    home.nats.freeze(past).unwrap();
    let slowly = || Deadline::after(HEALING);
    well.add_user(new_user(3, UserRole::User), slowly()).await.unwrap();
    let endpoint = Endpoint::from(&user(3));
    let member = NewMember { endpoint: endpoint.clone(), ..guest("lobby", "x") };
    well.add_member(member, slowly()).await.unwrap();
    home.nats.part(past, LinkState::Held);
    home.nats.thaw(past).unwrap();
    let mut errors = Vec::new();
    for _ in 0..4 {
        let soon = || Deadline::after(BRIEF);
        errors.push(refusal(deaf.revoke_user(&user(3), soon()).await));
        errors.push(refusal(deaf.remove_member(&room("lobby"), &endpoint, soon()).await));
    }
    assert_eq!(errors, [ErrorKind::Unavailable; 8]);
    home.nats.part(past, LinkState::Open);
    deaf.remove_member(&room("lobby"), &endpoint, slowly()).await.unwrap();
    deaf.revoke_user(&user(3), slowly()).await.unwrap();
}

async fn furnished_behind<N: Nature + 'static>(nature: N) -> (Home, Arc<Wire<N>>, Arc<KvStore>) {
    let home = ONE.home().await;
    home.init().await;
    let wire = Arc::new(Wire { link: home.link(Role::Membershipd), nature });
    let store = home.open_through(Arc::clone(&wire) as _).await;
    furnished(&store).await;
    (home, wire, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rubbish_admits_nobody() {
    let (_home, wire, store) = furnished_behind(Answers::default()).await;
    admits_now(&store).await;
    for rubbish in [
        &b""[..],
        b"<html>hello</html>",
        b"{}",
        b"[]",
        b"null",
        b"{\"stream\":\"KV_OTHER\",\"seq\":1000000}",
        b"{\"stream\":\"KV_T0_users\",\"seq\":0}",
        b"{\"message\":{}}",
        b"{\"message\":{\"subject\":\"$KV.T0_users.x\",\"seq\":1}}",
        b"{\"error\":{\"code\":503,\"err_code\":10008,\"description\":\"no\"}}",
        b"{\"error\":{\"code\":500,\"err_code\":1,\"description\":\"no\"}}",
        b"+OK",
        &[0xff; 64],
    ] {
        *wire.nature.all.lock().unwrap() = Some(rubbish.to_vec());
        denies_within(&store, BRIEF).await;
        *wire.nature.all.lock().unwrap() = None;
        *wire.nature.fences.lock().unwrap() = Some(rubbish.to_vec());
        denies_within(&store, BRIEF).await;
        *wire.nature.fences.lock().unwrap() = None;
    }
    admits_now(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_from_the_past_shuts_the_store_for_good() {
    let (home, wire, store) = furnished_behind(Answers::default()).await;
    admits_now(&store).await;
    let old = format!("{{\"stream\":\"KV_{}_users\",\"seq\":1}}", home.prefix);
    *wire.nature.fences.lock().unwrap() = Some(old.into_bytes());
    assert_eq!(denial(&ask(&store, 1, None).await), DenyReason::Unavailable);
    *wire.nature.fences.lock().unwrap() = None;
    denies_in_time(&store).await;
    admits_now(&*home.open().await).await;
}

/// A fence proves what was read before it. Whoever is asked after it may be a leader of the past.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_after_a_fence_lets_nobody_in() {
    let home = ONE.home().await;
    home.init().await;
    let link = home.link(Role::Membershipd);
    let wire = Arc::new(Wire { link, nature: FallsBack::default() });
    let (store, beside) = (home.open_through(Arc::clone(&wire) as _).await, home.open().await);
    furnished(&beside).await;
    let own = Endpoint::from(&user(2));
    for (bucket, key) in [("users", own.to_string()), ("members", format!("lobby.{own}"))] {
        let subject = format!("$KV.{}_{bucket}.{key}", home.prefix);
        let (question, answer) = asked(&home, bucket, &subject).await;
        wire.nature.past.lock().unwrap().insert(question, answer);
    }
    beside.remove_member(&room("lobby"), &own, soon()).await.unwrap();
    assert_eq!(denial(&ask(&store, 2, Some("lobby")).await), DenyReason::NotMember);
    beside.revoke_user(&user(2), soon()).await.unwrap();
    // Another process, which has not read the user before.
    let store = home.open_through(Arc::clone(&wire) as _).await;
    wire.nature.fenced.store(false, Ordering::Release);
    assert_eq!(denial(&ask(&store, 2, None).await), DenyReason::Revoked);
    assert!(wire.nature.fenced.load(Ordering::Acquire), "denials are proven, too");
}

/// What was read for one question is proven for the next one by a fence alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_asks_again_is_not_read_again_and_still_proven() {
    let (home, wire, store) = furnished_behind(FallsBack::default()).await;
    let beside = home.open().await;
    assert!(ask(&store, 2, None).await.is_admit());
    // From now on nobody answers what the store reads.
    let place = format!("$JS.API.STREAM.MSG.GET.KV_{}_users", home.prefix);
    wire.nature.past.lock().unwrap().insert(place, b"{}".to_vec());
    assert!(ask(&store, 2, None).await.is_admit());
    beside.revoke_user(&user(2), soon()).await.unwrap();
    let decision = store.authorize(question(2, None), Deadline::after(BRIEF)).await;
    let reason = denial(&decision);
    assert!([DenyReason::Unavailable, DenyReason::Deadline].contains(&reason), "{reason:?}");
    wire.nature.past.lock().unwrap().clear();
    assert_eq!(denial(&ask(&store, 2, None).await), DenyReason::Revoked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_about_another_record_lets_nobody_in() {
    let (home, wire, store) = furnished_behind(FallsBack::default()).await;
    let subject = format!("$KV.{}_users.{}", home.prefix, user(1));
    let (place, admin) = asked(&home, "users", &subject).await;
    wire.nature.past.lock().unwrap().insert(place, admin);
    wire.nature.fenced.store(true, Ordering::Release);
    assert!(ask(&store, 1, None).await.is_admit());
    let decision = store.authorize(question(2, None), Deadline::after(BRIEF)).await;
    let reason = denial(&decision);
    assert!([DenyReason::Unavailable, DenyReason::Deadline].contains(&reason), "{reason:?}");
}

/// Writes what no store would write.
async fn put(home: &Home, subject: &str, payload: &str, headers: &[(&str, &str)]) {
    let client = home.nats.connect(User::Membershipd).await.unwrap();
    let mut map = async_nats::HeaderMap::new();
    headers.iter().for_each(|(name, value)| map.insert(*name, *value));
    let answer =
        client.request_with_headers(subject.to_owned(), map, payload.to_owned().into()).await;
    let answer = String::from_utf8(answer.unwrap().payload.to_vec()).unwrap();
    assert!(answer.contains("\"seq\""), "{answer}");
}

/// The question for what is stored under a subject, and the answer.
async fn asked(home: &Home, bucket: &str, subject: &str) -> (String, Vec<u8>) {
    let client = home.nats.connect(User::Membershipd).await.unwrap();
    let get = format!("$JS.API.STREAM.MSG.GET.KV_{}_{bucket}", home.prefix);
    let body = serde_json::json!({ "last_by_subj": subject }).to_string();
    let answer = client.request(get.clone(), body.into()).await.unwrap();
    (get, answer.payload.to_vec())
}

/// What is stored under a subject.
async fn stored(home: &Home, bucket: &str, subject: &str) -> String {
    let (_, answer) = asked(home, bucket, subject).await;
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let data = answer["message"]["data"].as_str().unwrap();
    String::from_utf8(data_encoding::BASE64.decode(data.as_bytes()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_not_exactly_right_admits_nobody() {
    let home = ONE.home().await;
    home.init().await;
    let store = home.open().await;
    furnished(&store).await;
    store.add_user(new_user(3, UserRole::User), soon()).await.unwrap();
    let own = Endpoint::from(&user(2));
    for (bucket, key) in
        [("users", own.to_string()), ("members", format!("lobby.{own}")), ("rooms", "lobby".into())]
    {
        let subject = format!("$KV.{}_{bucket}.{key}", home.prefix);
        let right = stored(&home, bucket, &subject).await;
        for wrong in [
            right.replace("\"schema\":1", "\"schema\":2"),
            right[1..].to_owned(),
            format!("{right}{right}"),
            "granted".to_owned(),
            String::new(),
            right.replace(&format!("\"key\":\"{key}\""), "\"key\":\"x\""),
            // What JSON's readers disagree about.
            right.replacen('{', "{\"schema\":1,", 1),
            right.replace("\"schema\":1", "\"schema\":NaN"),
            right.replace("\"schema\":1", "\"schema\":1e400"),
            right.replace("\"schema\":1", "\"schema\":1.0"),
            "[".repeat(100_000),
        ] {
            assert_ne!(wrong, right, "nothing is wrong with it");
            put(&home, &subject, &wrong, &[]).await;
            let reason = denial(&ask(&store, 2, Some("lobby")).await);
            assert_eq!(reason, DenyReason::Corrupt, "{bucket}: {wrong}");
        }
        for operation in ["DEL", "PURGE", "whatever"] {
            put(&home, &subject, &right, &[("KV-Operation", operation)]).await;
            let reason = denial(&ask(&store, 2, Some("lobby")).await);
            let absent = [DenyReason::UnknownUser, DenyReason::NotMember, DenyReason::UnknownRoom];
            assert!(absent.contains(&reason), "{bucket}: {reason:?}");
        }
        put(&home, &subject, &right, &[]).await;
        assert!(ask(&store, 2, Some("lobby")).await.is_admit(), "{bucket} as it was");
    }
    // Somebody else's record, whole and right, under this key.
    let prefix = format!("$KV.{}_users", home.prefix);
    let other = stored(&home, "users", &format!("{prefix}.{}", user(3))).await;
    put(&home, &format!("{prefix}.{own}"), &other, &[]).await;
    assert_eq!(denial(&ask(&store, 2, None).await), DenyReason::Corrupt);
    // One unreadable record among many: no list says that there is no admin.
    let refused = store.users(crate::contract::any_page(), soon()).await;
    assert_eq!(refusal(refused), ErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_of_another_life_of_the_room_is_none() {
    let home = ONE.home().await;
    home.init().await;
    let store = home.open().await;
    furnished(&store).await;
    let (lobby, own) = (room("lobby"), Endpoint::from(&user(2)));
    let subject = format!("$KV.{}_members.lobby.{own}", home.prefix);
    let right = stored(&home, "members", &subject).await;
    let life = store.room(&lobby, soon()).await.unwrap().record.incarnation.to_string();
    let another = right.replace(&life, &"0".repeat(life.len()));
    assert_ne!(another, right, "the record names the life");
    put(&home, &subject, &another, &[]).await;
    assert_eq!(denial(&ask(&store, 2, Some("lobby")).await), DenyReason::NotMember);
    assert_eq!(refusal(store.member(&lobby, &own, soon()).await), ErrorKind::NotFound);
    assert!(!crate::contract::members_of(&*store, &lobby).await.contains(&own));
    assert!(!crate::contract::rooms_of(&*store, &own).await.contains(&lobby));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_of_one_user_share_fences_and_never_send_two_at_once() {
    const CALLERS: usize = 200;
    let home = ONE.home().await;
    home.init().await;
    let link = home.link(Role::Membershipd);
    let wire = Arc::new(Wire { link, nature: CountsFences::default() });
    let store = home.open_through(Arc::clone(&wire) as _).await;
    furnished(&store).await;
    let before = wire.nature.sent.load(Ordering::Acquire);
    let asked = join_all((0..CALLERS).map(|_| ask(&store, 2, Some("lobby")))).await;
    assert!(asked.iter().all(Decision::is_admit));
    let sent = wire.nature.sent.load(Ordering::Acquire) - before;
    assert!(sent < CALLERS, "{sent} fences for {CALLERS} callers of two records");
    assert_eq!(wire.nature.most_at_once.load(Ordering::Acquire), 1);
}
