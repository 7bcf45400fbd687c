//! The membership service as plain data: what is wanted of it, and what one look at Kubernetes found.
//! What follows from these is decided in [`plan`](super::plan) and told in [`status`](super::status).

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use super::world::Found;
use crate::api::v1alpha1::{FirstAdmin, PodOptions, Store};

/// What a membership is served from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The replicated buckets.
    Buckets,
    /// The SQLite file.
    File,
}

impl Source {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Buckets, Self::File];

    /// The value of the pods' label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Buckets => "jetstream",
            Self::File => "sqlite",
        }
    }

    /// In the words of the resource.
    #[must_use]
    pub const fn store(self) -> Store {
        match self {
            Self::Buckets => Store::JetStream,
            Self::File => Store::SQLite,
        }
    }
}

/// When pods over the buckets begin to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// As soon as the buckets can be opened.
    AtOnce,
    /// When a membership has been moved into the buckets, which they wait for by themselves.
    AfterMigration,
}

impl Begins {
    /// The argument that says so.
    pub const ARGUMENT: &'static str = "--after-migration";

    /// As a Deployment says it.
    #[must_use]
    pub fn of(deployment: &Deployment) -> Self {
        let pod = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
        let container = pod.and_then(|pod| pod.containers.first());
        let mut arguments = container.into_iter().flat_map(|one| one.args.iter().flatten());
        let waits = arguments.any(|argument| argument == Self::ARGUMENT);
        if waits { Self::AfterMigration } else { Self::AtOnce }
    }
}

/// The membership service that a spec asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What it serves from.
    pub source: Source,
    /// How many of it there are over the buckets.
    pub replicas: u8,
    /// Who is let in first.
    pub first_admin: Option<FirstAdmin>,
    /// Options of its pods.
    pub pod: PodOptions,
}

impl Wanted {
    /// How many of it there are: two programs over one file would be one too many.
    #[must_use]
    pub const fn count(&self) -> u8 {
        match self.source {
            Source::Buckets => self.replicas,
            Source::File => 1,
        }
    }
}

/// What one look found of the membership service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// The Deployment over the buckets.
    pub buckets: Found<Deployment>,
    /// The Deployment over the SQLite file.
    pub file: Found<Deployment>,
    /// Where callers come in.
    pub service: Found<Service>,
    /// The disruption budget.
    pub disruption_budget: Found<PodDisruptionBudget>,
    /// Every pod of it.
    pub pods: Vec<Pod>,
}

impl Seen {
    /// The Deployment over a source.
    #[must_use]
    pub const fn deployment(&self, source: Source) -> &Found<Deployment> {
        match source {
            Source::Buckets => &self.buckets,
            Source::File => &self.file,
        }
    }

    /// The pods over a source.
    pub fn pods(&self, source: Source) -> impl Iterator<Item = &Pod> {
        self.pods.iter().filter(move |pod| pod.source == Some(source))
    }

    /// How many pods over a source are ready and stay.
    #[must_use]
    pub fn ready(&self, source: Source) -> usize {
        self.pods(source).filter(|pod| pod.ready && !pod.deleting).count()
    }

    /// Kubernetes' word for why a pod over a source does not run, with the pod's name.
    #[must_use]
    pub fn trouble(&self, source: Source) -> Option<String> {
        self.pods(source).find_map(|pod| Some(format!("{}: {}", pod.name, pod.trouble.as_ref()?)))
    }
}

/// A pod of the membership service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// What it serves from, by its label.
    pub source: Option<Source>,
    /// Its Ready condition is true.
    pub ready: bool,
    /// Its deletion has begun.
    pub deleting: bool,
    /// Why it does not run, in Kubernetes' words.
    pub trouble: Option<String>,
}

/// Whether a Deployment's newest template runs everywhere. One whose pods went away since is still
/// rolled out.
#[must_use]
pub fn is_rolled_out(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    let seen = status.observed_generation >= deployment.metadata.generation;
    let progress = status.conditions.iter().flatten().find(|found| found.type_ == "Progressing");
    seen && progress.and_then(|found| found.reason.as_deref()) == Some("NewReplicaSetAvailable")
}

/// The image that a Deployment runs.
#[must_use]
pub fn image(deployment: &Deployment) -> Option<&str> {
    let pod = deployment.spec.as_ref()?.template.spec.as_ref()?;
    pod.containers.first()?.image.as_deref()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(generation: i64, observed: i64, reason: &str) -> Deployment {
        serde_json::from_value(json!({
            "metadata": {"generation": generation},
            "status": {"observedGeneration": observed, "conditions": [
                {"type": "Progressing", "status": "True", "reason": reason},
            ]},
        }))
        .unwrap()
    }

    #[test]
    fn a_roll_out_is_over_only_by_the_word_of_kubernetes_for_the_newest_spec() {
        let table = [
            (2, 2, "NewReplicaSetAvailable", true),
            (2, 1, "NewReplicaSetAvailable", false),
            (2, 2, "ReplicaSetUpdated", false),
            (2, 2, "ProgressDeadlineExceeded", false),
        ];
        for (generation, observed, reason, over) in table {
            assert_eq!(is_rolled_out(&deployment(generation, observed, reason)), over, "{reason}");
        }
        assert!(!is_rolled_out(&Deployment::default()));
    }
}
