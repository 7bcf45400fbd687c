//! Writes what users read: the status when it differs from the last, and an Event for each change.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event as KubeEvent, EventType};
use kube::{Api, Client, Resource};
use serde_json::json;
use tracing::{info, warn};

use super::context::Context;
use super::error::{Error, bounded, says};
use crate::api::STATUS_MANAGER;
use crate::api::v1alpha1::{MembershipCluster, MembershipClusterStatus};
use crate::cluster::status::{Event, EventKind, Report};

/// Which resource is reported on.
pub(super) struct Subject<'a> {
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
}

/// Writes a report. The Events follow the status: they say what it was written for.
pub(super) async fn write(
    context: &Context,
    subject: &Subject<'_>,
    old: &MembershipClusterStatus,
    report: &Report,
) -> Result<(), Error> {
    if report.status != *old {
        patch_status(&context.client, subject, &report.status).await?;
    }
    context.figures.conditions(
        subject.namespace,
        subject.name,
        report.status.conditions.iter().map(|one| (one.type_.as_str(), one.status.as_str())),
    );
    for event in &report.events {
        publish(context, subject, event).await;
    }
    Ok(())
}

async fn patch_status(
    client: &Client,
    subject: &Subject<'_>,
    status: &MembershipClusterStatus,
) -> Result<(), Error> {
    let api: Api<MembershipCluster> = Api::namespaced(client.clone(), subject.namespace);
    // The uid keeps it from a successor of the same name.
    let body = json!({
        "apiVersion": MembershipCluster::api_version(&()),
        "kind": MembershipCluster::kind(&()),
        "metadata": {"name": subject.name, "uid": subject.uid},
        "status": status,
    });
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let patch = Patch::Apply(&body);
    let written =
        bounded("write the status", api.patch_status(subject.name, &params, &patch)).await;
    match written {
        Ok(_) => Ok(()),
        Err(error) if says(&error, kube::core::Status::is_not_found) => Ok(()),
        Err(error) => Err(error),
    }
}

/// An Event that cannot be written is no reason to stop.
async fn publish(context: &Context, subject: &Subject<'_>, event: &Event) {
    info!(
        namespace = subject.namespace,
        name = subject.name,
        reason = %event.reason,
        "{}", event.note
    );
    let about = ObjectReference {
        api_version: Some(MembershipCluster::api_version(&()).into_owned()),
        kind: Some(MembershipCluster::kind(&()).into_owned()),
        name: Some(subject.name.to_owned()),
        namespace: Some(subject.namespace.to_owned()),
        uid: Some(subject.uid.to_owned()),
        ..ObjectReference::default()
    };
    let kind = match event.kind {
        EventKind::Normal => EventType::Normal,
        EventKind::Warning => EventType::Warning,
    };
    let event = KubeEvent {
        type_: kind,
        reason: event.reason.clone(),
        note: Some(event.note.clone()),
        action: event.action.to_owned(),
        secondary: None,
    };
    let published = bounded("write an Event", context.events.publish(&event, &about)).await;
    if let Err(error) = published {
        warn!(namespace = subject.namespace, name = subject.name, %error, "an Event is missing");
    }
}
