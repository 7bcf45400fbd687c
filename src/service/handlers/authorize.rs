//! May this user act, and in this room? Asked by a service about anybody, by anybody about oneself.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;

use super::super::wire;
use crate::membership::authorize::{AuthorizeRequest, Consistency, Decision};
use crate::membership::records::UserRole;
use crate::service::admission::{Admitted, Service, Signed};
use crate::service::extract::{Asked, Nothing};
use crate::service::policy::{self, Deed};
use crate::service::problem::{Answer, Problem};
use crate::service::refusals::Asking;
use crate::service::reply::Reply;
use crate::service::wire::{Decisions, Question, Questions};

/// The path of the question.
pub const AUTHORIZE: &str = "/v1/authorize";

/// Ask whether users may act
///
/// Every doubt is a no.
#[utoipa::path(post, path = AUTHORIZE, tag = "authorize", operation_id = "authorize", request_body = Questions, responses(
    (status = 200, description = "the answers, in the order of the questions", body = Decisions),
    Asking,
))]
pub async fn ask(
    State(service): State<Arc<Service>>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    // That one may ask about oneself is everybody's ground; what is really asked is judged below.
    let about_oneself = Deed::AskAbout(*signed.caller());
    let admitted = service.admit(signed, None, &about_oneself).await?;
    let Questions { questions } = admitted.json()?;
    let most = admitted.limits().questions;
    if !(1..=most).contains(&questions.len()) {
        return Err(Problem::invalid(format!("ask 1 to {most} questions at once")));
    }
    let allowed = |question: &Question| {
        policy::may(admitted.caller(), admitted.standing(), &Deed::AskAbout(question.user))
    };
    if !questions.iter().all(allowed) {
        return Err(Problem::refused());
    }
    let decisions = join_all(questions.into_iter().map(|one| decide(&admitted, one))).await;
    Ok(Reply::document(&Decisions { decisions })?.into_response())
}

async fn decide(admitted: &Admitted<'_>, question: Question) -> wire::Decision {
    let Question { user, room } = question;
    let request = AuthorizeRequest { user, room, consistency: Consistency::Strict };
    match admitted.store().authorize(request, admitted.deadline()).await {
        Decision::Admit(admit) => {
            wire::Decision { allowed: true, member: admit.standing().member, reason: None }
        }
        Decision::Deny(deny) => {
            // A reason would tell others whether there is such a room.
            let told = admitted.standing().user == UserRole::Service;
            let reason = told.then(|| deny.reason.label().to_owned());
            wire::Decision { allowed: false, member: None, reason }
        }
    }
}
