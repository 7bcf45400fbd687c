//! Refusals as problem documents (RFC 9457): one closed list of types, each with one status. A type
//! is an interface: it never changes its meaning.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::signature::SignatureFault;
use crate::membership::authorize::DenyReason;
use crate::membership::error::{ErrorKind, StoreError};

/// What every type begins with.
const BASE: &str = "https://membership.unibus.dev/problems/";

/// How long a client should wait before it asks again, in seconds.
const PAUSE_SECONDS: &str = "1";

macro_rules! problem_types {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $status:ident, $title:literal;)+) => {
        /// Every kind of refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ProblemType {
            $($(#[$doc])* $name,)+
        }

        impl ProblemType {
            /// Every type, for tables and the manual.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The last part of the type's address: its stable name.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$name => $slug,)+ }
            }

            /// The status that always comes with it.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }

            /// The type in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)+ }
            }
        }
    };
}

problem_types! {
    /// There is no such record.
    NotFound = "not-found", NOT_FOUND, "there is no such record";
    /// A create found the record there.
    AlreadyExists = "already-exists", CONFLICT, "the record is there already";
    /// Somebody else was first.
    Conflict = "conflict", CONFLICT, "somebody else changed it first";
    /// No room for growing operations.
    Full = "full", INSUFFICIENT_STORAGE, "the store has no room to grow";
    /// The request itself is wrong.
    Invalid = "invalid", BAD_REQUEST, "the request is not valid";
    /// Nothing is known and nothing was written.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE, "the store could not be asked";
    /// A write in doubt.
    Unknown = "unknown-outcome", GATEWAY_TIMEOUT, "it may or may not have happened";
    /// A record that cannot be read.
    Corrupt = "corrupt", INTERNAL_SERVER_ERROR, "a record cannot be read";
    /// Somebody else's store.
    ForeignStore = "foreign-store", INTERNAL_SERVER_ERROR, "the store belongs to something else";
    /// The store was moved.
    Moved = "moved", SERVICE_UNAVAILABLE, "the membership is served from another store";
    /// No valid signature of an active user.
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "the caller may not come in";
    /// The common refusal: it does not tell what is not there from what is not allowed.
    Refused = "refused", FORBIDDEN, "not allowed, or there is no such thing";
    /// Meant for another server.
    Misdirected = "misdirected", MISDIRECTED_REQUEST, "the request was signed for another server";
    /// One nonce for two requests.
    NonceReused = "nonce-reused", CONFLICT, "the nonce was used for another request";
    /// A condition that does not hold.
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED, "the revision is another one";
    /// No such path.
    NoSuchPath = "no-such-path", NOT_FOUND, "there is no such path";
    /// No such method here.
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "the path does not take the method";
    /// Not JSON.
    NotJson = "not-json", UNSUPPORTED_MEDIA_TYPE, "the body must be application/json, not encoded";
    /// More than a body may have.
    TooLarge = "too-large", PAYLOAD_TOO_LARGE, "the body is too large";
    /// Too slow.
    TooSlow = "too-slow", REQUEST_TIMEOUT, "the request did not arrive in time";
    /// Too many at once.
    Busy = "busy", SERVICE_UNAVAILABLE, "too many requests are being answered";
    /// A fault of this program.
    Internal = "internal", INTERNAL_SERVER_ERROR, "the service failed";
}

impl ProblemType {
    /// The type's address.
    #[must_use]
    pub fn uri(self) -> String {
        format!("{BASE}{}", self.slug())
    }

    /// Whether the same request can do better a moment later.
    const fn passes(self) -> bool {
        matches!(self, Self::Unavailable | Self::Moved | Self::Busy)
    }
}

impl From<ErrorKind> for ProblemType {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::AlreadyExists => Self::AlreadyExists,
            ErrorKind::Conflict => Self::Conflict,
            ErrorKind::Full => Self::Full,
            ErrorKind::Invalid => Self::Invalid,
            ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Unknown => Self::Unknown,
            ErrorKind::Corrupt => Self::Corrupt,
            ErrorKind::ForeignStore => Self::ForeignStore,
        }
    }
}

/// A refusal, on its way to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its type.
    pub kind: ProblemType,
    /// What happened, why, and what to do next.
    pub detail: String,
}

/// A problem document as it is written.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemDocument {
    /// The stable address of the problem's type. It is a name, not a page.
    #[serde(rename = "type")]
    #[schema(example = "https://membership.unibus.dev/problems/refused")]
    pub kind: String,
    /// The type in a few words.
    pub title: String,
    /// The HTTP status, once more.
    pub status: u16,
    /// What happened here, and what to do next.
    pub detail: String,
}

/// What a handler comes to.
pub type Answer<T> = Result<T, Problem>;

impl Problem {
    /// A problem of a type, in a whole sentence.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// The common refusal: in these very words whatever the reason was.
    #[must_use]
    pub fn refused() -> Self {
        Self::new(
            ProblemType::Refused,
            "you may not do this, or what you asked for is not there; which of the two is not told",
        )
    }

    /// The request is wrong.
    pub fn invalid(why: impl Into<String>) -> Self {
        Self::new(ProblemType::Invalid, why)
    }

    /// The caller is nobody that may come in, in these very words whether the user is unknown or
    /// was revoked.
    #[must_use]
    pub fn stranger() -> Self {
        Self::new(
            ProblemType::Unauthenticated,
            "the key that signed this request is not that of an active user",
        )
    }

    /// What a denial is to the caller. Of a room it does not tell whether there is one.
    #[must_use]
    pub fn denied(reason: DenyReason) -> Self {
        let not_now = |detail| Self::new(ProblemType::Unavailable, detail);
        match reason {
            DenyReason::UnknownUser | DenyReason::Revoked => Self::stranger(),
            DenyReason::UnknownRoom | DenyReason::NotMember => Self::refused(),
            DenyReason::Unavailable => {
                not_now("it could not be proven that you may do this: try again")
            }
            DenyReason::Deadline => {
                not_now("it could not be proven in time that you may do this: try again")
            }
            DenyReason::Corrupt => Self::new(
                ProblemType::Corrupt,
                "a record that says whether you may do this cannot be read: tell the operator",
            ),
            DenyReason::Moved => Self::new(
                ProblemType::Moved,
                "this store's membership was moved; ask the service that serves it now",
            ),
        }
    }

    /// The document of this problem.
    #[must_use]
    pub fn document(&self) -> ProblemDocument {
        ProblemDocument {
            kind: self.kind.uri(),
            title: self.kind.title().to_owned(),
            status: self.kind.status().as_u16(),
            detail: self.detail.clone(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::new(error.kind().into(), error.to_string())
    }
}

impl From<SignatureFault> for Problem {
    fn from(fault: SignatureFault) -> Self {
        Self::new(ProblemType::Unauthenticated, fault.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status(), Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.kind.passes() {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(PAUSE_SECONDS));
        }
        if self.kind == ProblemType::Unauthenticated {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Signature"));
        }
        // The log reads the type from here, so that nothing else has to carry it.
        response.extensions_mut().insert(self.kind);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_kind_of_store_error_has_a_problem_type_and_status_of_its_own() {
        let table = [
            (ErrorKind::NotFound, "not-found", 404),
            (ErrorKind::AlreadyExists, "already-exists", 409),
            (ErrorKind::Conflict, "conflict", 409),
            (ErrorKind::Full, "full", 507),
            (ErrorKind::Invalid, "invalid", 400),
            (ErrorKind::Unavailable, "unavailable", 503),
            (ErrorKind::Unknown, "unknown-outcome", 504),
            (ErrorKind::Corrupt, "corrupt", 500),
            (ErrorKind::ForeignStore, "foreign-store", 500),
        ];
        assert_eq!(table.map(|(kind, ..)| kind), ErrorKind::ALL);
        for (kind, slug, status) in table {
            let kind = ProblemType::from(kind);
            assert_eq!((kind.slug(), kind.status().as_u16()), (slug, status));
        }
    }

    #[test]
    fn no_two_types_share_a_name_and_none_is_a_success() {
        let slugs: BTreeSet<_> = ProblemType::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), ProblemType::ALL.len());
        for kind in ProblemType::ALL {
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
        }
    }

    #[test]
    fn what_is_not_there_and_what_is_not_allowed_read_the_same() {
        assert_eq!(Problem::denied(DenyReason::UnknownRoom), Problem::refused());
        assert_eq!(Problem::denied(DenyReason::NotMember), Problem::refused());
        assert_eq!(Problem::denied(DenyReason::UnknownUser), Problem::denied(DenyReason::Revoked));
    }

    #[test]
    fn a_client_is_told_when_to_ask_again_and_how_to_come_in() {
        let response = Problem::denied(DenyReason::Unavailable).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let response = Problem::stranger().into_response();
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Signature");
        assert!(response.headers().get(RETRY_AFTER).is_none());
    }
}
