//! What a probe remembers, and when what it knows has changed. No I/O: time comes in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::ask::Answer;
use crate::cluster::equal::{Equality, judge};
use crate::cluster::names::Bucket;
use crate::cluster::sample::Round;
use crate::cluster::settled::{Streak, Unsettled, watch};
use crate::cluster::world::{
    BucketSeen, ControlRecord, Lookup, ProbeSnapshot, ServerFacts, StreamFacts,
};
use crate::jetstream::bucket::stream_of;

/// For how long rounds are of use.
const REMEMBERED: Duration = Duration::from_secs(31);

/// What a probe knows.
pub(super) struct Memory {
    servers: Vec<String>,
    settle: Duration,
    prefix: String,
    began: Instant,
    /// When the last round was asked that anybody answered.
    answered: Option<Instant>,
    rounds: Vec<Round>,
    meta: Option<Result<Streak, Unsettled>>,
    /// The replicas that a bucket was last said to have.
    replicas: BTreeMap<Bucket, usize>,
    known: Option<Known>,
    key_refused: bool,
    /// Rounds that were asked before this say nothing of what was done since.
    not_before: Instant,
    verdict: Option<Verdict>,
}

/// What the newest round said, beside its samples.
#[derive(Clone)]
struct Known {
    control: Lookup<ControlRecord>,
    buckets: BTreeMap<Bucket, BucketSeen>,
    servers: BTreeMap<String, ServerFacts>,
}

/// What a plan or a report could follow from. Counters that move under load are not in it.
#[derive(Clone, PartialEq)]
struct Verdict {
    meta: Option<Result<(String, bool), Unsettled>>,
    control: Lookup<ControlRecord>,
    buckets: BTreeMap<Bucket, BucketSeen>,
    servers: BTreeMap<String, ServerFacts>,
    key_refused: bool,
}

impl Memory {
    pub(super) fn new(
        servers: Vec<String>,
        settle: Duration,
        prefix: String,
        now: Instant,
    ) -> Self {
        Self {
            servers,
            settle,
            prefix,
            began: now,
            answered: None,
            rounds: Vec::new(),
            meta: None,
            replicas: BTreeMap::new(),
            known: None,
            key_refused: false,
            not_before: now,
            verdict: None,
        }
    }

    /// Takes in a round. Gives whether anything follows that did not before.
    pub(super) fn take_in(&mut self, asked: Instant, answer: Answer) -> bool {
        self.key_refused = answer.key_refused;
        if answer.servers.is_empty() {
            (self.known, self.meta) = (None, None);
        } else {
            self.remember(asked, answer);
        }
        let verdict = Some(self.judge());
        let changed = verdict != self.verdict;
        self.verdict = verdict;
        changed
    }

    fn remember(&mut self, asked: Instant, answer: Answer) {
        self.answered = Some(asked);
        let at = asked.duration_since(self.began);
        let (mut samples, mut servers) = (BTreeMap::new(), BTreeMap::new());
        for (name, (sample, facts)) in answer.servers {
            samples.insert(name.clone(), sample);
            servers.insert(name, facts);
        }
        let round = Round { at, servers: samples };
        let before = self.meta.take().and_then(Result::ok);
        self.meta = Some(watch(before.as_ref(), &round, &self.servers, self.settle));
        self.rounds.retain(|old| at.saturating_sub(old.at) <= REMEMBERED);
        self.rounds.push(round);
        for (bucket, stream) in &answer.streams {
            if let Lookup::Present(facts) = stream {
                self.replicas.insert(*bucket, usize::from(facts.replicas));
            }
        }
        let streams = answer.streams.into_iter();
        let buckets = streams.map(|(bucket, stream)| (bucket, self.look_at(bucket, stream)));
        let buckets = buckets.collect();
        self.known = Some(Known { control: answer.control, buckets, servers });
    }

    fn look_at(&self, bucket: Bucket, stream: Lookup<StreamFacts>) -> BucketSeen {
        let name = stream_of(&bucket.name(&self.prefix));
        let equality = match (&stream, self.replicas.get(&bucket)) {
            (Lookup::Absent, _) => Equality::Absent,
            // How many copies there should be was never said.
            (_, None) => Equality::Watching,
            (_, Some(replicas)) => judge(&self.rounds, &name, *replicas),
        };
        BucketSeen { stream, equality }
    }

    fn judge(&self) -> Verdict {
        let known = self.known.clone();
        let mut buckets = known.as_ref().map(|known| known.buckets.clone()).unwrap_or_default();
        for seen in buckets.values_mut() {
            if let Lookup::Present(facts) = &mut seen.stream {
                facts.messages = 0;
            }
        }
        let settled = |streak: &Streak| (streak.leader.clone(), streak.is_settled(self.settle));
        Verdict {
            meta: self.meta.as_ref().map(|meta| meta.as_ref().map(settled).map_err(Clone::clone)),
            control: known.as_ref().map(|known| known.control.clone()).unwrap_or_default(),
            buckets,
            servers: known.map(|known| known.servers).unwrap_or_default(),
            key_refused: self.key_refused,
        }
    }

    /// Whether there is a meta leader that has to hold a little longer.
    pub(super) fn is_settling(&self) -> bool {
        matches!(&self.meta, Some(Ok(streak)) if !streak.is_settled(self.settle))
    }

    /// What NATS says; none while nobody answers.
    pub(super) fn snapshot(&self, now: Instant) -> Option<ProbeSnapshot> {
        let answered = self.answered.filter(|asked| *asked >= self.not_before)?;
        let Known { control, buckets, servers } = self.known.clone()?;
        Some(ProbeSnapshot {
            age: now.saturating_duration_since(answered),
            round: self.rounds.last()?.clone(),
            meta: self.meta.clone()?,
            control,
            buckets,
            servers,
        })
    }

    /// From now on, only what is asked after this counts.
    pub(super) const fn outdate(&mut self, now: Instant) {
        self.not_before = now;
    }

    /// For how long nobody answered.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        if self.known.is_some() {
            return Duration::ZERO;
        }
        now.saturating_duration_since(self.answered.unwrap_or(self.began))
    }

    /// Whether the servers refused the system role's key in the newest round.
    pub(super) const fn key_refused(&self) -> bool {
        self.key_refused
    }

    /// The id of a server that answered in the newest round.
    pub(super) fn server_id(&self, server: &str) -> Option<String> {
        Some(self.rounds.last()?.servers.get(server)?.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sample::{MetaSample, PeerSample, ServerSample};

    const SETTLE: Duration = Duration::from_secs(5);

    fn memory(now: Instant) -> Memory {
        let servers = ["n0", "n1", "n2"].map(str::to_owned).into();
        Memory::new(servers, SETTLE, "U".to_owned(), now)
    }

    fn answer(leader: &str, messages: u64) -> Answer {
        let names = ["n0", "n1", "n2"];
        let peer = PeerSample { current: true, offline: false };
        let meta = MetaSample {
            leader: Some(leader.to_owned()),
            size: 3,
            peers: names.map(|name| (name.to_owned(), peer)).into(),
        };
        let sample = ServerSample { healthy: true, meta: Some(meta), ..ServerSample::default() };
        let facts = StreamFacts { replicas: 1, messages, ..StreamFacts::default() };
        Answer {
            servers: names
                .map(|name| (name.to_owned(), (sample.clone(), ServerFacts::default())))
                .into(),
            key_refused: false,
            control: Lookup::Absent,
            streams: [(Bucket::Rooms, Lookup::Present(facts))].into(),
        }
    }

    fn nothing() -> Answer {
        Answer {
            servers: BTreeMap::new(),
            key_refused: true,
            control: Lookup::Unknown,
            streams: BTreeMap::new(),
        }
    }

    #[test]
    fn a_pass_is_wished_for_when_something_follows_and_not_when_a_counter_moves() {
        let began = Instant::now();
        let at = |second| began + Duration::from_secs(second);
        let mut memory = memory(began);
        assert!(memory.take_in(at(0), answer("n0", 1)), "the first round");
        assert!(!memory.take_in(at(1), answer("n0", 2)), "a message more");
        assert!(memory.take_in(at(2), answer("n1", 2)), "another leader");
        for second in 3..7 {
            memory.take_in(at(second), answer("n1", 2));
            assert!(memory.is_settling());
        }
        assert!(memory.take_in(at(7), answer("n1", 2)), "settled");
        assert!(!memory.is_settling());
        assert!(!memory.take_in(at(8), answer("n1", 2)), "still settled");
        assert!(memory.take_in(at(9), nothing()), "silence");
        assert!(!memory.take_in(at(10), nothing()), "still silence");
    }

    #[test]
    fn silence_counts_from_the_last_answer_or_from_the_beginning() {
        let began = Instant::now();
        let at = |second| began + Duration::from_secs(second);
        let mut memory = memory(began);
        memory.take_in(at(1), nothing());
        assert_eq!(memory.silence(at(2)), Duration::from_secs(2));
        assert!(memory.snapshot(at(2)).is_none());
        memory.take_in(at(3), answer("n0", 1));
        assert_eq!(memory.silence(at(4)), Duration::ZERO);
        assert_eq!(memory.snapshot(at(4)).unwrap().age, Duration::from_secs(1));
        memory.take_in(at(5), nothing());
        assert_eq!(memory.silence(at(6)), Duration::from_secs(3));
        assert!(memory.snapshot(at(6)).is_none() && memory.key_refused());
    }

    #[test]
    fn what_was_asked_before_a_deed_says_nothing_after_it() {
        let began = Instant::now();
        let at = |second| began + Duration::from_secs(second);
        let mut memory = memory(began);
        memory.take_in(at(1), answer("n0", 1));
        memory.outdate(at(2));
        assert!(memory.snapshot(at(2)).is_none());
        assert_eq!(memory.silence(at(2)), Duration::ZERO);
        memory.take_in(at(3), answer("n0", 1));
        assert!(memory.snapshot(at(3)).is_some());
    }

    #[test]
    fn a_bucket_whose_replicas_nobody_told_is_never_called_equal() {
        let began = Instant::now();
        let mut memory = memory(began);
        for second in 0..5 {
            let mut answer = answer("n0", 1);
            answer.streams.insert(Bucket::Users, Lookup::Unknown);
            memory.take_in(began + Duration::from_secs(second), answer);
        }
        let snapshot = memory.snapshot(began).unwrap();
        assert_eq!(snapshot.buckets[&Bucket::Users].equality, Equality::Watching);
    }
}
