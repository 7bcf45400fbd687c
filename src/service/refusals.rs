//! Which refusals an operation can end in, for the document that describes the API. It names every
//! status that may come, so that a client, or a test, knows one that must not.

use std::collections::BTreeMap;

use utoipa::openapi::header::Header;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Content, Ref, RefOr};
use utoipa::{IntoResponses, ToSchema};

use super::problem::{ProblemDocument, ProblemType};

/// What the listener says by itself, without a document, to a head that is larger than it takes.
const HEAD_TOO_LARGE: &str = "HeadTooLarge";

/// What everything that is signed can end in.
const ALWAYS: [ProblemType; 13] = [
    ProblemType::Invalid,
    ProblemType::Unauthenticated,
    ProblemType::Refused,
    ProblemType::TooSlow,
    ProblemType::TooLarge,
    ProblemType::Misdirected,
    ProblemType::Corrupt,
    ProblemType::ForeignStore,
    ProblemType::Internal,
    ProblemType::Unavailable,
    ProblemType::Moved,
    ProblemType::Busy,
    ProblemType::NoSuchPath,
];

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $($kind:ident)*;)+) => {$(
        $(#[$doc])*
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                documented(&[$(ProblemType::$kind),*])
            }
        }
    )+};
}

refusals! {
    /// Of a look at a list.
    Listing: ;
    /// Of a look at one thing.
    Looking: NotFound;
    /// Of a question.
    Asking: NotJson;
    /// Of a change that its path names.
    Changing: NotFound AlreadyExists Conflict NonceReused Unknown Full;
    /// Of a change that its body names.
    ChangingByBody: NotFound AlreadyExists Conflict NonceReused Unknown Full NotJson;
    /// Of a change that names a revision.
    ChangingAtRevision: NotFound AlreadyExists Conflict NonceReused Unknown Full NotJson
        PreconditionFailed;
}

/// The statuses of these problems and of those of everything, each as a reference.
fn documented(more: &[ProblemType]) -> BTreeMap<String, RefOr<Response>> {
    let reference = |kind: &ProblemType| {
        let status = kind.status().as_u16();
        (status.to_string(), RefOr::Ref(Ref::from_response_name(name(status))))
    };
    let head = ("431".to_owned(), RefOr::Ref(Ref::from_response_name(HEAD_TOO_LARGE)));
    ALWAYS.iter().chain(more).map(reference).chain([head]).collect()
}

fn name(status: u16) -> String {
    format!("Problem{status}")
}

/// What the references mean: for each status, which problems come with it.
#[must_use]
pub fn responses() -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<ProblemType>> = BTreeMap::new();
    for kind in ProblemType::ALL {
        by_status.entry(kind.status().as_u16()).or_default().push(*kind);
    }
    by_status
        .into_iter()
        .map(|(status, kinds)| (name(status), RefOr::T(response(status, &kinds))))
        .chain([(HEAD_TOO_LARGE.to_owned(), RefOr::T(Response::new("the head is too large")))])
        .collect()
}

fn response(status: u16, kinds: &[ProblemType]) -> Response {
    let words = kinds.iter().map(|kind| format!("`{}`: {}", kind.slug(), kind.title()));
    let problem = Ref::from_schema_name(ProblemDocument::name());
    let refusal = ResponseBuilder::new()
        .description(words.collect::<Vec<_>>().join("; "))
        .content("application/problem+json", Content::new(Some(problem)));
    match status {
        503 => refusal.header("Retry-After", Header::default()).build(),
        _ => refusal.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_is_documented_once_with_all_that_it_can_mean() {
        let responses = ChangingAtRevision::responses();
        let statuses: Vec<_> = responses.keys().map(String::as_str).collect();
        let expected = [
            "400", "401", "403", "404", "408", "409", "412", "413", "415", "421", "431", "500",
            "503", "504", "507",
        ];
        assert_eq!(statuses, expected);
        let known = super::responses();
        let RefOr::T(conflict) = &known["Problem409"] else { panic!("a reference") };
        for word in ["already-exists", "conflict", "nonce-reused"] {
            assert!(conflict.description.contains(word), "{}", conflict.description);
        }
        assert!(!Listing::responses().contains_key("409"));
    }
}
