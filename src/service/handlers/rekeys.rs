//! Rekeys: begun, filled page by page, committed.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use axum::response::Response;

use super::{OfRekey, OfRoom};
use crate::membership::records::Revision;
use crate::membership::store::{self, PageLimit};
use crate::service::admission::{Service, Signed};
use crate::service::change::Change;
use crate::service::extract::{Asked, Ids, Nothing};
use crate::service::policy::Deed;
use crate::service::problem::{Answer, Problem, ProblemType};
use crate::service::refusals::{Changing, ChangingAtRevision};
use crate::service::reply::etag;
use crate::service::wire::{Rekey, RekeyCommit, RekeyPage, Room};

/// Begin to bring a room to its next epoch
///
/// Only the room's owner may. Nothing of it shows before the commit.
#[utoipa::path(post, path = "/v1/rooms/{room}/rekeys", tag = "rekeys", operation_id = "beginRekey",
    params(OfRoom), responses(
    (status = 201, description = "the rekey, to be named by its pages and its commit", body = Rekey, headers(("Location", description = "before the paths of its pages and its commit"))),
    Changing,
))]
pub async fn begin(
    State(service): State<Arc<Service>>,
    Ids(OfRoom { room }): Ids<OfRoom>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, Some(&room), &Deed::HandOutKeys).await?;
    admitted.no_body()?;
    admitted.change(Change::BeginRekey(room)).await
}

/// Bring some of a rekey's keys
#[utoipa::path(put, path = "/v1/rooms/{room}/rekeys/{attempt}/keys", tag = "rekeys", operation_id = "bringRekeyKeys",
    params(OfRekey),
    request_body = RekeyPage, responses(
    (status = 204, description = "the keys are there"),
    ChangingAtRevision,
))]
pub async fn bring(
    State(service): State<Arc<Service>>,
    Ids(of): Ids<OfRekey>,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, Some(&of.room), &Deed::HandOutKeys).await?;
    let RekeyPage { epoch, revision, keys } = admitted.json()?;
    if keys.len() > PageLimit::MAX.get() {
        let why = format!("a page has at most {} keys", PageLimit::MAX.get());
        return Err(Problem::invalid(why));
    }
    check_condition(&headers, revision)?;
    let rekey = store::Rekey { room: of.room, epoch, attempt: of.attempt, revision };
    let keys = keys.into_iter().map(store::MemberKey::from).collect();
    admitted.change(Change::BringKeys(rekey, keys)).await
}

/// Bring the room to the new epoch, once every member has a key of it
#[utoipa::path(post, path = "/v1/rooms/{room}/rekeys/{attempt}/commit", tag = "rekeys", operation_id = "commitRekey",
    params(OfRekey),
    request_body = RekeyCommit, responses(
    (status = 200, description = "the room in its new epoch", body = Room, headers(("ETag", description = "its revision"))),
    ChangingAtRevision,
))]
pub async fn commit(
    State(service): State<Arc<Service>>,
    Ids(of): Ids<OfRekey>,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, Some(&of.room), &Deed::HandOutKeys).await?;
    let RekeyCommit { epoch, revision } = admitted.json()?;
    check_condition(&headers, revision)?;
    let rekey = store::Rekey { room: of.room, epoch, attempt: of.attempt, revision };
    admitted.change(Change::CommitRekey(rekey)).await
}

/// The signed body names the revision that counts. `If-Match` is not signed, so it can only be
/// stricter: it must name the same one.
fn check_condition(headers: &HeaderMap, revision: Revision) -> Answer<()> {
    let tag = etag(revision);
    let mut conditions = headers.get_all(IF_MATCH).iter();
    if conditions.all(|condition| condition == tag.as_str()) {
        return Ok(());
    }
    let detail = "If-Match names another revision than the body";
    Err(Problem::new(ProblemType::PreconditionFailed, detail))
}
