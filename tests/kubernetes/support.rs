//! One cluster that all tests here share, with the CRD in it: started by the first that needs it and
//! removed when this program has ended, however it ends.

use std::sync::LazyLock;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use membership_operator::api::crd::crd;
use serde_json::json;
use testbed::cache::Cache;
use testbed::prepare::prepare;
use testbed::progress::Progress;
use testbed::{Cluster, UpRequest, removal};

const NAME: &str = "op";

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    let name = NAME.parse().unwrap();
    removal::of_cluster_by_test(&name, "support::remove_the_cluster").unwrap();
    let progress = Progress::stderr();
    let prepared = prepare(&Cache::of_this_user().unwrap(), &progress).unwrap();
    // A killed run may have left one with other data.
    Cluster::down(&name, true, &progress).unwrap();
    let request = UpRequest { nodes: Some(1), ..UpRequest::new(name) };
    let cluster = Cluster::up(&request, &prepared, &progress).unwrap();
    cluster.kubectl().apply(&serde_saphyr::to_string(&crd()).unwrap()).unwrap();
    let wait =
        ["wait", "--for=condition=Established", "crd/membershipclusters.membership.unibus.dev"];
    cluster.kubectl().run_within(Duration::from_secs(60), wait).unwrap();
    cluster
});

pub fn cluster() -> &'static Cluster {
    &CLUSTER
}

/// A client of that cluster, whatever cluster the developer's own files name.
pub async fn client() -> Client {
    let cluster = tokio::task::spawn_blocking(cluster).await.unwrap();
    let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig()).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
    Client::try_from(config).unwrap()
}

/// A client and a namespace of the test's own.
pub async fn namespace(name: &str) -> Client {
    let client = client().await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let params = PatchParams::apply("test");
    let api: Api<Namespace> = Api::all(client.clone());
    api.patch(name, &params, &Patch::Apply(&namespace)).await.unwrap();
    client
}

#[test]
#[ignore = "this is how the program removes its cluster when it has ended"]
fn remove_the_cluster() {
    removal::now_if_asked().unwrap();
}
