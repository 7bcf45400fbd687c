//! What a real API server takes and refuses: the same as the interpreter of the CRD's rules, by the
//! same tables, and what only a server can say.

use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams, ValidationDirective};
use kube::discovery::ApiResource;
use kube::{Api, Client};
use membership_operator::api::v1alpha1::MembershipCluster;
use serde_json::{Value, json};

use crate::support::{cluster, namespace};
use crate::tables::{
    accepted_changes, bad_names, good_names, refused_changes, senseless, sensible,
};

fn clusters(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<MembershipCluster>(&());
    Api::namespaced_with(client.clone(), namespace, &kind)
}

fn resource(name: &str, spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "membership.unibus.dev/v1alpha1",
        "kind": "MembershipCluster",
        "metadata": {"name": name},
        "spec": spec,
    }))
    .unwrap()
}

fn dry_run() -> PostParams {
    PostParams { dry_run: true, ..PostParams::default() }
}

/// What the API server said when it refused; nothing when it did not.
fn refusal<T>(answer: kube::Result<T>) -> Option<String> {
    match answer {
        Ok(_) => None,
        Err(kube::Error::Api(status)) if status.is_invalid() => Some(status.message),
        Err(error) => panic!("no refusal of the content: {error}"),
    }
}

#[tokio::test]
async fn the_api_server_takes_sensible_specs_and_refuses_senseless_ones_with_a_sentence() {
    let api = clusters(&namespace("admission").await, "admission");
    for spec in sensible() {
        let answer = api.create(&dry_run(), &resource("demo", &spec)).await;
        assert_eq!(refusal(answer), None, "{spec}");
    }
    for (spec, words) in senseless() {
        let said = refusal(api.create(&dry_run(), &resource("demo", &spec)).await);
        assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{spec}: {said:?}");
    }
}

#[tokio::test]
async fn the_api_server_takes_only_names_that_pods_and_volumes_can_carry() {
    let api = clusters(&namespace("admission").await, "admission");
    for name in good_names() {
        let answer = api.create(&dry_run(), &resource(&name, &json!({}))).await;
        assert_eq!(refusal(answer), None, "{name}");
    }
    for name in bad_names() {
        let answer = api.create(&dry_run(), &resource(&name, &json!({}))).await;
        assert!(refusal(answer).is_some(), "{name}");
    }
}

#[tokio::test]
async fn the_api_server_judges_changes_as_the_tables_say() {
    let api = clusters(&namespace("changes").await, "changes");
    let table = accepted_changes().into_iter().map(|(old, new)| (old, new, None));
    let refused = refused_changes().into_iter().map(|(old, new, words)| (old, new, Some(words)));
    for (number, (old, new, words)) in table.chain(refused).enumerate() {
        let name = format!("change-{number}");
        let stored = api.create(&PostParams::default(), &resource(&name, &old)).await.unwrap();
        let mut changed = resource(&name, &new);
        changed.metadata.resource_version = stored.metadata.resource_version;
        let said = refusal(api.replace(&name, &dry_run(), &changed).await);
        match words {
            None => assert_eq!(said, None, "{old} -> {new}"),
            Some(words) => assert!(
                said.as_ref().is_some_and(|said| said.contains(words)),
                "{old} -> {new}: {said:?}"
            ),
        }
        api.delete(&name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn an_untouched_resource_says_that_nobody_has_seen_it_and_can_be_scaled_by_no_one() {
    let client = namespace("untouched").await;
    let api = clusters(&client, "untouched");
    let stored = api.create(&PostParams::default(), &resource("demo", &json!({}))).await.unwrap();
    assert_eq!(stored.data["status"]["observedGeneration"], -1);
    assert_eq!(stored.data["status"]["conditions"], Value::Null);
    let scale: Scale = api.get_scale("demo").await.unwrap();
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(3));
    let five = Patch::Merge(json!({"spec": {"replicas": 5}}));
    let said = refusal(api.patch_scale("demo", &PatchParams::default(), &five).await);
    assert!(said.is_some_and(|said| said.contains("replicas cannot be changed yet")));
    api.delete("demo", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_field_that_does_not_exist_is_refused_by_name() {
    let api = clusters(&namespace("admission").await, "admission");
    for spec in
        [json!({"natz": {}}), json!({"nats": {"env": []}}), json!({"nats": {"command": ["sh"]}})]
    {
        let params = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            dry_run: true,
            ..PatchParams::apply("test")
        };
        let answer = api.patch("demo", &params, &Patch::Apply(resource("demo", &spec))).await;
        let said = answer.unwrap_err().to_string();
        let field =
            ["natz", "env", "command"].iter().find(|field| spec.to_string().contains(**field));
        assert!(said.contains(field.unwrap()), "{spec}: {said}");
    }
}

#[tokio::test]
async fn kubectl_shows_the_columns_and_explains_the_fields() {
    let client = namespace("columns").await;
    let api = clusters(&client, "columns");
    api.create(&PostParams::default(), &resource("demo", &json!({}))).await.unwrap();
    let kubectl = cluster().kubectl();
    let table = kubectl.run(["get", "mbc", "--namespace=columns"]).unwrap();
    let heads: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        heads,
        [
            "NAME",
            "READY",
            "STATUS",
            "SERVERS",
            "BUCKETS",
            "LEADER",
            "MIGRATED",
            "MEMBERSHIPD",
            "AGE"
        ]
    );
    for field in [
        "",
        ".spec",
        ".spec.nats.storage",
        ".spec.buckets",
        ".spec.sqlite",
        ".spec.migration",
        ".spec.membershipd",
        ".spec.membershipd.firstAdmin",
        ".status",
    ] {
        let path = format!("membershipcluster{field}");
        let text = kubectl.run(["explain", &path]).unwrap();
        assert!(!text.contains("<no description>"), "{path}: {text}");
    }
    api.delete("demo", &DeleteParams::default()).await.unwrap();
}
