//! Deletion, and what is left for a successor of the same name.

use crate::bed::{turn, within};
use crate::subject::{SPEC, Subject, spec_with};
use crate::users::Users;

#[test]
fn volumes_outlive_their_resource_and_a_successor_takes_them_up_with_their_data() {
    let bed = turn();
    let subject = Subject::up(&bed, "end");
    let users = Users::of(subject);
    let id = subject.cluster_id();
    subject.delete();
    // At once: what is left of the first is waited for.
    subject.apply(SPEC);
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
    subject.apply(SPEC);
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
    demo.apply(&spec_with("deletionPolicy: Delete"));
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
