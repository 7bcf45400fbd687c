//! What users read of the membership service: whether it serves, from what, and where.

use k8s_openapi::api::apps::v1::Deployment;

use super::findings::Verdict;
use super::migration;
use super::view::View;
use crate::api::conditions::{Reason, Truth};
use crate::api::v1alpha1::{MembershipdStatus, MigrationState};
use crate::cluster::plan::{ServeWait, claim_obstacle};
use crate::cluster::serving::{Begins, Seen, Source, Wanted, is_rolled_out};

/// What is served from at the moment: what is wanted, where that serves.
fn served(view: &View<'_>) -> Option<Source> {
    let seen = &view.world.membershipd;
    let wanted = view.cluster.membershipd.as_ref().map(|wanted| wanted.source);
    let all = wanted.into_iter().chain(Source::ALL);
    all.into_iter().find(|source| seen.ready(*source) > 0)
}

/// The words for a source.
const fn words(source: Source) -> &'static str {
    match source {
        Source::Buckets => "the buckets",
        Source::File => "the SQLite file",
    }
}

/// Whether every wanted replica is ready.
pub(super) fn ready(view: &View<'_>) -> Verdict {
    let Some(wanted) = &view.cluster.membershipd else {
        let words = "no membership service was asked for".to_owned();
        return (Truth::False, Reason::NotRequested, words);
    };
    let seen = &view.world.membershipd;
    let (ready, count) = (seen.ready(wanted.source), usize::from(wanted.count()));
    if ready >= count {
        let words = format!("{ready} of {count} replicas serve {}", words(wanted.source));
        return (Truth::True, Reason::AsExpected, words);
    }
    let Some(deployment) = seen.deployment(wanted.source).ours() else {
        return not_there(view, wanted);
    };
    let (reason, why) = if is_waiting(view, wanted, deployment) {
        let why = format!(
            "{} has not moved into the buckets yet{}",
            words(Source::File),
            until_then(view)
        );
        (Reason::MembershipdWaiting, why)
    } else {
        let reason = if is_rolled_out(deployment) {
            Reason::MembershipdNotReady
        } else {
            Reason::MembershipdRolling
        };
        (reason, lack(seen, wanted))
    };
    (Truth::False, reason, why)
}

/// What is served meanwhile, in words.
fn until_then(view: &View<'_>) -> String {
    let source = served(view).map_or("nobody", words);
    format!("; until then {source} is served")
}

/// Whether the pods over the buckets are there only to begin when the move is done.
fn is_waiting(view: &View<'_>, wanted: &Wanted, deployment: &Deployment) -> bool {
    if wanted.source != Source::Buckets {
        return false;
    }
    let is_to_wait = Begins::of(deployment) == Begins::AfterMigration;
    let record = view.nats.and_then(|nats| nats.control.present());
    let told = view.world.resource.status.migration.as_ref();
    match record.map(|record| record.migration.as_ref()) {
        Some(Some(mark)) => !mark.done,
        Some(None) => is_to_wait,
        None => is_to_wait && told.is_none_or(|told| told.state != MigrationState::Done),
    }
}

/// How many of how many are ready, and why not more.
fn lack(seen: &Seen, wanted: &Wanted) -> String {
    let (ready, count) = (seen.ready(wanted.source), wanted.count());
    let why = seen.trouble(wanted.source).map_or_else(String::new, |why| format!(", not {why}"));
    format!("{ready} of {count} replicas of the membership service are ready{why}")
}

fn not_there(view: &View<'_>, wanted: &Wanted) -> Verdict {
    let obstacle = claim_obstacle(view.cluster, view.world);
    match (wanted.source, obstacle) {
        (Source::File, Some(trouble)) => (
            Truth::False,
            migration::trouble_reason(&trouble),
            migration::trouble_words(view.cluster, &trouble),
        ),
        (Source::File, None) => {
            (Truth::False, Reason::MembershipdWaiting, "starting over the SQLite file".to_owned())
        }
        (Source::Buckets, _) => {
            let words = format!("the buckets are not ready yet{}", until_then(view));
            (Truth::False, Reason::MembershipdWaiting, words)
        }
    }
}

/// Whether a wanted service serves nothing of what is wanted: the cluster is not ready then.
pub(super) fn is_lacking(view: &View<'_>) -> bool {
    let wanted = view.cluster.membershipd.as_ref();
    wanted.is_some_and(|wanted| view.world.membershipd.ready(wanted.source) == 0)
}

/// What a service lacks that serves all the same, apart from what a roll-out brings with it.
pub(super) fn lacks(view: &View<'_>) -> Option<String> {
    let wanted = view.cluster.membershipd.as_ref()?;
    let seen = &view.world.membershipd;
    let rolled_out = seen.deployment(wanted.source).ours().is_some_and(is_rolled_out);
    let few = seen.ready(wanted.source) < usize::from(wanted.count());
    (rolled_out && few).then(|| lack(seen, wanted))
}

/// The status of the service; none where none is wanted and none runs. It counts those who serve.
pub(super) fn status(view: &View<'_>) -> Option<MembershipdStatus> {
    let seen = &view.world.membershipd;
    let wanted = view.cluster.membershipd.as_ref();
    let serves = served(view);
    let source = serves.or(wanted.map(|wanted| wanted.source))?;
    let count = wanted.map_or(0, |wanted| Wanted { source, ..wanted.clone() }.count());
    let store = serves.map(Source::store);
    Some(MembershipdStatus { store, replicas: format!("{}/{count}", seen.ready(source)) })
}

/// Where callers come in.
pub(super) fn endpoint(view: &View<'_>) -> Option<String> {
    let there = view.world.membershipd.service.ours().is_some();
    let wanted = view.cluster.membershipd.is_some();
    (there && wanted).then(|| view.cluster.names.membershipd_url())
}

/// What is waited for, as a reason and a sentence.
pub(super) fn wait_words(wait: &ServeWait) -> (Reason, String) {
    let because = |trouble: &Option<String>| {
        trouble.as_ref().map_or_else(String::new, |trouble| format!(" ({trouble})"))
    };
    match wait {
        ServeWait::Rolling { trouble } => {
            let words = format!("rolling out the membership service{}", because(trouble));
            (Reason::MembershipdRolling, words)
        }
        ServeWait::Missing { ready, wanted, trouble } => {
            let words = format!(
                "waiting for the membership service: {ready} of {wanted} replicas are ready{}",
                because(trouble)
            );
            (Reason::MembershipdNotReady, words)
        }
        ServeWait::Leaving { what } => {
            (Reason::MembershipdLeaving, format!("waiting until {what} is gone"))
        }
    }
}
