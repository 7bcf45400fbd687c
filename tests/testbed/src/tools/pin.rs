//! Which programs there are, and what each is built from. The one list: a new tool is a folder
//! under `tools/` with its go.mod and go.sum, or its requirements.txt, and an arm in each match here.

use std::fmt;
use std::str::FromStr;

/// Something that is built and cached as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tool {
    /// The five Kubernetes programs and kubectl, as one binary.
    Kubernetes,
    /// The API server's store.
    Etcd,
    /// The cluster's name server.
    CoreDns,
    /// The NATS server with JetStream.
    NatsServer,
    /// The `nats` command line.
    NatsCli,
    /// The chart installer.
    Helm,
    /// Makes the volumes of the default StorageClass; the provisioner of kind and k3s.
    LocalPathProvisioner,
    /// Sends what an OpenAPI document allows, and looks whether the answers are what it says.
    Schemathesis,
    /// An authorisation service beside which ours is measured.
    OpenFga,
    /// The JetStream controller beside which the operator is measured.
    Nack,
}

/// How a tool is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recipe {
    /// From a Go module: our own main where one is needed, else the `tool` that go.mod names.
    Go(&'static str),
    /// From Python packages: this module of theirs is what runs.
    Python(&'static str),
}

/// A program that can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Program {
    /// `kube-apiserver`
    KubeApiserver,
    /// `kube-controller-manager`
    KubeControllerManager,
    /// `kube-scheduler`
    KubeScheduler,
    /// `kubelet`
    Kubelet,
    /// `kube-proxy`
    KubeProxy,
    /// `kubectl`
    Kubectl,
    /// `etcd`
    Etcd,
    /// `coredns`
    CoreDns,
    /// `nats-server`
    NatsServer,
    /// `nats`
    Nats,
    /// `helm`
    Helm,
    /// `local-path-provisioner`
    LocalPathProvisioner,
    /// `schemathesis`
    Schemathesis,
    /// `openfga`
    OpenFga,
    /// `nack`, which its own image calls `jetstream-controller`
    Nack,
}

/// A file of what a tool is built from, as committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModuleFile {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
}

/// The files in `tools/NAME`.
macro_rules! module {
    ($name:literal $(, $file:literal)*) => {
        &[$(ModuleFile {
            name: $file,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/", $name, "/", $file)),
        }),*]
    };
}

impl Tool {
    /// Every tool, the longest build first, so that a failure shows early.
    pub const ALL: [Self; 10] = [
        Self::Kubernetes,
        Self::OpenFga,
        Self::Nack,
        Self::CoreDns,
        Self::Helm,
        Self::LocalPathProvisioner,
        Self::NatsCli,
        Self::Etcd,
        Self::NatsServer,
        Self::Schemathesis,
    ];

    /// Those that a cluster or a test needs. The others are built for figures alone, when somebody
    /// asks for them.
    #[must_use]
    pub fn prepared() -> Vec<Self> {
        let for_figures = [Self::OpenFga, Self::Nack];
        Self::ALL.into_iter().filter(|tool| !for_figures.contains(tool)).collect()
    }

    /// The name of the tool, of its folder under `tools/` and of what is built.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Etcd => "etcd",
            Self::CoreDns => "coredns",
            Self::NatsServer => "nats-server",
            Self::NatsCli => "nats",
            Self::Helm => "helm",
            Self::LocalPathProvisioner => "local-path-provisioner",
            Self::Schemathesis => "schemathesis",
            Self::OpenFga => "openfga",
            Self::Nack => "nack",
        }
    }

    /// The version without a leading `v`, as the first file in `tools/NAME` pins it.
    #[must_use]
    pub fn version(self) -> &'static str {
        let pins = self.files().first().map_or("", |file| file.text);
        let version = match self.recipe() {
            Recipe::Go(_) => pinned(pins, self.module_path()),
            Recipe::Python(_) => pinned_package(pins, self.module_path()),
        };
        version.unwrap_or("unknown")
    }

    /// The Go module, or the Python package, whose version this is.
    const fn module_path(self) -> &'static str {
        match self {
            Self::Kubernetes => "k8s.io/kubernetes",
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::CoreDns => "github.com/coredns/coredns",
            Self::NatsServer => "github.com/nats-io/nats-server/v2",
            Self::NatsCli => "github.com/nats-io/natscli",
            Self::Helm => "helm.sh/helm/v4",
            Self::LocalPathProvisioner => "github.com/rancher/local-path-provisioner",
            Self::Schemathesis => "schemathesis",
            Self::OpenFga => "github.com/openfga/openfga",
            Self::Nack => "github.com/nats-io/nack",
        }
    }

    /// What is built from.
    pub(super) const fn files(self) -> &'static [ModuleFile] {
        match self {
            Self::Kubernetes => module!("kubernetes", "go.mod", "go.sum", "main.go"),
            Self::Etcd => module!("etcd", "go.mod", "go.sum"),
            Self::CoreDns => module!("coredns", "go.mod", "go.sum", "main.go"),
            Self::NatsServer => module!("nats-server", "go.mod", "go.sum"),
            Self::NatsCli => module!("nats", "go.mod", "go.sum"),
            Self::Helm => module!("helm", "go.mod", "go.sum"),
            Self::LocalPathProvisioner => module!("local-path-provisioner", "go.mod", "go.sum"),
            Self::Schemathesis => module!("schemathesis", "requirements.txt"),
            Self::OpenFga => module!("openfga", "go.mod", "go.sum"),
            Self::Nack => module!("nack", "go.mod", "go.sum"),
        }
    }

    /// How it is built.
    pub(super) const fn recipe(self) -> Recipe {
        match self {
            Self::Kubernetes | Self::CoreDns => Recipe::Go("."),
            Self::Etcd
            | Self::NatsServer
            | Self::NatsCli
            | Self::Helm
            | Self::LocalPathProvisioner
            | Self::OpenFga
            | Self::Nack => Recipe::Go("tool"),
            Self::Schemathesis => Recipe::Python("schemathesis.cli"),
        }
    }

    /// Go variables to set at linking: `go build` of a module leaves out what the projects' own
    /// release scripts set, and clients would read `v0.0.0`.
    pub(super) fn link_variables(self) -> Vec<(&'static str, String)> {
        let version = self.version();
        match self {
            Self::Kubernetes => {
                let mut numbers = version.split('.').map(str::to_owned);
                vec![
                    ("k8s.io/component-base/version.gitVersion", format!("v{version}")),
                    ("k8s.io/component-base/version.gitMajor", numbers.next().unwrap_or_default()),
                    ("k8s.io/component-base/version.gitMinor", numbers.next().unwrap_or_default()),
                ]
            }
            Self::NatsCli => vec![("main.version", version.to_owned())],
            Self::Helm => {
                vec![("helm.sh/helm/v4/internal/version.version", format!("v{version}"))]
            }
            Self::LocalPathProvisioner => vec![("main.VERSION", format!("v{version}"))],
            Self::Nack => vec![("main.Version", version.to_owned())],
            Self::Etcd | Self::CoreDns | Self::NatsServer | Self::OpenFga | Self::Schemathesis => {
                Vec::new()
            }
        }
    }

    /// What a build takes on disk at its peak, in MiB: measured, with the modules that it downloads,
    /// plus some room.
    pub(crate) const fn room_mib(self) -> u64 {
        match self {
            Self::Kubernetes => 8 * 1024,
            Self::Etcd
            | Self::CoreDns
            | Self::NatsServer
            | Self::NatsCli
            | Self::Helm
            | Self::LocalPathProvisioner
            | Self::OpenFga
            | Self::Nack => 3 * 1024,
            Self::Schemathesis => 512,
        }
    }

    /// The programs that the tool gives.
    pub(super) const fn programs(self) -> &'static [Program] {
        match self {
            Self::Kubernetes => &[
                Program::KubeApiserver,
                Program::KubeControllerManager,
                Program::KubeScheduler,
                Program::Kubelet,
                Program::KubeProxy,
                Program::Kubectl,
            ],
            Self::Etcd => &[Program::Etcd],
            Self::CoreDns => &[Program::CoreDns],
            Self::NatsServer => &[Program::NatsServer],
            Self::NatsCli => &[Program::Nats],
            Self::Helm => &[Program::Helm],
            Self::LocalPathProvisioner => &[Program::LocalPathProvisioner],
            Self::Schemathesis => &[Program::Schemathesis],
            Self::OpenFga => &[Program::OpenFga],
            Self::Nack => &[Program::Nack],
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.version())
    }
}

/// No tool gives a program of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no program {name}; there are {}", all_programs())]
pub struct UnknownProgram {
    name: String,
}

fn all_programs() -> String {
    let names: Vec<&str> = Program::all().map(Program::name).collect();
    names.join(", ")
}

impl FromStr for Program {
    type Err = UnknownProgram;

    fn from_str(name: &str) -> Result<Self, UnknownProgram> {
        let named = Self::all().find(|program| program.name() == name);
        named.ok_or_else(|| UnknownProgram { name: name.to_owned() })
    }
}

impl Program {
    fn all() -> impl Iterator<Item = Self> {
        Tool::ALL.into_iter().flat_map(|tool| tool.programs().iter().copied())
    }

    /// The file name, which for the Kubernetes programs also decides what the binary does.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Kubectl => "kubectl",
            Self::Etcd => "etcd",
            Self::CoreDns => "coredns",
            Self::NatsServer => "nats-server",
            Self::Nats => "nats",
            Self::Helm => "helm",
            Self::LocalPathProvisioner => "local-path-provisioner",
            Self::Schemathesis => "schemathesis",
            Self::OpenFga => "openfga",
            Self::Nack => "nack",
        }
    }

    /// The tool that gives the program.
    #[must_use]
    pub const fn tool(self) -> Tool {
        match self {
            Self::KubeApiserver
            | Self::KubeControllerManager
            | Self::KubeScheduler
            | Self::Kubelet
            | Self::KubeProxy
            | Self::Kubectl => Tool::Kubernetes,
            Self::Etcd => Tool::Etcd,
            Self::CoreDns => Tool::CoreDns,
            Self::NatsServer => Tool::NatsServer,
            Self::Nats => Tool::NatsCli,
            Self::Helm => Tool::Helm,
            Self::LocalPathProvisioner => Tool::LocalPathProvisioner,
            Self::Schemathesis => Tool::Schemathesis,
            Self::OpenFga => Tool::OpenFga,
            Self::Nack => Tool::Nack,
        }
    }
}

/// The version of a module that a go.mod requires.
fn pinned<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line.trim().trim_start_matches("require ").split_whitespace();
        let version = (words.next() == Some(module)).then(|| words.next())??;
        version.strip_prefix('v')
    })
}

/// The version of a package that a requirements file pins.
fn pinned_package<'a>(requirements: &'a str, package: &str) -> Option<&'a str> {
    requirements.lines().find_map(|line| {
        let version = line.strip_prefix(package)?.strip_prefix("==")?;
        version.split_whitespace().next()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_is_pinned_by_its_files() {
        let versions: Vec<String> = Tool::ALL.iter().map(Tool::to_string).collect();
        let expected = [
            "kubernetes 1.36.3",
            "openfga 1.22.1",
            "nack 0.23.0",
            "coredns 1.14.7",
            "helm 4.3.1",
            "local-path-provisioner 0.0.30",
            "nats 0.5.0",
            "etcd 3.6.16",
            "nats-server 2.15.2",
            "schemathesis 4.32.5",
        ];
        assert_eq!(versions, expected);
    }

    #[test]
    fn a_pin_is_found_in_either_form_of_require() {
        let cases = [
            ("require a.b/c v1.2.3", Some("1.2.3")),
            ("require (\n\ta.b/c v1.2.3 // indirect\n)", Some("1.2.3")),
            ("require a.b/cd v1.2.3", None),
            ("module a.b/c", None),
        ];
        for (go_mod, expected) in cases {
            assert_eq!(pinned(go_mod, "a.b/c"), expected, "{go_mod}");
        }
    }

    #[test]
    fn a_package_is_pinned_by_a_line_of_its_own() {
        let text = "x-schemathesis==1.0\nschemathesis==4.5.6 \\\n    --hash=sha256:00\n";
        assert_eq!(pinned_package(text, "schemathesis"), Some("4.5.6"));
        assert_eq!(pinned_package(text, "schema"), None);
    }

    #[test]
    fn what_only_figures_need_is_not_prepared() {
        let prepared = Tool::prepared();
        assert_eq!(prepared.len(), Tool::ALL.len() - 2);
        assert!(!prepared.contains(&Tool::OpenFga) && !prepared.contains(&Tool::Nack));
    }

    #[test]
    fn kubernetes_is_linked_with_its_version_in_parts() {
        let values: Vec<String> =
            Tool::Kubernetes.link_variables().into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["v1.36.3", "1", "36"]);
    }

    #[test]
    fn every_program_belongs_to_the_tool_that_lists_it() {
        for tool in Tool::ALL {
            for program in tool.programs() {
                assert_eq!(program.tool(), tool, "{}", program.name());
            }
        }
    }

    #[test]
    fn a_program_goes_by_its_file_name() {
        for program in Program::all() {
            assert_eq!(program.name().parse(), Ok(program));
        }
        let refusal = "kubeadm".parse::<Program>().unwrap_err().to_string();
        assert!(
            refusal.starts_with("there is no program kubeadm; there are kube-api"),
            "{refusal}"
        );
    }
}
