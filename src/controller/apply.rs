//! Writes children by server-side apply, under one field manager. What would change nothing never
//! comes here: the plan leaves it out.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, bounded, says};
use crate::api::FIELD_MANAGER;
use crate::cluster::plan::Child;

/// Applies one child.
pub(super) async fn apply(client: &Client, namespace: &str, child: &Child) -> Result<(), Error> {
    match child {
        Child::ConfigMap(object) => apply_one(client, namespace, object.as_ref()).await,
        Child::Service(object) => apply_one(client, namespace, object.as_ref()).await,
        Child::PodDisruptionBudget(object) => apply_one(client, namespace, object.as_ref()).await,
        Child::StatefulSet(object) => apply_one(client, namespace, object.as_ref()).await,
        Child::Deployment(object) => apply_one(client, namespace, object.as_ref()).await,
    }
}

async fn apply_one<T>(client: &Client, namespace: &str, object: &T) -> Result<(), Error>
where
    T: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let api: Api<T> = Api::namespaced(client.clone(), namespace);
    let (kind, name) = (T::kind(&()), object.name_any());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(object);
    bounded(format!("apply {kind} {name}"), api.patch(&name, &params, &patch)).await?;
    tracing::info!(%kind, %name, namespace, "applied");
    Ok(())
}

/// Makes an object, unless there is one of its name. Gives whether it was made.
pub(super) async fn create<T>(api: &Api<T>, object: &T) -> Result<bool, Error>
where
    T: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize,
{
    let params =
        PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    let (kind, name) = (T::kind(&()), object.name_any());
    match bounded(format!("create {kind} {name}"), api.create(&params, object)).await {
        Ok(_) => {
            tracing::info!(%kind, %name, "created");
            Ok(true)
        }
        Err(error) if says(&error, kube::core::Status::is_already_exists) => Ok(false),
        Err(error) => Err(error),
    }
}
