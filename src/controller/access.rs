//! The way to a cluster's servers: by the pods' own names where the operator runs in the same
//! Kubernetes, and through the API server from outside of it, for development.

use std::ops::Range;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tracing::debug;

use super::error::Error;
use crate::cluster::names::Names;

/// The servers' port for clients.
const PORT: u16 = 4222;

/// How long the API server may take to open a way to a pod.
const OPEN: Duration = Duration::from_secs(5);

/// How the operator reaches NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NatsAccess {
    /// By the names of the pods, which only resolve inside of Kubernetes.
    Pods,
    /// Through the API server (`pods/portforward`), from outside.
    PortForward,
}

/// Addresses that hold as long as this does.
pub(super) struct Way {
    /// The servers' addresses, with commas between.
    pub(super) addresses: String,
    /// What forwards to them, if anything does.
    _forwards: JoinSet<()>,
}

/// Opens the way to a cluster's servers.
pub(super) async fn open(
    access: NatsAccess,
    client: &Client,
    names: &Names,
    ordinals: Range<u8>,
) -> Result<Way, Error> {
    let mut addresses = Vec::new();
    let mut forwards = JoinSet::new();
    for ordinal in ordinals {
        match access {
            NatsAccess::Pods => {
                addresses.push(format!("nats://{}:{PORT}", names.server_host(ordinal)));
            }
            NatsAccess::PortForward => {
                let unable = |error| Error::nats("listen on loopback", &error);
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(unable)?;
                let port = listener.local_addr().map_err(unable)?.port();
                addresses.push(format!("nats://127.0.0.1:{port}"));
                let pods = Api::namespaced(client.clone(), &names.namespace);
                forwards.spawn(forward(listener, pods, names.server(ordinal)));
            }
        }
    }
    Ok(Way { addresses: addresses.join(","), _forwards: forwards })
}

/// Takes connections for a pod until it is dropped.
async fn forward(listener: TcpListener, pods: Api<Pod>, pod: String) {
    let mut open = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (pods, pod) = (pods.clone(), pod.clone());
        open.spawn(async move {
            if let Err(error) = carry(near, &pods, &pod).await {
                debug!(%pod, %error, "the way to a pod ended");
            }
        });
        while open.try_join_next().is_some() {}
    }
}

async fn carry(mut near: TcpStream, pods: &Api<Pod>, pod: &str) -> Result<(), String> {
    let opened = tokio::time::timeout(OPEN, pods.portforward(pod, &[PORT])).await;
    let mut forwarder =
        opened.map_err(|_| "no answer in time")?.map_err(|error| error.to_string())?;
    let mut far = forwarder.take_stream(PORT).ok_or("no stream")?;
    let carried = copy_bidirectional(&mut near, &mut far).await;
    forwarder.abort();
    carried.map(|_| ()).map_err(|error| error.to_string())
}
