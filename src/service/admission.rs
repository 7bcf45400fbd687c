//! The one gate. A request is read and its signature checked by [`Signed`]; [`Service::admit`] then
//! asks the store, strictly, and the policy. Only what comes out of it reaches the store, so no
//! handler can forget to ask. Every doubt denies.
//!
//! The store is asked once the whole body is there: a caller that is sent away while the body
//! trickles in is refused.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::Method;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use axum::http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::digest::BodyDigest;
use super::handlers::authorize::AUTHORIZE;
use super::limits::Limits;
use super::policy::{self, Deed};
use super::problem::{Answer, Problem, ProblemType};
use super::signature::{
    CHANGE_WINDOW_SECONDS, CONTENT_DIGEST, Claim, READ_WINDOW_SECONDS, SignatureFault, Target,
    only_value,
};
use crate::membership::authorize::{AuthorizeRequest, Consistency, Decision, Standing};
use crate::membership::ids::{RoomId, UserKey};
use crate::membership::records::UnixMillis;
use crate::membership::requests::{Fingerprint, RequestKey, RequestLog};
use crate::membership::store::{Deadline, MembershipStore};

/// What the handlers share. The store is private: the way to it is [`Service::admit`].
pub struct Service {
    store: Arc<dyn MembershipStore>,
    log: Arc<dyn RequestLog>,
    authorities: Vec<String>,
    places: Arc<Semaphore>,
    limits: Limits,
}

impl Service {
    /// A service of a store and the log of requests beside it. `authorities` are the names it
    /// answers to, as callers have them in `Host`; it answers to every name when there are none.
    #[must_use]
    pub fn new(
        store: Arc<dyn MembershipStore>,
        log: Arc<dyn RequestLog>,
        authorities: Vec<String>,
        limits: Limits,
    ) -> Self {
        let places = Arc::new(Semaphore::new(limits.requests));
        Self { store, log, authorities, places, limits }
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Lets a signed request through to the store, or refuses it. A deed in a room is judged by
    /// what was proven about that very room.
    ///
    /// # Errors
    /// Any denial of the store, and any deed that the policy does not know to be allowed.
    pub async fn admit(
        &self,
        signed: Signed,
        room: Option<&RoomId>,
        deed: &Deed,
    ) -> Answer<Admitted<'_>> {
        let deadline = Deadline::after(self.limits.answer_time);
        let question = AuthorizeRequest {
            user: signed.key.caller,
            room: room.cloned(),
            consistency: Consistency::Strict,
        };
        let standing = match self.store.authorize(question, deadline).await {
            Decision::Admit(admit) => admit.standing(),
            Decision::Deny(deny) => {
                tracing::info!(caller = %signed.key.caller, reason = deny.reason.label(), "denied");
                return Err(Problem::denied(deny.reason));
            }
        };
        if !policy::may(&signed.key.caller, standing, deed) {
            return Err(Problem::refused());
        }
        Ok(Admitted { service: self, signed, standing, deadline })
    }
}

/// A request whose signature is right. Whoever signed it may still be nobody.
pub struct Signed {
    key: RequestKey,
    fingerprint: Fingerprint,
    body: Bytes,
    json: bool,
    _place: OwnedSemaphorePermit,
}

impl Signed {
    /// Who signed it.
    #[must_use]
    pub const fn caller(&self) -> &UserKey {
        &self.key.caller
    }
}

impl FromRequest<Arc<Service>> for Signed {
    type Rejection = Problem;

    async fn from_request(request: Request, service: &Arc<Service>) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let claim = check_signature(&parts, &service.authorities)?;
        let digest = read_digest(&parts)?;
        let body = read_body(body, &service.limits).await?;
        if BodyDigest::of(&body) != digest {
            return Err(SignatureFault::Digest.into());
        }
        let place = Arc::clone(&service.places).acquire_owned();
        let busy = || Problem::new(ProblemType::Busy, "too many requests at once: try again");
        let place = timeout(service.limits.turn_time, place).await.map_err(|_| busy())?;
        Ok(Self {
            fingerprint: fingerprint(&parts, &digest),
            key: RequestKey { caller: claim.key, nonce: claim.nonce },
            json: is_json(&parts),
            body,
            _place: place.map_err(|_| busy())?,
        })
    }
}

/// Checks everything about a request but its body.
fn check_signature(parts: &Parts, authorities: &[String]) -> Answer<Claim> {
    let authority = only_value(&parts.headers, &HOST)
        .map_err(|fault| Problem::invalid(fault.to_string()))?
        .to_ascii_lowercase();
    if parts.uri.authority().is_some() {
        return Err(Problem::invalid("the request line must have a path, not a whole address"));
    }
    if !authorities.is_empty() && !authorities.contains(&authority) {
        let detail = "this server does not answer to the name in the Host header";
        return Err(Problem::new(ProblemType::Misdirected, detail));
    }
    let claim = Claim::read(&parts.headers)?;
    let window = if changes(&parts.method, parts.uri.path()) {
        CHANGE_WINDOW_SECONDS
    } else {
        READ_WINDOW_SECONDS
    };
    claim.check_time(UnixMillis::now().0 / 1000, window)?;
    claim.verify(&Target {
        method: parts.method.as_str(),
        authority: &authority,
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        content_digest: only_value(&parts.headers, &CONTENT_DIGEST)?,
    })?;
    Ok(claim)
}

/// Whether a request can change anything. A question that is too long for a path is a `POST` all
/// the same.
pub(super) fn changes(method: &Method, path: &str) -> bool {
    !method.is_safe() && path != AUTHORIZE
}

fn read_digest(parts: &Parts) -> Answer<BodyDigest> {
    let field = only_value(&parts.headers, &CONTENT_DIGEST)?;
    Ok(BodyDigest::parse(field).ok_or(SignatureFault::Malformed(CONTENT_DIGEST))?)
}

async fn read_body(body: Body, limits: &Limits) -> Answer<Bytes> {
    let collected = timeout(limits.body_time, Limited::new(body, limits.body_bytes).collect());
    match collected.await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::new(
            ProblemType::TooLarge,
            format!("a body may have {} bytes", limits.body_bytes),
        )),
        Ok(Err(_)) => Err(Problem::invalid("the body broke off")),
        Err(_) => {
            let detail = format!("a body must arrive within {} s", limits.body_time.as_secs());
            Err(Problem::new(ProblemType::TooSlow, detail))
        }
    }
}

/// What tells one request of a caller from another: not the host's name, under which a replica may
/// have several.
fn fingerprint(parts: &Parts, digest: &BodyDigest) -> Fingerprint {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let text = format!("{}\n{target}\n{}", parts.method, digest.field());
    Fingerprint(Sha256::digest(text).into())
}

/// Whether the body says to be JSON and nothing is wound round it.
fn is_json(parts: &Parts) -> bool {
    let kind = only_value(&parts.headers, &CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json") && !parts.headers.contains_key(CONTENT_ENCODING)
}

/// A request whose caller may do what it asks for.
pub struct Admitted<'s> {
    service: &'s Service,
    signed: Signed,
    standing: Standing,
    deadline: Deadline,
}

impl Admitted<'_> {
    /// Who asks.
    #[must_use]
    pub const fn caller(&self) -> &UserKey {
        self.signed.caller()
    }

    /// What was proven of the caller.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// When the answer must be there.
    #[must_use]
    pub const fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The store, for looking.
    #[must_use]
    pub fn store(&self) -> &dyn MembershipStore {
        self.service.store.as_ref()
    }

    /// The log of requests, for changing.
    pub(super) fn log(&self) -> &dyn RequestLog {
        self.service.log.as_ref()
    }

    pub(super) const fn request(&self) -> (&RequestKey, Fingerprint) {
        (&self.signed.key, self.signed.fingerprint)
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.service.limits
    }

    /// The body as a document.
    ///
    /// # Errors
    /// `NotJson`, or `Invalid` with where it is wrong.
    pub fn json<T: DeserializeOwned>(&self) -> Answer<T> {
        if !self.signed.json {
            let detail = "send the body as application/json, without a content encoding";
            return Err(Problem::new(ProblemType::NotJson, detail));
        }
        serde_json::from_slice(&self.signed.body).map_err(|why| {
            Problem::invalid(format!("the body is not the expected document: {why}"))
        })
    }

    /// Refuses a body where none belongs: it would be signed for and ignored.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn no_body(&self) -> Answer<()> {
        if self.signed.body.is_empty() {
            return Ok(());
        }
        Err(Problem::invalid("this request takes no body"))
    }
}
