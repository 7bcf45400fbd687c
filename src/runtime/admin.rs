//! What a process tells those who run it, on a port of its own: whether it lives, whether it is
//! ready, and its figures. Nobody has to sign in there, so nothing of the membership is told.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::metrics::{self, Metrics};

/// Says whether the process can do its work now.
#[async_trait]
pub trait Readiness: Send + Sync {
    /// Returns when it can, within a bounded time.
    ///
    /// # Errors
    /// One sentence that says what is missing.
    async fn ready(&self) -> Result<(), String>;
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(readiness: Arc<dyn Readiness>, metrics: Metrics) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(figures).with_state(metrics))
}

async fn readyz(State(readiness): State<Arc<dyn Readiness>>) -> Response {
    match readiness.ready().await {
        Ok(()) => "ok\n".into_response(),
        Err(missing) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {missing}\n")).into_response()
        }
    }
}

async fn figures(State(metrics): State<Metrics>) -> Response {
    match metrics.text() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
