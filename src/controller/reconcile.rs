//! One pass over a resource, from look to report; and the controller that calls it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use futures_util::{StreamExt, stream};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;
use kube::core::{DeserializeGuard, DynamicObject, PartialObjectMeta};
use kube::discovery::ApiResource;
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::apply::apply;
use super::context::{Context, Guarded, Key};
use super::error::{Error, bounded};
use super::execute::{Hands, Then};
use super::observe::observe;
use super::probe::Probe;
use super::report::{Subject, write};
use crate::api::v1alpha1::{MembershipCluster, MembershipClusterStatus};
use crate::cluster::names::CLUSTER_LABEL;
use crate::cluster::plan::{Plan, Step, Towards, plan, probe_pace, requeue_after};
use crate::cluster::status::{Pass, on_its_way_for, report, report_invalid};
use crate::cluster::validate::{ValidatedCluster, validate};
use crate::cluster::world::{Given, World};
use crate::runtime::shutdown::Stop;

/// How long a pass may take. Every call in it is bounded by itself; this is for their sum.
const PASS: Duration = Duration::from_secs(90);

/// How often what is remembered of resources that are gone is thrown away.
const SWEEP: Duration = Duration::from_secs(10);

/// Reconciles until the word to stop is said, then lets the running passes come to their end.
pub async fn run(context: Arc<Context>, mut woken: mpsc::Receiver<Key>, stop: Stop) {
    let namespaces: Vec<Option<String>> = match context.settings.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let (mut wakes, mut stores, mut controllers) = (Vec::new(), Vec::new(), Vec::new());
    for namespace in namespaces {
        let (wake, wishes) = mpsc::channel(16);
        let controller = controller(&context, namespace.as_deref(), wishes, stop.clone());
        wakes.push((namespace, wake));
        stores.push(controller.store());
        controllers.push(drive(controller, Arc::clone(&context)));
    }
    let hand_on = async {
        while let Some(key) = woken.recv().await {
            let of = wakes
                .iter()
                .find(|(namespace, _)| namespace.is_none() || *namespace == key.namespace);
            if let Some((_, wake)) = of {
                // A controller that has ended needs no more wishes.
                let _ = wake.send(key).await;
            }
        }
    };
    tokio::select! {
        _ = futures_util::future::join_all(controllers) => {}
        () = hand_on => {}
        () = sweep(&context, &stores) => {}
    }
}

/// Forgets the resources that no controller knows any more.
async fn sweep(context: &Context, stores: &[Store<Guarded>]) {
    for store in stores {
        if store.wait_until_ready().await.is_err() {
            return std::future::pending().await;
        }
    }
    loop {
        tokio::time::sleep(SWEEP).await;
        context.keep(|key| stores.iter().any(|store| store.get(key).is_some()));
    }
}

/// What belongs to a cluster by its label.
fn by_label<K: ResourceExt>(object: &K) -> Option<Key> {
    let name = object.labels().get(CLUSTER_LABEL)?;
    Some(ObjectRef::new(name).within(&object.namespace()?))
}

fn controller(
    context: &Arc<Context>,
    namespace: Option<&str>,
    wishes: mpsc::Receiver<Key>,
    stop: Stop,
) -> Controller<Guarded> {
    let ours = || watcher::Config::default().labels(CLUSTER_LABEL);
    let wishes = stream::unfold(wishes, async |mut wishes| Some((wishes.recv().await?, wishes)));
    let config = Config::default()
        .concurrency(context.settings.concurrency)
        .debounce(Duration::from_millis(50));
    Controller::new(api::<Guarded>(context, namespace), watcher::Config::default())
        .with_config(config)
        .owns(api::<StatefulSet>(context, namespace), ours())
        .owns(api::<Deployment>(context, namespace), ours())
        .owns(api::<ConfigMap>(context, namespace), ours())
        .owns(api::<Service>(context, namespace), ours())
        .owns(api::<PodDisruptionBudget>(context, namespace), ours())
        .owns(api::<Job>(context, namespace), ours())
        .watches(api::<PartialObjectMeta<Pod>>(context, namespace), ours(), |pod| by_label(&pod))
        .watches(
            api::<PartialObjectMeta<PersistentVolumeClaim>>(context, namespace),
            ours(),
            |claim| by_label(&claim),
        )
        .reconcile_on(wishes)
        .graceful_shutdown_on(async move { stop.said().await })
}

fn api<K>(context: &Context, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    }
}

async fn drive(controller: Controller<Guarded>, context: Arc<Context>) {
    controller
        .run(reconcile, after_error, context)
        .for_each(async |outcome| {
            if let Err(error) = outcome {
                debug!(%error, "a pass or a watch has met an error");
            }
        })
        .await;
}

#[expect(clippy::needless_pass_by_value, reason = "the controller calls it so")]
fn after_error(resource: Arc<Guarded>, error: &Error, context: Arc<Context>) -> Action {
    let key = ObjectRef::from_obj(resource.as_ref());
    let pause = context.failed(&key, error);
    context.figures.failed(match error.towards() {
        Towards::Nats => "nats",
        Towards::Kubernetes => "kubernetes",
    });
    warn!(cluster = %key, %error, again_in = ?pause, "a pass ended early");
    Action::requeue(pause)
}

async fn reconcile(resource: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Error> {
    let began = Instant::now();
    let key: Key = ObjectRef::from_obj(resource.as_ref());
    let passed = tokio::time::timeout(PASS, Box::pin(pass(&context, &key))).await;
    context.figures.passed(began.elapsed());
    let action = passed.unwrap_or_else(|_| {
        Err(Error::TimedOut { doing: "end a pass".to_owned(), within: PASS })
    })?;
    context.succeeded(&key);
    Ok(action)
}

/// One pass. The resource is read anew: the watch's copy may be older than our own last write.
async fn pass(context: &Context, key: &Key) -> Result<Action, Error> {
    context.must_lead()?;
    let Some(namespace) = key.namespace.as_deref() else { return Ok(Action::await_change()) };
    let guarded: Api<Guarded> = Api::namespaced(context.client.clone(), namespace);
    let found = bounded("read the resource", guarded.get_opt(&key.name)).await?;
    let why = match found {
        None => {
            context.probes.end(key);
            return Ok(Action::await_change());
        }
        Some(DeserializeGuard(Err(unreadable))) => unreadable.error,
        Some(DeserializeGuard(Ok(resource))) => match validate(&resource) {
            Ok(cluster) => return Box::pin(work(context, key, &resource, &cluster)).await,
            Err(invalid) => invalid.to_string(),
        },
    };
    context.probes.end(key);
    refuse(context, namespace, &key.name, &why).await?;
    Ok(Action::await_change())
}

/// Says of a resource that it cannot be acted on. It is read without our types, which it may not
/// fit.
async fn refuse(context: &Context, namespace: &str, name: &str, why: &str) -> Result<(), Error> {
    let kind = ApiResource::erase::<MembershipCluster>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, &kind);
    let Some(raw) = bounded("read the resource", api.get_opt(name)).await? else { return Ok(()) };
    let status = raw.data.get("status").cloned().unwrap_or_default();
    let old: MembershipClusterStatus = serde_json::from_value(status).unwrap_or_default();
    let generation = raw.metadata.generation.unwrap_or_default();
    let report = report_invalid(&old, generation, why, Timestamp::now());
    let uid = raw.uid().unwrap_or_default();
    write(context, &Subject { namespace, name, uid: &uid }, &old, &report).await
}

async fn work(
    context: &Context,
    key: &Key,
    resource: &MembershipCluster,
    cluster: &ValidatedCluster,
) -> Result<Action, Error> {
    let given = given(context);
    let (world, probe) = look(context, key, resource, cluster).await?;
    let planned = plan(cluster, &world, &given);
    let mut done = Vec::new();
    let outcome = {
        let deeds = Deeds { context, key, resource, cluster, given: &given };
        deeds.carry_out(&planned, probe.as_deref(), &mut done).await
    };
    let failure = outcome.as_ref().err().and_then(Error::failure);
    let pass = Pass { plan: &planned, done: &done, failure: failure.as_ref() };
    let report = report(cluster, &world, &given, pass);
    let subject = Subject {
        namespace: &cluster.names.namespace,
        name: &cluster.names.cluster,
        uid: &cluster.uid,
    };
    let waited = on_its_way_for(&world.resource.status, given.now);
    if let Some(probe) = &probe {
        probe.set_pace(probe_pace(&planned, waited));
    }
    write(context, &subject, &world.resource.status, &report).await?;
    outcome?;
    Ok(Action::requeue(requeue_after(&planned, waited)))
}

fn given(context: &Context) -> Given {
    let id: [u8; 8] = fastrand::u64(..).to_be_bytes();
    Given {
        now: Timestamp::now(),
        fresh_id: HEXLOWER.encode(&id),
        default_image: context.settings.default_image.clone(),
        default_membershipd_image: context.settings.default_membershipd_image.clone(),
    }
}

/// What Kubernetes and NATS say.
async fn look(
    context: &Context,
    key: &Key,
    resource: &MembershipCluster,
    cluster: &ValidatedCluster,
) -> Result<(World, Option<Arc<Probe>>), Error> {
    let super::observe::Look { mut world, seeds } =
        Box::pin(observe(&context.client, cluster, resource)).await?;
    let ordinals = world.ordinals(cluster);
    let probe = context.probes.of(key, cluster, ordinals, &seeds).await?;
    if let Some(probe) = &probe {
        probe.fill(&mut world);
    }
    Ok((world, probe))
}

/// What a plan is carried out with.
struct Deeds<'a> {
    context: &'a Context,
    key: &'a Key,
    resource: &'a MembershipCluster,
    cluster: &'a ValidatedCluster,
    given: &'a Given,
}

impl Deeds<'_> {
    async fn carry_out(
        &self,
        plan: &Plan,
        probe: Option<&Probe>,
        done: &mut Vec<Step>,
    ) -> Result<(), Error> {
        for child in &plan.apply {
            self.context.must_lead()?;
            apply(&self.context.client, &self.cluster.names.namespace, child).await?;
        }
        let (context, cluster, resource) = (self.context, self.cluster, self.resource);
        let hands = Hands { context, cluster, resource, probe };
        let risky: Vec<&Step> = plan.steps.iter().filter(|step| step.is_risky()).collect();
        if !risky.is_empty() && !Box::pin(self.still_follow(&risky)).await? {
            return Ok(());
        }
        let outcome = self.take(&plan.steps, &hands, done).await;
        if let Some(probe) = probe.filter(|_| plan.steps.iter().any(Step::is_towards_nats)) {
            probe.ask_anew().await;
        }
        outcome
    }

    /// Takes steps until the first that fails, or after which the world must be looked at again.
    async fn take(
        &self,
        steps: &[Step],
        hands: &Hands<'_>,
        done: &mut Vec<Step>,
    ) -> Result<(), Error> {
        for step in steps {
            self.context.must_lead()?;
            if hands.execute(step).await? == Then::LookAgain {
                return Ok(());
            }
            done.push(step.clone());
        }
        Ok(())
    }

    /// Looks at the world again, by reads that the API server answers from its quorum, and says
    /// whether the same steps follow from that look too.
    async fn still_follow(&self, steps: &[&Step]) -> Result<bool, Error> {
        let names = &self.cluster.names;
        let api: Api<Guarded> = Api::namespaced(self.context.client.clone(), &names.namespace);
        let found = bounded("read the resource", api.get_opt(&names.cluster)).await?;
        let Some(DeserializeGuard(Ok(resource))) = found else { return Ok(false) };
        let Ok(cluster) = validate(&resource) else { return Ok(false) };
        if cluster.uid != self.cluster.uid {
            return Ok(false);
        }
        let (world, _) = look(self.context, self.key, &resource, &cluster).await?;
        let again = plan(&cluster, &world, self.given).steps;
        Ok(steps.iter().all(|step| again.contains(step)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Mutex;

    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use tower::service_fn;

    use super::*;
    use crate::controller::access::NatsAccess;
    use crate::controller::context::Settings;
    use crate::controller::figures::Figures;
    use crate::runtime::lease::Claim;
    use crate::runtime::shutdown;

    /// What an operator of some namespaces asks for when it begins: the path, and whether only of
    /// what has a cluster's label.
    async fn asked(namespaces: &[&str], wanted: usize) -> BTreeSet<(String, bool)> {
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let note = Arc::clone(&asked);
        let server = service_fn(move |request: Request<Body>| {
            let labelled =
                request.uri().query().is_some_and(|query| query.contains("labelSelector"));
            note.lock().unwrap().insert((request.uri().path().to_owned(), labelled));
            std::future::pending::<Result<Response<Body>, kube::Error>>()
        });
        let settings = Settings {
            namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
            default_image: String::new(),
            default_membershipd_image: String::new(),
            access: NatsAccess::Pods,
            instance: "test".to_owned(),
            concurrency: 1,
        };
        let figures = Figures::register(&mut prometheus_client::registry::Registry::default());
        let client = Client::new(server, "chat");
        let (context, woken) = Context::new(client, settings, Claim::always(), figures);
        let (_stopper, stop) = shutdown::stop();
        let all = async {
            while asked.lock().unwrap().len() < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = run(context, woken, stop) => {}
            () = all => {}
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
        let asked = asked.lock().unwrap();
        asked.clone()
    }

    #[tokio::test]
    async fn every_kind_of_child_is_watched_in_the_chosen_namespaces_alone() {
        let kinds = [
            ("apis/membership.unibus.dev/v1alpha1", "membershipclusters", false),
            ("apis/apps/v1", "statefulsets", true),
            ("apis/apps/v1", "deployments", true),
            ("apis/batch/v1", "jobs", true),
            ("apis/policy/v1", "poddisruptionbudgets", true),
            ("api/v1", "configmaps", true),
            ("api/v1", "services", true),
            ("api/v1", "pods", true),
            ("api/v1", "persistentvolumeclaims", true),
        ];
        let table: [(&[&str], &[&str]); 2] =
            [(&[], &[""]), (&["chat", "team"], &["namespaces/chat/", "namespaces/team/"])];
        for (namespaces, within) in table {
            let expected: BTreeSet<(String, bool)> = within
                .iter()
                .flat_map(|within| {
                    kinds.map(|(group, kind, labelled)| {
                        (format!("/{group}/{within}{kind}"), labelled)
                    })
                })
                .collect();
            assert_eq!(asked(namespaces, expected.len()).await, expected);
        }
    }
}
