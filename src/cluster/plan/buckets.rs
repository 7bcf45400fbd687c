//! The control record and the buckets: made at one replica, raised when the meta leader has
//! settled, and never made again once they held data.

use std::collections::BTreeSet;

use super::identity::data_was_held;
use super::look::{Look, Stage, act, go_on, wait};
use super::step::ObjectId;
use super::wait::Trouble;
use super::{Step, Wait};
use crate::cluster::equal::Equality;
use crate::cluster::names::Bucket;
use crate::cluster::world::{Claim, ClaimMark, ControlRecord, Lookup, ProbeSnapshot};

/// Says, before anything waits for servers, what no waiting will mend.
pub(super) fn nothing_is_lost(look: &Look<'_>, cluster_id: &str) -> Stage {
    let Some(nats) = look.nats() else { return go_on() };
    match &nats.control {
        Lookup::Unknown => go_on(),
        Lookup::Unreadable { why } => {
            let what = format!("the control record cannot be read: {why}");
            wait(Wait::Person(Trouble::ForeignData { what }))
        }
        Lookup::Absent => control_is_not_lost(look, nats, cluster_id),
        Lookup::Present(record) => {
            let gone = Bucket::ALL.into_iter().find(|bucket| nats.has_lost(*bucket));
            gone.map_or_else(go_on, |bucket| lost(look, bucket, record, cluster_id))
        }
    }
}

fn is_absent(nats: &ProbeSnapshot, bucket: Bucket) -> bool {
    nats.buckets.get(&bucket).is_some_and(|seen| seen.stream == Lookup::Absent)
}

/// No control record: a new cluster, or one that lost it. Without it, nobody knows whose the other
/// buckets are.
fn control_is_not_lost(look: &Look<'_>, nats: &ProbeSnapshot, cluster_id: &str) -> Stage {
    let claims = &look.world.claims;
    if data_was_held(look) {
        let used = claims.iter().any(|claim| claim.mark == ClaimMark::MadeAgain);
        if used || !loss_is_accepted(look, Bucket::Control, cluster_id) {
            return wait(bucket_lost(Bucket::Control, cluster_id));
        }
        let mark = Step::MarkClaims {
            claims: claims.iter().map(claim_id).collect(),
            mark: ClaimMark::LossAccepted,
        };
        return act(vec![mark], Wait::BucketsMade { buckets: [Bucket::Control].into() });
    }
    let accepted = claims.iter().any(|claim| claim.mark == ClaimMark::LossAccepted);
    let stranger = Bucket::ALL.into_iter().find(|bucket| {
        *bucket != Bucket::Control
            && nats.buckets.get(bucket).is_some_and(|seen| seen.stream.present().is_some())
    });
    match stranger {
        Some(bucket) if !accepted => {
            let name = bucket.name(&look.cluster.prefix);
            let what = format!("bucket {name} exists without a control record of this cluster");
            wait(Wait::Person(Trouble::ForeignData { what }))
        }
        Some(_) | None => go_on(),
    }
}

fn lost(look: &Look<'_>, bucket: Bucket, record: &ControlRecord, cluster_id: &str) -> Stage {
    let used = record.losses_accepted.contains(&bucket);
    if bucket == Bucket::Control || used || !loss_is_accepted(look, bucket, cluster_id) {
        return wait(bucket_lost(bucket, cluster_id));
    }
    act(vec![Step::AcceptLoss { bucket }], Wait::BucketsMade { buckets: [bucket].into() })
}

fn bucket_lost(bucket: Bucket, cluster_id: &str) -> Wait {
    Wait::Person(Trouble::BucketLost { bucket, cluster_id: cluster_id.to_owned() })
}

fn loss_is_accepted(look: &Look<'_>, bucket: Bucket, cluster_id: &str) -> bool {
    let wanted = format!("{}/{cluster_id}", bucket.name(&look.cluster.prefix));
    look.world.resource.accept_loss.as_deref() == Some(wanted.as_str())
}

/// Makes, raises and compares the buckets. All servers are ready here.
pub(super) fn are_as_wanted(look: &Look<'_>, cluster_id: &str) -> Stage {
    let Some(nats) = look.nats() else { return wait(Wait::Nats) };
    let record = match &nats.control {
        Lookup::Unknown | Lookup::Unreadable { .. } => return wait(unanswered(nats)),
        Lookup::Absent => None,
        Lookup::Present(record) => Some(record),
    };
    are_made(look, nats, record, cluster_id)?;
    are_led(nats)?;
    are_raised(look, nats)?;
    are_equal(look)?;
    claims_are_marked(look)
}

fn unanswered(nats: &ProbeSnapshot) -> Wait {
    if nats.meta.is_ok() { Wait::Nats } else { Wait::MetaLeader }
}

fn are_made(
    look: &Look<'_>,
    nats: &ProbeSnapshot,
    record: Option<&ControlRecord>,
    cluster_id: &str,
) -> Stage {
    let mut steps = Vec::new();
    if record.is_none() {
        steps.extend(make_control(look, nats, cluster_id));
    } else if !look.world.claims.iter().any(|claim| claim.mark.holds_data()) {
        steps.extend(mark_claims(look));
    }
    let made = record.map(|record| record.made.clone()).unwrap_or_default();
    let mut unmade: BTreeSet<Bucket> = Bucket::ALL.into_iter().collect();
    unmade.retain(|bucket| !made.contains(bucket) && *bucket != Bucket::Control);
    for bucket in &unmade {
        match nats.buckets.get(bucket).map(|seen| &seen.stream) {
            Some(Lookup::Absent) => steps.push(Step::CreateBucket { bucket: *bucket }),
            Some(Lookup::Present(_)) => {}
            Some(Lookup::Unknown | Lookup::Unreadable { .. }) | None => {
                return wait(unanswered(nats));
            }
        }
    }
    if !unmade.is_empty() {
        steps.push(Step::RecordBuckets { buckets: unmade.clone() });
    }
    if record.is_none() {
        unmade.insert(Bucket::Control);
    }
    if steps.is_empty() { go_on() } else { act(steps, Wait::BucketsMade { buckets: unmade }) }
}

/// The control bucket, its record, and the word on the claims that buckets may hold data from now
/// on: in this order, so that a crash in between never looks like a loss.
fn make_control(look: &Look<'_>, nats: &ProbeSnapshot, cluster_id: &str) -> Vec<Step> {
    let accepted = look.world.claims.iter().any(|claim| claim.mark == ClaimMark::LossAccepted);
    let bucket =
        is_absent(nats, Bucket::Control).then_some(Step::CreateBucket { bucket: Bucket::Control });
    let record = Step::CreateControl {
        cluster_id: cluster_id.to_owned(),
        losses_accepted: accepted.then_some(Bucket::Control).into_iter().collect(),
    };
    bucket.into_iter().chain([record]).chain(mark_claims(look)).collect()
}

/// The word on the claims that do not say yet that their volumes may hold data.
fn mark_claims(look: &Look<'_>) -> Option<Step> {
    let claims = &look.world.claims;
    let again = claims
        .iter()
        .any(|claim| matches!(claim.mark, ClaimMark::LossAccepted | ClaimMark::MadeAgain));
    let mark = if again { ClaimMark::MadeAgain } else { ClaimMark::Made };
    let unmarked: Vec<ObjectId> = claims
        .iter()
        .filter(|claim| !claim.mark.holds_data() && !claim.deleting)
        .map(claim_id)
        .collect();
    (!unmarked.is_empty()).then_some(Step::MarkClaims { claims: unmarked, mark })
}

pub(super) fn claim_id(claim: &Claim) -> ObjectId {
    ObjectId {
        name: claim.name.clone(),
        uid: claim.uid.clone(),
        resource_version: claim.resource_version.clone(),
    }
}

fn are_led(nats: &ProbeSnapshot) -> Stage {
    let leaderless = buckets_that(|bucket| {
        nats.buckets.get(&bucket).is_none_or(|seen| seen.equality == Equality::NoLeader)
    });
    if leaderless.is_empty() { go_on() } else { wait(Wait::BucketLeaders { buckets: leaderless }) }
}

fn buckets_that(hold: impl Fn(Bucket) -> bool) -> BTreeSet<Bucket> {
    Bucket::ALL.into_iter().filter(|bucket| hold(*bucket)).collect()
}

/// Raises only under a settled leader and from equal copies: the empty ones together, one with
/// data alone. Replicas are never lowered.
fn are_raised(look: &Look<'_>, nats: &ProbeSnapshot) -> Stage {
    let wanted = look.cluster.bucket_replicas;
    let stream = |bucket: Bucket| nats.buckets.get(&bucket).and_then(|seen| seen.stream.present());
    let low = buckets_that(|bucket| stream(bucket).is_none_or(|seen| seen.replicas < wanted));
    if low.is_empty() {
        return go_on();
    }
    if low.iter().any(|bucket| stream(*bucket).is_none()) {
        return wait(unanswered(nats));
    }
    if look.settled().is_none() {
        return wait(Wait::MetaLeader);
    }
    are_equal(look)?;
    if !look.is_fresh() {
        return wait(Wait::BucketsRaised { buckets: low });
    }
    let raise = |bucket: Bucket| {
        let from = stream(bucket)?.replicas;
        Some(Step::RaiseReplicas { bucket, from, to: wanted })
    };
    let empty = |bucket: &Bucket| {
        let messages = stream(*bucket).map_or(u64::MAX, |stream| stream.messages);
        // The control bucket's one record is there from the beginning.
        messages <= u64::from(*bucket == Bucket::Control)
    };
    let mut steps: Vec<Step> = low.iter().copied().filter(empty).filter_map(raise).collect();
    if steps.is_empty() {
        steps.extend(low.iter().copied().find_map(raise));
    }
    act(steps, Wait::BucketsRaised { buckets: low })
}

fn are_equal(look: &Look<'_>) -> Stage {
    let behind = buckets_that(|bucket| !look.is_equal(bucket));
    if behind.is_empty() { go_on() } else { wait(Wait::BucketsEqual { buckets: behind }) }
}

/// A claim that was made anew counts as holding data once its server has caught up.
fn claims_are_marked(look: &Look<'_>) -> Stage {
    let steps: Vec<Step> = mark_claims(look).into_iter().collect();
    if steps.is_empty() { go_on() } else { act(steps, Wait::Children) }
}
