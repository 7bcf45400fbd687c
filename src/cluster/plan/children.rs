//! Secrets, then every applied child: what is missing is made, what drifted is applied again.

use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use super::drift::{is_applied, sealed};
use super::look::{Look, Stage, act, apply, go_on, wait};
use super::wait::Trouble;
use super::{Child, Step, Wait};
use crate::cluster::build::{Facts, PublicKeys, Resources, build};
use crate::cluster::names::Role;
use crate::cluster::serving::{self, Begins, Source};
use crate::cluster::world::Found;

/// The public keys of all roles, once every role has a Secret.
pub(super) fn public_keys(look: &Look<'_>, cluster_id: &str) -> Stage<PublicKeys> {
    let missing = Role::ALL
        .into_iter()
        .filter(|role| matches!(look.world.secrets.get(role), None | Some(Found::Absent)));
    let steps: Vec<Step> = missing
        .map(|role| Step::CreateSecret { role, cluster_id: cluster_id.to_owned() })
        .collect();
    if !steps.is_empty() {
        return act(steps, Wait::Children);
    }
    Stage::Continue(PublicKeys {
        system: public_key(look, Role::System)?,
        operator: public_key(look, Role::Operator)?,
        membershipd: public_key(look, Role::Membershipd)?,
        migration: public_key(look, Role::Migration)?,
    })
}

fn public_key(look: &Look<'_>, role: Role) -> Stage<String> {
    let secret = look.world.secrets.get(&role).and_then(Found::ours);
    match secret.map(|secret| (secret.deleting, secret.public_key.clone())) {
        Some((false, Some(key))) => Stage::Continue(key),
        Some((true, _)) | None => wait(Wait::Children),
        Some((false, None)) => wait(Wait::Person(Trouble::NameTaken {
            kind: "Secret",
            name: look.cluster.names.secret(role),
            owner: "this resource, but holds no key that can be read".to_owned(),
        })),
    }
}

/// What the children are built from.
pub(super) fn facts(look: &Look<'_>, cluster_id: &str, keys: PublicKeys) -> Facts {
    let running = running_image(look);
    let image = look.cluster.pod.image.clone().or(running);
    Facts {
        cluster_id: cluster_id.to_owned(),
        keys,
        image: image.unwrap_or_else(|| look.given.default_image.clone()),
        membershipd_image: membershipd_image(look),
        begins: begins(look),
    }
}

/// When the service over the buckets begins: what there is of it stays as it is.
fn begins(look: &Look<'_>) -> Begins {
    let live = look.world.membershipd.buckets.ours().map(Begins::of);
    let to_move = look.cluster.to_move().is_some();
    live.unwrap_or(if to_move { Begins::AfterMigration } else { Begins::AtOnce })
}

/// What the spec says, else what runs, over the buckets before over the file, else the default.
fn membershipd_image(look: &Look<'_>) -> String {
    let wanted = look.cluster.membershipd.as_ref().and_then(|part| part.pod.image.clone());
    let runs = |source: Source| {
        let deployment = look.world.membershipd.deployment(source).ours()?;
        serving::image(deployment).map(str::to_owned)
    };
    wanted
        .or_else(|| Source::ALL.into_iter().find_map(runs))
        .unwrap_or_else(|| look.given.default_membershipd_image.clone())
}

/// The image in the StatefulSet.
fn running_image(look: &Look<'_>) -> Option<String> {
    let pod = look.stateful_set()?.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.iter().find(|container| container.name == "nats")?.image.clone()
}

/// Applies what is missing or drifted, in the order of writing.
pub(super) fn are_applied(look: &Look<'_>, facts: &Facts) -> Stage {
    let Resources { config_map, headless, client, disruption_budget, stateful_set } =
        build(look.cluster, facts);
    let world = look.world;
    let changes: Vec<Child> = [
        drifted(&world.config_map, config_map, Child::ConfigMap),
        drifted(&world.headless, headless, Child::Service),
        drifted(&world.client, client, Child::Service),
        drifted(&world.disruption_budget, disruption_budget, Child::PodDisruptionBudget),
        drifted(&world.stateful_set, stateful_set, Child::StatefulSet),
    ]
    .into_iter()
    .flatten()
    .collect();
    if changes.is_empty() { go_on() } else { apply(changes) }
}

/// A child that is missing or drifted.
pub(super) fn drifted<T>(live: &Found<T>, wanted: T, child: fn(Box<T>) -> Child) -> Option<Child>
where
    T: Serialize + Metadata<Ty = ObjectMeta>,
{
    let wanted = sealed(wanted, T::metadata_mut);
    let applied = live.ours().is_some_and(|live| is_applied(live, &wanted));
    (!applied).then(|| child(Box::new(wanted)))
}
