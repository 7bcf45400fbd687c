//! The memory of requests beside the store.

use std::sync::Arc;

use membership_operator::membership::ErrorKind;
use membership_operator::membership::error::StoreResult;
use membership_operator::membership::records::UnixMillis;
use membership_operator::membership::requests::{
    Begun, Fingerprint, Growth, NewRequest, OUTCOME_MAX_BYTES, Outcome, RequestKey, RequestLog,
    Target,
};

use super::Backend;
use crate::words::{soon, user};

const BYTES: u64 = 512 * 1024;

/// More of the largest outcomes than would fit.
const MANY: u32 = 64;

fn key(n: u32) -> RequestKey {
    RequestKey { caller: user(0), nonce: format!("nonce-0123456789-{n}").parse().unwrap() }
}

async fn begin(log: &Arc<dyn RequestLog>, n: u32, growth: Growth, now: u64) -> StoreResult<Begun> {
    let new = NewRequest {
        key: key(n),
        fingerprint: Fingerprint([7; 32]),
        growth,
        target: Target::User(user(n)),
        now: UnixMillis(now),
    };
    log.begin_request(new, soon()).await
}

/// Of what takes the most room when it is written down.
fn outcome(length: usize) -> Outcome {
    "\"".repeat(length).try_into().unwrap()
}

/// Records growing requests with large outcomes until one is refused; how many there are.
async fn fill(log: &Arc<dyn RequestLog>) -> u32 {
    for n in 0..MANY {
        match begin(log, n, Growth::Grows, 1).await {
            Ok(begun) => assert_eq!(begun, Begun::Fresh),
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
        assert_eq!(begin(log, n, Growth::Frees, 1).await.unwrap(), Begun::Fresh);
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
        assert_eq!(begin(log, n, Growth::Grows, now).await.unwrap(), Begun::Fresh);
    }
    assert_eq!(log.forget_requests(UnixMillis(2000), soon()).await.unwrap(), 2);
    for (n, known) in
        [(0, Begun::Fresh), (1, Begun::Fresh), (2, Begun::Pending), (3, Begun::Pending)]
    {
        assert_eq!(begin(log, n, Growth::Grows, 3000).await.unwrap(), known, "{n}");
    }
    assert_eq!(log.forget_requests(UnixMillis(2000), soon()).await.unwrap(), 0);
}
