//! The servers' own life, and a probe that asks them as the real one does: rounds in memory, judged
//! by the real verdicts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use membership_operator::cluster::equal::judge;
use membership_operator::cluster::names::{Bucket, Role};
use membership_operator::cluster::sample::{
    Content, MetaSample, PeerSample, Round, ServerSample, StreamSample,
};
use membership_operator::cluster::settled::{Streak, Unsettled, watch};
use membership_operator::cluster::world::{
    BucketSeen, Lookup, ProbeSnapshot, ServerFacts, StreamFacts,
};

use super::{Fake, Phase};

impl Fake {
    pub fn running(&self) -> Vec<String> {
        let running = self.pods.iter().filter(|(_, server)| server.phase == Phase::Running);
        running.map(|(name, _)| name.clone()).collect()
    }

    fn servers(&self) -> usize {
        let set = self.stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.replicas);
        usize::try_from(set.unwrap_or(3)).unwrap()
    }

    pub(super) fn nats_lives(&mut self) {
        self.elect_meta();
        self.streams_live();
    }

    fn streams_live(&mut self) {
        let running = self.running();
        for bucket in Bucket::ALL {
            let Some(mut stream) = self.streams.remove(&bucket) else { continue };
            self.live_stream(&mut stream, &running);
            self.streams.insert(bucket, stream);
        }
    }

    fn elect_meta(&mut self) {
        let running = self.running();
        if running.len() < self.servers() / 2 + 1 {
            self.meta_leader = None;
            return;
        }
        let leads = self.meta_leader.as_ref().is_some_and(|leader| running.contains(leader));
        if !leads {
            self.meta_leader = self.random.choice(running.iter()).cloned();
            self.leader_since = self.now;
        }
    }

    fn live_stream(&mut self, stream: &mut super::Stream, running: &[String]) {
        let up: Vec<&String> = stream.peers.iter().filter(|peer| running.contains(peer)).collect();
        if up.len() < stream.peers.len() / 2 + 1 {
            stream.leader = None;
            return;
        }
        let volume = |server: &String| self.claims.get(&format!("data-{server}"));
        let copy = |server: &String| {
            volume(server).and_then(|claim| stream.copies.get(&claim.uid)).copied()
        };
        let fullest = up.iter().max_by_key(|server| copy(server)).copied();
        if !stream.leader.as_ref().is_some_and(|leader| up.contains(&leader)) {
            stream.leader = fullest.cloned();
        }
        let leads = stream.leader.clone();
        for server in up {
            let Some(claim) = self.claims.get(&format!("data-{server}")) else { continue };
            let copy = stream.copies.entry(claim.uid.clone()).or_default();
            // What is behind takes a while to catch up.
            if leads.as_ref() == Some(server) || self.random.u8(0..3) == 0 {
                *copy = stream.messages;
            }
        }
    }

    /// How many copies have all messages of a bucket.
    pub fn full_copies(&self, bucket: Bucket) -> usize {
        let Some(stream) = self.streams.get(&bucket) else { return 0 };
        stream.copies.values().filter(|copy| **copy == stream.messages).count()
    }

    /// Whether a bucket has this many replicas, all with all of its messages.
    pub fn is_equal(&self, bucket: Bucket, replicas: usize) -> bool {
        let full = self.full_copies(bucket);
        self.streams.get(&bucket).is_some_and(|stream| {
            stream.peers.len() == replicas && full >= replicas && stream.leader.is_some()
        })
    }

    /// Somebody deletes a bucket and makes it anew, empty.
    pub fn make_anew(&mut self, bucket: Bucket) {
        let created = self.serial("then");
        let stream = self.streams.get_mut(&bucket).unwrap();
        (stream.messages, stream.created) = (0, created);
        stream.copies.values_mut().for_each(|copy| *copy = 0);
    }

    /// Who keeps something in the buckets notes first when they were made.
    pub(super) fn note_born(&mut self) {
        let Some(record) = &mut self.control else { return };
        for (bucket, stream) in &self.streams {
            record.born.entry(*bucket).or_insert_with(|| stream.created.clone());
        }
    }

    /// Users write a record into every bucket that there is and is led.
    pub fn write_records(&mut self) {
        self.note_born();
        let running = self.running();
        let volumes: BTreeSet<&String> = running
            .iter()
            .filter_map(|server| self.claims.get(&format!("data-{server}")))
            .map(|claim| &claim.uid)
            .collect();
        for (bucket, stream) in &mut self.streams {
            if *bucket == Bucket::Control || stream.leader.is_none() {
                continue;
            }
            for (volume, copy) in &mut stream.copies {
                *copy += u64::from(volumes.contains(volume) && *copy == stream.messages);
            }
            stream.messages += 1;
            self.held.insert(*bucket);
        }
    }

    /// A server that was away has to look again at what it has.
    pub(super) fn doubt_copies(&mut self, server: &str) {
        let Some(claim) = self.claims.get(&format!("data-{server}")) else { return };
        for stream in self.streams.values_mut() {
            if let Some(copy) = stream.copies.get_mut(&claim.uid) {
                *copy = (*copy).min(stream.messages.saturating_sub(1));
            }
        }
    }

    /// Whether any running server knows the system role's key.
    pub(super) fn knows_key(&self) -> bool {
        let Some((secret, _)) = self.secrets.get(&Role::System) else { return false };
        let Some(key) = &secret.public_key else { return false };
        self.pods
            .values()
            .any(|server| server.phase == Phase::Running && server.config.contains(key))
    }

    fn round(&self) -> Round {
        let running = self.running();
        let size = self.servers();
        let samples = running.iter().map(|name| {
            let others = running.iter().filter(|other| *other != name);
            let current = PeerSample { current: true, offline: false };
            let meta = (size > 1).then(|| MetaSample {
                leader: self.meta_leader.clone(),
                size,
                peers: others.map(|other| (other.clone(), current)).collect(),
            });
            let sample = ServerSample {
                id: self.pods[name].id.clone(),
                healthy: true,
                meta,
                streams: self.samples(name),
            };
            (name.clone(), sample)
        });
        Round {
            at: Duration::from_secs(u64::try_from(self.now).unwrap()),
            servers: samples.collect(),
        }
    }

    fn samples(&self, server: &str) -> BTreeMap<String, StreamSample> {
        let held = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.peers.iter().any(|peer| peer == server));
        held.map(|(bucket, stream)| {
            let claim = self.claims.get(&format!("data-{server}"));
            let copy = claim.and_then(|claim| stream.copies.get(&claim.uid)).copied();
            let last_seq = copy.unwrap_or(0);
            let content = Content { messages: last_seq, bytes: last_seq * 9, ..Content::default() };
            let sample = StreamSample { leader: stream.leader.clone(), last_seq, content };
            (stream_name(*bucket), sample)
        })
        .collect()
    }
}

fn stream_name(bucket: Bucket) -> String {
    format!("KV_{}", bucket.name("UNIBUS"))
}

/// What the operator holds in memory, and loses in a crash.
#[derive(Clone, Default)]
pub struct Probe {
    rounds: Vec<Round>,
    meta: Option<Result<Streak, Unsettled>>,
    silent_since: Option<i64>,
}

impl Probe {
    /// One round, if NATS answers.
    pub fn look(&mut self, fake: &Fake) {
        if !fake.exists {
            return;
        }
        if fake.running().is_empty() || !fake.knows_key() {
            self.silent_since.get_or_insert(fake.now);
            (self.rounds, self.meta) = (Vec::new(), None);
            return;
        }
        self.silent_since = None;
        let cluster = fake.cluster();
        let names = fake.see(self).world.servers(&cluster);
        let round = fake.round();
        let before = self.meta.take().and_then(Result::ok);
        self.meta = Some(watch(before.as_ref(), &round, &names, cluster.settle));
        self.rounds.push(round);
        if self.rounds.len() > 30 {
            self.rounds.remove(0);
        }
    }

    pub(super) fn silence(&self, now: i64) -> Duration {
        let since = self.silent_since.unwrap_or(now);
        Duration::from_secs(u64::try_from(now - since).unwrap())
    }

    pub(super) fn snapshot(&self, fake: &Fake) -> Option<ProbeSnapshot> {
        let (round, meta) = (self.rounds.last()?.clone(), self.meta.clone()?);
        let led = fake.meta_leader.is_some();
        let control = match (&fake.control, fake.streams.get(&Bucket::Control)) {
            (Some(record), Some(stream)) if stream.leader.is_some() => {
                Lookup::Present(record.clone())
            }
            (_, None) | (None, Some(_)) if led => Lookup::Absent,
            (_, None | Some(_)) => Lookup::Unknown,
        };
        let buckets = Bucket::ALL.map(|bucket| (bucket, self.bucket(fake, bucket, led)));
        let servers = round.servers.keys().map(|name| {
            let config = fake.pods.get(name).and_then(|server| digest(&server.config));
            (name.clone(), ServerFacts { version: "2.15.2".to_owned(), config })
        });
        Some(ProbeSnapshot {
            age: Duration::ZERO,
            servers: servers.collect(),
            round,
            meta,
            control,
            buckets: buckets.into(),
        })
    }

    fn bucket(&self, fake: &Fake, bucket: Bucket, led: bool) -> BucketSeen {
        let found = fake.streams.get(&bucket);
        let replicas = found.map_or(1, |stream| usize::from(stream.replicas));
        let stream = match found {
            Some(stream) if stream.leader.is_some() => Lookup::Present(StreamFacts {
                replicas: stream.replicas,
                leader: stream.leader.clone(),
                messages: stream.messages,
                created: stream.created.clone(),
            }),
            None if led => Lookup::Absent,
            Some(_) | None => Lookup::Unknown,
        };
        BucketSeen { stream, equality: judge(&self.rounds, &stream_name(bucket), replicas) }
    }
}

/// The digest that a configuration says of itself.
fn digest(config: &str) -> Option<String> {
    let (_, rest) = config.split_once("server_metadata: {")?;
    rest.split('"').nth(1).map(str::to_owned)
}
