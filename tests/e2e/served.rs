//! The membership service over its buckets while nodes, servers and networks fail: who calls it hears
//! a yes that holds, or a clear no.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bed::{Bed, turn, within};
use crate::callers::{Caller, Reach, Said};
use crate::cutover::{held, let_service_in};
use crate::faults::Off;
use crate::history::{ADMIN, Crowd, SERVICE};
use crate::subject::{Subject, spec_with};

const NAMESPACE: &str = "served";

/// Within this time a replica that can prove nothing any more is out of the Service.
const LEAVES: Duration = Duration::from_secs(10);

/// One replica on each node, and something about the servers.
fn spec(nats: &str) -> String {
    let key = Caller::new(ADMIN).key();
    let admin = format!("firstAdmin: {{publicKey: {key}, handle: Ada}}");
    spec_with(&format!("membershipd: {{replicas: 3, {admin}}}")).replacen(
        "{storage",
        &format!("{{{nats}storage"),
        1,
    )
}

/// A service that a crowd uses, so many who write and so many who ask, reached from the node that no
/// story turns off. All of these share it.
fn served(bed: &Bed, pairs: u32) -> (Subject<'_>, Reach, Crowd) {
    let demo = Subject::new(bed, NAMESPACE, "demo");
    demo.apply(&spec(""));
    demo.rests();
    let reach = Reach::of(demo, &bed.node_of_operator());
    let status = let_service_in(&reach).status();
    assert!([201, 409].contains(&status), "{status}");
    let crowd = Crowd::of_pairs(&reach, pairs);
    crowd.goes_on();
    (demo, reach, crowd)
}

/// What its crowd was told is what the buckets hold.
fn holds(demo: Subject<'_>, crowd: Crowd, story: &str) {
    crowd.goes_on();
    let history = crowd.history();
    history.tell(story);
    history.is_held(&held(demo));
}

fn replicas(demo: Subject<'_>) -> Vec<Value> {
    let name = demo.name;
    let label =
        format!("membership.unibus.dev/store=jetstream,membership.unibus.dev/cluster={name}");
    demo.bed.list(NAMESPACE, "pods", &["-l", &label]).unwrap()
}

fn address(pod: &Value) -> IpAddr {
    pod["status"]["podIP"].as_str().unwrap().parse().unwrap()
}

/// The addresses that the Service leads to.
fn endpoints(demo: Subject<'_>) -> Option<Vec<IpAddr>> {
    let label = format!("kubernetes.io/service-name={}-membershipd", demo.name);
    let slices = demo.bed.list(NAMESPACE, "endpointslices", &["-l", &label])?;
    let all = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).flatten();
    let ready = all.filter(|one| one["conditions"]["ready"] == true);
    Some(ready.filter_map(|one| one["addresses"][0].as_str()?.parse().ok()).collect())
}

/// A replica denies whatever it is asked to do or to tell.
fn is_denied(reach: &Reach) {
    let question = json!({"questions": [{"user": Caller::new(ADMIN).key()}]});
    let user = json!({"key": Caller::new(3).key(), "handle": "late", "role": "user"});
    for said in [
        reach.ask(SERVICE, "POST", "/v1/authorize", &question),
        reach.ask(ADMIN, "POST", "/v1/users", &user),
    ] {
        let Said::Answer { status: 503, body, retry_after: true } = &said else {
            unreachable!("{said:?}")
        };
        assert!(body["type"].as_str().unwrap().ends_with("/unavailable"), "{said:?}");
    }
}

/// A pod that its NATS servers do not hear, nor it them, until this is dropped. All else of its
/// network is as it was, so that the kubelet goes on asking it.
struct CutOff(PathBuf);

impl CutOff {
    fn of(pod: &Value) -> Self {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let cut = Self(network(uid));
        cut.nft(
            "table inet cut {\n\
             chain out { type filter hook output priority 0; tcp dport 4222 drop; }\n\
             chain in { type filter hook input priority 0; tcp sport 4222 drop; }\n}\n",
        );
        cut
    }

    fn nft(&self, rules: &str) {
        let net = format!("--net={}", self.0.display());
        let mut command = Command::new("nsenter");
        let mut nft = command.args([&net, "nft", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{rules}");
    }
}

impl Drop for CutOff {
    fn drop(&mut self) {
        self.nft("delete table inet cut\n");
    }
}

/// The network of a pod: that of any process in its cgroup.
fn network(uid: &str) -> PathBuf {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let of_pod = |folder: &PathBuf| {
        fs::read_to_string(folder.join("cgroup")).is_ok_and(|groups| groups.contains(uid))
    };
    let folder = processes.map(|entry| entry.path()).find(of_pod);
    folder.unwrap().join("ns/net")
}

#[test]
fn a_replica_that_is_cut_off_from_nats_leaves_the_service_in_time_and_comes_back_by_itself() {
    let bed = turn();
    let (demo, reach, crowd) = served(&bed, 20);
    let pod = replicas(demo).swap_remove(0);
    let (cut, began) = (CutOff::of(&pod), Instant::now());
    within("it to leave the Service", || {
        (!endpoints(demo)?.contains(&address(&pod))).then_some(())
    });
    let took = began.elapsed();
    eprintln!("cut off from NATS: out of the Service after {took:.1?}");
    assert!(took < LEAVES, "{took:?}");
    is_denied(&reach.at(address(&pod)));
    demo.until("Degraded", "True");
    assert!(demo.is("Ready", "True"), "two of three serve");
    crowd.goes_on();
    drop(cut);
    within("it to come back", || endpoints(demo)?.contains(&address(&pod)).then_some(()));
    let now =
        replicas(demo).into_iter().find(|now| now["metadata"]["uid"] == pod["metadata"]["uid"]);
    let restarts = now.unwrap()["status"]["containerStatuses"][0]["restartCount"].clone();
    assert_eq!(restarts, 0, "it came back by itself");
    demo.rests();
    holds(demo, crowd, "a replica cut off from NATS");
}

#[test]
fn callers_go_on_with_one_node_off_are_denied_with_two_and_go_on_again() {
    let bed = turn();
    let (demo, reach, crowd) = served(&bed, 20);
    let others = bed.nodes_without_operator();
    let here = bed.node_of_operator();
    let stays = replicas(demo).into_iter().find(|pod| pod["spec"]["nodeName"] == here.as_str());
    let stays = reach.at(address(&stays.unwrap()));
    let one = Off::of(&bed, &others[..1]);
    demo.until("Degraded", "True");
    crowd.goes_on();
    let two = Off::of(&bed, &others[1..]);
    demo.until("Ready", "False");
    is_denied(&stays);
    let counts = crowd.counts();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(crowd.counts(), counts, "something was done without a quorum");
    drop((one, two));
    crowd.goes_on();
    demo.rests();
    holds(demo, crowd, "one node off, then two");
}

#[test]
fn servers_restart_one_by_one_under_load_and_nothing_acknowledged_is_lost() {
    let bed = turn();
    let (demo, _, crowd) = served(&bed, 100);
    let before = demo.pods();
    let (began, sent) = (Instant::now(), crowd.sent());
    demo.apply(&spec("annotations: {change: 'yes'}, "));
    demo.restarts_one_by_one(&before);
    let each_second = (crowd.sent() - sent) as f64 / began.elapsed().as_secs_f64();
    eprintln!("{each_second:.0} requests each second, for {:.1?}", began.elapsed());
    demo.rests();
    holds(demo, crowd, "every NATS server restarted");
}
