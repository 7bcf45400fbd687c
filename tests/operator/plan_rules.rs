//! Each rule of a plan by itself: a settled cluster, one thing changed, what is planned.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use membership_operator::cluster::equal::Equality;
use membership_operator::cluster::names::{Bucket, Role};
use membership_operator::cluster::plan::{Child, Plan, Step, Trouble, Wait, plan};
use membership_operator::cluster::settled::Unsettled;
use membership_operator::cluster::world::{
    ClaimMark, Found, Lookup, Ownership, SecretSeen, StreamFacts, World, ownership,
};
use serde_json::{Value, json};

use crate::fake::{Fake, Probe, Seen};
use crate::fixture::cluster;

/// A cluster at rest as one look sees it.
fn settled(spec: &Value) -> (Fake, Seen) {
    let (mut fake, mut probe) = (Fake::new(spec, 1), Probe::default());
    assert_eq!(fake.settle(&mut probe, 600).unwrap().wait, Wait::Nothing);
    let seen = fake.see(&probe);
    (fake, seen)
}

/// What is planned after one change of what is seen.
fn planned(spec: &Value, change: impl FnOnce(&mut Seen)) -> Plan {
    let (fake, mut seen) = settled(spec);
    change(&mut seen);
    plan(&seen.cluster, &seen.world, &fake.given())
}

fn nothing_is_done(plan: &Plan) {
    assert!(plan.apply.is_empty() && plan.steps.is_empty(), "{plan:?}");
}

/// A change of the world, and the trouble that it is.
type Case = (fn(&mut World), Trouble);

fn foreign(what: &str) -> Trouble {
    Trouble::ForeignData { what: what.to_owned() }
}

#[test]
fn what_only_a_person_can_mend_stops_everything() {
    let taken = |kind, name: &str| Trouble::NameTaken {
        kind,
        name: name.to_owned(),
        owner: "Deployment other".to_owned(),
    };
    fn other<T>() -> Found<T> {
        Found::Foreign { owner: "Deployment other".to_owned() }
    }
    let cases: [Case; 9] = [
        (|world| world.config_map = other(), taken("ConfigMap", "demo-nats")),
        (|world| world.headless = other(), taken("Service", "demo-nats-headless")),
        (|world| world.stateful_set = other(), taken("StatefulSet", "demo-nats")),
        (
            |world| drop(world.secrets.insert(Role::System, other())),
            taken("Secret", "demo-nats-system"),
        ),
        (
            |world| world.claims[1].cluster_id = None,
            foreign("claim data-demo-nats-1 was not made by this operator: it has no id"),
        ),
        (
            |world| world.claims[1].cluster_id = Some("fresh-9".to_owned()),
            foreign("volumes, StatefulSet and control record name fresh-1 and fresh-9"),
        ),
        (
            |world| {
                let Lookup::Present(record) = &mut world.nats.as_mut().unwrap().control else {
                    unreachable!()
                };
                record.cluster_id = "fresh-9".to_owned();
            },
            foreign("volumes, StatefulSet and control record name fresh-1 and fresh-9"),
        ),
        (
            |world| {
                let why = "it is of version 9".to_owned();
                world.nats.as_mut().unwrap().control = Lookup::Unreadable { why };
            },
            foreign("the control record cannot be read: it is of version 9"),
        ),
        (
            |world| {
                world.claims.iter_mut().for_each(|claim| claim.mark = ClaimMark::Fresh);
                world.resource.status.buckets.clear();
                world.nats.as_mut().unwrap().control = Lookup::Absent;
            },
            foreign("bucket UNIBUS_rooms exists without a control record of this cluster"),
        ),
    ];
    for (change, trouble) in cases {
        let plan = planned(&json!({}), |seen| change(&mut seen.world));
        nothing_is_done(&plan);
        assert_eq!(plan.wait, Wait::Person(trouble));
    }
}

#[test]
fn another_number_of_servers_or_size_of_volumes_is_refused() {
    let as_ours = |spec: &Value| {
        let plan = planned(&json!({}), |seen| {
            let uid = seen.cluster.uid.clone();
            seen.cluster = cluster(spec);
            seen.cluster.uid = uid;
        });
        nothing_is_done(&plan);
        plan.wait
    };
    for (spec, trouble) in [
        (json!({"replicas": 5}), Trouble::ReplicasChanged { from: 3, to: 5 }),
        (json!({"replicas": 1}), Trouble::ReplicasChanged { from: 3, to: 1 }),
        (
            json!({"nats": {"storage": {"size": "20Gi"}}}),
            Trouble::StorageChanged { from: "10Gi".to_owned(), to: "20Gi".to_owned() },
        ),
    ] {
        assert_eq!(as_ours(&spec), Wait::Person(trouble), "{spec}");
    }
}

#[test]
fn the_same_size_in_other_words_is_no_change() {
    let plan = planned(&json!({}), |seen| {
        let uid = seen.cluster.uid.clone();
        seen.cluster = cluster(&json!({"nats": {"storage": {"size": "10240Mi"}}}));
        seen.cluster.uid = uid;
    });
    assert_eq!(plan.wait, Wait::Children);
}

#[test]
fn retained_claims_of_another_number_of_servers_start_nothing() {
    for to in [1, 5] {
        let plan = planned(&json!({}), |seen| {
            let uid = seen.cluster.uid.clone();
            seen.cluster = cluster(&json!({"replicas": to}));
            seen.cluster.uid = uid;
            seen.world.stateful_set = Found::Absent;
            seen.world.pods.clear();
        });
        nothing_is_done(&plan);
        assert_eq!(plan.wait, Wait::Person(Trouble::ReplicasChanged { from: 3, to }));
    }
}

#[test]
fn a_suspended_cluster_is_only_looked_at() {
    let plan = planned(&json!({}), |seen| {
        seen.cluster.suspend = true;
        seen.world.client = Found::Absent;
        seen.world.secrets.clear();
    });
    nothing_is_done(&plan);
    assert_eq!((plan.wait, plan.cluster_id.as_deref()), (Wait::Suspended, Some("fresh-1")));
}

#[test]
fn a_missing_key_is_made_before_a_configuration_is_written() {
    let plan = planned(&json!({}), |seen| {
        seen.world.config_map = Found::Absent;
        seen.world.secrets.remove(&Role::Migration);
    });
    assert!(plan.apply.is_empty());
    let step = Step::CreateSecret { role: Role::Migration, cluster_id: "fresh-1".to_owned() };
    assert_eq!(plan.steps, [step]);
}

#[test]
fn a_secret_whose_key_cannot_be_read_is_a_persons_business() {
    let plan = planned(&json!({}), |seen| {
        seen.world.secrets.insert(Role::System, Found::Ours(SecretSeen::default()));
    });
    nothing_is_done(&plan);
    assert!(matches!(plan.wait, Wait::Person(Trouble::NameTaken { kind: "Secret", .. })));
}

#[test]
fn children_are_applied_in_an_order_and_only_those_that_drifted() {
    let plan = planned(&json!({}), |seen| {
        seen.world.stateful_set = Found::Absent;
        seen.world.pods.clear();
        seen.world.client = Found::Absent;
        let Found::Ours(map) = &mut seen.world.config_map else { unreachable!() };
        map.data.as_mut().unwrap().insert("nats.conf".to_owned(), "port: 1".to_owned());
    });
    let kinds = plan.apply.iter().map(|child| match child {
        Child::ConfigMap(_) => "ConfigMap",
        Child::Service(_) => "Service",
        Child::PodDisruptionBudget(_) => "PodDisruptionBudget",
        Child::StatefulSet(_) => "StatefulSet",
        Child::Deployment(_) => "Deployment",
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["ConfigMap", "Service", "StatefulSet"]);
}

#[test]
fn what_was_taken_out_of_the_spec_is_applied_although_the_rest_is_there() {
    let labelled = json!({"nats": {"labels": {"team": "chat"}}});
    let plan = planned(&labelled, |seen| {
        let uid = seen.cluster.uid.clone();
        seen.cluster = cluster(&json!({}));
        seen.cluster.uid = uid;
    });
    assert!(matches!(plan.apply[..], [Child::StatefulSet(_)]), "{:?}", plan.apply);
}

#[test]
fn an_image_that_is_not_set_stays_as_it_runs() {
    let (fake, seen) = settled(&json!({"membershipd": {}}));
    let mut given = fake.given();
    given.default_image = "docker.io/library/nats:3.0.0".to_owned();
    given.default_membershipd_image = "registry.example/membership-operator:9.0.0".to_owned();
    assert_eq!(plan(&seen.cluster, &seen.world, &given).wait, Wait::Nothing);
}

/// What is broken in a world, and what is waited for then.
type Change = fn(&mut World);
type Waits = fn(&Wait) -> bool;

/// A cluster whose buckets wait to be raised.
fn at_one_replica(change: impl FnOnce(&mut World)) -> Plan {
    planned(&json!({}), |seen| {
        let nats = seen.world.nats.as_mut().unwrap();
        for bucket in nats.buckets.values_mut() {
            let Lookup::Present(stream) = &mut bucket.stream else { unreachable!() };
            stream.replicas = 1;
        }
        change(&mut seen.world);
    })
}

fn raised(plan: &Plan) -> Vec<Bucket> {
    let raise = |bucket: &Bucket| {
        let step = Step::RaiseReplicas { bucket: *bucket, from: 1, to: 3 };
        plan.steps.contains(&step)
    };
    Bucket::ALL.into_iter().filter(raise).collect()
}

fn fill(world: &mut World, bucket: Bucket) {
    let seen = world.nats.as_mut().unwrap().buckets.get_mut(&bucket).unwrap();
    let Lookup::Present(stream) = &mut seen.stream else { unreachable!() };
    stream.messages = 100;
}

#[test]
fn empty_buckets_are_raised_together_and_those_with_data_alone() {
    assert_eq!(raised(&at_one_replica(|_| {})), Bucket::ALL);
    let one_full = at_one_replica(|world| fill(world, Bucket::Users));
    assert_eq!(raised(&one_full).len(), 6);
    assert!(!raised(&one_full).contains(&Bucket::Users));
    let all_full = at_one_replica(|world| {
        Bucket::ALL.iter().for_each(|bucket| fill(world, *bucket));
    });
    assert_eq!(raised(&all_full), [Bucket::Control]);
}

#[test]
fn nothing_is_raised_before_all_is_settled_equal_and_freshly_seen() {
    let table: [(Change, Waits); 4] = [
        (
            |world| {
                let silent = Unsettled::Silent { server: "demo-nats-1".to_owned() };
                world.nats.as_mut().unwrap().meta = Err(silent);
            },
            |wait| *wait == Wait::MetaLeader,
        ),
        (
            |world| {
                let Ok(streak) = &mut world.nats.as_mut().unwrap().meta else { unreachable!() };
                streak.since = streak.at;
            },
            |wait| *wait == Wait::MetaLeader,
        ),
        (
            |world| {
                let buckets = &mut world.nats.as_mut().unwrap().buckets;
                let syncing = Equality::Syncing { equal: 1 };
                buckets.get_mut(&Bucket::Rooms).unwrap().equality = syncing;
            },
            |wait| matches!(wait, Wait::BucketsEqual { .. }),
        ),
        (
            |world| world.nats.as_mut().unwrap().age = Duration::from_secs(5),
            |wait| matches!(wait, Wait::BucketsRaised { .. }),
        ),
    ];
    for (row, (change, waits)) in table.into_iter().enumerate() {
        let plan = at_one_replica(change);
        nothing_is_done(&plan);
        assert!(waits(&plan.wait), "{row}: {:?}", plan.wait);
    }
}

/// The servers that are asked to read their configuration again, where the first two run with an
/// older one.
fn reloaded(change: impl FnOnce(&mut World)) -> Vec<String> {
    let plan = planned(&json!({}), |seen| {
        let servers = &mut seen.world.nats.as_mut().unwrap().servers;
        for server in ["demo-nats-0", "demo-nats-1"] {
            servers.get_mut(server).unwrap().config = Some("older".to_owned());
        }
        change(&mut seen.world);
    });
    let mut steps = Vec::new();
    for step in plan.steps {
        if let Step::ReloadServer { server } = step {
            steps.push(server);
        }
    }
    assert_eq!(matches!(plan.wait, Wait::Reloads { .. }), !steps.is_empty(), "{:?}", plan.wait);
    steps
}

#[test]
fn a_configuration_is_taken_up_whatever_else_is_waited_for_but_by_no_pod_that_is_replaced() {
    let both = ["demo-nats-0", "demo-nats-1"];
    let table: [(Change, &[&str]); 7] = [
        (|_| {}, &both),
        (|world| world.pods[2].ready = false, &both),
        (|world| world.nats.as_mut().unwrap().control = Lookup::Unknown, &both),
        (
            |world| {
                let buckets = &mut world.nats.as_mut().unwrap().buckets;
                buckets.get_mut(&Bucket::Rooms).unwrap().equality = Equality::Watching;
            },
            &both,
        ),
        (|world| drop(world.nats.as_mut().unwrap().servers.remove("demo-nats-1")), &both[..1]),
        // It takes up the new one when it is restarted, which here waits for the server that is away.
        (
            |world| {
                world.pods[2].ready = false;
                world.pods[1].revision = Some("older".to_owned());
            },
            &[],
        ),
        (|world| world.nats.as_mut().unwrap().control = Lookup::Absent, &[]),
    ];
    for (row, (change, servers)) in table.into_iter().enumerate() {
        assert_eq!(reloaded(change), servers, "{row}");
    }
}

#[test]
fn a_bucket_is_another_only_by_what_both_record_and_server_say_of_it() {
    let at = |created: &str| {
        Lookup::Present(StreamFacts {
            replicas: 3,
            created: created.to_owned(),
            ..StreamFacts::default()
        })
    };
    let unreadable = Lookup::Unreadable { why: "broken".to_owned() };
    let table = [
        (Some("then"), at("then"), false),
        (None, at("then"), false),
        (Some("then"), at("later"), true),
        // Servers have no clock in common: earlier is another one, too.
        (Some("then"), at("before"), true),
        (Some("then"), Lookup::Unknown, false),
        (Some("then"), unreadable, false),
    ];
    for (born, stream, lost) in table {
        let plan = planned(&json!({}), |seen| {
            let nats = seen.world.nats.as_mut().unwrap();
            let Lookup::Present(record) = &mut nats.control else { unreachable!() };
            record.born = born.map(|then| (Bucket::Rooms, then.to_owned())).into_iter().collect();
            nats.buckets.get_mut(&Bucket::Rooms).unwrap().stream = stream.clone();
        });
        let told =
            matches!(plan.wait, Wait::Person(Trouble::BucketLost { bucket: Bucket::Rooms, .. }));
        assert_eq!(told, lost, "{born:?}, {stream:?}: {:?}", plan.wait);
    }
}

#[test]
fn replicas_are_never_lowered() {
    let plan = planned(&json!({}), |seen| {
        let uid = seen.cluster.uid.clone();
        seen.cluster = cluster(&json!({"buckets": {"replicas": 1}}));
        seen.cluster.uid = uid;
    });
    nothing_is_done(&plan);
    assert_eq!(plan.wait, Wait::Nothing);
}

#[test]
fn silence_of_nats_is_waited_for_and_nothing_is_made() {
    let plan = planned(&json!({}), |seen| seen.world.nats = None);
    nothing_is_done(&plan);
    assert_eq!(plan.wait, Wait::Nats);
    let plan = planned(&json!({}), |seen| {
        seen.world.nats.as_mut().unwrap().control = Lookup::Unknown;
    });
    nothing_is_done(&plan);
    assert_eq!(plan.wait, Wait::Nats);
}

#[test]
fn who_an_object_belongs_to_follows_from_its_controller() {
    let cluster = cluster(&json!({}));
    let owned = |kind: &str, name: &str, uid: &str| ObjectMeta {
        owner_references: Some(vec![OwnerReference {
            api_version: "membership.unibus.dev/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        }]),
        ..ObjectMeta::default()
    };
    let labelled = ObjectMeta { labels: Some(cluster.names.labels()), ..ObjectMeta::default() };
    let foreign = |owner: &str| Ownership::Foreign { owner: owner.to_owned() };
    let table = [
        (owned("MembershipCluster", "demo", &cluster.uid), Ownership::Ours),
        (owned("MembershipCluster", "demo", "before"), Ownership::Old),
        (owned("MembershipCluster", "demi", "x"), foreign("MembershipCluster demi")),
        (owned("Deployment", "demo", &cluster.uid), foreign("Deployment demo")),
        (labelled, Ownership::Ours),
        (ObjectMeta::default(), foreign("nobody that the operator knows")),
    ];
    for (metadata, whose) in table {
        assert_eq!(ownership(&metadata, &cluster), whose, "{metadata:?}");
    }
}
