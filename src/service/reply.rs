//! An answer that is no refusal: how it is sent, and how it is remembered to be sent once more.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::{Answer, Problem, ProblemType};
use crate::membership::records::Revision;

/// Says that an answer is the one that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What stays as it is in a part of a path.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    status: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<Revision>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    location: Option<String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    body: Value,
}

impl Reply {
    /// Done, and there is nothing to say.
    #[must_use]
    pub const fn done() -> Self {
        let status = StatusCode::NO_CONTENT.as_u16();
        Self { status, revision: None, location: None, body: Value::Null }
    }

    /// A document.
    ///
    /// # Errors
    /// `Internal` for one that is none.
    pub fn document(document: &impl Serialize) -> Answer<Self> {
        let body = serde_json::to_value(document)
            .map_err(|_| Problem::new(ProblemType::Internal, "the answer cannot be written"))?;
        Ok(Self { status: StatusCode::OK.as_u16(), revision: None, location: None, body })
    }

    /// The same with the revision of what it shows.
    #[must_use]
    pub const fn at(mut self, revision: Revision) -> Self {
        self.revision = Some(revision);
        self
    }

    /// The same as the answer to something made, which is found there.
    #[must_use]
    pub fn made(mut self, location: String) -> Self {
        self.status = StatusCode::CREATED.as_u16();
        self.location = Some(location);
        self
    }

    /// The answer for a caller that may have it already.
    #[must_use]
    pub fn unless_known(self, headers: &HeaderMap) -> Response {
        let known = self.revision.map(etag).is_some_and(|tag| {
            headers
                .get_all(IF_NONE_MATCH)
                .iter()
                .filter_map(|value| value.to_str().ok())
                .any(|value| value.split(',').any(|known| known.trim() == tag))
        });
        let mut response = self.into_response();
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = axum::body::Body::empty();
            response.headers_mut().remove(axum::http::header::CONTENT_TYPE);
            response.headers_mut().remove(axum::http::header::CONTENT_LENGTH);
        }
        response
    }
}

/// A revision as an entity tag.
#[must_use]
pub fn etag(revision: Revision) -> String {
    format!("\"{}\"", revision.0)
}

/// A text as one part of a path.
#[must_use]
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut response = if self.body.is_null() {
            status.into_response()
        } else {
            (status, Json(self.body)).into_response()
        };
        let headers = response.headers_mut();
        // Who may see it can change at any time.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let revision = self.revision.map(etag);
        for (name, value) in [(ETAG, revision), (LOCATION, self.location)] {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_remembered_as_it_was_sent() {
        let reply = Reply::document(&["x"]).unwrap().at(Revision(7)).made("/v1/x".to_owned());
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply);
        let done = serde_json::to_string(&Reply::done()).unwrap();
        assert_eq!(done, "{\"status\":204}");
        assert_eq!(serde_json::from_str::<Reply>(&done).unwrap(), Reply::done());
    }

    #[test]
    fn a_caller_that_knows_the_revision_gets_no_body() {
        let reply = Reply::document(&["x"]).unwrap().at(Revision(7));
        let asked = |known: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static(known));
            reply.clone().unless_known(&headers).status().as_u16()
        };
        assert_eq!(asked("\"7\""), 304);
        assert_eq!(asked("\"6\", \"7\""), 304);
        assert_eq!(asked("\"6\""), 200);
        assert_eq!(asked("7"), 200);
        assert_eq!(reply.unless_known(&HeaderMap::new()).status().as_u16(), 200);
    }

    #[test]
    fn any_name_is_one_part_of_a_path() {
        assert_eq!(segment("a/b é?#..%2f"), "a%2Fb%20%C3%A9%3F%23..%252f");
    }
}
