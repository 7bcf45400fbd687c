//! With which flags the control plane's programs run: pure text. The paths are the machine's own.

use super::{AUDIT_POLICY, COREFILE, KUBECONFIG, LOCAL_PATH_CONFIG, LOCAL_PATH_HELPER};
use crate::network::AddressPlan;
use crate::network::plan::SERVICES;

const ETCD: &str = "http://127.0.0.1:2379";

pub(super) fn etcd() -> Vec<String> {
    flags(&[
        ("data-dir", "/var/etcd"),
        ("listen-client-urls", ETCD),
        ("advertise-client-urls", ETCD),
        ("listen-peer-urls", "http://127.0.0.1:2380"),
        // A test bed's store need not survive a power cut of the host, and syncs are most of its
        // time.
        ("unsafe-no-fsync", "true"),
    ])
}

pub(super) fn api_server(plan: &AddressPlan, audit: bool) -> Vec<String> {
    let mut all = flags(&[
        ("etcd-servers", ETCD),
        ("cert-dir", "/var/pki"),
        ("secure-port", "6443"),
        ("bind-address", "0.0.0.0"),
        // It is in the self-signed certificate, and so what every client must call.
        ("advertise-address", &plan.control_plane().to_string()),
        ("service-cluster-ip-range", &SERVICES.to_string()),
        ("allow-privileged", "true"),
        ("authorization-mode", "Node,RBAC"),
        ("token-auth-file", "/var/config/tokens.csv"),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local"),
        ("service-account-key-file", "/var/config/sa.pub"),
        ("service-account-signing-key-file", "/var/config/sa.key"),
        ("kubelet-preferred-address-types", "InternalIP"),
    ]);
    if audit {
        all.extend(flags(&[
            ("audit-policy-file", &format!("/var/{AUDIT_POLICY}")),
            ("audit-log-path", "/var/log/audit.log"),
        ]));
    }
    all
}

pub(super) fn controller_manager() -> Vec<String> {
    let mut all = client();
    all.extend(flags(&[
        ("service-account-private-key-file", "/var/config/sa.key"),
        ("root-ca-file", "/var/pki/apiserver.crt"),
        // With the default of 20 calls a second its many controllers take 4 s to begin; the default
        // service account, without which no pod can be made, waits for them.
        ("kube-api-qps", "200"),
        ("kube-api-burst", "400"),
        ("use-service-account-credentials", "true"),
        // Half of the default: tests of dead nodes wait for it.
        ("node-monitor-grace-period", "20s"),
    ]));
    all
}

pub(super) fn scheduler() -> Vec<String> {
    client()
}

pub(super) fn dns() -> Vec<String> {
    vec!["-conf".to_owned(), format!("/var/{COREFILE}")]
}

pub(super) fn local_path(helper_image: &str) -> Vec<String> {
    let mut all = vec!["start".to_owned()];
    all.extend(flags(&[
        ("kubeconfig", &format!("/var/{KUBECONFIG}")),
        ("namespace", super::storage::NAMESPACE),
        ("configmap-name", super::storage::CONFIG_MAP),
        ("config", &format!("/var/{LOCAL_PATH_CONFIG}")),
        ("helper-pod-file", &format!("/var/{LOCAL_PATH_HELPER}")),
        ("helper-image", helper_image),
        // It runs outside the cluster and has no account of its own; its helpers need no rights.
        ("service-account-name", "default"),
    ]));
    all
}

/// What the controller manager and the scheduler have in common: there is one of each, so nobody
/// to elect, and both listen for their own machine alone.
fn client() -> Vec<String> {
    flags(&[
        ("kubeconfig", &format!("/var/{KUBECONFIG}")),
        ("leader-elect", "false"),
        ("authentication-skip-lookup", "true"),
        ("bind-address", "127.0.0.1"),
    ])
}

fn flags(pairs: &[(&str, &str)]) -> Vec<String> {
    pairs.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_server_writes_an_audit_log_only_when_asked() {
        let plan = "10.123.7.0/24".parse().unwrap();
        let has_audit = |audit| api_server(&plan, audit).iter().any(|flag| flag.contains("audit"));
        assert!(has_audit(true));
        assert!(!has_audit(false));
    }

    #[test]
    fn the_api_server_is_told_the_address_that_clients_call() {
        let plan = "10.123.7.0/24".parse().unwrap();
        assert!(api_server(&plan, false).contains(&"--advertise-address=10.123.7.1".to_owned()));
    }
}
