//! The resource is being deleted. Kubernetes removes the children that it owns; the volumes stay,
//! unless the policy is `Delete`: then exactly this cluster's go, after the servers and before the
//! resource.

use super::buckets::claim_id;
use super::identity::{secret_id, stateful_set_id};
use super::look::{Look, Stage, act, go_on, wait};
use super::step::ObjectId;
use super::{Step, Wait};
use crate::api::v1alpha1::DeletionPolicy;
use crate::cluster::world::Claim;

pub(super) fn plan(look: &Look<'_>) -> Stage {
    if !look.world.resource.has_finalizer {
        return wait(Wait::OwnChildrenGone { children: Vec::new() });
    }
    match look.cluster.deletion_policy {
        DeletionPolicy::Retain => {}
        DeletionPolicy::Delete => {
            servers_are_gone(look)?;
            claims_are_gone(look)?;
        }
    }
    act(vec![Step::RemoveFinalizer], Wait::OwnChildrenGone { children: Vec::new() })
}

/// As long as there is a StatefulSet, it makes claims anew.
fn servers_are_gone(look: &Look<'_>) -> Stage {
    let mut children = Vec::new();
    let mut steps = Vec::new();
    if let Some(set) = look.stateful_set() {
        let meta = &set.metadata;
        children.push(format!("StatefulSet {}", look.cluster.names.nats()));
        let stateful_set = ObjectId {
            name: look.cluster.names.nats(),
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
        };
        if meta.deletion_timestamp.is_none() {
            steps.push(Step::DeleteStatefulSet { stateful_set });
        }
    }
    children.extend(look.world.pods.iter().map(|pod| format!("Pod {}", pod.name)));
    if children.is_empty() {
        return go_on();
    }
    act(steps, Wait::OwnChildrenGone { children })
}

fn claims_are_gone(look: &Look<'_>) -> Stage {
    let ours = own_claims(look);
    if ours.is_empty() {
        return go_on();
    }
    let steps = ours.iter().filter(|claim| !claim.deleting);
    let steps = steps.map(|claim| Step::DeleteClaim { claim: claim_id(claim) }).collect();
    let children = ours.iter().map(|claim| format!("PersistentVolumeClaim {}", claim.name));
    act(steps, Wait::OwnChildrenGone { children: children.collect() })
}

/// The claims with this cluster's id, by what this resource made or took up. The claims' own word
/// does not count: a claim that was never taken up is never deleted.
fn own_claims<'a>(look: &Look<'a>) -> Vec<&'a Claim> {
    let id = stateful_set_id(look)
        .or_else(|| secret_id(look))
        .or_else(|| look.world.resource.status.cluster_id.clone());
    look.world.claims.iter().filter(|claim| id.is_some() && claim.cluster_id == id).collect()
}
