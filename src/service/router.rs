//! The paths, with the document that describes them made from the same code.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::time::sleep_until;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Info, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::admission::Service;
use super::handlers::{authorize, keys, members, rekeys, rooms, users};
use super::observe::{self, Figures};
use super::problem::{Problem, ProblemDocument, ProblemType};
use super::refusals;

fn described() -> OpenApiRouter<Arc<Service>> {
    let mut info = Info::new("Membership", "v1");
    info.description = Some(
        "Rooms, their members, sealed room keys by epoch, and the users who may come in. Every \
         request is signed (RFC 9421) by its caller's Ed25519 key."
            .to_owned(),
    );
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build())
        .routes(routes!(rooms::create, rooms::list))
        .routes(routes!(rooms::get))
        .routes(routes!(members::add, members::list))
        .routes(routes!(members::get, members::remove))
        .routes(routes!(keys::latest))
        .routes(routes!(keys::get))
        .routes(routes!(keys::give))
        .routes(routes!(rekeys::begin))
        .routes(routes!(rekeys::bring))
        .routes(routes!(rekeys::commit))
        .routes(routes!(users::add, users::list))
        .routes(routes!(users::get))
        .routes(routes!(users::revoke))
        .routes(routes!(authorize::ask))
}

/// The document that describes the API.
#[must_use]
pub fn openapi() -> OpenApi {
    let mut openapi = described().into_openapi();
    let description = "An HTTP message signature; the manual says of what (docs/http-api.md).";
    let header = ApiKeyValue::with_description("Signature", description);
    let scheme = SecurityScheme::ApiKey(ApiKey::Header(header));
    let components = openapi.components.get_or_insert_default();
    components.add_security_scheme("signature", scheme);
    components.responses.extend(refusals::responses());
    components.schemas.insert(ProblemDocument::name().into_owned(), ProblemDocument::schema());
    openapi.security = Some(vec![SecurityRequirement::new("signature", [""; 0])]);
    openapi
}

/// Everything that a service answers.
pub fn router(service: Arc<Service>, figures: Figures) -> Router {
    let document = Bytes::from(serde_json::to_vec(&openapi()).unwrap_or_default());
    let (router, _) = described().split_for_parts();
    router
        .route("/openapi.json", get(async move || ([(CONTENT_TYPE, "application/json")], document)))
        .fallback(async || Problem::new(ProblemType::NoSuchPath, "see /openapi.json for all paths"))
        .method_not_allowed_fallback(async || {
            Problem::new(ProblemType::MethodNotAllowed, "see /openapi.json for the methods")
        })
        .layer(CatchPanicLayer::custom(|_| {
            Problem::new(ProblemType::Internal, "this is a fault of the service").into_response()
        }))
        .layer(middleware::from_fn_with_state(figures, observe::each))
        .layer(middleware::from_fn_with_state(Arc::clone(&service), even_out))
        .with_state(service)
}

/// Sends refusals at a beat, so that their time tells nothing, and headers that every answer has.
async fn even_out(State(service): State<Arc<Service>>, request: Request, next: Next) -> Response {
    let arrived = Instant::now();
    let mut response = next.run(request).await;
    let refused = [ProblemType::Refused, ProblemType::Unauthenticated];
    if response.extensions().get().is_some_and(|kind| refused.contains(kind)) {
        let beat = service.limits().refusal_beat;
        let beats = arrived.elapsed().as_nanos() / beat.as_nanos().max(1) + 1;
        let beats = u32::try_from(beats).unwrap_or(u32::MAX);
        sleep_until((arrived + beat.saturating_mul(beats)).into()).await;
    }
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
