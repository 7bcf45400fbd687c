//! What the servers say of themselves, asked through the system account: who leads the meta group,
//! who is healthy and what each holds; and the calls that move its leader or reload a server.
//!
//! Plain types only, as the servers answered: what follows from them is decided elsewhere. A
//! server's word on the peers of a group counts only while it leads the group.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::api::{CallError, succeed};
use super::link::Link;
use super::transport::{Request, Silence, Transport};

/// What one server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerView {
    /// Its id, which is another after each start.
    pub id: String,
    /// Its version.
    pub version: String,
    /// What its configuration says of it.
    pub metadata: BTreeMap<String, String>,
    /// Its full health check passed.
    pub healthy: bool,
    /// The meta group; `None` on a server that stands alone.
    pub meta: Option<MetaView>,
    /// The streams that it holds, by name.
    pub streams: BTreeMap<String, StreamView>,
}

/// The meta group as one server sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaView {
    /// Whom it follows.
    pub leader: Option<String>,
    /// How many members it takes the group to have.
    pub size: usize,
    /// The other members, by name.
    pub peers: BTreeMap<String, PeerView>,
}

/// A member of a group as another sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerView {
    /// It is said to be up to date.
    pub current: bool,
    /// It is known to be away.
    pub offline: bool,
}

/// One server's copy of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamView {
    /// Whom it takes to lead the stream; `None` also on a server that stands alone.
    pub leader: Option<String>,
    /// Messages held.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Sequence of the oldest message.
    pub first_seq: u64,
    /// Sequence of the newest message.
    pub last_seq: u64,
    /// Gaps between the two.
    pub num_deleted: u64,
}

/// Asks all servers at once what they hold and how they are, and gives what was answered in time,
/// by server name. With as many answers as there are servers it does not wait longer.
///
/// # Errors
/// [`Silence`] when nothing could be asked.
pub async fn survey(
    link: &Link,
    servers: usize,
    within: Duration,
) -> Result<BTreeMap<String, ServerView>, Silence> {
    let holdings = json!({"accounts": true, "streams": true, "raft": true});
    let (holdings, health) = join(
        ask_all(link, "JSZ", holdings.to_string(), servers, within),
        ask_all(link, "HEALTHZ", json!({}).to_string(), servers, within),
    )
    .await;
    let (holdings, health) = (holdings?, health?);
    let healthy: BTreeMap<String, bool> = answers::<wire::Health>(&health)
        .map(|answer| (answer.server.id, answer.data.is_some_and(|data| data.is_ok())))
        .collect();
    let views = answers::<wire::Holdings>(&holdings).filter_map(|answer| {
        let healthy = healthy.get(&answer.server.id).copied().unwrap_or(false);
        Some((answer.server.name.clone(), view(answer.server, answer.data?, healthy)))
    });
    Ok(views.collect())
}

async fn ask_all(
    link: &Link,
    what: &str,
    body: String,
    servers: usize,
    within: Duration,
) -> Result<Vec<Bytes>, Silence> {
    link.gather(Request::new(format!("$SYS.REQ.SERVER.PING.{what}"), body), servers, within).await
}

/// Answers of a known form. One that makes no sense is no answer.
fn answers<T: DeserializeOwned>(
    answers: &[Bytes],
) -> impl Iterator<Item = wire::Answer<T>> + use<'_, T> {
    answers.iter().filter_map(|answer| serde_json::from_slice(answer).ok())
}

fn view(server: wire::Server, holdings: wire::Holdings, healthy: bool) -> ServerView {
    let streams = holdings.account_details.into_iter().flat_map(|account| account.stream_detail);
    ServerView {
        id: server.id,
        version: server.ver,
        metadata: server.metadata,
        healthy,
        meta: holdings.meta_cluster.map(|meta| MetaView {
            leader: meta.leader.filter(|leader| !leader.is_empty()),
            size: meta.cluster_size,
            peers: meta.replicas.into_iter().map(|peer| (peer.name.clone(), peer.view())).collect(),
        }),
        streams: streams.map(|stream| (stream.name.clone(), stream.view())).collect(),
    }
}

/// Asks the meta leader to hand over to a server.
///
/// # Errors
/// [`CallError`]; without a leader nobody answers.
pub async fn step_down(
    transport: &dyn Transport,
    preferred: &str,
    within: Duration,
) -> Result<(), CallError> {
    let body = json!({"placement": {"preferred": preferred}}).to_string();
    succeed(transport, Request::new("$JS.API.META.LEADER.STEPDOWN", body), within).await
}

/// Asks the server of this id to read its configuration again. That it was read is seen in what
/// the server says of itself then; an answer alone proves nothing.
///
/// # Errors
/// [`Silence`]; no responders when no server has this id.
pub async fn reload(
    transport: &dyn Transport,
    server_id: &str,
    within: Duration,
) -> Result<(), Silence> {
    let subject = format!("$SYS.REQ.SERVER.{server_id}.RELOAD");
    transport.request(Request::new(subject, "{}"), within).await.map(|_| ())
}

/// The answers as the servers write them. What is false or zero is left out.
mod wire {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::{PeerView, StreamView};

    #[derive(Deserialize)]
    pub(super) struct Answer<T> {
        pub server: Server,
        pub data: Option<T>,
    }

    #[derive(Deserialize)]
    pub(super) struct Server {
        pub name: String,
        pub id: String,
        #[serde(default)]
        pub ver: String,
        #[serde(default)]
        pub metadata: BTreeMap<String, String>,
    }

    #[derive(Deserialize)]
    pub(super) struct Health {
        #[serde(default)]
        status: String,
    }

    impl Health {
        pub(super) fn is_ok(&self) -> bool {
            self.status == "ok"
        }
    }

    #[derive(Deserialize)]
    pub(super) struct Holdings {
        pub meta_cluster: Option<Meta>,
        #[serde(default)]
        pub account_details: Vec<Account>,
    }

    #[derive(Deserialize)]
    pub(super) struct Meta {
        pub leader: Option<String>,
        #[serde(default)]
        pub cluster_size: usize,
        #[serde(default)]
        pub replicas: Vec<Peer>,
    }

    #[derive(Deserialize)]
    pub(super) struct Peer {
        pub name: String,
        #[serde(default)]
        current: bool,
        #[serde(default)]
        offline: bool,
    }

    impl Peer {
        pub(super) fn view(&self) -> PeerView {
            PeerView { current: self.current, offline: self.offline }
        }
    }

    #[derive(Deserialize)]
    pub(super) struct Account {
        #[serde(default)]
        pub stream_detail: Vec<Stream>,
    }

    #[derive(Deserialize)]
    pub(super) struct Stream {
        pub name: String,
        cluster: Option<Group>,
        state: State,
    }

    #[derive(Deserialize)]
    struct Group {
        leader: Option<String>,
    }

    #[derive(Deserialize)]
    struct State {
        #[serde(default)]
        messages: u64,
        #[serde(default)]
        bytes: u64,
        #[serde(default)]
        first_seq: u64,
        #[serde(default)]
        last_seq: u64,
        #[serde(default)]
        num_deleted: u64,
    }

    impl Stream {
        pub(super) fn view(self) -> StreamView {
            let leader = self.cluster.and_then(|group| group.leader);
            StreamView {
                leader: leader.filter(|leader| !leader.is_empty()),
                messages: self.state.messages,
                bytes: self.state.bytes,
                first_seq: self.state.first_seq,
                last_seq: self.state.last_seq,
                num_deleted: self.state.num_deleted,
            }
        }
    }
}
