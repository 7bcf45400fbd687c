//! The members of a room.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::{OfMember, OfRoom};
use crate::membership::ids::Endpoint;
use crate::membership::records::UnixMillis;
use crate::membership::store;
use crate::service::admission::{Service, Signed};
use crate::service::change::Change;
use crate::service::extract::{Asked, Ids, Nothing, Paging};
use crate::service::policy::Deed;
use crate::service::problem::Answer;
use crate::service::refusals::{Changing, ChangingByBody, Looking};
use crate::service::reply::Reply;
use crate::service::wire::{Member, MemberAdded, NewMember, Page};

/// Let somebody into a room
///
/// Only its owner may.
#[utoipa::path(post, path = "/v1/rooms/{room}/members", tag = "members", operation_id = "addMember",
    params(OfRoom),
    request_body = NewMember, responses(
    (status = 201, description = "the membership and the room after it", body = MemberAdded, headers(("Location", description = "where the membership is"))),
    ChangingByBody,
))]
pub async fn add(
    State(service): State<Arc<Service>>,
    Ids(OfRoom { room }): Ids<OfRoom>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, Some(&room), &Deed::AddMember).await?;
    let NewMember { endpoint, key } = admitted.json()?;
    let added_by = Endpoint::from(admitted.caller());
    let key = key.map(store::EpochKey::from);
    let new = store::NewMember { room, endpoint, added_by, key, now: UnixMillis::now() };
    admitted.change(Change::AddMember(new)).await
}

/// List the members of a room
///
/// Any member may.
#[utoipa::path(get, path = "/v1/rooms/{room}/members", tag = "members", operation_id = "listMembers",
    params(OfRoom, Paging), responses(
    (status = 200, description = "a page of members", body = Page<Member>),
    Looking,
))]
pub async fn list(
    State(service): State<Arc<Service>>,
    Ids(OfRoom { room }): Ids<OfRoom>,
    Asked(paging): Asked<Paging>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, Some(&room), &Deed::LookIntoRoom).await?;
    admitted.no_body()?;
    let page = paging.page(admitted.limits())?;
    let members = admitted.store().members(&room, page, admitted.deadline()).await?;
    Ok(Reply::document(&Page::<Member>::from(members))?.into_response())
}

/// Get one member of a room
///
/// Any member may.
#[utoipa::path(get, path = "/v1/rooms/{room}/members/{endpoint}", tag = "members", operation_id = "getMember",
    params(OfMember), responses(
    (status = 200, description = "the membership", body = Member),
    Looking,
))]
pub async fn get(
    State(service): State<Arc<Service>>,
    Ids(OfMember { room, endpoint }): Ids<OfMember>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, Some(&room), &Deed::LookIntoRoom).await?;
    admitted.no_body()?;
    let member = admitted.store().member(&room, &endpoint, admitted.deadline()).await?;
    Ok(Reply::document(&Member::from(member))?.into_response())
}

/// Take somebody out of a room
///
/// Its owner may, and every member may leave.
#[utoipa::path(delete, path = "/v1/rooms/{room}/members/{endpoint}", tag = "members", operation_id = "removeMember",
    params(OfMember), responses(
    (status = 204, description = "the endpoint is out"),
    Changing,
))]
pub async fn remove(
    State(service): State<Arc<Service>>,
    Ids(OfMember { room, endpoint }): Ids<OfMember>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    let deed = Deed::RemoveMember(endpoint.clone());
    let admitted = service.admit(signed, Some(&room), &deed).await?;
    admitted.no_body()?;
    admitted.change(Change::RemoveMember { room, endpoint }).await
}
