//! Looks at the membership service: its objects and its pods. Nothing is decided here.

use k8s_openapi::api::core::v1::Pod as KubePod;
use kube::ResourceExt;

use super::error::Error;
use super::migrate::has_ended;
use super::observe::{Eyes, see_pod};
use crate::cluster::names::STORE_LABEL;
use crate::cluster::serving::{Pod, Seen, Source};

impl Eyes<'_> {
    /// Every object of the service's names. Its pods come from the list of all.
    pub(super) async fn membershipd(&self) -> Result<Seen, Error> {
        let names = &self.cluster.names;
        let (buckets, file, service, disruption_budget) = tokio::try_join!(
            self.child(names.membershipd()),
            self.child(names.membershipd_sqlite()),
            self.child(names.membershipd()),
            self.child(names.membershipd()),
        )?;
        Ok(Seen { buckets, file, service, disruption_budget, pods: Vec::new() })
    }

    /// A pod of the service, if it is one: by its labels, and by what made it.
    pub(super) fn see_replica(&self, pod: &KubePod) -> Option<Pod> {
        let names = &self.cluster.names;
        let labels = pod.labels();
        let is_ours =
            names.membershipd_selector().iter().all(|(key, value)| labels.get(key) == Some(value));
        let made = pod.owner_references().iter().any(|owner| {
            let prefix = format!("{}-", names.membershipd());
            owner.kind == "ReplicaSet" && owner.name.starts_with(&prefix)
        });
        if !is_ours || !made || has_ended(pod) {
            return None;
        }
        let label = labels.get(STORE_LABEL).map(String::as_str);
        let seen = see_pod(pod);
        Some(Pod {
            name: seen.name,
            uid: seen.uid,
            source: Source::ALL.into_iter().find(|source| Some(source.label()) == label),
            ready: seen.ready,
            deleting: seen.deleting,
            trouble: seen.trouble,
        })
    }
}
