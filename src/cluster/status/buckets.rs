//! The state of each bucket, and how many replicas it has for certain.

use super::view::View;
use crate::api::v1alpha1::{BucketState, BucketStatus};
use crate::cluster::equal::Equality;
use crate::cluster::names::Bucket;
use crate::cluster::world::{BucketSeen, Lookup, ProbeSnapshot, StreamFacts};

/// Every bucket, in the order of creation.
pub(super) fn all(view: &View<'_>) -> Vec<BucketStatus> {
    if view.keeps_the_past && !view.world.resource.status.buckets.is_empty() {
        return view.world.resource.status.buckets.clone();
    }
    Bucket::ALL.map(|bucket| one(view, bucket)).into()
}

fn one(view: &View<'_>, bucket: Bucket) -> BucketStatus {
    let name = bucket.name(&view.cluster.prefix);
    let seen = view.nats.and_then(|nats| Some((nats, nats.buckets.get(&bucket)?)));
    let old = view.world.resource.status.buckets.iter().find(|old| old.name == name);
    let (state, replicas) = match seen {
        None => (BucketState::Unknown, 0),
        Some((nats, seen)) => judge(view, bucket, nats, seen, old),
    };
    let leader = seen.and_then(|(_, seen)| leader(seen));
    let desired_replicas = i32::from(view.cluster.bucket_replicas);
    BucketStatus { name, replicas, desired_replicas, leader, state }
}

fn leader(seen: &BucketSeen) -> Option<String> {
    match &seen.equality {
        Equality::Equal { leader } => Some(leader.clone()),
        Equality::NoLeader | Equality::Absent => None,
        Equality::Watching
        | Equality::Copies { .. }
        | Equality::Syncing { .. }
        | Equality::Diverged { .. } => seen.stream.present()?.leader.clone(),
    }
}

fn judge(
    view: &View<'_>,
    bucket: Bucket,
    nats: &ProbeSnapshot,
    seen: &BucketSeen,
    old: Option<&BucketStatus>,
) -> (BucketState, i32) {
    match &seen.stream {
        _ if nats.has_lost(bucket) => (BucketState::Lost, 0),
        Lookup::Unknown | Lookup::Unreadable { .. } => (BucketState::Unknown, 0),
        Lookup::Absent if bucket == Bucket::Control && held_data(view) => (BucketState::Lost, 0),
        Lookup::Absent => (BucketState::Missing, 0),
        Lookup::Present(stream) => compare(view, stream, &seen.equality, old),
    }
}

fn held_data(view: &View<'_>) -> bool {
    view.world.claims.iter().any(|claim| claim.mark.holds_data())
}

fn compare(
    view: &View<'_>,
    stream: &StreamFacts,
    equality: &Equality,
    old: Option<&BucketStatus>,
) -> (BucketState, i32) {
    let raising = stream.replicas < view.cluster.bucket_replicas;
    let state = |state| if raising { BucketState::Raising } else { state };
    let count = |equal: usize| i32::try_from(equal).unwrap_or(i32::MAX);
    let held = old.filter(|old| old.state == BucketState::Equal && !raising);
    match equality {
        Equality::Equal { .. } => (state(BucketState::Equal), i32::from(stream.replicas)),
        Equality::NoLeader => (BucketState::NoLeader, 0),
        Equality::Diverged { equal, .. } => (BucketState::Diverged, count(*equal)),
        Equality::Syncing { equal } | Equality::Copies { equal, .. } => {
            (state(BucketState::Syncing), count(*equal))
        }
        // Too few rounds since the operator started: the last report stands.
        Equality::Watching => {
            held.map_or((state(BucketState::Syncing), 1), |old| (BucketState::Equal, old.replicas))
        }
        Equality::Absent => (state(BucketState::Syncing), 0),
    }
}

/// The replicas that every bucket has for certain, as in `R3`.
pub(super) fn certain(buckets: &[BucketStatus]) -> Option<String> {
    let fewest = buckets.iter().map(|bucket| bucket.replicas).min()?;
    (fewest > 0).then(|| format!("R{fewest}"))
}
