//! Each condition with its status, reason and sentence.

use k8s_openapi::jiff::SignedDuration;

use super::migration;
use super::serving;
use super::view::View;
use super::words::{list, servers, trouble_reason, trouble_words, unsettled_words, wait_words};
use crate::api::conditions::{ConditionType, Finding, Reason, Truth, find};
use crate::api::v1alpha1::BucketState;
use crate::cluster::equal::Equality;
use crate::cluster::plan::{ServeWait, Wait};

/// A status with its why, not yet said of a condition.
pub(super) type Verdict = (Truth, Reason, String);

/// Every condition, in the order in which they are written.
pub(super) fn all(view: &View<'_>) -> Vec<Finding> {
    let servers = servers_ready(view);
    let stalled = stalled(view, &servers);
    let reconciling = reconciling(view, &stalled);
    let buckets = buckets_ready(view);
    let migrated = migration::migrated(view);
    let membershipd = serving::ready(view);
    let parts = Parts { buckets: &buckets, migrated: &migrated, membershipd: &membershipd };
    let ready = ready(view, &stalled, &reconciling, parts);
    let degraded = degraded(view, &ready, &reconciling);
    let headline = headline(view, &ready, &stalled, &reconciling, &degraded);
    let meta = meta_leader_settled(view);
    [
        (ConditionType::Ready, (ready.0, ready.1, headline)),
        (ConditionType::Degraded, degraded),
        (ConditionType::Reconciling, reconciling),
        (ConditionType::Stalled, stalled),
        (ConditionType::ServersReady, servers),
        (ConditionType::MetaLeaderSettled, meta),
        (ConditionType::BucketsReady, buckets),
        (ConditionType::Migrated, migrated),
        (ConditionType::MembershipdReady, membershipd),
    ]
    .map(|(kind, (truth, reason, message))| Finding::new(kind, truth, reason, message))
    .into()
}

/// The words of the column: the worst thing first.
fn headline(
    view: &View<'_>,
    ready: &Verdict,
    stalled: &Verdict,
    reconciling: &Verdict,
    degraded: &Verdict,
) -> String {
    let (serves, lacks) = (ready.0 == Truth::True, degraded.0 == Truth::True);
    let words = match (stalled.0, reconciling.0) {
        (Truth::True, _) => stalled.2.clone(),
        (_, Truth::True) if serves && lacks => format!("{}; {}", reconciling.2, degraded.2),
        (_, Truth::True) => reconciling.2.clone(),
        _ if serves && lacks => format!("serving, {}", degraded.2),
        _ => ready.2.clone(),
    };
    let suspended = view.pass.plan.wait == Wait::Suspended;
    if suspended { format!("suspended; {words}") } else { words }
}

/// What a past report said, while NATS has been silent only shortly.
pub(super) fn past(view: &View<'_>, kind: ConditionType) -> Option<Verdict> {
    if !view.keeps_the_past {
        return None;
    }
    let old = find(&view.world.resource.status.conditions, kind)?;
    let reason = Reason::parse(&old.reason)?;
    let truth = match old.status.as_str() {
        "True" => Truth::True,
        "False" => Truth::False,
        _ => return None,
    };
    Some((truth, reason, old.message.clone()))
}

fn servers_ready(view: &View<'_>) -> Verdict {
    let wanted = view.servers.len();
    if view.missing.is_empty() {
        let words = if wanted == 1 {
            "the server is ready".to_owned()
        } else {
            format!("all {wanted} servers are ready")
        };
        return (Truth::True, Reason::AsExpected, words);
    }
    let ready = wanted - view.missing.len();
    let why = servers(&view.world.pods, &view.missing);
    let words = format!("{ready} of {wanted} servers are ready, not {why}");
    (Truth::False, Reason::ServersNotReady, words)
}

fn meta_leader_settled(view: &View<'_>) -> Verdict {
    let Some(nats) = view.nats else {
        return past(view, ConditionType::MetaLeaderSettled).unwrap_or_else(|| unreachable(view));
    };
    let settled = view.leader_is_settled();
    match &nats.meta {
        Err(unsettled) => {
            let (reason, words) = unsettled_words(unsettled);
            (Truth::False, reason, words)
        }
        Ok(_) if settled && view.is_standalone() => {
            (Truth::True, Reason::Standalone, "the one server answers for JetStream".to_owned())
        }
        Ok(streak) if settled => {
            (Truth::True, Reason::Settled, format!("{} leads the meta group", streak.leader))
        }
        Ok(streak) => {
            let words = format!("{} leads and has to hold for the settle time", streak.leader);
            (Truth::False, Reason::Settling, words)
        }
    }
}

pub(super) fn unreachable(view: &View<'_>) -> Verdict {
    let words = if view.world.key_refused {
        "NATS refuses the operator's key; servers take up the new one by a restart"
    } else {
        "NATS does not answer, so nothing is known"
    };
    (Truth::Unknown, Reason::NatsUnreachable, words.to_owned())
}

fn buckets_ready(view: &View<'_>) -> Verdict {
    if view.nats.is_none() {
        return past(view, ConditionType::BucketsReady).unwrap_or_else(|| unreachable(view));
    }
    let order = [
        (BucketState::Lost, Reason::BucketLost, "without what they held"),
        (BucketState::NoLeader, Reason::BucketWithoutLeader, "without a leader"),
        (BucketState::Diverged, Reason::Diverged, "with different replicas"),
        (BucketState::Unknown, Reason::NatsUnreachable, "not answered for"),
        (BucketState::Missing, Reason::CreatingBuckets, "not made yet"),
        (BucketState::Raising, Reason::RaisingReplicas, "below their wanted replicas"),
        (BucketState::Syncing, Reason::ReplicasSyncing, "with replicas not yet seen equal"),
    ];
    for (state, reason, words) in order {
        let found = view.buckets_in(state);
        if !found.is_empty() {
            let truth = if state == BucketState::Unknown { Truth::Unknown } else { Truth::False };
            return (truth, reason, format!("{words}: {}", list(&found)));
        }
    }
    let (count, replicas) = (view.buckets.len(), view.cluster.bucket_replicas);
    let words = format!("all {count} buckets have R{replicas} or more with equal data");
    (Truth::True, Reason::AsExpected, words)
}

fn stalled(view: &View<'_>, servers: &Verdict) -> Verdict {
    if view.cluster.deleting {
        return (Truth::False, Reason::Deleting, "being deleted".to_owned());
    }
    if let Some(trouble) = view.trouble() {
        return (Truth::True, trouble_reason(trouble), trouble_words(view.cluster, trouble));
    }
    if let Some(failure) = view.pass.failure.filter(|failure| failure.needs_person) {
        return (Truth::True, failure.reason, failure.message.clone());
    }
    if first_start_takes_too_long(view, servers) {
        let (_, words) = wait_words(view.cluster, &view.world.pods, &view.pass.plan.wait);
        let words = format!("the first start takes longer than bootstrap.timeout: still {words}");
        return (Truth::True, Reason::BootstrapTimeout, words);
    }
    (Truth::False, Reason::AsExpected, "nothing needs a person".to_owned())
}

/// Counted from when all servers were ready, on a cluster that was never up.
fn first_start_takes_too_long(view: &View<'_>, servers: &Verdict) -> bool {
    let idle = matches!(view.pass.plan.wait, Wait::Nothing | Wait::Suspended);
    if view.was_up || idle || servers.0 != Truth::True || !view.was(ConditionType::ServersReady) {
        return false;
    }
    let old = &view.world.resource.status.conditions;
    let timeout = SignedDuration::try_from(view.cluster.timeout).unwrap_or(SignedDuration::MAX);
    find(old, ConditionType::ServersReady)
        .is_some_and(|since| view.given.now.duration_since(since.last_transition_time.0) > timeout)
}

fn reconciling(view: &View<'_>, stalled: &Verdict) -> Verdict {
    let wait = &view.pass.plan.wait;
    let (reason, words) = wait_words(view.cluster, &view.world.pods, wait);
    if stalled.0 == Truth::True {
        return (Truth::False, stalled.1, "waiting for a person".to_owned());
    }
    if !is_busy(view, wait) {
        if *wait == Wait::Suspended {
            return (Truth::False, reason, words);
        }
        let done = "everything wanted is done".to_owned();
        return (Truth::False, Reason::ReconcileComplete, done);
    }
    let words = match view.pass.failure {
        Some(failure) => failure.message.clone(),
        None => words,
    };
    let rolls = view.was_up && view.was_busy_with(Reason::RollingRestart) && !is_work(wait);
    (Truth::True, if rolls { Reason::RollingRestart } else { reason }, words)
}

/// Whether something wanted is not done yet. Waiting for what was there before, such as a server
/// that went away, is no work of ours: unless it is the end of some. What was applied may have been a
/// new configuration, and nobody knows that of a server that does not answer.
fn is_busy(view: &View<'_>, wait: &Wait) -> bool {
    if matches!(wait, Wait::Nothing | Wait::Suspended | Wait::Person(_)) {
        return false;
    }
    let applied_only = view.was_busy_with(Reason::Applying) && view.all_ready_servers_answer();
    let ends_some = view.was(ConditionType::Reconciling) && !applied_only;
    is_work(wait) || !view.was_up || ends_some
}

/// Whether a wait is for something that we do or undo.
const fn is_work(wait: &Wait) -> bool {
    match wait {
        Wait::Children
        | Wait::OldChildrenGone { .. }
        | Wait::OwnChildrenGone { .. }
        | Wait::BucketsMade { .. }
        | Wait::BucketsRaised { .. }
        | Wait::Migration(_)
        | Wait::Serving(ServeWait::Rolling { .. } | ServeWait::Leaving { .. })
        | Wait::Restarts { .. }
        | Wait::Reloads { .. } => true,
        Wait::Nothing
        | Wait::Suspended
        | Wait::Person(_)
        | Wait::Servers { .. }
        | Wait::Nats
        | Wait::MetaLeader
        | Wait::Serving(ServeWait::Missing { .. })
        | Wait::BucketLeaders { .. }
        | Wait::BucketsEqual { .. } => false,
    }
}

/// The conditions that Ready follows from.
#[derive(Clone, Copy)]
struct Parts<'a> {
    buckets: &'a Verdict,
    migrated: &'a Verdict,
    membershipd: &'a Verdict,
}

fn ready(
    view: &View<'_>,
    stalled: &Verdict,
    reconciling: &Verdict,
    Parts { buckets, migrated, membershipd }: Parts<'_>,
) -> Verdict {
    if view.cluster.deleting {
        let (reason, words) = wait_words(view.cluster, &view.world.pods, &view.pass.plan.wait);
        return (Truth::False, reason, words);
    }
    if stalled.0 == Truth::True {
        return (Truth::False, stalled.1, stalled.2.clone());
    }
    if let Some(kept) = past(view, ConditionType::Ready).filter(|kept| kept.0 == Truth::True) {
        return kept;
    }
    if !view.was_up && reconciling.0 == Truth::True {
        return (Truth::False, reconciling.1, reconciling.2.clone());
    }
    match view.quorum {
        None => return unreachable(view),
        Some(false) => return (Truth::False, Reason::QuorumLost, quorum_words(view)),
        Some(true) => {}
    }
    if migration::is_lacking(view, migrated) {
        return (Truth::False, migrated.1, migrated.2.clone());
    }
    if serving::is_lacking(view) {
        return (Truth::False, membershipd.1, membershipd.2.clone());
    }
    if every_bucket_serves(view) && (buckets.0 == Truth::True || may_lag(view, reconciling)) {
        return (Truth::True, Reason::AsExpected, "serving as wanted".to_owned());
    }
    (Truth::False, buckets.1, buckets.2.clone())
}

/// Whether replicas may be behind in a cluster that is ready: not while more of them are asked for.
fn may_lag(view: &View<'_>, reconciling: &Verdict) -> bool {
    let beside_the_buckets = matches!(
        reconciling.1,
        Reason::Applying
            | Reason::RollingRestart
            | Reason::Reloading
            | Reason::MembershipdRolling
            | Reason::MembershipdLeaving
    );
    view.was_up && (reconciling.0 != Truth::True || beside_the_buckets)
}

fn quorum_words(view: &View<'_>) -> String {
    let gone: Vec<&String> = view.missing.iter().chain(&view.silent).collect();
    let gone = list(&gone);
    format!("fewer than a majority of the servers are there, not {gone}: nothing can be written")
}

/// Whether every bucket has a leader at its wanted replicas. What the rounds show is enough: while
/// a new meta leader is elected, nobody answers for the streams' configuration.
fn every_bucket_serves(view: &View<'_>) -> bool {
    let Some(nats) = view.nats else { return false };
    nats.buckets.iter().all(|(bucket, seen)| {
        let stream = seen.stream.present();
        let enough = stream.is_none_or(|stream| stream.replicas >= view.cluster.bucket_replicas);
        let led = !matches!(seen.equality, Equality::NoLeader | Equality::Absent);
        enough && led && !nats.has_lost(*bucket)
    })
}

fn degraded(view: &View<'_>, ready: &Verdict, reconciling: &Verdict) -> Verdict {
    if let Some(kept) = past(view, ConditionType::Degraded) {
        return kept;
    }
    if view.cluster.deleting {
        return (Truth::False, Reason::Deleting, "being deleted".to_owned());
    }
    let up = view.was_up || ready.0 == Truth::True;
    match fault(view, reconciling).filter(|_| up) {
        Some((reason, words)) => (Truth::True, reason, words),
        None => (Truth::False, Reason::AsExpected, "nothing is missing or behind".to_owned()),
    }
}

/// The worst thing that is wrong, apart from what our own work brings with it.
fn fault(view: &View<'_>, reconciling: &Verdict) -> Option<(Reason, String)> {
    if view.quorum == Some(false) {
        return Some((Reason::QuorumLost, quorum_words(view)));
    }
    let bad = [
        (BucketState::Lost, Reason::BucketLost, "without what they held"),
        (BucketState::NoLeader, Reason::BucketWithoutLeader, "without a leader"),
        (BucketState::Diverged, Reason::Diverged, "with different replicas"),
    ];
    for (state, reason, words) in bad {
        let found = view.buckets_in(state);
        if !found.is_empty() {
            return Some((reason, format!("{words}: {}", list(&found))));
        }
    }
    let working = reconciling.0 == Truth::True;
    let rolling = working && reconciling.1 == Reason::RollingRestart;
    let gone: Vec<String> = view.missing.iter().chain(&view.silent).cloned().collect();
    let in_trouble = |server: &String| view.pod(server).is_some_and(|pod| pod.trouble.is_some());
    let on_its_way = rolling && gone.len() == 1 && !view.missing.iter().any(in_trouble);
    if !gone.is_empty() && !on_its_way {
        return Some((
            Reason::ServersNotReady,
            format!("without {}", servers(&view.world.pods, &gone)),
        ));
    }
    if let Some(words) = serving::lacks(view).filter(|_| !working) {
        return Some((Reason::MembershipdNotReady, words));
    }
    let syncing = view.buckets_in(BucketState::Syncing);
    (!syncing.is_empty() && !working).then(|| {
        (Reason::ReplicasSyncing, format!("with replicas not yet seen equal: {}", list(&syncing)))
    })
}
