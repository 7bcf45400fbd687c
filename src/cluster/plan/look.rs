//! What every decision of a plan looks at, and the questions that several of them ask.

use std::ops::ControlFlow;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSet;

use super::{Child, Next, Wait};
use crate::cluster::equal::Equality;
use crate::cluster::names::Bucket;
use crate::cluster::settled::Streak;
use crate::cluster::validate::ValidatedCluster;
use crate::cluster::world::{BucketSeen, Given, Pod, ProbeSnapshot, World};

/// A risky step follows only from rounds that are at most this old.
const FRESH: Duration = Duration::from_secs(2);

/// A stage's word: go on to the next stage, or this is what the pass does.
pub(super) type Stage<T = ()> = ControlFlow<Next, T>;

/// Spec, world and what else is given.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) cluster: &'a ValidatedCluster,
    pub(super) world: &'a World,
    pub(super) given: &'a Given,
}

impl<'a> Look<'a> {
    /// The names of the servers that the spec wants.
    pub(super) fn servers(&self) -> Vec<String> {
        self.cluster.servers.ordinals().map(|ordinal| self.cluster.names.server(ordinal)).collect()
    }

    /// The StatefulSet, if it is there and ours.
    pub(super) fn stateful_set(&self) -> Option<&'a StatefulSet> {
        self.world.stateful_set.ours()
    }

    /// The pod of a server.
    pub(super) fn pod(&self, server: &str) -> Option<&'a Pod> {
        self.world.pods.iter().find(|pod| pod.name == server)
    }

    /// The servers without a ready pod that stays.
    pub(super) fn missing(&self) -> Vec<String> {
        let there =
            |server: &String| self.pod(server).is_some_and(|pod| pod.ready && !pod.deleting);
        self.servers().into_iter().filter(|server| !there(server)).collect()
    }

    /// What the probe says, if it says anything.
    pub(super) fn nats(&self) -> Option<&'a ProbeSnapshot> {
        self.world.nats.as_ref()
    }

    /// A bucket as the probe sees it.
    pub(super) fn bucket(&self, bucket: Bucket) -> Option<&'a BucketSeen> {
        self.nats()?.buckets.get(&bucket)
    }

    /// Whether every replica of a bucket is known to hold the same.
    pub(super) fn is_equal(&self, bucket: Bucket) -> bool {
        self.bucket(bucket).is_some_and(|seen| matches!(seen.equality, Equality::Equal { .. }))
    }

    /// The meta leader, once it has held for the settle time.
    pub(super) fn settled(&self) -> Option<&'a Streak> {
        let streak = self.nats()?.meta.as_ref().ok()?;
        streak.is_settled(self.cluster.settle).then_some(streak)
    }

    /// Whether the probe's word is recent enough to take a risk on it.
    pub(super) fn is_fresh(&self) -> bool {
        self.nats().is_some_and(|nats| nats.age <= FRESH)
    }
}

/// Stops here, to wait.
pub(super) fn wait<T>(wait: Wait) -> Stage<T> {
    ControlFlow::Break(Next { wait, ..Next::default() })
}

/// Stops here, after some steps.
pub(super) fn act<T>(steps: Vec<super::Step>, wait: Wait) -> Stage<T> {
    ControlFlow::Break(Next { apply: Vec::new(), steps, wait })
}

/// Stops here, after applying children.
pub(super) fn apply<T>(apply: Vec<Child>) -> Stage<T> {
    ControlFlow::Break(Next { apply, steps: Vec::new(), wait: Wait::Children })
}

/// Goes on.
pub(super) const fn go_on() -> Stage {
    ControlFlow::Continue(())
}
