//! Has the meta leader settled? A bucket raised before that starves in elections.
//!
//! Settled means: every server names the same leader, the group has the wanted size, and every
//! peer, as the leader itself reports, is online and current, without a break for the settle time.

use std::time::Duration;

use super::sample::Round;

/// The longest time between two rounds that still counts as having watched while not yet settled:
/// eight rounds at four a second.
const WATCHING_GAP: Duration = Duration::from_secs(2);

/// For how long a peer of a settled leader may be behind, as it is for a moment whenever buckets are
/// made or raised. One that is away ends the streak at once.
const CATCHING_UP: Duration = Duration::from_secs(2);

/// The same once settled, when a round comes every 5 s: two may be lost.
const SETTLED_GAP: Duration = Duration::from_secs(16);

/// Why the meta group is not as it should be in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsettled {
    /// A server did not answer.
    Silent {
        /// Which.
        server: String,
    },
    /// A server follows nobody.
    NoLeader {
        /// Which.
        server: String,
    },
    /// Two servers follow different leaders, or one that is none of ours.
    Disagreement {
        /// One leader.
        one: String,
        /// Another.
        other: String,
    },
    /// The group has another size than wanted: it waits for servers that are gone, or lacks some.
    WrongSize {
        /// What the leader takes the size to be.
        size: usize,
    },
    /// A peer is away or behind.
    Behind {
        /// Which.
        server: String,
    },
}

/// One leader, watched without a break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streak {
    /// The leader; the one server itself when it is alone.
    pub leader: String,
    /// The first round of the streak.
    pub since: Duration,
    /// The last.
    pub at: Duration,
}

impl Streak {
    /// Whether the leader has held for the settle time.
    #[must_use]
    pub fn is_settled(&self, settle: Duration) -> bool {
        self.at.saturating_sub(self.since) >= settle
    }

    /// Whether a later round with this leader continues the streak: between two rounds too far
    /// apart a leader may have come and gone.
    fn reaches(&self, leader: &str, at: Duration, settle: Duration) -> bool {
        let longest = if self.is_settled(settle) { SETTLED_GAP } else { WATCHING_GAP };
        self.leader == leader && at.saturating_sub(self.at) <= longest
    }
}

/// The streak after a round.
///
/// # Errors
/// What is wrong in this round; the streak is broken then.
pub fn watch(
    before: Option<&Streak>,
    round: &Round,
    servers: &[String],
    settle: Duration,
) -> Result<Streak, Unsettled> {
    let leader = agreed_leader(round, servers)?;
    if let Err(behind) = peers_are_current(round, servers, &leader) {
        let settled = before.filter(|streak| streak.leader == leader && streak.is_settled(settle));
        let caught_up = settled.filter(|streak| {
            round.at.saturating_sub(streak.at) <= CATCHING_UP
                && nobody_is_away(round, servers, &leader)
        });
        return caught_up.cloned().ok_or(behind);
    }
    let since = before
        .filter(|streak| streak.reaches(&leader, round.at, settle))
        .map_or(round.at, |streak| streak.since);
    Ok(Streak { leader, since, at: round.at })
}

/// The leader that every server names.
fn agreed_leader(round: &Round, servers: &[String]) -> Result<String, Unsettled> {
    let mut agreed: Option<&str> = None;
    for server in servers {
        let silent = || Unsettled::Silent { server: server.clone() };
        let sample = round.servers.get(server).ok_or_else(silent)?;
        let leader = match &sample.meta {
            Some(meta) => meta.leader.as_deref(),
            None if servers.len() == 1 => Some(server.as_str()),
            None => None,
        };
        let leader = leader.ok_or_else(|| Unsettled::NoLeader { server: server.clone() })?;
        let first = *agreed.get_or_insert(leader);
        if first != leader || !servers.iter().any(|server| server == leader) {
            let (one, other) = (first.to_owned(), leader.to_owned());
            return Err(Unsettled::Disagreement { one, other });
        }
    }
    agreed.map(str::to_owned).ok_or(Unsettled::WrongSize { size: 0 })
}

/// Whether the leader knows of every peer, and of none that is away, in a group of the wanted size.
fn nobody_is_away(round: &Round, servers: &[String], leader: &str) -> bool {
    let meta = round.servers.get(leader).and_then(|sample| sample.meta.as_ref());
    meta.is_some_and(|meta| {
        let there = |server: &str| meta.peers.get(server).is_some_and(|peer| !peer.offline);
        let mut others = servers.iter().filter(|server| *server != leader);
        meta.size == servers.len() && others.all(|server| there(server))
    })
}

fn peers_are_current(round: &Round, servers: &[String], leader: &str) -> Result<(), Unsettled> {
    let Some(meta) = round.servers.get(leader).and_then(|sample| sample.meta.as_ref()) else {
        return Ok(());
    };
    if meta.size != servers.len() {
        return Err(Unsettled::WrongSize { size: meta.size });
    }
    let fit =
        |server: &str| meta.peers.get(server).is_some_and(|peer| peer.current && !peer.offline);
    match servers.iter().find(|server| *server != leader && !fit(server)) {
        Some(server) => Err(Unsettled::Behind { server: server.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::sample::{MetaSample, PeerSample, ServerSample};

    const SETTLE: Duration = Duration::from_secs(5);

    /// What a test breaks in a round.
    type Break = fn(&mut Round);

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|ordinal| format!("n{ordinal}")).collect()
    }

    /// A healthy round of three under a leader. Followers show their peers as not current, as real
    /// ones do.
    fn round(millis: u64, leader: &str) -> Round {
        let servers = names(3);
        let sample = |server: &String| {
            let current = server == leader;
            let peers = servers.iter().filter(|peer| *peer != server);
            let meta = MetaSample {
                leader: Some(leader.to_owned()),
                size: 3,
                peers: peers
                    .map(|peer| (peer.clone(), PeerSample { current, offline: false }))
                    .collect(),
            };
            ServerSample { healthy: true, meta: Some(meta), ..ServerSample::default() }
        };
        Round {
            at: Duration::from_millis(millis),
            servers: servers.iter().map(|server| (server.clone(), sample(server))).collect(),
        }
    }

    fn meta<'a>(round: &'a mut Round, server: &str) -> &'a mut MetaSample {
        round.servers.get_mut(server).unwrap().meta.as_mut().unwrap()
    }

    fn watched(rounds: &[Round]) -> Option<Streak> {
        rounds.iter().fold(None, |streak: Option<Streak>, round| {
            watch(streak.as_ref(), round, &names(3), SETTLE).ok()
        })
    }

    #[test]
    fn a_leader_that_holds_for_the_settle_time_has_settled() {
        let rounds: Vec<Round> = (0..=20).map(|n| round(n * 250, "n1")).collect();
        assert!(watched(&rounds).unwrap().is_settled(SETTLE));
        assert!(!watched(&rounds[..20]).unwrap().is_settled(SETTLE), "4.75 s are not 5 s");
    }

    #[test]
    fn one_bad_round_or_another_leader_starts_the_time_again() {
        let steady = |n: u64| round(n * 250, "n1");
        let mut led_by_another: Vec<Round> = (0..=20).map(steady).collect();
        led_by_another[10] = round(2_500, "n2");
        let mut silent: Vec<Round> = (0..=20).map(steady).collect();
        silent[10].servers.remove("n0");
        for rounds in [led_by_another, silent] {
            assert_eq!(watched(&rounds).unwrap().since, Duration::from_millis(2_750));
        }
    }

    #[test]
    fn two_looks_far_apart_are_not_a_watch() {
        let streak = watched(&[round(0, "n1"), round(6_000, "n1")]).unwrap();
        assert!(!streak.is_settled(SETTLE));
    }

    #[test]
    fn a_settled_leader_stays_so_under_slow_rounds() {
        let mut rounds: Vec<Round> = (0..=20).map(|n| round(n * 250, "n1")).collect();
        rounds.extend([round(10_000, "n1"), round(20_000, "n1")]);
        assert_eq!(watched(&rounds).unwrap().since, Duration::ZERO);
        rounds.push(round(40_000, "n1"));
        assert!(!watched(&rounds).unwrap().is_settled(SETTLE), "20 s without a look prove nothing");
    }

    #[test]
    fn a_peer_that_is_behind_for_a_moment_does_not_unsettle_a_settled_leader() {
        let behind = |millis| {
            let mut round = round(millis, "n1");
            meta(&mut round, "n1").peers.get_mut("n0").unwrap().current = false;
            round
        };
        let steady: Vec<Round> = (0..=20).map(|n| round(n * 250, "n1")).collect();
        let then = |more: &[Round]| watched(&[&steady, more].concat());
        let since_the_first = |streak: Streak| streak.since == Duration::ZERO;
        let brief = [behind(5_250), behind(6_750), round(7_000, "n1")];
        assert!(then(&brief).is_some_and(since_the_first));
        assert!(then(&brief[..1]).unwrap().is_settled(SETTLE));
        assert_eq!(then(&[behind(5_250), behind(7_250)]), None, "behind for longer");
        assert_eq!(watched(&[&steady[..10], &[behind(2_500)]].concat()), None, "not settled yet");
        let mut away = behind(5_250);
        meta(&mut away, "n1").peers.get_mut("n2").unwrap().offline = true;
        assert_eq!(then(&[away]), None, "a peer is away");
        let mut unknown = behind(5_250);
        meta(&mut unknown, "n1").peers.clear();
        assert_eq!(then(&[unknown]), None, "nothing is known of the peers");
    }

    #[test]
    fn what_is_wrong_in_a_round_is_named() {
        let behind = |server: &str| Unsettled::Behind { server: server.to_owned() };
        let broken = |change: Break| {
            let mut round = round(0, "n1");
            change(&mut round);
            watch(None, &round, &names(3), SETTLE).unwrap_err()
        };
        let table: [(Unsettled, Break); 7] = [
            (Unsettled::Silent { server: "n2".to_owned() }, |round| {
                round.servers.remove("n2");
            }),
            (Unsettled::NoLeader { server: "n0".to_owned() }, |round| {
                meta(round, "n0").leader = None
            }),
            (Unsettled::Disagreement { one: "n1".to_owned(), other: "n2".to_owned() }, |round| {
                meta(round, "n2").leader = Some("n2".to_owned());
            }),
            (Unsettled::WrongSize { size: 5 }, |round| meta(round, "n1").size = 5),
            (behind("n0"), |round| {
                meta(round, "n1").peers.insert("n0".to_owned(), PeerSample::default());
            }),
            (behind("n2"), |round| {
                let offline = PeerSample { current: true, offline: true };
                meta(round, "n1").peers.insert("n2".to_owned(), offline);
            }),
            // The empty list is not "all current".
            (behind("n0"), |round| meta(round, "n1").peers.clear()),
        ];
        for (wanted, change) in table {
            assert_eq!(broken(change), wanted);
        }
    }

    #[test]
    fn a_ghost_as_leader_is_a_disagreement() {
        let mut ghost = round(0, "n1");
        for server in names(3) {
            meta(&mut ghost, &server).leader = Some("gone".to_owned());
        }
        let error = watch(None, &ghost, &names(3), SETTLE).unwrap_err();
        assert!(matches!(error, Unsettled::Disagreement { .. }), "{error:?}");
    }

    #[test]
    fn a_server_alone_leads_itself_but_not_one_of_three() {
        let alone = ServerSample { healthy: true, ..ServerSample::default() };
        let round = Round { at: SETTLE, servers: [("n0".to_owned(), alone)].into() };
        assert_eq!(watch(None, &round, &names(1), SETTLE).unwrap().leader, "n0");
        assert!(watch(None, &round, &names(3), SETTLE).is_err());
    }
}
