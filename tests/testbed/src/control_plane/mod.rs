//! The control plane's machine: etcd, API server, controller manager, scheduler, DNS and the
//! provisioner of volumes. Which nodes there are is not its business; Kubernetes tells it.

mod flags;
pub(crate) mod identity;
pub(crate) mod kubeconfig;
mod storage;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::image::BUSYBOX;
use crate::kubectl::Kubectl;
use crate::machine::Machine;
use crate::network::AddressPlan;
use crate::tools::{Program, Tools};
use crate::{Error, Result, files, wait};

/// The control plane's name among the machines of a cluster.
pub(crate) const MACHINE: &str = "control-plane";

/// Files on its disk, relative to its `/var`.
const AUTHORITY: &str = "pki/apiserver.crt";
const KUBECONFIG: &str = "config/kubeconfig";
const COREFILE: &str = "config/Corefile";
const AUDIT_POLICY: &str = "config/audit-policy.yaml";
const LOCAL_PATH_CONFIG: &str = "config/local-path.json";
const LOCAL_PATH_HELPER: &str = "config/helper-pod.json";

/// Every request once, when it is answered, without bodies: enough to count calls by.
const AUDIT: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
";

/// A warm API server is ready in about 3 s; one on a busy machine is given room.
const READY_LIMIT: Duration = Duration::from_secs(90);

const PROGRAMS: [Program; 6] = [
    Program::Etcd,
    Program::KubeApiserver,
    Program::KubeControllerManager,
    Program::KubeScheduler,
    Program::CoreDns,
    Program::LocalPathProvisioner,
];

/// The control plane of one cluster.
pub(crate) struct ControlPlane<'a> {
    /// Where it runs.
    pub(crate) machine: &'a Machine,
    /// The addresses of the cluster.
    pub(crate) plan: &'a AddressPlan,
    /// What the kubeconfig's context is called.
    pub(crate) context: &'a str,
    /// Does the API server write an audit log?
    pub(crate) audit: bool,
}

impl ControlPlane<'_> {
    /// Switches the machine on. Its network is not connected yet.
    pub(crate) fn boot(&self, tools: &Tools) -> Result<()> {
        let paths = PROGRAMS.map(|program| tools.path(program));
        self.machine.boot(&paths.each_ref().map(PathBuf::as_path))
    }

    /// Starts store and API server, and waits until the latter answers. Returns the way to talk to
    /// it, whose kubeconfig is written to `kubeconfig`.
    pub(crate) fn start_api_server(&self, tools: &Tools, kubeconfig: PathBuf) -> Result<Kubectl> {
        let token = identity::ensure(self.machine)?;
        self.machine.write(AUDIT_POLICY, AUDIT)?;
        self.ensure_running("etcd", &flags::etcd())?;
        self.ensure_running("kube-apiserver", &flags::api_server(self.plan, self.audit))?;
        let authority = self.authority()?;
        let text = kubeconfig::render(self.context, &server(self.plan), &authority, &token)?;
        self.machine.write(KUBECONFIG, &text)?;
        files::write_private(&kubeconfig, text.as_bytes())?;
        let kubectl = Kubectl::new(tools.path(Program::Kubectl), kubeconfig);
        self.wait_for("kube-apiserver", "the API server's readiness", || {
            Ok(kubectl.run(["get", "--raw=/readyz"]).is_ok().then_some(()))
        })?;
        Ok(kubectl)
    }

    /// Starts everything else. The API server must answer.
    pub(crate) fn start_controllers(&self) -> Result<()> {
        self.machine.write(COREFILE, corefile(self.plan, self.context))?;
        self.machine.write(LOCAL_PATH_CONFIG, storage::config()?)?;
        self.machine.write(LOCAL_PATH_HELPER, storage::helper_pod(BUSYBOX))?;
        self.ensure_running("kube-controller-manager", &flags::controller_manager())?;
        self.ensure_running("kube-scheduler", &flags::scheduler())?;
        self.ensure_running("coredns", &flags::dns())?;
        Ok(())
    }

    /// Makes the default StorageClass and starts what serves it.
    pub(crate) fn start_storage(&self, kubectl: &Kubectl) -> Result<()> {
        kubectl.apply(&storage::manifest(BUSYBOX)?)?;
        if self.machine.daemon("local-path-provisioner").is_none() {
            let env = [("POD_NAMESPACE", storage::NAMESPACE)];
            self.machine.start_with("local-path-provisioner", &env, &flags::local_path(BUSYBOX))?;
        }
        Ok(())
    }

    fn ensure_running(&self, daemon: &str, args: &[String]) -> Result<()> {
        if self.machine.daemon(daemon).is_some() {
            Ok(())
        } else {
            self.machine.start(daemon, args)
        }
    }

    /// The certificate that the API server made for itself at its first start. Its clients trust it
    /// as an authority, so there is no other to make.
    fn authority(&self) -> Result<Vec<u8>> {
        let path = self.machine.disk().join(AUTHORITY);
        self.wait_for("kube-apiserver", "the API server's certificate", || {
            Ok(fs::read(&path).ok().filter(|text| text.ends_with(b"-----END CERTIFICATE-----\n")))
        })
    }

    fn wait_for<T>(
        &self,
        daemon: &str,
        what: &str,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let hint = format!("see `cargo testbed logs {daemon}`");
        wait::until(what, &hint, READY_LIMIT, Duration::from_millis(100), || match look()? {
            None => self.machine.expect_running(daemon).map(|()| None),
            found @ Some(_) => Ok(found),
        })
    }
}

/// The kubeconfig of a machine whose programs may do everything, like the control plane's own.
pub(crate) fn kubeconfig_for_machines(control: &Machine) -> Result<String> {
    let path = control.disk().join(KUBECONFIG);
    fs::read_to_string(&path).map_err(Error::io("read", path))
}

/// The API server's URL.
pub(crate) fn server(plan: &AddressPlan) -> String {
    format!("https://{}:6443", plan.control_plane())
}

/// As kubeadm writes it: what the cluster says of its own names is not cached, so that a pod's name
/// resolves as soon as it is there although it was asked for a moment before.
fn corefile(plan: &AddressPlan, context: &str) -> String {
    format!(
        ".:53 {{\n    bind {address}\n    errors\n    \
         kubernetes cluster.local in-addr.arpa {{\n        kubeconfig /var/{KUBECONFIG} {context}\n        \
         pods insecure\n        ttl 5\n    }}\n    cache 5 {{\n        \
         disable success cluster.local\n        disable denial cluster.local\n    }}\n}}\n",
        address = plan.control_plane(),
    )
}
