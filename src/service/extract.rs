//! Paths and queries as values of the domain; what is none is refused as a problem.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::limits::Limits;
use super::problem::{Answer, Problem};
use crate::membership::store::{Cursor, PageLimit, PageRequest};

/// The parts of a path. Each was decoded once.
pub struct Ids<T>(pub T);

impl<T, S> FromRequestParts<S> for Ids<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(why) => Err(Problem::invalid(format!("the path is not valid: {why}"))),
        }
    }
}

/// A query string.
pub struct Asked<T>(pub T);

impl<T, S> FromRequestParts<S> for Asked<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(why) => Err(Problem::invalid(format!("the query is not valid: {why}"))),
        }
    }
}

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// The `next` of the page before; the first page when left out.
    #[param(max_length = 2048)]
    after: Option<String>,
    /// How many items at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u16>,
}

/// No query at all. A parameter that nobody reads would be signed for and ignored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Paging {
    /// The page that is meant.
    ///
    /// # Errors
    /// `Invalid` for a page larger than any.
    pub fn page(self, limits: &Limits) -> Answer<PageRequest> {
        let limit = self.limit.map(PageLimit::try_from).transpose();
        let limit = limit.map_err(|why| Problem::invalid(why.to_string()))?;
        Ok(PageRequest { after: self.after.map(Cursor), limit: limit.unwrap_or(limits.page) })
    }
}
