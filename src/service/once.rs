//! Each change once, however often it is sent: recorded before, its outcome after, and a retry gets
//! what the first try came to.

use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::admission::Admitted;
use super::change::Change;
use super::problem::{Answer, Problem, ProblemType};
use super::reply::{REPLAYED, Reply};
use crate::membership::records::UnixMillis;
use crate::membership::requests::{Begun, Leave, NewRequest, Outcome};

/// How a request ended, as the log keeps it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Ended {
    Well(Reply),
    /// The slug of the problem's type and its sentence.
    Badly(String, String),
}

/// What to do for a request, by what the log knows of it.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Make(Leave),
    Tell,
    Doubt,
    Repeat(Outcome),
    Refuse,
}

fn next(begun: Begun) -> Next {
    match begun {
        Begun::Fresh(leave) | Begun::Pending(leave) => Next::Make(leave),
        Begun::Committed => Next::Tell,
        Begun::InDoubt => Next::Doubt,
        Begun::Answered(outcome) => Next::Repeat(outcome),
        Begun::Other => Next::Refuse,
    }
}

impl Admitted<'_> {
    /// Makes a change, once.
    ///
    /// # Errors
    /// The store's, and `NonceReused`.
    pub async fn change(&self, change: Change) -> Answer<Response> {
        let mut known = next(self.begin(&change).await?);
        while let Next::Make(leave) = known {
            let store = self.log().under(&leave);
            let refused = match change.clone().make(store.as_ref(), self.deadline()).await {
                Err(problem) if is_final(problem.kind) => problem,
                ended => return self.end(ended).await,
            };
            // Either the state is against it, or something came since: another try of this request?
            known = next(self.begin(&change).await?);
            if known == Next::Make(leave) {
                return self.end(Err(refused)).await;
            }
        }
        self.settle(known, change).await
    }

    async fn begin(&self, change: &Change) -> Answer<Begun> {
        let (key, fingerprint) = self.request();
        let (growth, target) = (change.growth(), change.target());
        let new =
            NewRequest { key: key.clone(), fingerprint, growth, target, now: UnixMillis::now() };
        match self.log().begin_request(new, self.deadline()).await {
            Ok(begun) => Ok(begun),
            Err(error) => {
                let problem = Problem::from(error);
                // Only the record of the request is in doubt; the change itself was not begun.
                let doubt = problem.kind == ProblemType::Unknown;
                let kind = if doubt { ProblemType::Unavailable } else { problem.kind };
                Err(Problem { kind, ..problem })
            }
        }
    }

    async fn settle(&self, known: Next, change: Change) -> Answer<Response> {
        match known {
            Next::Repeat(outcome) => repeat(&outcome),
            Next::Tell => {
                let told = change.tell(self.store(), self.deadline()).await?;
                self.end(Ok(told)).await
            }
            Next::Doubt => Err(Problem::new(
                ProblemType::Unknown,
                "an earlier try of this request may or may not have made its change, and others have \
                 changed the same record since: look, and decide anew",
            )),
            Next::Make(_) | Next::Refuse => Err(Problem::new(
                ProblemType::NonceReused,
                "this nonce came with another request before: make a new one for each request",
            )),
        }
    }

    /// Writes down how it ended. What is not final stays pending, so that a retry tries again.
    async fn end(&self, ended: Answer<Reply>) -> Answer<Response> {
        let (ended, response) = match ended {
            Ok(reply) => (Ended::Well(reply.clone()), Ok(reply.into_response())),
            Err(problem) if !is_final(problem.kind) => return Err(problem),
            Err(problem) => {
                let ended = Ended::Badly(problem.kind.slug().to_owned(), problem.detail.clone());
                (ended, Err(problem))
            }
        };
        let outcome = serde_json::to_string(&ended).ok().and_then(|text| text.try_into().ok());
        if let Some(outcome) = outcome {
            let (key, _) = self.request();
            // The change stands either way; without its outcome a retry is told what there is.
            if let Err(error) = self.log().end_request(key, outcome, self.deadline()).await {
                tracing::warn!(%error, "the outcome of a request was not written down");
            }
        }
        response
    }
}

/// Whether the same request could never end otherwise.
const fn is_final(kind: ProblemType) -> bool {
    matches!(
        kind,
        ProblemType::NotFound
            | ProblemType::AlreadyExists
            | ProblemType::Conflict
            | ProblemType::Invalid
    )
}

fn repeat(outcome: &Outcome) -> Answer<Response> {
    let unreadable =
        || Problem::new(ProblemType::Corrupt, "how this request ended before cannot be read");
    let mut response = match serde_json::from_str(outcome.as_str()).map_err(|_| unreadable())? {
        Ended::Well(reply) => reply.into_response(),
        Ended::Badly(slug, detail) => {
            let kind = ProblemType::ALL.iter().find(|kind| kind.slug() == slug);
            Problem::new(*kind.ok_or_else(unreadable)?, detail).into_response()
        }
    };
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::requests::{RequestKey, Target};

    const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn leave() -> Leave {
        let nonce = "nonce-0123456789".parse().unwrap();
        let key = RequestKey { caller: KEY.parse().unwrap(), nonce };
        Leave { key, target: Target::Nothing, over: 5 }
    }

    fn outcome(text: &str) -> Outcome {
        text.to_owned().try_into().unwrap()
    }

    #[test]
    fn what_the_log_knows_decides_what_is_done() {
        for (begun, expected) in [
            (Begun::Fresh(leave()), Next::Make(leave())),
            (Begun::Pending(leave()), Next::Make(leave())),
            (Begun::Committed, Next::Tell),
            (Begun::InDoubt, Next::Doubt),
            (Begun::Answered(outcome("{}")), Next::Repeat(outcome("{}"))),
            (Begun::Other, Next::Refuse),
        ] {
            assert_eq!(next(begun), expected);
        }
    }

    #[test]
    fn only_an_end_that_cannot_change_is_final() {
        let last: Vec<_> = ProblemType::ALL
            .iter()
            .filter(|kind| is_final(**kind))
            .map(|kind| kind.slug())
            .collect();
        assert_eq!(last, ["not-found", "already-exists", "conflict", "invalid"]);
    }

    #[test]
    fn an_end_is_repeated_as_it_was_and_says_so() {
        let bad = Ended::Badly("already-exists".to_owned(), "there is one".to_owned());
        for (ended, status) in [(Ended::Well(Reply::done()), 204), (bad, 409)] {
            let text = serde_json::to_string(&ended).unwrap();
            assert_eq!(serde_json::from_str::<Ended>(&text).unwrap(), ended);
            let response = repeat(&outcome(&text)).unwrap();
            assert_eq!(response.status().as_u16(), status);
            assert_eq!(response.headers()[REPLAYED], "true");
        }
        for bad in ["{}", "nonsense", "{\"badly\":[\"no-such\",\"x\"]}"] {
            assert_eq!(repeat(&outcome(bad)).unwrap_err().kind, ProblemType::Corrupt, "{bad}");
        }
    }
}
