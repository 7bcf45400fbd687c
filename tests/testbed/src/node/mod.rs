//! A node's machine: containerd, kubelet and kube-proxy. What Kubernetes lets run there is its own
//! matter; how a node is made to fail is in `faults`.

mod containerd;
mod kubelet;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::image::PAUSE;
use crate::machine::Machine;
use crate::network::{self, AddressPlan};
use crate::tools::{Program, Tools};
use crate::{Error, Result, wait};

/// Where a node finds the way to the API server, relative to its `/var`.
const KUBECONFIG: &str = "config/kubeconfig";

/// Which archives its store holds, relative to its `/var`.
const IMPORTED: &str = "config/imported";

/// containerd answers in about 0.3 s; a busy machine is given room.
const CONTAINERD_LIMIT: Duration = Duration::from_secs(30);

/// An import takes 0.2 to 0.4 s for a small image.
const IMPORT_LIMIT: Duration = Duration::from_mins(2);

/// One node of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) machine: Machine,
    /// Counted from 1; addresses are made from it.
    pub(crate) number: u8,
}

impl Node {
    /// What node `number` is called.
    pub(crate) fn name_of(number: u8) -> String {
        format!("node{number}")
    }

    pub(crate) fn name(&self) -> &str {
        self.machine.name()
    }

    /// Switches it on, if it is off, and leads a cable to it.
    pub(crate) fn boot(
        &self,
        control: &Machine,
        plan: &AddressPlan,
        nodes: u8,
        tools: &Tools,
    ) -> Result<()> {
        if self.machine.is_on() {
            return Ok(());
        }
        let programs = [tools.path(Program::Kubelet), tools.path(Program::KubeProxy)];
        self.machine.boot(&programs.each_ref().map(PathBuf::as_path))?;
        network::connect_node(control, &self.machine, self.number, plan, nodes)
    }

    /// Starts containerd, if it does not run, and waits until it answers.
    pub(crate) fn start_containerd(&self, plan: &AddressPlan) -> Result<()> {
        self.machine.write("config/containerd.toml", containerd::config(PAUSE)?)?;
        let network = containerd::network(plan.pods(self.number));
        self.machine.write("config/cni/10-pods.conflist", network)?;
        if self.machine.daemon("containerd").is_none() {
            self.machine
                .start("containerd", &["--config=/var/config/containerd.toml".to_owned()])?;
        }
        let socket = self.socket()?;
        let what = format!("containerd's answer on {}", self.name());
        let hint = format!("see `cargo testbed logs {}/containerd`", self.name());
        wait::until(&what, &hint, CONTAINERD_LIMIT, Duration::from_millis(20), || {
            if UnixStream::connect(&socket).is_ok() {
                return Ok(Some(()));
            }
            self.machine.expect_running("containerd").map(|()| None)
        })
    }

    /// Starts kubelet and kube-proxy, if they do not run. containerd must answer.
    pub(crate) fn start_kubelet(&self, plan: &AddressPlan, kubeconfig: &str) -> Result<()> {
        let machine = &self.machine;
        let address: Ipv4Addr = plan.node(self.number);
        let cgroup_root = machine.group().kubelet_root();
        machine.write(KUBECONFIG, kubeconfig)?;
        machine
            .write("config/kubelet.yaml", kubelet::config(plan.control_plane(), cgroup_root)?)?;
        machine.write("config/proxy.json", kubelet::proxy_config(self.name()))?;
        if machine.daemon("kubelet").is_none() {
            machine.start("kubelet", &kubelet::flags(self.name(), address))?;
        }
        if machine.daemon("kube-proxy").is_none() {
            machine.start("kube-proxy", &["--config=/var/config/proxy.json".to_owned()])?;
        }
        Ok(())
    }

    /// Puts the images of those archives into its store that are not there from an earlier start.
    pub(crate) fn import_new(&self, archives: &[&Path]) -> Result<()> {
        let there = fs::read_to_string(self.machine.disk().join(IMPORTED)).unwrap_or_default();
        let mut stamps = String::new();
        for archive in archives {
            let stamp = stamp(archive)?;
            if !there.contains(&stamp) {
                self.import(archive)?;
            }
            stamps.push_str(&stamp);
        }
        self.machine.write(IMPORTED, stamps)
    }

    /// Puts the images of an archive into its store.
    pub(crate) fn import(&self, archive: &Path) -> Result<()> {
        let file = File::open(archive).map_err(Error::io("open", archive))?;
        // Through stdin: the archive may lie where the node does not see it.
        self.machine
            .enter(["ctr", "--address", containerd::SOCKET, "--namespace", "k8s.io"])?
            .args(["images", "import", "-"])
            .input_from(file)
            .limit(IMPORT_LIMIT)
            .run()?;
        Ok(())
    }

    /// Its socket as the host sees it.
    fn socket(&self) -> Result<PathBuf> {
        let pid = self.machine.first_process().ok_or_else(|| Error::Off(self.name().to_owned()))?;
        Ok(PathBuf::from(format!("/proc/{pid}/root{}", containerd::SOCKET)))
    }
}

/// What tells an archive from one that was written anew in its place.
fn stamp(archive: &Path) -> Result<String> {
    let file = fs::metadata(archive).map_err(Error::io("read", archive))?;
    let (size, seconds, nanos) = (file.size(), file.mtime(), file.mtime_nsec());
    Ok(format!("{} {size} {seconds}.{nanos}\n", archive.display()))
}
