//! Users: an admin's affair, but for oneself.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use super::OfUser;
use crate::membership::store;
use crate::service::admission::{Service, Signed};
use crate::service::change::{self, Change};
use crate::service::extract::{Asked, Ids, Nothing, Paging};
use crate::service::policy::Deed;
use crate::service::problem::Answer;
use crate::service::refusals::{Changing, ChangingByBody, Listing, Looking};
use crate::service::reply::Reply;
use crate::service::wire::{NewUser, Page, User};

/// Let a user in
///
/// Only an admin may. A revoked key never comes back.
#[utoipa::path(post, path = "/v1/users", tag = "users", operation_id = "addUser", request_body = NewUser, responses(
    (status = 201, description = "the user", body = User, headers(("ETag", description = "its revision"), ("Location", description = "where it is"))),
    ChangingByBody,
))]
pub async fn add(
    State(service): State<Arc<Service>>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, None, &Deed::ManageUsers).await?;
    let NewUser { key, handle, role } = admitted.json()?;
    admitted.change(Change::AddUser(store::NewUser { key, handle, role })).await
}

/// List all users, the revoked ones too
///
/// Only an admin may.
#[utoipa::path(get, path = "/v1/users", tag = "users", operation_id = "listUsers", params(Paging), responses(
    (status = 200, description = "a page of users", body = Page<User>),
    Listing,
))]
pub async fn list(
    State(service): State<Arc<Service>>,
    Asked(paging): Asked<Paging>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, None, &Deed::ManageUsers).await?;
    admitted.no_body()?;
    let page = paging.page(admitted.limits())?;
    let users = admitted.store().users(page, admitted.deadline()).await?;
    Ok(Reply::document(&Page::<User>::from(users))?.into_response())
}

/// Get a user
///
/// An admin may, and every user may see itself.
#[utoipa::path(get, path = "/v1/users/{key}", tag = "users", operation_id = "getUser",
    params(OfUser), responses(
    (status = 200, description = "the user", body = User, headers(("ETag", description = "its revision"))),
    (status = 304, description = "the revision in If-None-Match is the current one"),
    Looking,
))]
pub async fn get(
    State(service): State<Arc<Service>>,
    Ids(OfUser { key }): Ids<OfUser>,
    Asked(Nothing {}): Asked<Nothing>,
    headers: HeaderMap,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, None, &Deed::ShowUser(key)).await?;
    admitted.no_body()?;
    let user = admitted.store().user(&key, admitted.deadline()).await?;
    Ok(change::user(user)?.unless_known(&headers))
}

/// Send a user away, for good
///
/// Only an admin may. Once this is answered, nobody comes in under the key any more.
#[utoipa::path(post, path = "/v1/users/{key}/revoke", tag = "users", operation_id = "revokeUser",
    params(OfUser), responses(
    (status = 200, description = "the revoked user", body = User, headers(("ETag", description = "its revision"))),
    Changing,
))]
pub async fn revoke(
    State(service): State<Arc<Service>>,
    Ids(OfUser { key }): Ids<OfUser>,
    Asked(Nothing {}): Asked<Nothing>,
    signed: Signed,
) -> Answer<Response> {
    let admitted = service.admit(signed, None, &Deed::RevokeUser).await?;
    admitted.no_body()?;
    admitted.change(Change::RevokeUser(key)).await
}
