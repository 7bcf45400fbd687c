//! What the world shows, put together once for all conditions.

use std::time::Duration;

use super::{Pass, buckets};
use crate::api::conditions::{ConditionType, Reason, find};
use crate::api::v1alpha1::{BucketState, BucketStatus};
use crate::cluster::plan::{Trouble, Wait};
use crate::cluster::validate::{Servers, ValidatedCluster};
use crate::cluster::world::{Given, Pod, ProbeSnapshot, World};

/// A round older than this says nothing about now.
const NATS_SPEAKS_FOR: Duration = Duration::from_secs(12);

/// For so long the last report stands although NATS is silent: the operator may have just started.
const PAST_STANDS_FOR: Duration = Duration::from_secs(10);

/// What all conditions follow from.
pub(super) struct View<'a> {
    pub(super) cluster: &'a ValidatedCluster,
    pub(super) world: &'a World,
    pub(super) given: &'a Given,
    pub(super) pass: Pass<'a>,
    /// What NATS says, if it speaks for now.
    pub(super) nats: Option<&'a ProbeSnapshot>,
    /// NATS is silent, but so shortly that the last report stands.
    pub(super) keeps_the_past: bool,
    /// The cluster has been ready before.
    pub(super) was_up: bool,
    /// The servers that there are or shall be.
    pub(super) servers: Vec<String>,
    /// Servers without a ready pod that stays.
    pub(super) missing: Vec<String>,
    /// Servers with a ready pod that do not answer.
    pub(super) silent: Vec<String>,
    /// Whether a majority of the servers is there, if anybody can say.
    pub(super) quorum: Option<bool>,
    /// Every bucket.
    pub(super) buckets: Vec<BucketStatus>,
}

impl<'a> View<'a> {
    pub(super) fn of(
        cluster: &'a ValidatedCluster,
        world: &'a World,
        given: &'a Given,
        pass: Pass<'a>,
    ) -> Self {
        let nats = world.nats.as_ref().filter(|nats| nats.age <= NATS_SPEAKS_FOR);
        let servers = world.servers(cluster);
        let is_ready = |pod: &Pod| pod.ready && !pod.deleting;
        let (ready, missing): (Vec<String>, Vec<String>) = servers
            .iter()
            .cloned()
            .partition(|name| world.pods.iter().any(|pod| pod.name == *name && is_ready(pod)));
        let silent: Vec<String> = nats
            .map(|nats| ready.iter().filter(|name| !nats.round.servers.contains_key(*name)))
            .map(|silent| silent.cloned().collect())
            .unwrap_or_default();
        let mut view = Self {
            cluster,
            world,
            given,
            pass,
            nats,
            keeps_the_past: false,
            was_up: world.resource.status.first_ready_time.is_some(),
            servers,
            missing,
            silent,
            quorum: None,
            buckets: Vec::new(),
        };
        view.quorum = view.judge_quorum(ready.len());
        view.keeps_the_past =
            nats.is_none() && view.quorum.is_none() && world.silence <= PAST_STANDS_FOR;
        view.buckets = buckets::all(&view);
        view
    }

    /// Whether a condition was true in the last report.
    pub(super) fn was(&self, kind: ConditionType) -> bool {
        let old = find(&self.world.resource.status.conditions, kind);
        old.is_some_and(|condition| condition.status == "True")
    }

    /// Whether work of a kind was going on in the last report.
    pub(super) fn was_busy_with(&self, reason: Reason) -> bool {
        let old = find(&self.world.resource.status.conditions, ConditionType::Reconciling);
        self.was(ConditionType::Reconciling)
            && old.is_some_and(|condition| condition.reason == reason.to_string())
    }

    /// Whether every server with a ready pod says what it runs with.
    pub(super) const fn all_ready_servers_answer(&self) -> bool {
        self.nats.is_some() && self.silent.is_empty()
    }

    /// Answers count, not pods: a pod on a dead node is called ready for most of a minute.
    fn judge_quorum(&self, ready_pods: usize) -> Option<bool> {
        let quorum = self.quorum_size();
        match self.nats {
            Some(nats) => {
                let answers = |name: &&String| nats.round.servers.contains_key(*name);
                Some(self.servers.iter().filter(answers).count() >= quorum)
            }
            None => (ready_pods < quorum).then_some(false),
        }
    }

    fn quorum_size(&self) -> usize {
        self.servers.len() / 2 + 1
    }

    /// The meta leader that a majority follows, itself one of those that answer.
    pub(super) fn followed_leader(&self) -> Option<&'a str> {
        let answers = &self.nats?.round.servers;
        let follow = |leader: &str| {
            let views = answers.values().filter_map(|sample| sample.meta.as_ref()?.leader.as_ref());
            views.filter(|followed| *followed == leader).count()
        };
        answers.keys().map(String::as_str).find(|leader| follow(leader) >= self.quorum_size())
    }

    /// The trouble that the plan found.
    pub(super) const fn trouble(&self) -> Option<&'a Trouble> {
        match &self.pass.plan.wait {
            Wait::Person(trouble) => Some(trouble),
            Wait::Nothing
            | Wait::Children
            | Wait::Suspended
            | Wait::OldChildrenGone { .. }
            | Wait::Servers { .. }
            | Wait::Nats
            | Wait::MetaLeader
            | Wait::BucketsMade { .. }
            | Wait::BucketLeaders { .. }
            | Wait::BucketsRaised { .. }
            | Wait::BucketsEqual { .. }
            | Wait::Restarts { .. }
            | Wait::Reloads { .. }
            | Wait::Migration(_)
            | Wait::Serving(_)
            | Wait::OwnChildrenGone { .. } => None,
        }
    }

    /// Whether the leader has held for the settle time, or was settled in the last report and still
    /// leads: an operator that starts anew has not seen a break.
    pub(super) fn leader_is_settled(&self) -> bool {
        let Some(Ok(streak)) = self.nats.map(|nats| &nats.meta) else { return false };
        let old = self.world.resource.status.meta_leader.as_ref();
        let led_before = old.is_some_and(|old| old.server == streak.leader);
        streak.is_settled(self.cluster.settle)
            || (led_before && self.was(ConditionType::MetaLeaderSettled))
    }

    /// The pod of a server.
    pub(super) fn pod(&self, server: &str) -> Option<&Pod> {
        self.world.pods.iter().find(|pod| pod.name == server)
    }

    /// Names of the buckets in a state.
    pub(super) fn buckets_in(&self, state: BucketState) -> Vec<&str> {
        let found = self.buckets.iter().filter(|bucket| bucket.state == state);
        found.map(|bucket| bucket.name.as_str()).collect()
    }

    pub(super) fn is_standalone(&self) -> bool {
        self.cluster.servers == Servers::One
    }
}
