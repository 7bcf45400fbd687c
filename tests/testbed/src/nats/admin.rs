//! What the servers say of themselves: who leads, who is healthy; and making leaders step down.
//! Every question opens a connection of its own, so that a fault never leaves a broken one behind.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Nats, NatsError, Role};

/// How long one question may take before it is asked again.
const ASK: Duration = Duration::from_secs(2);

/// How long to wait before a question is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// A leader hears from its followers once a second.
const JUST_NOW_NS: u64 = 2_000_000_000;

/// Whether a majority of a stream's peers follows whoever gave this information.
fn is_followed(info: &Value) -> bool {
    let replicas = info["cluster"]["replicas"].as_array().map_or(&[][..], Vec::as_slice);
    let follows = |replica: &&Value| {
        replica["current"] == true
            && replica["active"].as_u64().is_some_and(|active| active < JUST_NOW_NS)
    };
    2 * (replicas.iter().filter(follows).count() + 1) > replicas.len() + 1
}

impl Nats {
    /// Waits until every running server says that it is healthy and, in a cluster, all name the
    /// same meta leader. Gives that leader; a server alone is its own.
    ///
    /// # Errors
    /// [`NatsError::TimedOut`] with the last thing seen, [`NatsError::Died`].
    pub async fn settled(&self, within: Duration) -> Result<usize, NatsError> {
        self.until("a settled cluster", within, async || {
            let mut leaders = Vec::new();
            for index in self.running() {
                self.server(index).check_alive()?;
                self.healthy(index).await?;
                leaders.push(self.leader_seen_by(index).await?);
            }
            leaders.dedup();
            match leaders[..] {
                [leader] => Ok(leader),
                _ => Err(refused("the meta leader", format!("servers name {leaders:?}"))),
            }
        })
        .await
    }

    /// The meta leader that most of all servers, and so a quorum, name.
    ///
    /// # Errors
    /// [`NatsError::TimedOut`] when there is none.
    pub async fn meta_leader(&self, within: Duration) -> Result<usize, NatsError> {
        self.until("a meta leader", within, async || {
            let mut votes = vec![0; self.size()];
            for index in self.running() {
                if let Ok(leader) = self.leader_seen_by(index).await {
                    votes[leader] += 1;
                }
            }
            let leader = votes.iter().position(|count| *count > self.size() / 2);
            leader.ok_or_else(|| refused("the meta leader", format!("votes {votes:?}")))
        })
        .await
    }

    /// The leader of a stream: one that a majority has followed just now. Who was one before a pause
    /// says that it is one for a while.
    ///
    /// # Errors
    /// [`NatsError::TimedOut`] when there is none.
    pub async fn stream_leader(&self, stream: &str, within: Duration) -> Result<usize, NatsError> {
        let subject = format!("$JS.API.STREAM.INFO.{stream}");
        self.until(&format!("a leader of {stream}"), within, async || {
            let info = self.ask_any(Role::Operator, &subject, &json!({})).await?;
            match info["cluster"]["leader"].as_str() {
                Some(name) if is_followed(&info) => self.index_of(name),
                Some(_) => Err(refused(&subject, "a leader without followers".to_owned())),
                None if self.size() == 1 => Ok(0),
                None => Err(refused(&subject, info.to_string())),
            }
        })
        .await
    }

    /// Makes the meta leader hand over, to a given server if one is named.
    ///
    /// # Errors
    /// [`NatsError::TimedOut`] or [`NatsError::Refused`] when no leader answers.
    pub async fn step_down_meta(&self, preferred: Option<usize>) -> Result<(), NatsError> {
        let body = self.placement(preferred);
        self.ask_any(Role::System, "$JS.API.META.LEADER.STEPDOWN", &body).await.map(|_| ())
    }

    /// Makes the leader of a stream hand over, to a given server if one is named.
    ///
    /// # Errors
    /// [`NatsError::TimedOut`] or [`NatsError::Refused`] when no leader answers.
    pub async fn step_down_stream(
        &self,
        stream: &str,
        preferred: Option<usize>,
    ) -> Result<(), NatsError> {
        let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        self.ask_any(Role::Operator, &subject, &self.placement(preferred)).await.map(|_| ())
    }

    /// A server's own answer to a monitoring request, such as `JSZ` or `ROUTEZ`: its `data`.
    ///
    /// # Errors
    /// [`NatsError`] when it does not answer in two seconds.
    pub async fn monitor(
        &self,
        index: usize,
        what: &str,
        body: &Value,
    ) -> Result<Value, NatsError> {
        let client = self.connect_to(Role::System, index).await?;
        let subject = format!("$SYS.REQ.SERVER.{}.{what}", client.server_info().server_id);
        let answer = ask(&client, &subject, body).await?;
        Ok(answer["data"].clone())
    }

    fn placement(&self, preferred: Option<usize>) -> Value {
        match preferred {
            Some(index) => json!({"placement": {"preferred": self.name(index)}}),
            None => json!({}),
        }
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.size()).filter(|index| self.server(*index).is_running())
    }

    fn index_of(&self, name: &str) -> Result<usize, NatsError> {
        (0..self.size())
            .find(|index| self.name(*index) == name)
            .ok_or_else(|| refused("a server's number", format!("no server is called {name:?}")))
    }

    async fn healthy(&self, index: usize) -> Result<(), NatsError> {
        let health = self.monitor(index, "HEALTHZ", &json!({})).await?;
        match health["status"].as_str() {
            Some("ok") => Ok(()),
            _ => Err(refused("HEALTHZ", health.to_string())),
        }
    }

    async fn leader_seen_by(&self, index: usize) -> Result<usize, NatsError> {
        if self.size() == 1 {
            return Ok(0);
        }
        let seen = self.monitor(index, "JSZ", &json!({})).await?;
        match seen["meta_cluster"]["leader"].as_str() {
            Some(name) => self.index_of(name),
            None => Err(refused("JSZ", format!("{} knows no leader", self.name(index)))),
        }
    }

    /// Asks through the first running server that answers.
    async fn ask_any(&self, role: Role, subject: &str, body: &Value) -> Result<Value, NatsError> {
        let mut last = refused(subject, "no server runs".to_owned());
        for index in self.running() {
            let asked = async { ask(&self.connect_to(role, index).await?, subject, body).await };
            match asked.await {
                Ok(answer) if answer["error"].is_null() => return Ok(answer),
                Ok(answer) => last = refused(subject, answer.to_string()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn until<T>(
        &self,
        what: &str,
        within: Duration,
        attempt: impl AsyncFn() -> Result<T, NatsError>,
    ) -> Result<T, NatsError> {
        let end = Instant::now() + within;
        loop {
            match attempt().await {
                Err(died @ NatsError::Died { .. }) => return Err(died),
                Err(last) if Instant::now() > end => {
                    return Err(NatsError::TimedOut {
                        what: what.to_owned(),
                        within,
                        last: last.to_string(),
                    });
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
                Ok(value) => return Ok(value),
            }
        }
    }
}

async fn ask(client: &async_nats::Client, subject: &str, body: &Value) -> Result<Value, NatsError> {
    let answered =
        tokio::time::timeout(ASK, client.request(subject.to_owned(), body.to_string().into()));
    match answered.await {
        Ok(Ok(message)) => serde_json::from_slice(&message.payload)
            .map_err(|error| refused(subject, error.to_string())),
        Ok(Err(error)) => Err(refused(subject, error.to_string())),
        Err(_) => Err(NatsError::TimedOut {
            what: format!("an answer to {subject}"),
            within: ASK,
            last: "nothing".to_owned(),
        }),
    }
}

fn refused(request: &str, answer: String) -> NatsError {
    NatsError::Refused { request: request.to_owned(), answer }
}
