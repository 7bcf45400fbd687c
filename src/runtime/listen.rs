//! The one place that builds HTTP listeners. A client that is slow, silent or too many costs a
//! bounded amount and is cut; only HTTP/1 is spoken, so there is no stream to reset.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::shutdown::Stop;

/// What one listener gives at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenLimits {
    /// Connections at once. Further ones wait in the operating system's queue.
    pub connections: usize,
    /// How long a request's head may take, and how long a connection may be idle between two.
    pub head_time: Duration,
    /// How many headers a request may have.
    pub headers: usize,
    /// How many bytes a request's head may have.
    pub head_bytes: usize,
    /// How long a connection is used before it is closed after its current answer.
    pub life: Duration,
    /// How long that last answer may take, also when the program stops.
    pub farewell: Duration,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            head_time: Duration::from_secs(10),
            headers: 64,
            head_bytes: 16 * 1024,
            life: Duration::from_secs(120),
            farewell: Duration::from_secs(10),
        }
    }
}

/// How long to wait when the operating system has no connection to give: longer than it takes to
/// close one, shorter than anybody notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until the word to stop is said, then lets what is being answered come to its end.
pub async fn serve(listener: TcpListener, router: Router, limits: ListenLimits, stop: Stop) {
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = stop.said() => break,
        };
        match accepted {
            Some((Ok((stream, _)), place)) => {
                tokio::spawn(converse(stream, router.clone(), limits, stop.clone(), place));
            }
            Some((Err(error), _)) => {
                tracing::warn!(%error, "no connection could be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
            None => break,
        }
    }
    drop(listener);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let slack = Duration::from_secs(1);
    if timeout(limits.farewell + slack, places.acquire_many(all)).await.is_err() {
        tracing::warn!("some connections were still open at the end");
    }
}

/// One connection, from its first request to its end.
async fn converse(
    stream: TcpStream,
    router: Router,
    limits: ListenLimits,
    stop: Stop,
    _place: OwnedSemaphorePermit,
) {
    // A small answer must not wait for a full packet; without the option it is only slower.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_headers(limits.headers)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return told(ended),
        () = stop.said() => {}
        () = sleep(limits.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    match timeout(limits.farewell, connection).await {
        Ok(ended) => told(ended),
        Err(_) => tracing::debug!("a connection was cut: its client was too slow"),
    }
}

fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
