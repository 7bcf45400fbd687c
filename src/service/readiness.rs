//! Whether the service can do its work: whether its store proves anything at all.

use std::sync::Arc;
use std::time::Duration;

use crate::membership::authorize::{AuthorizeRequest, Consistency, Decision, DenyReason};
use crate::membership::ids::UserKey;
use crate::membership::store::{Deadline, MembershipStore};

/// How long the store may take to answer the question.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the store about somebody that is nobody: the answer must be a proven no.
///
/// # Errors
/// One word of what is missing.
pub async fn ready(store: &Arc<dyn MembershipStore>, nobody: UserKey) -> Result<(), String> {
    let question = AuthorizeRequest { user: nobody, room: None, consistency: Consistency::Strict };
    match store.authorize(question, Deadline::after(PATIENCE)).await {
        Decision::Admit(_) => Ok(()),
        Decision::Deny(deny) => match deny.reason {
            DenyReason::UnknownUser | DenyReason::Revoked => Ok(()),
            reason @ (DenyReason::UnknownRoom
            | DenyReason::NotMember
            | DenyReason::Corrupt
            | DenyReason::Unavailable
            | DenyReason::Deadline
            | DenyReason::Moved) => Err(format!("the store says {}", reason.label())),
        },
    }
}
