//! What was answered, as figures and as log lines. Labels come from closed lists only: routes,
//! methods, statuses and problem types. No name, key or body of anybody is written down.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::admission;
use super::problem::ProblemType;

/// The upper bounds of the times, in seconds: from a read of SQLite to the longest answer.
const BOUNDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// What an answer is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: String,
    route: String,
    status: u16,
    problem: String,
}

/// What a time is counted under.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Timed {
    route: String,
}

/// The figures of a service.
#[derive(Clone, Debug)]
pub struct Figures {
    answers: Family<Answered, Counter>,
    times: Family<Timed, Histogram, fn() -> Histogram>,
    open: Gauge,
}

impl Figures {
    /// Registers the figures.
    #[must_use]
    pub fn register(registry: &mut Registry) -> Self {
        let times: fn() -> Histogram = || Histogram::new(BOUNDS);
        let figures = Self {
            answers: Family::default(),
            times: Family::new_with_constructor(times),
            open: Gauge::default(),
        };
        let registry = registry.sub_registry_with_prefix("membershipd_http");
        registry.register("requests", "Requests that were answered", figures.answers.clone());
        registry.register_with_unit(
            "request_duration",
            "How long answers took",
            Unit::Seconds,
            figures.times.clone(),
        );
        registry.register("requests_open", "Requests being answered", figures.open.clone());
        figures
    }
}

/// Counts and logs each request.
pub async fn each(State(figures): State<Figures>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let changes = admission::changes(request.method(), request.uri().path());
    // A method is any word that a client likes; only the known ones are labels.
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE") => known.to_owned(),
        _ => "other".to_owned(),
    };
    figures.open.inc();
    let counted = Counted(figures.open.clone());
    let response = next.run(request).await;
    drop(counted);
    let status = response.status().as_u16();
    let problem = response.extensions().get::<ProblemType>().map_or("", |kind| kind.slug());
    let took = begun.elapsed();
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if status >= 500 {
        tracing::warn!(method, route, status, problem, millis, "answered");
    } else if changes {
        tracing::info!(method, route, status, problem, millis, "answered");
    } else {
        tracing::debug!(method, route, status, problem, millis, "answered");
    }
    figures.times.get_or_create(&Timed { route: route.clone() }).observe(took.as_secs_f64());
    let answered = Answered { method, route, status, problem: problem.to_owned() };
    figures.answers.get_or_create(&answered).inc();
    response
}

/// Counts a request as open for as long as it is worked on, also when its client goes away.
struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
