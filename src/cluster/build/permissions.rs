//! What each role may say and hear. Listed bucket by bucket: `*` must be a whole token of a
//! subject, so a pattern over the buckets of a prefix would grant nothing.

use super::nats_value::{Block, Value, text, texts};
use crate::cluster::names::{Bucket, Role};

/// The permissions of a role in the membership account, for the buckets of a prefix. The system
/// role has none: its account holds nothing else and its user may do all of it.
pub(super) fn permissions(role: Role, prefix: &str) -> Option<Value> {
    let publish: Vec<String> = match role {
        Role::System => return None,
        Role::Operator => operator(prefix),
        Role::Membershipd => Bucket::ALL
            .into_iter()
            .flat_map(|bucket| {
                let stream = stream(bucket, prefix);
                let purge = bucket.swept().then(|| format!("$JS.API.STREAM.PURGE.{stream}"));
                record_subjects(bucket, prefix).into_iter().chain(purge)
            })
            .collect(),
        Role::Migration => Bucket::ALL
            .into_iter()
            .filter(|bucket| *bucket != Bucket::Requests)
            .flat_map(|bucket| record_subjects(bucket, prefix))
            .collect(),
    };
    let subscribe = text(format!("{}.>", role.inbox_prefix()));
    let block: Block = vec![("publish", texts(publish)), ("subscribe", subscribe)];
    Some(Value::Block(block))
}

/// Reading and writing the records of a bucket.
fn record_subjects(bucket: Bucket, prefix: &str) -> Vec<String> {
    let stream = stream(bucket, prefix);
    vec![
        format!("$KV.{}.>", bucket.name(prefix)),
        format!("$JS.API.STREAM.INFO.{stream}"),
        format!("$JS.API.STREAM.MSG.GET.{stream}"),
    ]
}

/// Making and raising buckets and writing the control record. Never a delete.
fn operator(prefix: &str) -> Vec<String> {
    let calls = ["INFO", "CREATE", "UPDATE", "MSG.GET", "LEADER.STEPDOWN"];
    Bucket::ALL
        .into_iter()
        .flat_map(|bucket| {
            let stream = stream(bucket, prefix);
            calls.map(move |call| format!("$JS.API.STREAM.{call}.{stream}"))
        })
        .chain([format!("$KV.{}.>", Bucket::Control.name(prefix))])
        .collect()
}

fn stream(bucket: Bucket, prefix: &str) -> String {
    format!("KV_{}", bucket.name(prefix))
}
