//! Do all replicas of a stream hold the same data?
//!
//! `current: true` alone lies (replicas said it with a quarter of the messages), and "the same
//! counts at one instant" starves under load. So a replica counts as equal in a round when it had
//! the leader's content at one and the same `last_seq`, has caught up with where the leader was a
//! round before, and is healthy; and two such rounds within 30 s make a verdict.

use std::time::Duration;

use super::sample::{Content, Round, StreamSample};

/// How far back rounds count.
const WINDOW: Duration = Duration::from_secs(30);

/// How long a stream may be without a leader while one hands over to another.
const HANDOVER: Duration = Duration::from_secs(2);

/// How many rounds must find every replica equal.
const ROUNDS: usize = 2;

/// What the rounds say about a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Equality {
    /// The probe has only begun: too few rounds to say anything.
    Watching,
    /// No server holds the stream, or none answered.
    Absent,
    /// Nobody leads it.
    NoLeader,
    /// It has another number of copies than wanted.
    Copies {
        /// How many there are.
        found: usize,
        /// How many of them hold the same data as the leader, itself included.
        equal: usize,
    },
    /// Not all seen equal in two rounds.
    Syncing {
        /// How many hold the same data as the leader, itself included.
        equal: usize,
    },
    /// A replica differs from the leader although it is not behind.
    Diverged {
        /// The server with the other content.
        server: String,
        /// How many hold the same data as the leader, itself included.
        equal: usize,
    },
    /// Every replica holds the same data.
    Equal {
        /// Who leads the stream.
        leader: String,
    },
}

/// Judges a stream by the rounds of the last 30 s, oldest first.
#[must_use]
pub fn judge(rounds: &[Round], stream: &str, replicas: usize) -> Equality {
    let Some(newest) = rounds.last() else { return Equality::Absent };
    let found = newest.holders(stream).count();
    if found == 0 {
        return Equality::Absent;
    }
    let Some(leader) = newest.stream_leader(stream) else { return leaderless(rounds, stream) };
    let led: Vec<&Round> = rounds
        .iter()
        .filter(|round| newest.at.saturating_sub(round.at) <= WINDOW)
        .filter(|round| round.stream_leader(stream) == Some(leader))
        // What a server held before it was restarted says nothing about what it holds now.
        .filter(|round| round.same_lives(newest))
        .collect();
    let judge = Judge { rounds: led, stream, leader };
    let equal = newest.holders(stream).filter(|server| judge.stays_equal(server)).count().max(1);
    if let Some(server) = newest.holders(stream).find(|server| judge.has_diverged(server)) {
        return Equality::Diverged { server: server.to_owned(), equal };
    }
    if rounds.len() <= ROUNDS {
        return Equality::Watching;
    }
    if found != replicas {
        return Equality::Copies { found, equal };
    }
    if equal < found {
        return Equality::Syncing { equal };
    }
    Equality::Equal { leader: leader.to_owned() }
}

/// A leadership that is handed over leaves a round or two without a leader.
fn leaderless(rounds: &[Round], stream: &str) -> Equality {
    let Some(newest) = rounds.last() else { return Equality::NoLeader };
    let led = rounds
        .iter()
        .filter(|round| newest.at.saturating_sub(round.at) <= HANDOVER)
        .any(|round| round.stream_leader(stream).is_some());
    if led { Equality::Syncing { equal: 0 } } else { Equality::NoLeader }
}

/// The rounds under one leader.
struct Judge<'a> {
    rounds: Vec<&'a Round>,
    stream: &'a str,
    leader: &'a str,
}

impl Judge<'_> {
    /// Whether a copy was equal in enough rounds and keeps up in the newest: earlier rounds say
    /// nothing about a replica that has fallen behind or ill since.
    fn stays_equal(&self, server: &str) -> bool {
        let Some([before, newest]) = self.rounds.last_chunk::<2>() else { return false };
        let equal = self.rounds.windows(2).filter(|pair| self.is_equal(server, pair[0], pair[1]));
        self.keeps_up(server, before, newest).is_some() && equal.count() >= ROUNDS
    }

    fn is_equal(&self, server: &str, before: &Round, now: &Round) -> bool {
        self.keeps_up(server, before, now)
            .is_some_and(|copy| self.leader_had(copy.last_seq, copy.content))
    }

    /// The copy of a healthy server that has what the leader had a round before.
    fn keeps_up<'a>(
        &self,
        server: &str,
        before: &Round,
        now: &'a Round,
    ) -> Option<&'a StreamSample> {
        let healthy = now.servers.get(server).is_some_and(|sample| sample.healthy);
        let copy = now.copy(server, self.stream)?;
        let leader = before.copy(self.leader, self.stream)?;
        (healthy && copy.last_seq >= leader.last_seq).then_some(copy)
    }

    /// Whether the leader was seen with this content at this sequence, in any round.
    fn leader_had(&self, last_seq: u64, content: Content) -> bool {
        self.rounds
            .iter()
            .filter_map(|round| round.copy(self.leader, self.stream))
            .any(|leader| leader.last_seq == last_seq && leader.content == content)
    }

    /// A purge lowers the sums without a new sequence, and reaches replicas one after the other. So
    /// only a difference that stands still from one round to the next is a divergence.
    fn has_diverged(&self, server: &str) -> bool {
        let Some(last_two) = self.rounds.last_chunk::<2>() else { return false };
        let views = last_two.map(|round| {
            Some((round.copy(self.leader, self.stream)?, round.copy(server, self.stream)?))
        });
        match views {
            [Some(before), Some(now)] => {
                let (leader, copy) = now;
                before == now && copy.last_seq == leader.last_seq && copy.content != leader.content
            }
            [_, None] | [None, _] => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sample::ServerSample;

    const STREAM: &str = "KV_UNIBUS_rooms";

    fn content(messages: u64) -> Content {
        Content { messages, bytes: messages * 100, first_seq: 1, num_deleted: 0 }
    }

    /// One copy: its newest sequence, and its messages.
    type Copy = (u64, u64);

    /// A round at a second, led by `n0`, with healthy copies on `n0`, `n1`, ...
    fn round(second: u64, copies: &[Copy]) -> Round {
        let servers = copies.iter().enumerate().map(|(ordinal, (last_seq, messages))| {
            let copy = StreamSample {
                leader: Some("n0".to_owned()),
                last_seq: *last_seq,
                content: content(*messages),
            };
            let streams = [(STREAM.to_owned(), copy)].into();
            let sample = ServerSample { healthy: true, streams, ..ServerSample::default() };
            (format!("n{ordinal}"), sample)
        });
        Round { at: Duration::from_secs(second), servers: servers.collect() }
    }

    fn equal() -> Equality {
        Equality::Equal { leader: "n0".to_owned() }
    }

    #[test]
    fn quiet_replicas_are_equal_after_two_rounds_that_follow_a_first() {
        let quiet = |second| round(second, &[(10, 10), (10, 10), (10, 10)]);
        assert_eq!(judge(&[quiet(0), quiet(1)], STREAM, 3), Equality::Watching);
        assert_eq!(judge(&[quiet(0), quiet(1), quiet(2)], STREAM, 3), equal());
    }

    #[test]
    fn replicas_under_load_are_equal_without_ever_being_so_at_one_instant() {
        let rounds = [
            round(0, &[(10, 10), (9, 9), (9, 9)]),
            round(1, &[(20, 20), (10, 10), (10, 10)]),
            round(2, &[(30, 30), (20, 20), (20, 20)]),
        ];
        assert_eq!(judge(&rounds, STREAM, 3), equal());
    }

    #[test]
    fn a_replica_that_claims_the_sequence_with_fewer_messages_has_diverged() {
        let lost = |second| round(second, &[(10, 10), (10, 10), (10, 7)]);
        assert_eq!(judge(&[lost(0)], STREAM, 3), Equality::Watching);
        let diverged = Equality::Diverged { server: "n2".to_owned(), equal: 1 };
        assert_eq!(judge(&[lost(0), lost(1)], STREAM, 3), diverged);
    }

    #[test]
    fn a_purge_on_its_way_is_no_divergence() {
        let rounds = [
            round(0, &[(10, 8), (10, 8), (10, 10)]),
            round(1, &[(10, 5), (10, 5), (10, 8)]),
            round(2, &[(10, 5), (10, 5), (10, 5)]),
            round(3, &[(10, 5), (10, 5), (10, 5)]),
        ];
        for rounds in [&rounds[..1], &rounds[..2]] {
            assert_eq!(judge(rounds, STREAM, 3), Equality::Watching);
        }
        assert_eq!(judge(&rounds, STREAM, 3), equal());
    }

    #[test]
    fn a_replica_that_stands_still_behind_a_moving_leader_is_not_equal() {
        let rounds = [
            round(0, &[(10, 10), (10, 10), (10, 10)]),
            round(1, &[(20, 20), (20, 20), (10, 10)]),
            round(2, &[(30, 30), (30, 30), (10, 10)]),
        ];
        assert_eq!(judge(&rounds, STREAM, 3), Equality::Syncing { equal: 2 });
    }

    #[test]
    fn a_replica_that_falls_behind_or_ill_is_not_equal_any_more() {
        let quiet = |second| round(second, &[(10, 10), (10, 10), (10, 10)]);
        let mut rounds = vec![quiet(0), quiet(1), quiet(2)];
        assert_eq!(judge(&rounds, STREAM, 3), equal());
        rounds.push(round(3, &[(20, 20), (20, 20), (10, 10)]));
        rounds.push(round(4, &[(30, 30), (30, 30), (10, 10)]));
        assert_eq!(judge(&rounds, STREAM, 3), Equality::Syncing { equal: 2 });
        let mut ill = quiet(3);
        ill.servers.get_mut("n1").unwrap().healthy = false;
        assert_eq!(
            judge(&[quiet(0), quiet(1), quiet(2), ill], STREAM, 3),
            Equality::Syncing { equal: 2 }
        );
    }

    #[test]
    fn rounds_before_a_restart_do_not_count() {
        let quiet = |second| round(second, &[(10, 10), (10, 10), (10, 10)]);
        let mut rounds: Vec<Round> = (0..6).map(quiet).collect();
        for round in &mut rounds[3..] {
            round.servers.get_mut("n1").unwrap().id = "restarted".to_owned();
        }
        assert_eq!(judge(&rounds[..3], STREAM, 3), equal());
        assert_eq!(judge(&rounds[..5], STREAM, 3), Equality::Syncing { equal: 1 });
        assert_eq!(judge(&rounds, STREAM, 3), equal());
    }

    #[test]
    fn an_unhealthy_replica_is_not_equal() {
        let mut rounds = [0, 1, 2, 3].map(|second| round(second, &[(10, 10), (10, 10), (10, 10)]));
        for round in &mut rounds {
            round.servers.get_mut("n1").unwrap().healthy = false;
        }
        assert_eq!(judge(&rounds, STREAM, 3), Equality::Syncing { equal: 2 });
    }

    #[test]
    fn old_rounds_do_not_count() {
        let quiet = |second| round(second, &[(10, 10), (10, 10), (10, 10)]);
        let rounds = [quiet(0), quiet(1), quiet(40), quiet(41)];
        assert_eq!(judge(&rounds, STREAM, 3), Equality::Syncing { equal: 1 });
    }

    #[test]
    fn missing_copies_and_leaders_are_named() {
        let one_copy = [round(0, &[(10, 10)])];
        assert_eq!(judge(&one_copy, STREAM, 3), Equality::Watching);
        let two_copies = [0, 1, 2].map(|second| round(second, &[(10, 10), (10, 10)]));
        let two = Equality::Copies { found: 2, equal: 2 };
        assert_eq!(judge(&two_copies, STREAM, 3), two);
        assert_eq!(judge(&one_copy, "KV_other", 1), Equality::Absent);
        assert_eq!(judge(&[], STREAM, 1), Equality::Absent);
        let mut leaderless = round(0, &[(10, 10)]);
        leaderless.servers.get_mut("n0").unwrap().streams.get_mut(STREAM).unwrap().leader = None;
        assert_eq!(judge(&[leaderless], STREAM, 1), Equality::NoLeader);
    }

    #[test]
    fn a_handover_is_not_the_loss_of_a_leader() {
        let mut rounds: Vec<Round> = (0..6).map(|second| round(second, &[(10, 10)])).collect();
        for round in &mut rounds[3..] {
            round.servers.get_mut("n0").unwrap().streams.get_mut(STREAM).unwrap().leader = None;
        }
        assert_eq!(judge(&rounds[..4], STREAM, 1), Equality::Syncing { equal: 0 });
        assert_eq!(judge(&rounds[..5], STREAM, 1), Equality::Syncing { equal: 0 });
        assert_eq!(judge(&rounds, STREAM, 1), Equality::NoLeader);
    }

    #[test]
    fn a_single_copy_is_equal_to_itself() {
        let rounds = [0, 1, 2].map(|second| round(second, &[(10, 10)]));
        assert_eq!(judge(&rounds, STREAM, 1), equal());
    }
}
