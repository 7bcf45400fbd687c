//! A connection that can be given up. The client library keeps what it could not send and sends it
//! by itself once it is connected again, long after the caller was told that the outcome is
//! unknown; and it holds on to a frozen server for half a minute. So a connection here is retired
//! when a write's outcome is unknown or when it has been silent for too long, and a new one is
//! made. A retired connection never comes back, and its unsent requests go with it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::connection::State;
use async_nats::{Client, ConnectErrorKind, RequestError};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{sleep, timeout_at};

use super::batch::OrderedTransport;
use super::connect::NatsOptions;
use super::transport::{Request, Silence, Transport};

/// A connection that has answered nothing for this long, with requests open, is given up.
const SILENT_TOO_LONG: Duration = Duration::from_secs(2);

/// The client library remembers each unanswered request for good; at so many the connection is
/// given up, which bounds that memory.
const UNANSWERED_MAX: u32 = 1024;

/// How often it is looked whether a lost connection is back.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Requests over one connection that is made when needed and replaced when it fails.
pub struct Link {
    options: NatsOptions,
    current: RwLock<Option<Arc<Connection>>>,
    /// The last try to connect met a server that refused the key.
    refused: AtomicBool,
    /// Held by whoever is making a connection, so that only one is made.
    connecting: tokio::sync::Mutex<()>,
}

struct Connection {
    client: Client,
    retired: Arc<AtomicBool>,
    unanswered: AtomicU32,
    began: Instant,
    /// Milliseconds from `began` to the last answer.
    heard: AtomicU64,
}

impl Connection {
    fn silent_for(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(heard)
    }

    fn hear(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now, Ordering::Relaxed);
    }

    fn is_hopeless(&self) -> bool {
        self.silent_for() > SILENT_TOO_LONG
            || self.unanswered.load(Ordering::Relaxed) > UNANSWERED_MAX
    }
}

impl Link {
    /// A link that connects with the first request.
    #[must_use]
    pub fn new(options: NatsOptions) -> Self {
        Self {
            options,
            current: RwLock::new(None),
            refused: AtomicBool::new(false),
            connecting: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether the last try to connect was refused: the servers are there and do not know the key.
    #[must_use]
    pub fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Asks all servers at once and gives what was answered in time, at most so many answers.
    ///
    /// # Errors
    /// [`Silence`] when the question could not be asked; that nobody answers is no error.
    pub async fn gather(
        &self,
        request: Request,
        answers: usize,
        within: Duration,
    ) -> Result<Vec<Bytes>, Silence> {
        let until = Instant::now() + within;
        let connection = self.ready(until).await?;
        let asked = in_time(until, async {
            let inbox = connection.client.new_inbox();
            let heard = connection.client.subscribe(inbox.clone()).await.ok()?;
            let Request { subject, headers, payload } = request;
            let client = &connection.client;
            client.publish_with_reply_and_headers(subject, inbox, headers, payload).await.ok()?;
            Some(heard)
        });
        let Some(mut heard) = asked.await? else {
            self.give_up(&connection);
            return Err(Silence::NotSent("the connection took no more messages".to_owned()));
        };
        let mut found = Vec::new();
        while found.len() < answers {
            match timeout_at(until.into(), heard.next()).await {
                Ok(Some(message)) => found.push(message.payload),
                Ok(None) | Err(_) => break,
            }
        }
        self.judge(&connection, !found.is_empty());
        Ok(found)
    }

    /// Notes whether a question was answered.
    fn judge(&self, connection: &Arc<Connection>, answered: bool) {
        if answered {
            connection.hear();
            return;
        }
        connection.unanswered.fetch_add(1, Ordering::Relaxed);
        if connection.is_hopeless() {
            self.give_up(connection);
        }
    }

    fn current(&self) -> Option<Arc<Connection>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn connection(&self, until: Instant) -> Result<Arc<Connection>, Silence> {
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let _making = in_time(until, self.connecting.lock()).await?;
        if let Some(connection) = self.current() {
            return Ok(connection);
        }
        let retired = Arc::new(AtomicBool::new(false));
        // On the heap: a connection in the making is large.
        let connect = Box::pin(self.options.connect_until(Arc::clone(&retired)));
        let connected = in_time(until, connect).await?;
        let refused = connected.as_ref().err().is_some_and(|error| {
            matches!(
                error.kind(),
                ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication
            )
        });
        self.refused.store(refused, Ordering::Relaxed);
        let client = connected.map_err(|error| Silence::NotSent(error.to_string()))?;
        let connection = Arc::new(Connection {
            client,
            retired,
            unanswered: AtomicU32::new(0),
            began: Instant::now(),
            heard: AtomicU64::new(0),
        });
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Gives up this connection, unless another one has taken its place.
    fn give_up(&self, hopeless: &Arc<Connection>) {
        hopeless.retired.store(true, Ordering::Release);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, hopeless)) {
            *current = None;
        }
    }

    /// Keeps a request out of a client that is not connected: it would wait in there and be sent
    /// late.
    async fn connected(&self, connection: &Connection, until: Instant) -> Result<(), Silence> {
        while connection.client.connection_state() != State::Connected {
            if Instant::now() >= until {
                return Err(Silence::NotSent("the connection was lost".to_owned()));
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

#[async_trait]
impl Transport for Link {
    async fn request(&self, request: Request, within: Duration) -> Result<Bytes, Silence> {
        let until = Instant::now() + within;
        let connection = self.ready(until).await?;
        self.ask(&connection, request, until).await
    }

    fn retire(&self) {
        if let Some(connection) = self.current() {
            self.give_up(&connection);
        }
    }
}

#[async_trait]
impl OrderedTransport for Link {
    async fn request_after(
        &self,
        before: Vec<Request>,
        last: Request,
        within: Duration,
    ) -> Result<Bytes, Silence> {
        let until = Instant::now() + within;
        let connection = self.ready(until).await?;
        for request in before {
            let Request { subject, headers, payload } = request;
            let sent = connection.client.publish_with_headers(subject, headers, payload);
            if !timeout_at(until.into(), sent).await.is_ok_and(|sent| sent.is_ok()) {
                // The last message is not sent, so the others come to nothing.
                self.give_up(&connection);
                return Err(Silence::NotSent("the connection took no more messages".to_owned()));
            }
        }
        self.ask(&connection, last, until).await
    }
}

impl Link {
    /// A connection that takes requests now.
    async fn ready(&self, until: Instant) -> Result<Arc<Connection>, Silence> {
        let connection = self.connection(until).await?;
        match self.connected(&connection, until).await {
            Ok(()) => Ok(connection),
            Err(lost) => {
                self.give_up(&connection);
                Err(lost)
            }
        }
    }

    async fn ask(
        &self,
        connection: &Arc<Connection>,
        request: Request,
        until: Instant,
    ) -> Result<Bytes, Silence> {
        let asked = async_nats::Request::new().payload(request.payload).timeout(None);
        let asked = if request.headers.is_empty() { asked } else { asked.headers(request.headers) };
        let answer = connection.client.send_request(request.subject, asked);
        match timeout_at(until.into(), answer).await {
            Ok(Ok(message)) => {
                connection.hear();
                Ok(message.payload)
            }
            Ok(Err(error)) => Err(self.explain(&error, connection)),
            Err(_) => {
                self.judge(connection, false);
                Err(Silence::NoAnswer)
            }
        }
    }

    fn explain(&self, error: &RequestError, connection: &Arc<Connection>) -> Silence {
        match error.kind() {
            RequestErrorKind::NoResponders => {
                connection.hear();
                Silence::NoResponders
            }
            RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                Silence::NotSent(error.to_string())
            }
            RequestErrorKind::TimedOut => Silence::NoAnswer,
            // The connection has ended for good, before or after the request was sent.
            RequestErrorKind::Other => {
                self.give_up(connection);
                Silence::NoAnswer
            }
        }
    }
}

async fn in_time<T>(until: Instant, work: impl Future<Output = T>) -> Result<T, Silence> {
    timeout_at(until.into(), work)
        .await
        .map_err(|_| Silence::NotSent("no server took the connection in time".to_owned()))
}
