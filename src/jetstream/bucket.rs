//! Key-value buckets: made, raised to more replicas and looked at. A request that reaches a server
//! before it knows the meta leader is dropped without an answer, and a long call would only wait
//! for it: so everything here is short attempts, again and again, within a budget.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::api::{self, ApiErrorKind, CallError, StreamInfo};
use super::transport::Transport;

/// How long to wait before a failed attempt is made again.
const PAUSE: Duration = Duration::from_millis(250);

/// How long one attempt may take, and how long all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// One attempt.
    pub attempt: Duration,
    /// All attempts.
    pub total: Duration,
}

impl Default for Budget {
    /// Two seconds an attempt, two minutes in all: a cold cluster of three settles in well under
    /// half of that, on a loaded machine too.
    fn default() -> Self {
        Self { attempt: Duration::from_secs(2), total: Duration::from_secs(120) }
    }
}

/// Everything that is chosen about a bucket, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSettings {
    /// The bucket's name; its stream is `KV_<name>`.
    pub name: String,
    /// How many servers keep it.
    pub replicas: u8,
    /// The most bytes it may hold, with the server's overhead.
    pub max_bytes: u64,
    /// The largest record, headers included.
    pub max_message_bytes: u32,
    /// Whether whole subjects can never be purged.
    pub deny_purge: bool,
    /// What the bucket says about itself.
    pub metadata: BTreeMap<String, String>,
}

impl BucketSettings {
    /// The stream behind the bucket.
    #[must_use]
    pub fn stream(&self) -> String {
        stream_of(&self.name)
    }

    /// The names of the settings in which a stream differs from these, leaving out replicas and
    /// sizes, which are chosen anew in each cluster.
    #[must_use]
    pub fn breaches(&self, config: &Value) -> Vec<&'static str> {
        let wanted = StreamConfig::of(self).fixed();
        wanted
            .into_iter()
            // The server leaves out what is false or zero.
            .filter(|(name, value)| {
                let found = config.get(name).unwrap_or(&Value::Null);
                found != value && !(is_nothing(value) && found.is_null())
            })
            .map(|(name, _)| name)
            .collect()
    }
}

/// The stream behind a bucket.
#[must_use]
pub fn stream_of(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// The subject of a key in a bucket.
#[must_use]
pub fn subject_of(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

fn is_nothing(value: &Value) -> bool {
    matches!(value.as_bool(), Some(false)) || value.as_u64() == Some(0)
}

/// The settings in the server's words. What is fixed for every bucket is fixed here.
#[derive(Serialize)]
struct StreamConfig<'a> {
    name: String,
    subjects: [String; 1],
    retention: &'static str,
    storage: &'static str,
    /// A full bucket refuses; it never drops an old record for a new one.
    discard: &'static str,
    num_replicas: u8,
    max_bytes: u64,
    max_msg_size: u32,
    /// One record a key, no history.
    max_msgs_per_subject: u8,
    /// Nanoseconds; 0 is for ever.
    max_age: u64,
    deny_delete: bool,
    deny_purge: bool,
    allow_rollup_hdrs: bool,
    /// Any replica answers a direct get, also one that is behind: never.
    allow_direct: bool,
    mirror_direct: bool,
    /// Batches that land together or not at all; without it they answer 10174.
    allow_atomic: bool,
    metadata: &'a BTreeMap<String, String>,
}

impl<'a> StreamConfig<'a> {
    fn of(settings: &'a BucketSettings) -> Self {
        Self {
            name: settings.stream(),
            subjects: [subject_of(&settings.name, ">")],
            retention: "limits",
            storage: "file",
            discard: "new",
            num_replicas: settings.replicas,
            max_bytes: settings.max_bytes,
            max_msg_size: settings.max_message_bytes,
            max_msgs_per_subject: 1,
            max_age: 0,
            deny_delete: true,
            deny_purge: settings.deny_purge,
            allow_rollup_hdrs: false,
            allow_direct: false,
            mirror_direct: false,
            allow_atomic: true,
            metadata: &settings.metadata,
        }
    }

    /// What must be so in every cluster.
    fn fixed(&self) -> [(&'static str, Value); 12] {
        [
            ("subjects", Value::from(self.subjects.to_vec())),
            ("retention", self.retention.into()),
            ("storage", self.storage.into()),
            ("discard", self.discard.into()),
            ("max_msgs_per_subject", self.max_msgs_per_subject.into()),
            ("max_age", self.max_age.into()),
            ("deny_delete", self.deny_delete.into()),
            ("deny_purge", self.deny_purge.into()),
            ("allow_rollup_hdrs", self.allow_rollup_hdrs.into()),
            ("allow_direct", self.allow_direct.into()),
            ("mirror_direct", self.mirror_direct.into()),
            ("allow_atomic", self.allow_atomic.into()),
        ]
    }
}

/// A bucket call that did not land.
#[derive(Debug, Error)]
#[error(
    "cannot {doing} the bucket {bucket}: {attempts} attempts in {elapsed:.1?}, the last one: {cause}"
)]
pub struct BucketError {
    /// What was tried.
    doing: &'static str,
    /// The bucket.
    bucket: String,
    /// How often.
    attempts: u32,
    /// For how long.
    elapsed: Duration,
    /// What the last attempt met.
    #[source]
    pub cause: CallError,
}

/// Makes a bucket, or finds it with the same settings.
///
/// # Errors
/// [`BucketError`]: at once when the server says no for good (other settings, a limit), else when
/// the budget is spent.
pub async fn create(
    transport: &dyn Transport,
    settings: &BucketSettings,
    budget: Budget,
) -> Result<StreamInfo, BucketError> {
    let (stream, config) = (settings.stream(), StreamConfig::of(settings));
    again_and_again("create", &settings.name, budget, async |within| {
        api::create_stream(transport, &stream, &config, within).await
    })
    .await
}

/// Asks how a bucket stands. `None` when there is none.
///
/// # Errors
/// [`BucketError`].
pub async fn info(
    transport: &dyn Transport,
    bucket: &str,
    budget: Budget,
) -> Result<Option<StreamInfo>, BucketError> {
    let stream = stream_of(bucket);
    again_and_again("look at", bucket, budget, async |within| {
        api::stream_info(transport, &stream, within).await
    })
    .await
}

/// Raises a bucket to this many replicas, in place. One that has as many or more stays as it is:
/// replicas are never lowered here. The peers are not caught up yet when this returns.
///
/// # Errors
/// [`BucketError`].
pub async fn raise(
    transport: &dyn Transport,
    bucket: &str,
    replicas: u8,
    budget: Budget,
) -> Result<StreamInfo, BucketError> {
    let stream = stream_of(bucket);
    again_and_again("raise", bucket, budget, async |within| {
        let found = api::stream_info(transport, &stream, within).await?;
        let mut info = found.ok_or(CallError::Rubbish("the bucket is not there"))?;
        if info.config["num_replicas"].as_u64().unwrap_or(0) >= u64::from(replicas) {
            return Ok(info);
        }
        info.config["num_replicas"] = Value::from(replicas);
        api::update_stream(transport, &stream, &info.config, within).await
    })
    .await
}

async fn again_and_again<T, F>(
    doing: &'static str,
    bucket: &str,
    budget: Budget,
    mut attempt: impl FnMut(Duration) -> F,
) -> Result<T, BucketError>
where
    F: Future<Output = Result<T, CallError>>,
{
    let began = Instant::now();
    let mut attempts = 0;
    loop {
        attempts += 1;
        let left = budget.total.saturating_sub(began.elapsed());
        let cause = match attempt(budget.attempt.min(left)).await {
            Ok(done) => return Ok(done),
            Err(cause) => cause,
        };
        let elapsed = began.elapsed();
        if is_final(&cause) || elapsed + PAUSE >= budget.total {
            return Err(BucketError { doing, bucket: bucket.to_owned(), attempts, elapsed, cause });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether asking again cannot help.
fn is_final(cause: &CallError) -> bool {
    match cause.api_kind() {
        Some(
            ApiErrorKind::StreamExistsOtherwise | ApiErrorKind::NotAllowed | ApiErrorKind::TooLarge,
        ) => true,
        Some(
            ApiErrorKind::WrongLastSequence
            | ApiErrorKind::ConditionInFlight
            | ApiErrorKind::AtomicPublishDisabled
            | ApiErrorKind::NoMessage
            | ApiErrorKind::NoStream
            | ApiErrorKind::Full
            | ApiErrorKind::InsufficientResources
            | ApiErrorKind::NotReady
            | ApiErrorKind::Other,
        )
        | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::transport::{Request, Silence};
    use async_trait::async_trait;
    use bytes::Bytes;

    fn settings() -> BucketSettings {
        BucketSettings {
            name: "U_users".to_owned(),
            replicas: 1,
            max_bytes: 1 << 20,
            max_message_bytes: 4096,
            deny_purge: true,
            metadata: BTreeMap::new(),
        }
    }

    #[test]
    fn a_bucket_that_any_replica_may_answer_for_is_a_breach() {
        let mut config = serde_json::to_value(StreamConfig::of(&settings())).unwrap();
        assert_eq!(settings().breaches(&config), Vec::<&str>::new());
        // The server leaves out what is false.
        config.as_object_mut().unwrap().remove("allow_direct");
        config["max_bytes"] = Value::from(7);
        assert_eq!(settings().breaches(&config), Vec::<&str>::new());
        config["allow_direct"] = Value::Bool(true);
        config["max_age"] = Value::from(5);
        config.as_object_mut().unwrap().remove("allow_atomic");
        assert_eq!(settings().breaches(&config), ["max_age", "allow_direct", "allow_atomic"]);
    }

    struct Silent;

    #[async_trait]
    impl Transport for Silent {
        async fn request(&self, _: Request, within: Duration) -> Result<Bytes, Silence> {
            tokio::time::sleep(within).await;
            Err(Silence::NoAnswer)
        }

        fn retire(&self) {}
    }

    #[tokio::test]
    async fn a_spent_budget_names_the_bucket_the_attempts_and_the_last_cause() {
        let budget =
            Budget { attempt: Duration::from_millis(20), total: Duration::from_millis(700) };
        let began = Instant::now();
        let error = create(&Silent, &settings(), budget).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(5));
        let words = error.to_string();
        assert!(words.contains("create the bucket U_users: 3 attempts"), "{words}");
        assert!(words.ends_with("no answer in time"), "{words}");
    }
}
