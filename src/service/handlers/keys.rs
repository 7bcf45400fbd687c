//! Sealed keys: each caller gets its own and nobody else's.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::{OfKey, OfMemberKey, OfRoom, epoch};
use crate::membership::ids::Endpoint;
use crate::membership::store::EpochKey;
use crate::service::admission::{Service, Signed};
use crate::service::change::Change;
use crate::service::extract::{Asked, Ids, Nothing};
use crate::service::policy::Deed;
use crate::service::problem::Answer;
use crate::service::refusals::{ChangingByBody, Looking};
use crate::service::reply::Reply;
use crate::service::wire::{HandedKey, RoomKey};

/// Get the caller's newest key
#[utoipa::path(get, path = "/v1/rooms/{room}/key", tag = "keys", operation_id = "getLatestKey",
    params(OfRoom), responses(
    (status = 200, description = "the key of the newest epoch that the caller has one of", body = RoomKey),
    Looking,
))]
pub async fn latest(
    State(service): State<Arc<Service>>,
    Ids(OfRoom { room }): Ids<OfRoom>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, Some(&room), &Deed::LookIntoRoom).await?;
    admitted.no_body()?;
    let mine = Endpoint::from(admitted.caller());
    let key = admitted.store().latest_key(&room, &mine, admitted.deadline()).await?;
    Ok(Reply::document(&RoomKey::from(key))?.into_response())
}

/// Get the caller's key of an epoch
#[utoipa::path(get, path = "/v1/rooms/{room}/keys/{epoch}", tag = "keys", operation_id = "getKey",
    params(OfKey), responses(
    (status = 200, description = "the key", body = RoomKey),
    Looking,
))]
pub async fn get(
    State(service): State<Arc<Service>>,
    Ids(of): Ids<OfKey>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, Some(&of.room), &Deed::LookIntoRoom).await?;
    admitted.no_body()?;
    let (mine, epoch) = (Endpoint::from(admitted.caller()), epoch(&of.epoch)?);
    let key = admitted.store().key(&of.room, &mine, epoch, admitted.deadline()).await?;
    Ok(Reply::document(&RoomKey::from(key))?.into_response())
}

/// Give a member the key of an epoch that it has none of
///
/// Only the room's owner may.
#[utoipa::path(put, path = "/v1/rooms/{room}/members/{endpoint}/keys/{epoch}", tag = "keys", operation_id = "giveKey",
    params(OfMemberKey),
    request_body = HandedKey, responses(
    (status = 204, description = "the member has the key"),
    ChangingByBody,
))]
pub async fn give(
    State(service): State<Arc<Service>>,
    Ids(of): Ids<OfMemberKey>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, Some(&of.room), &Deed::HandOutKeys).await?;
    let HandedKey { sealed } = admitted.json()?;
    let key = EpochKey { epoch: epoch(&of.epoch)?, sealed: sealed.0 };
    admitted.change(Change::GiveKey { room: of.room, endpoint: of.endpoint, key }).await
}
