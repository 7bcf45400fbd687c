//! Rooms.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::OfRoom;
use crate::membership::ids::Endpoint;
use crate::membership::records::UnixMillis;
use crate::membership::store;
use crate::service::admission::{Service, Signed};
use crate::service::change::{self, Change};
use crate::service::extract::{Asked, Ids, Nothing, Paging};
use crate::service::policy::Deed;
use crate::service::problem::Answer;
use crate::service::refusals::{ChangingByBody, Listing, Looking};
use crate::service::reply::Reply;
use crate::service::wire::{JoinedRoom, NewRoom, Page, Room};

/// Make a room
///
/// The caller becomes its owner and first member.
#[utoipa::path(post, path = "/v1/rooms", tag = "rooms", operation_id = "createRoom", request_body = NewRoom, responses(
    (status = 201, description = "the room", body = Room, headers(("ETag", description = "its revision"), ("Location", description = "where it is"))),
    ChangingByBody,
))]
pub async fn create(
    State(service): State<Arc<Service>>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, None, &Deed::CreateRoom).await?;
    let NewRoom { room, subject, owner_key } = admitted.json()?;
    let owner = Endpoint::from(admitted.caller());
    let owner_key = owner_key.map(|key| key.0);
    let new = store::NewRoom { room, subject, owner, owner_key, now: UnixMillis::now() };
    admitted.change(Change::CreateRoom(new)).await
}

/// List the caller's rooms
#[utoipa::path(get, path = "/v1/rooms", tag = "rooms", operation_id = "listRooms", params(Paging), responses(
    (status = 200, description = "a page of rooms", body = Page<JoinedRoom>),
    Listing,
))]
pub async fn list(
    State(service): State<Arc<Service>>,
    Asked(paging): Asked<Paging>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, None, &Deed::ListOwnRooms).await?;
    admitted.no_body()?;
    let page = paging.page(admitted.limits())?;
    let mine = Endpoint::from(admitted.caller());
    let rooms = admitted.store().rooms_of(&mine, page, admitted.deadline()).await?;
    Ok(Reply::document(&Page::<JoinedRoom>::from(rooms))?.into_response())
}

/// Get a room
#[utoipa::path(get, path = "/v1/rooms/{room}", tag = "rooms", operation_id = "getRoom",
    params(OfRoom), responses(
    (status = 200, description = "the room", body = Room, headers(("ETag", description = "its revision"))),
    (status = 304, description = "the revision in If-None-Match is the current one"),
    Looking,
))]
pub async fn get(
    State(service): State<Arc<Service>>,
    Ids(OfRoom { room }): Ids<OfRoom>,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, Some(&room), &Deed::LookIntoRoom).await?;
    admitted.no_body()?;
    let found = admitted.store().room(&room, admitted.deadline()).await?;
    Ok(change::room(found)?.unless_known(&headers))
}
