//! One server at a time takes up a change: followers first, the meta leader last, each ready and
//! every bucket equal before the next.

use super::look::{Look, Stage, act, go_on, wait};
use super::step::ObjectId;
use super::{Next, Step, Wait};
use crate::cluster::build::{Facts, nats_config};
use crate::cluster::names::Bucket;
use crate::cluster::world::{Lookup, Pod};

/// The StatefulSet's own word on which revision pods should be of, once it has seen its newest
/// spec.
fn revision<'a>(look: &Look<'a>) -> Option<&'a str> {
    let set = look.stateful_set()?;
    let status = set.status.as_ref()?;
    let seen = status.observed_generation >= set.metadata.generation;
    status.update_revision.as_deref().filter(|_| seen)
}

/// The pods of an older template, the last ordinal first.
fn outdated<'a>(look: &Look<'a>, revision: &str) -> Vec<&'a Pod> {
    let mut servers = look.servers();
    servers.reverse();
    let pods = servers.iter().filter_map(|server| look.pod(server));
    pods.filter(|pod| pod.revision.as_deref() != Some(revision)).collect()
}

fn names(pods: &[&Pod]) -> Vec<String> {
    pods.iter().map(|pod| pod.name.clone()).collect()
}

/// All servers are ready, or one that is not and has an older template is given the newer one: that
/// is how a bad image heals when it is taken back. The newest template's revision is handed on.
pub(super) fn servers_are_ready<'a>(look: &Look<'a>) -> Stage<&'a str> {
    if look.stateful_set().is_none() {
        return wait(Wait::Children);
    }
    let missing = look.missing();
    let Some(revision) = revision(look) else {
        return if missing.is_empty() {
            wait(Wait::Children)
        } else {
            wait(Wait::Servers { missing })
        };
    };
    if missing.is_empty() {
        return Stage::Continue(revision);
    }
    let outdated = outdated(look, revision);
    let waiting = if outdated.is_empty() {
        Wait::Servers { missing: missing.clone() }
    } else {
        Wait::Restarts { servers: names(&outdated), missing: missing.clone() }
    };
    let broken = |server: &String| {
        let stays = look.pod(server).filter(|pod| !pod.deleting);
        stays.is_some_and(|pod| pod.revision.as_deref() != Some(revision))
    };
    let first = outdated.iter().find(|pod| !pod.ready);
    match first {
        // Nothing that we restarted is still on its way.
        Some(pod) if missing.iter().all(broken) => act(vec![restart(pod)], waiting),
        Some(_) | None => wait(waiting),
    }
}

fn restart(pod: &Pod) -> Step {
    Step::RestartServer {
        pod: ObjectId {
            name: pod.name.clone(),
            uid: pod.uid.clone(),
            resource_version: pod.resource_version.clone(),
        },
    }
}

/// Restarts the next outdated server. All servers are ready here; `before` is what the buckets
/// still wait for, if anything.
pub(super) fn servers_are_current(look: &Look<'_>, revision: &str, before: Option<Next>) -> Stage {
    let outdated = outdated(look, revision);
    if outdated.is_empty() {
        return before.map_or_else(go_on, Stage::Break);
    }
    let waiting = Wait::Restarts { servers: names(&outdated), missing: Vec::new() };
    if is_locked_out(look, outdated.len()) {
        return act(outdated.first().map(|pod| restart(pod)).into_iter().collect(), waiting);
    }
    let Some(leader) = look.settled().filter(|_| look.is_fresh() && all_equal(look)) else {
        return wait(waiting);
    };
    let follower = outdated.iter().find(|pod| pod.name != leader.leader);
    let heir = look.servers().into_iter().find(|server| *server != leader.leader);
    let step = match (follower, heir, outdated.first()) {
        (Some(pod), _, _) => restart(pod),
        (None, Some(to), _) => Step::StepDownMeta { from: leader.leader.clone(), to },
        (None, None, Some(pod)) => restart(pod),
        (None, None, None) => return go_on(),
    };
    act(vec![step], waiting)
}

/// No running server knows our key, because its Secret was made anew: one is restarted with the new
/// key, unseen, and through that one everything can be seen again.
fn is_locked_out(look: &Look<'_>, outdated: usize) -> bool {
    look.world.key_refused && look.nats().is_none() && outdated == look.servers().len()
}

/// Whether every bucket that there is has equal replicas.
fn all_equal(look: &Look<'_>) -> bool {
    Bucket::ALL.into_iter().all(|bucket| {
        let absent = look.bucket(bucket).is_some_and(|seen| seen.stream == Lookup::Absent);
        absent || look.is_equal(bucket)
    })
}

/// Asks servers with an older configuration to read theirs again. What needs a restart has its own
/// digest on the pods, so what is left on those of the newest template is reloadable. But for a
/// rolling restart it waits for no server that is away and for no bucket: debug logging is asked for
/// when something is wrong.
pub(super) fn configurations_are_current(look: &Look<'_>, facts: &Facts, before: Stage) -> Stage {
    let may_reload = match &before {
        Stage::Continue(()) => true,
        Stage::Break(next) => {
            let left_alone = matches!(next.wait, Wait::Person(_) | Wait::Restarts { .. });
            next.steps.is_empty() && !left_alone
        }
    };
    let servers = if may_reload { reloadable(look, facts) } else { Vec::new() };
    if servers.is_empty() {
        return before;
    }
    let steps = servers.iter().map(|server| Step::ReloadServer { server: server.clone() });
    act(steps.collect(), Wait::Reloads { servers: servers.clone() })
}

fn reloadable(look: &Look<'_>, facts: &Facts) -> Vec<String> {
    let Some(revision) = revision(look) else { return Vec::new() };
    let wanted = nats_config(look.cluster, &facts.keys).digest;
    let outdated = names(&outdated(look, revision));
    let servers = look.nats().into_iter().flat_map(|nats| &nats.servers);
    let older = servers
        .filter(|(_, facts)| facts.config.as_ref().is_some_and(|found| *found != wanted))
        .map(|(server, _)| server.clone());
    older.filter(|server| !outdated.contains(server)).collect()
}
