//! What people do with a cluster, on a real one: pods, Jobs, Services, volumes, exec, logs,
//! port-forward, the API from within, the audit log.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use testbed::Cluster;

use crate::support::{Forward, SHARED, shared, testbed, within};

const SOON: Duration = Duration::from_secs(60);

fn kubectl(cluster: &Cluster, args: &str) -> String {
    cluster.kubectl().run_within(SOON, args.split(' ')).unwrap()
}

/// Runs a Job to its end and gives back its log.
fn job(cluster: &Cluster, name: &str, pod: &str) -> String {
    let manifest = format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: {name}}}\nspec:\n  backoffLimit: 0\n  \
         template:\n    spec:\n      restartPolicy: Never\n{pod}"
    );
    cluster.kubectl().apply(&manifest).unwrap();
    within(SOON, &format!("the end of Job {name}"), || {
        let state = kubectl(
            cluster,
            &format!("get job {name} -o jsonpath={{.status.succeeded}}/{{.status.failed}}"),
        );
        let log = || kubectl(cluster, &format!("logs job/{name}"));
        assert!(!state.ends_with("/1"), "Job {name} failed: {}", log());
        (state == "1/").then(log)
    })
}

fn shell(script: &str) -> String {
    format!(
        "      containers:\n        - name: main\n          image: docker.io/library/busybox:stable\n          \
         command: [sh, -ec, {script:?}]\n"
    )
}

#[test]
fn a_job_runs_and_its_log_can_be_read() {
    let (cluster, _alone) = shared();
    assert_eq!(job(cluster, "hello", &shell("echo hello from $((40 + 2))")), "hello from 42\n");
}

#[test]
fn a_service_resolves_by_name_and_answers_from_every_node() {
    let (cluster, _alone) = shared();
    cluster.kubectl().apply(WEB).unwrap();
    kubectl(cluster, "rollout status daemonset/web --timeout=60s");
    // By nslookup and nc, which ask the network themselves: wget asks the C library, which in a
    // static program ends in a segmentation fault.
    let script = "ip=$(nslookup web.default.svc.cluster.local | awk '/^Address/ {ip = $2} END {print ip}'); \
                  for i in 1 2 3; do printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 $ip 80; done; echo $ip";
    let said = job(cluster, "ask-web", &shell(script));
    let address = kubectl(cluster, "get service web -o jsonpath={.spec.clusterIP}");
    assert_eq!(said.matches("I am web").count(), 3, "{said}");
    assert!(said.contains(&address), "{said} does not name {address}");
}

#[test]
fn exec_and_port_forward_reach_a_pod() {
    let (cluster, _alone) = shared();
    cluster.kubectl().apply(WEB).unwrap();
    kubectl(cluster, "rollout status daemonset/web --timeout=60s");
    let pods = kubectl(cluster, "get pods -l app=web -o jsonpath={.items[*].metadata.name}");
    let pod = pods.split(' ').next().unwrap();
    assert_eq!(kubectl(cluster, &format!("exec {pod} -- hostname")).trim(), pod);
    let forward = Forward::to(cluster, "default", &format!("pod/{pod}"), 8080);
    let mut stream = TcpStream::connect(("127.0.0.1", forward.port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("I am web"), "{answer}");
}

#[test]
fn a_volume_belongs_to_the_groups_of_its_pod_and_to_one_node() {
    let (cluster, _alone) = shared();
    cluster.kubectl().apply(CLAIM).unwrap();
    let pod = format!(
        "      securityContext: {{runAsUser: 1000, runAsGroup: 1000, fsGroup: 2000}}\n      \
         volumes: [{{name: data, persistentVolumeClaim: {{claimName: data}}}}]\n{}          \
         volumeMounts: [{{name: data, mountPath: /data}}]\n",
        shell("touch /data/mine; stat -c %u:%g:%a /data; stat -c %u:%g /data/mine")
    );
    // 2775: the group may write, and what is made within belongs to it.
    assert_eq!(job(cluster, "own-volume", &pod), "0:2000:2775\n1000:2000\n");
    let volume = kubectl(cluster, "get pvc data -o jsonpath={.spec.volumeName}");
    let path = "{.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]}";
    let node = kubectl(cluster, &format!("get pv {volume} -o jsonpath={path}"));
    assert!(cluster.nodes().any(|name| name == node), "bound to {node:?}");
}

#[test]
fn a_pod_reaches_the_api_with_its_own_account_and_no_further_than_allowed() {
    let (cluster, _alone) = shared();
    cluster.kubectl().apply(READER).unwrap();
    // The multi-call binary that every node runs as kubelet; under this name it is kubectl.
    let pod = format!(
        "      serviceAccountName: reader\n      \
         volumes: [{{name: kubectl, hostPath: {{path: /run/bin/kubelet, type: File}}}}]\n{}          \
         volumeMounts: [{{name: kubectl, mountPath: /bin/kubectl}}]\n",
        shell(
            "kubectl get configmap seen -o jsonpath={.data.word}; kubectl get secrets 2>&1 || echo; echo refused"
        )
    );
    let said = job(cluster, "in-cluster", &pod);
    assert!(said.starts_with("treasure"), "{said}");
    assert!(
        said.contains("system:serviceaccount:default:reader") && said.contains("forbidden"),
        "{said}"
    );
}

#[test]
fn the_audit_log_tells_each_call_once() {
    let (cluster, _alone) = shared();
    kubectl(cluster, "get configmaps -n kube-node-lease");
    let log = cluster.audit_log().unwrap();
    let calls = within(SOON, "the call in the audit log", || {
        let text = fs::read_to_string(&log).unwrap();
        let ours = |line: &&str| {
            line.contains("/namespaces/kube-node-lease/configmaps?") && line.contains("kubectl/")
        };
        let count = text.lines().filter(ours).count();
        (count > 0).then_some(count)
    });
    assert_eq!(calls, 1);
}

#[test]
fn status_tells_programs_what_runs() {
    let (_cluster, _alone) = shared();
    let output = testbed(&["status", "--name", SHARED, "-o", "json"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let names = |daemons: &serde_json::Value| -> Vec<String> {
        let list = daemons.as_array().unwrap().iter();
        list.map(|daemon| daemon["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&status["controlPlane"]).len(), 6, "{status}");
    let nodes = status["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    for node in nodes {
        assert_eq!(node["power"], "on");
        let daemons = names(&node["daemons"]);
        let has = |name: &str| daemons.iter().any(|daemon| daemon == name);
        assert!(has("containerd") && has("kubelet") && has("kube-proxy"), "{daemons:?}");
    }
}

const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: web
          image: docker.io/library/busybox:stable
          command: [sh, -ec, 'mkdir /www; echo I am web > /www/index.html; exec httpd -f -p 8080 -h /www']
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
";

const CLAIM: &str = "
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  accessModes: [ReadWriteOnce]
  resources: {requests: {storage: 1Mi}}
";

const READER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: seen}
data: {word: treasure}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader, namespace: default}]
";
