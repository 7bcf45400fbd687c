//! What can go wrong in a pass. Waiting is no error: it is in the plan.

use std::future::Future;
use std::time::Duration;

use thiserror::Error;

use crate::api::conditions::Reason;
use crate::cluster::plan::Towards;
use crate::cluster::status::Failure;

/// How long one call to the API server may take.
const CALL: Duration = Duration::from_secs(10);

/// What ended a pass before its end.
#[derive(Debug, Error)]
pub enum Error {
    /// The API server refused a call or could not be reached.
    #[error("cannot {doing}: {source}")]
    Kubernetes {
        /// What was tried.
        doing: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
    /// A call took too long.
    #[error("cannot {doing}: no answer within {}s", within.as_secs())]
    TimedOut {
        /// What was tried.
        doing: String,
        /// How long was waited.
        within: Duration,
    },
    /// NATS refused a call or did not answer.
    #[error("cannot {doing}: {cause}")]
    Nats {
        /// What was tried.
        doing: String,
        /// What was met.
        cause: String,
    },
    /// Another instance leads by now, so that nothing may be done any more.
    #[error("this instance does not lead any more")]
    NotLeading,
    /// The machine gave no random key.
    #[error("cannot make a key: {0}")]
    Key(String),
}

impl Error {
    /// Where it came from.
    #[must_use]
    pub const fn towards(&self) -> Towards {
        match self {
            Self::Nats { .. } => Towards::Nats,
            Self::Kubernetes { .. } | Self::TimedOut { .. } | Self::NotLeading | Self::Key(_) => {
                Towards::Kubernetes
            }
        }
    }

    /// The error in the words of the status, when users should read it there: not what goes by
    /// itself, such as a conflict or an API server that is away.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Kubernetes { source, .. } => refusal(source).map(|message| Failure {
                reason: Reason::ApplyRefused,
                message: format!("{self}: {}", advice(message)),
                needs_person: true,
            }),
            Self::Nats { doing, .. } => Some(Failure {
                reason: Reason::NatsUnreachable,
                message: format!("cannot {doing} yet"),
                needs_person: false,
            }),
            Self::TimedOut { .. } | Self::NotLeading | Self::Key(_) => None,
        }
    }

    /// A call to NATS that did not land.
    pub(super) fn nats(doing: impl Into<String>, cause: &impl ToString) -> Self {
        Self::Nats { doing: doing.into(), cause: cause.to_string() }
    }
}

/// Refusals that stay until somebody changes something.
#[derive(Clone, Copy)]
enum Refusal {
    Forbidden,
    Invalid,
}

fn refusal(error: &kube::Error) -> Option<Refusal> {
    let kube::Error::Api(status) = error else { return None };
    match (status.is_forbidden(), status.is_invalid()) {
        (true, _) => Some(Refusal::Forbidden),
        (false, true) => Some(Refusal::Invalid),
        (false, false) => None,
    }
}

const fn advice(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Forbidden => "give the operator's service account this right, or raise the quota",
        Refusal::Invalid => "change the spec so that the API server takes it",
    }
}

/// Makes a call to the API server in bounded time.
pub(super) async fn bounded<T>(
    doing: impl Into<String>,
    call: impl Future<Output = kube::Result<T>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Error::Kubernetes { doing: doing.into(), source: Box::new(error) }),
        Err(_) => Err(Error::TimedOut { doing: doing.into(), within: CALL }),
    }
}

/// Whether the API server said something of this kind.
pub(super) fn says(error: &Error, kind: fn(&kube::core::Status) -> bool) -> bool {
    let Error::Kubernetes { source, .. } = error else { return false };
    matches!(source.as_ref(), kube::Error::Api(status) if kind(status))
}
