//! What the servers said in one round of questions, as plain data. Verdicts over rounds are in
//! [`settled`](super::settled) and [`equal`](super::equal); who asks is no business of this room.

use std::collections::BTreeMap;
use std::time::Duration;

/// The answers of one round, by server name. A server that did not answer is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// When the round was asked, on a monotonic clock with any beginning.
    pub at: Duration,
    /// The answers.
    pub servers: BTreeMap<String, ServerSample>,
}

/// What one server said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSample {
    /// Its server id, which is another after each start.
    pub id: String,
    /// Its full health check passed.
    pub healthy: bool,
    /// Its view of the meta group; `None` on a standalone server, which has no group.
    pub meta: Option<MetaSample>,
    /// The streams it holds, by name.
    pub streams: BTreeMap<String, StreamSample>,
}

/// A server's view of the meta group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaSample {
    /// The leader it follows.
    pub leader: Option<String>,
    /// How many servers it takes the group to have.
    pub size: usize,
    /// The other members by name. Only the leader's own list is right: another server shows healthy
    /// peers as not current.
    pub peers: BTreeMap<String, PeerSample>,
}

/// A member of a group as its leader sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerSample {
    /// It has what the leader has.
    pub current: bool,
    /// It is known to be away.
    pub offline: bool,
}

/// A server's copy of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamSample {
    /// The server that leads the stream. A standalone server leads what it holds.
    pub leader: Option<String>,
    /// Sequence of the newest message.
    pub last_seq: u64,
    /// What must be equal at an equal `last_seq`.
    pub content: Content,
}

/// The sums of a copy that two equal copies share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Messages held.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Sequence of the oldest message.
    pub first_seq: u64,
    /// Gaps between the oldest and the newest.
    pub num_deleted: u64,
}

impl Round {
    /// A server's copy of a stream, if it answered and holds one.
    #[must_use]
    pub fn copy(&self, server: &str, stream: &str) -> Option<&StreamSample> {
        self.servers.get(server)?.streams.get(stream)
    }

    /// Whether every server that answered in both rounds is still the same process.
    #[must_use]
    pub fn same_lives(&self, other: &Self) -> bool {
        self.servers
            .iter()
            .all(|(name, sample)| other.servers.get(name).is_none_or(|twin| twin.id == sample.id))
    }

    /// The servers that hold a copy of a stream.
    pub fn holders<'a>(&'a self, stream: &'a str) -> impl Iterator<Item = &'a str> {
        self.servers
            .iter()
            .filter(move |(_, sample)| sample.streams.contains_key(stream))
            .map(|(name, _)| name.as_str())
    }

    /// The server that says of itself that it leads a stream.
    #[must_use]
    pub fn stream_leader(&self, stream: &str) -> Option<&str> {
        self.servers
            .iter()
            .find(|(name, sample)| {
                let copy = sample.streams.get(stream);
                copy.and_then(|copy| copy.leader.as_deref()) == Some(name.as_str())
            })
            .map(|(name, _)| name.as_str())
    }
}
