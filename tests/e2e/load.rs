//! Raw writes into a cluster's buckets, from this machine and as the service's own user, for what
//! needs more of them than a program in a pod would do.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::Client;
use membership_operator::jetstream::connect::{NatsOptions, Role};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::bed::within;
use crate::subject::Subject;

/// Writes that wait for their acknowledgement at a time.
const IN_FLIGHT: usize = 64;

/// A connection to a server of a cluster.
pub struct Load {
    runtime: Runtime,
    client: Client,
    _forward: Forward,
    /// Closed, it would end the forwarder at its next word.
    _lines: BufReader<ChildStdout>,
}

/// What forwards to the server, and ends with this.
struct Forward(Child);

impl Drop for Forward {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Load {
    /// To the first server of a cluster, as the service.
    pub fn on(subject: &Subject<'_>) -> Self {
        let Subject { bed, namespace, name } = subject;
        let secret = bed.get(namespace, &format!("secret/{name}-nats-membershipd")).unwrap();
        let seed = data_encoding::BASE64
            .decode(secret["data"]["seed"].as_str().unwrap().as_bytes())
            .unwrap();
        Self::with(subject, |options| options.seed(String::from_utf8(seed).unwrap().into()))
    }

    /// To the first server of a cluster that lets in anybody.
    pub fn as_anybody(subject: &Subject<'_>) -> Self {
        Self::with(subject, |options| options)
    }

    fn with(subject: &Subject<'_>, more: impl FnOnce(NatsOptions) -> NatsOptions) -> Self {
        let Subject { bed, namespace, name } = subject;
        let pod = format!("pod/{name}-nats-0");
        let mut command = bed.kubectl().command();
        command.args(["port-forward", &pod, "-n", namespace, ":4222"]);
        let mut forward = Forward(command.stdout(Stdio::piped()).spawn().unwrap());
        let mut lines = BufReader::new(forward.0.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let address = line.split_whitespace().find(|word| word.starts_with("127.0.0.1:")).unwrap();
        let address = format!("nats://{address}");
        let options = more(NatsOptions::new(&address, Role::Membershipd).unwrap());
        let runtime = Runtime::new().unwrap();
        let client = within("a connection", || runtime.block_on(options.connect()).ok());
        Self { runtime, client, _forward: forward, _lines: lines }
    }

    /// What the servers answer to a request without a body.
    pub fn ask(&self, subject: &str) -> Option<Value> {
        let asked = self.client.request(subject.to_owned(), Vec::new().into());
        serde_json::from_slice(&self.runtime.block_on(asked).ok()?.payload).ok()
    }

    /// Writes keys of a size into a bucket; all are acknowledged when this returns.
    pub fn fill(&self, bucket: &str, keys: usize, bytes: usize) {
        let value = vec![b'x'; bytes];
        self.runtime.block_on(async {
            let mut writes: JoinSet<bool> = JoinSet::new();
            for key in 0..keys {
                if writes.len() >= IN_FLIGHT {
                    assert!(writes.join_next().await.unwrap().unwrap(), "a write was refused");
                }
                writes.spawn(write(self.client.clone(), bucket, key, value.clone()));
            }
            assert!(writes.join_all().await.into_iter().all(|landed| landed));
        });
    }

    /// Writes so many times a second for a while. Gives the number of acknowledged writes.
    pub fn write_at(&self, bucket: &str, each_second: u32, time: Duration) -> usize {
        let landed = Arc::new(AtomicUsize::new(0));
        self.runtime.block_on(async {
            let mut writes = JoinSet::new();
            let mut beat = interval(Duration::from_secs(1) / each_second);
            beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for turn in 0..(each_second * u32::try_from(time.as_secs()).unwrap()) as usize {
                beat.tick().await;
                let one = write(self.client.clone(), bucket, turn % 1000, vec![b'y'; 200]);
                let landed = Arc::clone(&landed);
                writes.spawn(
                    async move { landed.fetch_add(usize::from(one.await), Ordering::Relaxed) },
                );
                while writes.try_join_next().is_some() {}
            }
            while writes.join_next().await.is_some() {}
        });
        landed.load(Ordering::Relaxed)
    }
}

fn write(
    client: Client,
    bucket: &str,
    key: usize,
    value: Vec<u8>,
) -> impl Future<Output = bool> + Send + 'static {
    let subject = format!("$KV.{bucket}.load.{key}");
    async move {
        let answer = client.request(subject, value.into()).await;
        answer.is_ok_and(|answer| {
            serde_json::from_slice::<Value>(&answer.payload).is_ok_and(|ack| ack["seq"].is_u64())
        })
    }
}
