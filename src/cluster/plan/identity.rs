//! Whose data is it, and may anything be started over it? Decided before anything is written.

use std::collections::BTreeSet;

use super::Wait;
use super::look::{Look, Stage, go_on, wait};
use super::wait::Trouble;
use crate::api::CLUSTER_ID;
use crate::api::v1alpha1::BucketState;
use crate::cluster::names::{Bucket, Role};
use crate::cluster::world::{ClaimMark, Found};

/// Every object of a child's name: its kind, its name, and whose it is if not ours.
fn strangers(look: &Look<'_>) -> Vec<(&'static str, String, Option<String>)> {
    let (world, names) = (look.world, &look.cluster.names);
    let mut found = vec![
        ("ConfigMap", names.nats(), stranger(&world.config_map)),
        ("Service", names.headless(), stranger(&world.headless)),
        ("Service", names.nats(), stranger(&world.client)),
        ("PodDisruptionBudget", names.nats(), stranger(&world.disruption_budget)),
        ("StatefulSet", names.nats(), stranger(&world.stateful_set)),
    ];
    if look.cluster.membershipd.is_some() {
        let (seen, name) = (&world.membershipd, names.membershipd());
        found.extend([
            ("Deployment", name.clone(), stranger(&seen.buckets)),
            ("Deployment", names.membershipd_sqlite(), stranger(&seen.file)),
            ("Service", name.clone(), stranger(&seen.service)),
            ("PodDisruptionBudget", name, stranger(&seen.disruption_budget)),
        ]);
    }
    for (role, secret) in &world.secrets {
        found.push(("Secret", names.secret(*role), stranger(secret)));
    }
    for (name, job) in world.migration.jobs.iter().chain(&world.migration.unfences) {
        found.push(("Job", name.clone(), stranger(job)));
    }
    found
        .into_iter()
        .filter_map(|(kind, name, whose)| whose.map(|owner| (kind, name, owner)))
        .collect()
}

/// `Some(None)` for an old resource's, `Some(owner)` for somebody else's.
fn stranger<T>(found: &Found<T>) -> Option<Option<String>> {
    match found {
        Found::Absent | Found::Ours(_) => None,
        Found::Old => Some(None),
        Found::Foreign { owner } => Some(Some(owner.clone())),
    }
}

/// A foreign object of our name is left alone; one of a deleted resource is waited for.
pub(super) fn names_are_free(look: &Look<'_>) -> Stage {
    let strangers = strangers(look);
    for (kind, name, owner) in &strangers {
        if let Some(owner) = owner.clone() {
            let name = name.clone();
            return wait(Wait::Person(Trouble::NameTaken { kind, name, owner }));
        }
    }
    let mut children: Vec<String> =
        strangers.into_iter().map(|(kind, name, _)| format!("{kind} {name}")).collect();
    children.extend(old_pods(look));
    if look.stateful_set().is_none() {
        let going = look.world.claims.iter().filter(|claim| claim.deleting);
        children.extend(going.map(|claim| format!("PersistentVolumeClaim {}", claim.name)));
    }
    if children.is_empty() { go_on() } else { wait(Wait::OldChildrenGone { children }) }
}

/// Pods of a StatefulSet that is not there any more. Ones that nobody owns are taken up.
fn old_pods(look: &Look<'_>) -> impl Iterator<Item = String> {
    let ours = look.stateful_set().and_then(|set| set.metadata.uid.as_ref());
    look.world
        .pods
        .iter()
        .filter(move |pod| pod.owner_uid.is_some() && pod.owner_uid.as_ref() != ours)
        .map(|pod| format!("Pod {}", pod.name))
}

/// The cluster's id: what its claims say, else what other children say, else a fresh one.
pub(super) fn cluster_id(look: &Look<'_>) -> Stage<String> {
    let ids = known_ids(look)?;
    if let [one, other, ..] = ids.iter().collect::<Vec<_>>()[..] {
        return foreign(format!("volumes, StatefulSet and control record name {one} and {other}"));
    }
    let id = ids.into_iter().next();
    Stage::Continue(id.or_else(|| secret_id(look)).unwrap_or(look.given.fresh_id.clone()))
}

/// The ids on everything that stands for data.
fn known_ids(look: &Look<'_>) -> Stage<BTreeSet<String>> {
    let mut ids = BTreeSet::new();
    for claim in &look.world.claims {
        let Some(id) = &claim.cluster_id else {
            let name = &claim.name;
            return foreign(format!("claim {name} was not made by this operator: it has no id"));
        };
        ids.insert(id.clone());
    }
    ids.extend(stateful_set_id(look));
    let record = look.nats().and_then(|nats| nats.control.present());
    ids.extend(record.map(|record| record.cluster_id.clone()));
    Stage::Continue(ids)
}

/// The id on the StatefulSet.
pub(super) fn stateful_set_id(look: &Look<'_>) -> Option<String> {
    look.stateful_set()?.metadata.annotations.as_ref()?.get(CLUSTER_ID).cloned()
}

/// The id on the first role's Secret that has one: made before any claim.
pub(super) fn secret_id(look: &Look<'_>) -> Option<String> {
    Role::ALL.iter().find_map(|role| look.world.secrets.get(role)?.ours()?.cluster_id.clone())
}

fn foreign<T>(what: String) -> Stage<T> {
    wait(Wait::Person(Trouble::ForeignData { what }))
}

/// Nothing is started over fewer volumes than a majority: the rest would be elected empty.
pub(super) fn volumes_suffice(look: &Look<'_>) -> Stage {
    if look.stateful_set().is_some() {
        return go_on();
    }
    let (claims, servers) = (&look.world.claims, look.cluster.servers);
    if let Some(from) = other_number(look) {
        let (from, to) = (i32::from(from), i32::from(servers.count()));
        return wait(Wait::Person(Trouble::ReplicasChanged { from, to }));
    }
    if !data_was_held(look) {
        return go_on();
    }
    let marked = claims.iter().any(|claim| claim.mark != ClaimMark::Fresh);
    let left = claims.iter().filter(|claim| !marked || claim.mark != ClaimMark::Fresh).count();
    let (left, quorum) = (u8::try_from(left).unwrap_or(u8::MAX), servers.quorum());
    if left < quorum {
        return wait(Wait::Person(Trouble::QuorumAtRisk { left, quorum }));
    }
    go_on()
}

/// Of how many servers the retained claims were, when that is not the wanted number.
fn other_number(look: &Look<'_>) -> Option<u8> {
    let (claims, wanted) = (&look.world.claims, look.cluster.servers);
    let said = claims.iter().filter_map(|claim| claim.servers).find(|said| *said != wanted.count());
    said.or_else(|| {
        let names: Vec<String> =
            wanted.ordinals().map(|ordinal| look.cluster.names.claim(ordinal)).collect();
        let more = claims.iter().any(|claim| !names.contains(&claim.name));
        more.then(|| u8::try_from(claims.len()).unwrap_or(u8::MAX))
    })
}

/// Whether the cluster is known to have held data whose loss nobody accepted.
pub(super) fn data_was_held(look: &Look<'_>) -> bool {
    let claims = &look.world.claims;
    let accepted = claims.iter().any(|claim| claim.mark == ClaimMark::LossAccepted);
    claims.iter().any(|claim| claim.mark.holds_data()) || (!accepted && status_tells(look))
}

/// The last status saw the control bucket. A second witness only: it makes nothing be started, and
/// never makes anything be done.
fn status_tells(look: &Look<'_>) -> bool {
    let control = Bucket::Control.name(&look.cluster.prefix);
    look.world.resource.status.buckets.iter().any(|bucket| {
        bucket.name == control
            && !matches!(bucket.state, BucketState::Missing | BucketState::Unknown)
    })
}

/// What exists cannot be changed in these ways yet.
pub(super) fn size_is_kept(look: &Look<'_>) -> Stage {
    let Some(spec) = look.stateful_set().and_then(|set| set.spec.as_ref()) else {
        return go_on();
    };
    let (from, to) = (spec.replicas.unwrap_or(1), i32::from(look.cluster.servers.count()));
    if from != to {
        return wait(Wait::Person(Trouble::ReplicasChanged { from, to }));
    }
    let size = spec.volume_claim_templates.iter().flatten().find_map(|claim| {
        let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
        Some(requests.get("storage")?.0.clone())
    });
    let to = &look.cluster.storage_size.0;
    match size {
        Some(from) if !super::drift::same_quantity(&from, to) => {
            wait(Wait::Person(Trouble::StorageChanged { from, to: to.clone() }))
        }
        Some(_) | None => go_on(),
    }
}
