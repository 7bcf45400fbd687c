//! The memory of requests beside the store.

use std::sync::Arc;

use membership_operator::membership::ErrorKind;
use membership_operator::membership::error::StoreResult;
use membership_operator::membership::records::UnixMillis;
use membership_operator::membership::requests::{
    Begun, Fingerprint, Growth, Leave, NewRequest, OUTCOME_MAX_BYTES, Outcome, RequestKey,
    RequestLog, Target,
};

use super::{Backend, Fresh, members_of, refusal};
use crate::words::{endpoint, guest, plain_room, room, soon, user};

const BYTES: u64 = 512 * 1024;

/// More of the largest outcomes than would fit.
const MANY: u32 = 64;

fn key(n: u32) -> RequestKey {
    RequestKey { caller: user(0), nonce: format!("nonce-0123456789-{n}").parse().unwrap() }
}

fn request(n: u32, growth: Growth, target: Target, now: u64) -> NewRequest {
    let fingerprint = Fingerprint([7; 32]);
    NewRequest { key: key(n), fingerprint, growth, target, now: UnixMillis(now) }
}

async fn begin(log: &Arc<dyn RequestLog>, n: u32, growth: Growth, now: u64) -> StoreResult<Begun> {
    log.begin_request(request(n, growth, Target::User(user(n)), now), soon()).await
}

/// Of what takes the most room when it is written down.
fn outcome(length: usize) -> Outcome {
    "\"".repeat(length).try_into().unwrap()
}

/// Records growing requests with large outcomes until one is refused; how many there are.
async fn fill(log: &Arc<dyn RequestLog>) -> u32 {
    for n in 0..MANY {
        match begin(log, n, Growth::Grows, 1).await {
            Ok(begun) => assert!(matches!(begun, Begun::Fresh(_)), "{begun:?}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Full, "{error}");
                return n;
            }
        }
        log.end_request(&key(n), outcome(OUTCOME_MAX_BYTES), soon()).await.unwrap();
    }
    panic!("{MANY} requests fit");
}

pub async fn a_log_without_room_still_records_what_takes_away(backend: &dyn Backend) {
    let fresh = backend.small(BYTES).await;
    let log = &fresh.log;
    let full_at = fill(log).await;
    for n in MANY..MANY + 4 {
        let begun = begin(log, n, Growth::Frees, 1).await.unwrap();
        assert!(matches!(begun, Begun::Fresh(_)), "{begun:?}");
        log.end_request(&key(n), outcome(100), soon()).await.unwrap();
        let again = begin(log, n, Growth::Frees, 1).await.unwrap();
        assert_eq!(again, Begun::Answered(outcome(100)), "it is remembered as any other");
    }
    let refused = begin(log, full_at, Growth::Grows, 1).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Full, "it stays full");
    let known = begin(log, 0, Growth::Grows, 1).await.unwrap();
    assert_eq!(known, Begun::Answered(outcome(OUTCOME_MAX_BYTES)), "a retry needs no room");
}

pub async fn requests_before_a_moment_are_forgotten_and_no_others(backend: &dyn Backend) {
    let fresh = backend.fresh().await;
    let log = &fresh.log;
    for (n, now) in [(0, 1000), (1, 1999), (2, 2000), (3, 3000)] {
        let begun = begin(log, n, Growth::Grows, now).await.unwrap();
        assert!(matches!(begun, Begun::Fresh(_)), "{begun:?}");
    }
    assert_eq!(log.forget_requests(UnixMillis(2000), soon()).await.unwrap(), 2);
    for (n, forgotten) in [(0, true), (1, true), (2, false), (3, false)] {
        let begun = begin(log, n, Growth::Grows, 3000).await.unwrap();
        assert_eq!(matches!(begun, Begun::Fresh(_)), forgotten, "{n}: {begun:?}");
    }
    assert_eq!(log.forget_requests(UnixMillis(2000), soon()).await.unwrap(), 0);
}

/// Two tries of a request that are let make its change.
async fn two_tries(log: &Arc<dyn RequestLog>, n: u32, target: Target) -> [Leave; 2] {
    let new = request(n, Growth::Frees, target, 1);
    match (log.begin_request(new.clone(), soon()).await, log.begin_request(new, soon()).await) {
        (Ok(Begun::Fresh(first)), Ok(Begun::Pending(second))) => [first, second],
        others => panic!("{others:?}"),
    }
}

pub async fn a_try_that_was_held_up_undoes_nothing_that_came_since(backend: &dyn Backend) {
    let Fresh { store, log, .. } = &backend.fresh().await;
    let (lobby, them) = (room("lobby"), endpoint("guest"));
    let target = || Target::Member(lobby.clone(), them.clone());
    store.create_room(plain_room("lobby", "owner"), soon()).await.unwrap();
    let [late_add, add] = two_tries(log, 0, target()).await;
    log.under(&add).add_member(guest("lobby", "guest"), soon()).await.unwrap();
    let [late_removal, removal] = two_tries(log, 1, target()).await;
    log.under(&removal).remove_member(&lobby, &them, soon()).await.unwrap();
    let refused = refusal(log.under(&late_add).add_member(guest("lobby", "guest"), soon()).await);
    assert!(matches!(refused, ErrorKind::Conflict | ErrorKind::AlreadyExists), "{refused:?}");
    assert_eq!(members_of(&**store, &lobby).await, [endpoint("owner")].into());
    store.add_member(guest("lobby", "guest"), soon()).await.unwrap();
    let refused = refusal(log.under(&late_removal).remove_member(&lobby, &them, soon()).await);
    assert_eq!(refused, ErrorKind::Conflict);
    assert_eq!(members_of(&**store, &lobby).await, [endpoint("owner"), them].into());
}
