//! Deletion, and what is left for a successor of the same name.

use std::thread::sleep;
use std::time::Duration;

use crate::bed::{Bed, PATIENCE, turn, within};
use crate::subject::{SERVED, SPEC, Subject, spec_with};
use crate::users::Users;

#[test]
fn volumes_outlive_their_resource_and_a_successor_takes_them_up_with_their_data() {
    let bed = turn();
    let subject = Subject::up(&bed, "end");
    let users = Users::of(subject);
    let id = subject.cluster_id();
    subject.delete();
    // At once: what is left of the first is waited for.
    subject.apply(SERVED);
    subject.rests();
    assert_eq!(subject.cluster_id(), id);
    assert_eq!(bed.names("end", "persistentvolumeclaims").len(), 3);
    subject.is_true(3, 3);
    users.start_anew();
    users.are_all_there();
    users.end();
}

#[test]
fn over_too_few_retained_volumes_nothing_is_started() {
    let bed = turn();
    let subject = Subject::up(&bed, "few");
    subject.delete();
    let gone = || bed.names("few", "pods").is_empty();
    within("the pods to go", || gone().then_some(()));
    for claim in ["data-demo-nats-0", "data-demo-nats-2"] {
        bed.delete("few", "persistentvolumeclaim", claim);
    }
    subject.apply(SERVED);
    subject.stalls("QuorumAtRisk");
    assert!(gone() && bed.names("few", "statefulsets").is_empty(), "something was started");
    bed.kubectl().run(["delete", "namespace", "few", "--wait=false"]).unwrap();
}

#[test]
fn volumes_go_with_their_resource_where_that_was_asked_for_and_a_neighbours_stay() {
    let bed = turn();
    let demo = Subject::up(&bed, "gone");
    let other = Subject::new(&bed, "gone", "other");
    other.apply(SPEC);
    other.until("Ready", "True");
    demo.apply(&spec_with("membershipd: {}, deletionPolicy: Delete"));
    within("the finalizer", || {
        let resource = demo.resource()?;
        resource["metadata"]["finalizers"].as_array().filter(|found| !found.is_empty()).map(|_| ())
    });
    demo.delete();
    let left = bed.names("gone", "persistentvolumeclaims");
    assert!(left.len() == 3 && left.iter().all(|claim| claim.contains("other")), "{left:?}");
    assert!(other.is("Ready", "True"), "the neighbour");
    other.delete();
    bed.kubectl().run(["delete", "namespace", "gone", "--wait=false"]).unwrap();
}

#[test]
fn an_object_of_somebody_else_is_left_alone_and_the_cluster_comes_up_without_it() {
    let bed = turn();
    let subject = Subject::new(&bed, "taken", "demo");
    let foreign = "{apiVersion: v1, kind: ConfigMap, metadata: {name: demo-nats, namespace: taken}, \
                   data: {mine: 'yes'}}\n";
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: taken}}\n---\n";
    bed.kubectl().apply(&format!("{namespace}{foreign}")).unwrap();
    subject.apply(SPEC);
    subject.stalls("NameTaken");
    let found = bed.get("taken", "configmap/demo-nats").unwrap();
    assert_eq!(found["data"]["mine"], "yes");
    assert!(bed.names("taken", "statefulsets").is_empty());
    bed.delete("taken", "configmap", "demo-nats");
    subject.until("Ready", "True");
    subject.is_true(3, 3);
    bed.kubectl().run(["delete", "namespace", "taken", "--wait=false"]).unwrap();
}

/// Removes a bucket's folder from the volume of the only server, and restarts that server.
fn lose_bucket(bed: &Bed, namespace: &str, bucket: &str) {
    let manifest = format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: vandal, namespace: {namespace}}}, spec: {{\
         terminationGracePeriodSeconds: 0, containers: [{{name: vandal, \
         image: 'docker.io/library/busybox:stable', command: [sleep, '100000'], \
         volumeMounts: [{{name: data, mountPath: /data}}]}}], volumes: [{{name: data, \
         persistentVolumeClaim: {{claimName: data-demo-nats-0}}}}]}}}}\n"
    );
    bed.kubectl().apply(&manifest).unwrap();
    let wait = ["wait", "--for=condition=Ready", "pod/vandal", "-n", namespace, "--timeout=100s"];
    bed.kubectl().run_within(PATIENCE, wait).unwrap();
    let find = format!("find /data -type d -name KV_{bucket} -exec rm -r {{}} + && sync");
    let exec = ["exec", "vandal", "-n", namespace, "--", "sh", "-c", &find];
    bed.kubectl().run(exec).unwrap();
    bed.kill_pods(namespace, &["vandal", "demo-nats-0"]);
}

#[test]
fn a_bucket_that_is_gone_stays_gone_until_a_person_accepts_its_loss_and_once() {
    let bed = turn();
    let subject = Subject::new(&bed, "lost", "demo");
    subject.apply("{replicas: 1, nats: {storage: {size: 1Gi}}, buckets: {maxBytes: 32Mi}}");
    subject.rests();
    let streams = || subject.ask(0, "jsz")["streams"].as_u64().unwrap();
    lose_bucket(&bed, "lost", "UNIBUS_users");
    subject.stalls("BucketLost");
    sleep(Duration::from_secs(10));
    assert_eq!(streams(), 6, "somebody made it anew");
    let word = format!("membership.unibus.dev/accept-loss=UNIBUS_users/{}", subject.cluster_id());
    let accept = ["annotate", "membershipcluster", "demo", "-n", "lost", &word];
    bed.kubectl().run(accept).unwrap();
    subject.rests();
    subject.is_true(1, 1);
    lose_bucket(&bed, "lost", "UNIBUS_users");
    subject.stalls("BucketLost");
    assert_eq!(streams(), 6, "one word was taken twice");
    bed.kubectl().run(["delete", "namespace", "lost", "--wait=false"]).unwrap();
}
