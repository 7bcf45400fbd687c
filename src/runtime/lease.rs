//! Which of several instances works: the one that holds a Lease. The claim knows its own end by a
//! clock that never jumps, counted from before the call that renewed it, so that a holder which is
//! cut off from the API server stops to believe before another one begins.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use thiserror::Error;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::shutdown::Stop;

/// For how long others leave the Lease alone after it was renewed.
const DURATION: Duration = Duration::from_secs(15);

/// For how long the holder itself believes in it. What it began last has five seconds to end.
const BELIEF: Duration = Duration::from_secs(10);

/// How often the holder renews it, and others look.
const RENEW: Duration = Duration::from_secs(3);

/// How long one call may take.
const CALL: Duration = Duration::from_secs(4);

/// Whether this instance works.
#[derive(Clone, Debug)]
pub struct Claim(Holding);

#[derive(Clone, Debug)]
enum Holding {
    /// Nobody else can be there.
    Always,
    /// Until this time, if at all.
    Until(Arc<Mutex<Option<Instant>>>),
}

impl Claim {
    /// A claim without a Lease, where only one instance ever runs.
    #[must_use]
    pub const fn always() -> Self {
        Self(Holding::Always)
    }

    /// Whether it holds now.
    #[must_use]
    pub fn is_current(&self) -> bool {
        match &self.0 {
            Holding::Always => true,
            Holding::Until(end) => {
                let end = *end.lock().unwrap_or_else(PoisonError::into_inner);
                end.is_some_and(|end| Instant::now() < end)
            }
        }
    }

    fn set(&self, end: Option<Instant>) {
        if let Holding::Until(held) = &self.0 {
            *held.lock().unwrap_or_else(PoisonError::into_inner) = end;
        }
    }
}

/// Why a try to hold the Lease came to nothing.
#[derive(Debug, Error)]
enum LeaseError {
    /// The API server refused or could not be reached.
    #[error("{0}")]
    Call(#[from] kube::Error),
    /// It did not answer.
    #[error("no answer within {}s", CALL.as_secs())]
    TimedOut,
}

/// A Lease that this instance tries to hold.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    claim: Claim,
    /// The holder that was last seen, with the renewal that was seen and when that was first.
    seen: Option<(String, Option<MicroTime>, Instant)>,
}

impl Candidate {
    /// A candidate for a Lease under a name of its own.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            claim: Claim(Holding::Until(Arc::default())),
            seen: None,
        }
    }

    /// The claim, to be asked before each deed.
    #[must_use]
    pub fn claim(&self) -> Claim {
        self.claim.clone()
    }

    /// Waits until the Lease is held. False when it was said to stop before.
    pub async fn acquire(&mut self, stop: &Stop) -> bool {
        loop {
            self.try_once().await;
            if self.claim.is_current() {
                info!(lease = %self.name, identity = %self.identity, "this instance leads");
                return true;
            }
            tokio::select! {
                () = sleep(RENEW) => {}
                () = stop.said() => return false,
            }
        }
    }

    /// Renews the Lease for as long as it is held. Returns when it is lost.
    pub async fn hold(&mut self) {
        while self.claim.is_current() {
            sleep(RENEW).await;
            self.try_once().await;
        }
        warn!(lease = %self.name, identity = %self.identity, "this instance leads no more");
    }

    /// Gives the Lease up, so that another instance need not wait for its end.
    pub async fn vacate(&mut self) {
        self.claim.set(None);
        let vacated = async {
            let Some(mut lease) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_deref() == Some(self.identity.as_str()) {
                spec.holder_identity = None;
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if !timeout(CALL, vacated).await.is_ok_and(|vacated| vacated.is_ok()) {
            warn!(lease = %self.name, "the Lease could not be given up; it ends by itself");
        }
    }

    async fn try_once(&mut self) {
        let before = Instant::now();
        let tried = timeout(CALL, self.take()).await.unwrap_or(Err(LeaseError::TimedOut));
        match tried {
            Ok(true) => self.claim.set(Some(before + BELIEF)),
            Ok(false) => self.claim.set(None),
            // Whoever holds it goes on believing until the end that is set.
            Err(error) => warn!(lease = %self.name, %error, "the Lease could not be renewed"),
        }
    }

    /// Takes or renews the Lease, if it is free, ours or at its end. The resourceVersion in what is
    /// written back lets only one of several win.
    async fn take(&mut self) -> Result<bool, LeaseError> {
        let Some(mut lease) = self.api.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
                spec: Some(self.spec(None)),
            };
            let made = self.api.create(&PostParams::default(), &lease).await;
            return won(made.map(|_| ()));
        };
        let old = lease.spec.take().unwrap_or_default();
        if !self.is_free(&old, Instant::now()) {
            return Ok(false);
        }
        lease.spec = Some(self.spec(Some(&old)));
        let written = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        won(written.map(|_| ()))
    }

    /// Whether nobody else holds it: another's hold ends when it was not renewed for the whole
    /// duration by our own clock, whatever times it says.
    fn is_free(&mut self, old: &LeaseSpec, now: Instant) -> bool {
        let holder = old.holder_identity.clone().filter(|holder| !holder.is_empty());
        let Some(holder) = holder.filter(|holder| *holder != self.identity) else { return true };
        let since = match &self.seen {
            Some((seen, renewed, since)) if *seen == holder && *renewed == old.renew_time => *since,
            Some(_) | None => {
                self.seen = Some((holder, old.renew_time.clone(), now));
                now
            }
        };
        let seconds = old.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let duration = seconds.map_or(DURATION, Duration::from_secs);
        now.duration_since(since) > duration
    }

    fn spec(&self, old: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let ours = old.filter(|old| old.holder_identity.as_deref() == Some(&self.identity));
        let transitions = old.and_then(|old| old.lease_transitions).unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: ours.and_then(|old| old.acquire_time.clone()).or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(match (old, ours) {
                (Some(_), None) => transitions.saturating_add(1),
                (_, Some(_)) | (None, _) => transitions,
            }),
            ..LeaseSpec::default()
        }
    }
}

/// Another one's win is no error.
fn won(written: kube::Result<()>) -> Result<bool, LeaseError> {
    match written {
        Ok(()) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    /// A candidate whose API server is never asked.
    fn candidate() -> Candidate {
        let nobody = tower::service_fn(async |_: Request<Body>| {
            Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
        });
        Candidate::new(Client::new(nobody, "chat"), "chat", "operator", "me")
    }

    fn held(holder: &str, renewed: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test]
    async fn anothers_lease_ends_when_our_own_clock_saw_no_renewal_for_its_duration() {
        let mut candidate = candidate();
        let began = Instant::now();
        let at = |second| began + Duration::from_secs(second);
        assert!(candidate.is_free(&LeaseSpec::default(), at(0)), "nobody's");
        assert!(candidate.is_free(&held("me", 0), at(0)), "ours");
        assert!(!candidate.is_free(&held("other", 0), at(0)), "first seen");
        assert!(!candidate.is_free(&held("other", 0), at(15)), "at its end");
        assert!(!candidate.is_free(&held("other", 1), at(16)), "renewed");
        assert!(!candidate.is_free(&held("third", 1), at(32)), "another holder");
        assert!(candidate.is_free(&held("third", 1), at(48)));
    }

    #[tokio::test]
    async fn a_claim_ends_by_itself() {
        let candidate = candidate();
        let claim = candidate.claim();
        assert!(!claim.is_current(), "never held");
        claim.set(Some(Instant::now() + Duration::from_millis(50)));
        assert!(claim.is_current());
        sleep(Duration::from_millis(60)).await;
        assert!(!claim.is_current());
        assert!(Claim::always().is_current());
    }

    #[tokio::test]
    async fn a_renewal_keeps_the_time_of_acquisition_and_a_change_of_hands_is_counted() {
        let candidate = candidate();
        let first = candidate.spec(None);
        assert_eq!(first.lease_transitions, Some(0));
        let again = candidate.spec(Some(&first));
        assert_eq!((again.acquire_time, again.lease_transitions), (first.acquire_time, Some(0)));
        assert_eq!(candidate.spec(Some(&held("other", 0))).lease_transitions, Some(1));
    }
}
