//! JetStream's own calls, as plain requests with typed answers: publish on a condition, read a
//! message by its subject, ask for a stream, purge a subject. Each function asks exactly once;
//! whether to ask again is the caller's affair.

use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

use super::message::{StoredMessage, WireMessage};
use super::transport::{Request, Silence, Transport};

/// The condition that a subject's last message has this number; 0 for no message.
const EXPECTED_SUBJECT_SEQUENCE: &str = "Nats-Expected-Last-Subject-Sequence";

/// Which subject [`EXPECTED_SUBJECT_SEQUENCE`] is about, when not the published one.
const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// The condition that the whole stream's last message has this number.
const EXPECTED_STREAM_SEQUENCE: &str = "Nats-Expected-Last-Sequence";

/// What the server's error numbers mean to us (`err_code` of its API errors, server 2.15).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiErrorKind {
    /// 10071: the expected sequence is not the last one.
    WrongLastSequence,
    /// 10164: another condition on the subject is in flight. Nothing is decided yet.
    ConditionInFlight,
    /// 10174: the stream takes no atomic batches.
    AtomicPublishDisabled,
    /// 10037: there is no message of that kind.
    NoMessage,
    /// 10059: there is no such stream.
    NoStream,
    /// 10058: the stream exists with other settings.
    StreamExistsOtherwise,
    /// 10077 and 10047: the stream or its server has no room.
    Full,
    /// 10023: the server is out of resources for now.
    InsufficientResources,
    /// 10054 and 10097: the message is too large for the stream.
    TooLarge,
    /// 10008, 10009, 10039, 10076: no leader, or JetStream is not up yet. Had no effect.
    NotReady,
    /// 10052 and 10053: the settings or the account's limits forbid it.
    NotAllowed,
    /// Any other number.
    Other,
}

/// An error that a server answered.
#[derive(Clone, Debug, Deserialize, Error, PartialEq, Eq)]
#[error("{description} (error {err_code})")]
pub struct ApiError {
    /// The HTTP-like class.
    #[serde(default)]
    pub code: u16,
    /// The exact number.
    #[serde(default)]
    pub err_code: u32,
    /// The server's own words.
    #[serde(default)]
    pub description: String,
}

impl ApiError {
    /// What the number means to us.
    #[must_use]
    pub const fn kind(&self) -> ApiErrorKind {
        match self.err_code {
            10071 => ApiErrorKind::WrongLastSequence,
            10164 => ApiErrorKind::ConditionInFlight,
            10174 => ApiErrorKind::AtomicPublishDisabled,
            10037 => ApiErrorKind::NoMessage,
            10059 => ApiErrorKind::NoStream,
            10058 => ApiErrorKind::StreamExistsOtherwise,
            10047 | 10077 => ApiErrorKind::Full,
            10023 => ApiErrorKind::InsufficientResources,
            10054 | 10097 => ApiErrorKind::TooLarge,
            10008 | 10009 | 10039 | 10076 => ApiErrorKind::NotReady,
            10052 | 10053 => ApiErrorKind::NotAllowed,
            _ => ApiErrorKind::Other,
        }
    }
}

/// Why a call has no good answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// Nothing was answered.
    #[error(transparent)]
    Silence(#[from] Silence),
    /// The server answered an error.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// The answer makes no sense, so nothing is known.
    #[error("an answer that makes no sense: {0}")]
    Rubbish(&'static str),
}

impl CallError {
    /// The kind of error that the server answered, if it did.
    #[must_use]
    pub const fn api_kind(&self) -> Option<ApiErrorKind> {
        match self {
            Self::Refused(error) => Some(error.kind()),
            Self::Silence(_) | Self::Rubbish(_) => None,
        }
    }
}

/// What must hold for a publish to be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Condition<'a> {
    /// The last sequence of the published subject; 0 for none yet.
    pub subject_at: Option<u64>,
    /// The last sequence of another subject.
    pub other_subject_at: Option<(&'a str, u64)>,
    /// The last sequence of the whole stream.
    pub stream_at: Option<u64>,
}

impl Condition<'_> {
    pub(super) fn write(self, headers: &mut HeaderMap) {
        if let Some(sequence) = self.subject_at {
            headers.insert(EXPECTED_SUBJECT_SEQUENCE, sequence.to_string());
        }
        if let Some((subject, sequence)) = self.other_subject_at {
            headers.insert(EXPECTED_SUBJECT_SEQUENCE, sequence.to_string());
            headers.insert(EXPECTED_SUBJECT, subject);
        }
        if let Some(sequence) = self.stream_at {
            headers.insert(EXPECTED_STREAM_SEQUENCE, sequence.to_string());
        }
    }
}

/// Publishes into a stream on a condition. Gives the sequence it was stored at.
///
/// # Errors
/// [`CallError`]; an acknowledgement of another stream is rubbish.
pub async fn publish(
    transport: &dyn Transport,
    stream: &str,
    mut request: Request,
    condition: Condition<'_>,
    within: Duration,
) -> Result<u64, CallError> {
    #[derive(Deserialize)]
    struct Acknowledgement {
        stream: String,
        #[serde(default)]
        seq: u64,
        #[serde(default)]
        duplicate: bool,
    }
    condition.write(&mut request.headers);
    let answer: Acknowledgement = call(transport, request, within).await?;
    if answer.stream != stream {
        return Err(CallError::Rubbish("an acknowledgement of another stream"));
    }
    if answer.duplicate || answer.seq == 0 {
        return Err(CallError::Rubbish("an acknowledgement of no new message"));
    }
    Ok(answer.seq)
}

/// What the server says at the end of a batch of so many messages: the sequence of the last one.
pub(super) fn batch_acknowledged(
    answer: &[u8],
    stream: &str,
    id: &str,
    count: usize,
) -> Result<u64, CallError> {
    #[derive(Deserialize)]
    struct Acknowledgement {
        stream: String,
        #[serde(default)]
        seq: u64,
        batch: String,
        count: usize,
    }
    let done: Acknowledgement = understand(answer)?;
    if done.stream != stream || done.batch != id || done.count != count || done.seq == 0 {
        return Err(CallError::Rubbish("an acknowledgement of another batch"));
    }
    Ok(done.seq)
}

/// Which message of a stream is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// The last one of a subject without wildcards.
    Last(&'a str),
    /// The first one at or past a sequence whose subject matches a filter.
    Next {
        /// The sequence.
        from: u64,
        /// The filter, wildcards allowed.
        filter: &'a str,
    },
}

/// Reads a message through the stream's leader. `None` when there is none.
///
/// # Errors
/// [`CallError`]; an answer with another subject than the asked one is rubbish.
pub async fn read(
    transport: &dyn Transport,
    stream: &str,
    wanted: Wanted<'_>,
    within: Duration,
) -> Result<Option<StoredMessage>, CallError> {
    #[derive(Deserialize)]
    struct Answer {
        message: WireMessage,
    }
    let body = match wanted {
        Wanted::Last(subject) => json!({ "last_by_subj": subject }),
        Wanted::Next { from, filter } => json!({ "seq": from, "next_by_subj": filter }),
    };
    let request =
        Request::new(format!("$JS.API.STREAM.MSG.GET.{stream}"), body.to_string().into_bytes());
    let answer: Answer = match call(transport, request, within).await {
        Ok(answer) => answer,
        Err(error) if error.api_kind() == Some(ApiErrorKind::NoMessage) => return Ok(None),
        Err(error) => return Err(error),
    };
    let message = answer.message.decode().ok_or(CallError::Rubbish("an undecodable message"))?;
    let right = match wanted {
        Wanted::Last(subject) => message.subject == subject,
        Wanted::Next { from, filter } => {
            message.sequence >= from && matches(filter, &message.subject)
        }
    };
    if right {
        Ok(Some(message))
    } else {
        Err(CallError::Rubbish("another subject than asked for"))
    }
}

/// Whether a subject matches a filter, by whole tokens.
fn matches(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            (_, _) => return false,
        }
    }
    tokens.next().is_none()
}

/// How a stream stands.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its settings, as the server keeps them.
    pub config: serde_json::Value,
    /// When it was made (RFC 3339): another time is another stream.
    pub created: String,
    /// What it holds.
    pub state: StreamState,
    /// Its group of servers; `None` on a server without a cluster.
    #[serde(default)]
    pub cluster: Option<StreamCluster>,
}

/// What a stream holds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub struct StreamState {
    /// How many messages.
    pub messages: u64,
    /// How many bytes, with the server's own overhead.
    pub bytes: u64,
    /// The first message's sequence.
    pub first_seq: u64,
    /// The last sequence given out.
    pub last_seq: u64,
}

/// The servers of a stream, as the answering one sees them. Only the leader's word on its peers
/// counts.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StreamCluster {
    /// Who leads; `None` while nobody does.
    #[serde(default)]
    pub leader: Option<String>,
    /// Everybody but the leader.
    #[serde(default)]
    pub replicas: Vec<StreamPeer>,
}

/// One replica of a stream.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct StreamPeer {
    /// The server's name.
    pub name: String,
    /// Whether it says to be up to date. Alone this proves nothing.
    #[serde(default)]
    pub current: bool,
    /// Whether the leader knows it to be away.
    #[serde(default)]
    pub offline: bool,
}

/// Asks how a stream stands. `None` when there is none of this name.
///
/// # Errors
/// [`CallError`].
pub async fn stream_info(
    transport: &dyn Transport,
    stream: &str,
    within: Duration,
) -> Result<Option<StreamInfo>, CallError> {
    let request = Request::new(format!("$JS.API.STREAM.INFO.{stream}"), Bytes::new());
    match call(transport, request, within).await {
        Ok(info) => Ok(Some(info)),
        Err(error) if error.api_kind() == Some(ApiErrorKind::NoStream) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a stream; one that is there with the same settings is fine.
///
/// # Errors
/// [`CallError`].
pub async fn create_stream(
    transport: &dyn Transport,
    stream: &str,
    config: &impl Serialize,
    within: Duration,
) -> Result<StreamInfo, CallError> {
    configure(transport, "CREATE", stream, config, within).await
}

/// Gives a stream other settings, all of them at once.
///
/// # Errors
/// [`CallError`].
pub async fn update_stream(
    transport: &dyn Transport,
    stream: &str,
    config: &impl Serialize,
    within: Duration,
) -> Result<StreamInfo, CallError> {
    configure(transport, "UPDATE", stream, config, within).await
}

async fn configure(
    transport: &dyn Transport,
    verb: &str,
    stream: &str,
    config: &impl Serialize,
    within: Duration,
) -> Result<StreamInfo, CallError> {
    let body = serde_json::to_vec(config)
        .map_err(|_| CallError::Rubbish("settings that cannot be written as JSON"))?;
    call(transport, Request::new(format!("$JS.API.STREAM.{verb}.{stream}"), body), within).await
}

/// Takes the messages of one subject out of a stream, up to and with a sequence: what was published
/// to it since stays. Gives how many there were.
///
/// # Errors
/// [`CallError`].
pub async fn purge_subject(
    transport: &dyn Transport,
    stream: &str,
    subject: &str,
    through: u64,
    within: Duration,
) -> Result<u64, CallError> {
    #[derive(Deserialize)]
    struct Answer {
        purged: u64,
    }
    // The server leaves the message of the given sequence.
    let body = json!({ "filter": subject, "seq": through.saturating_add(1) }).to_string();
    let request = Request::new(format!("$JS.API.STREAM.PURGE.{stream}"), body.into_bytes());
    call(transport, request, within).await.map(|answer: Answer| answer.purged)
}

/// Asks a stream's leader to hand over to another replica.
///
/// # Errors
/// [`CallError`]; also when the server answers anything but success.
pub async fn step_down_stream(
    transport: &dyn Transport,
    stream: &str,
    within: Duration,
) -> Result<(), CallError> {
    let subject = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
    succeed(transport, Request::new(subject, Bytes::new()), within).await
}

/// Asks once for something that is answered by success alone.
pub(super) async fn succeed(
    transport: &dyn Transport,
    request: Request,
    within: Duration,
) -> Result<(), CallError> {
    #[derive(Deserialize)]
    struct Answer {
        success: bool,
    }
    let answer: Answer = call(transport, request, within).await?;
    if answer.success { Ok(()) } else { Err(CallError::Rubbish("neither success nor an error")) }
}

/// Asks once. A server's error is an error even where the rest of the answer would do.
async fn call<T: DeserializeOwned>(
    transport: &dyn Transport,
    request: Request,
    within: Duration,
) -> Result<T, CallError> {
    understand(&transport.request(request, within).await?)
}

fn understand<T: DeserializeOwned>(answer: &[u8]) -> Result<T, CallError> {
    #[derive(Deserialize)]
    struct Failure {
        error: Option<ApiError>,
    }
    let failure: Failure = serde_json::from_slice(answer)
        .map_err(|_| CallError::Rubbish("no JSON of a known form"))?;
    match failure.error {
        Some(error) => Err(CallError::Refused(error)),
        None => serde_json::from_slice(answer)
            .map_err(|_| CallError::Rubbish("no JSON of the expected form")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_matches_whole_tokens_only() {
        for (filter, subject, expected) in [
            ("a.b", "a.b", true),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*.c", "a.b.c", true),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
        ] {
            assert_eq!(matches(filter, subject), expected, "{filter} {subject}");
        }
    }

    #[test]
    fn the_servers_error_numbers_have_their_meaning() {
        for (err_code, kind) in [
            (10071, ApiErrorKind::WrongLastSequence),
            (10164, ApiErrorKind::ConditionInFlight),
            (10174, ApiErrorKind::AtomicPublishDisabled),
            (10037, ApiErrorKind::NoMessage),
            (10059, ApiErrorKind::NoStream),
            (10058, ApiErrorKind::StreamExistsOtherwise),
            (10077, ApiErrorKind::Full),
            (10047, ApiErrorKind::Full),
            (10023, ApiErrorKind::InsufficientResources),
            (10054, ApiErrorKind::TooLarge),
            (10008, ApiErrorKind::NotReady),
            (10052, ApiErrorKind::NotAllowed),
            (1, ApiErrorKind::Other),
        ] {
            let error = ApiError { code: 400, err_code, description: String::new() };
            assert_eq!(error.kind(), kind, "{err_code}");
        }
    }
}
