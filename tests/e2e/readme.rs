//! A newcomer types what the README says, as it stands there: installs by Helm and by kubectl, makes
//! a cluster, and brings a SQLite file.

use std::os::unix::fs::symlink;
use std::process::Command;

use tempfile::TempDir;
use testbed::tools::{Program, ensure_one};

use crate::bed::{Bed, SYSTEM, turn, within};
use crate::migrate::is_moved;
use crate::readme_commands::{By, run_by};
use crate::source::{FEW, SERVICE, Source};
use crate::subject::Subject;

/// The namespace of a newcomer.
const HERE: &str = "default";

const CRD: &str = "crd/membershipclusters.membership.unibus.dev";

/// A shell with kubectl and helm, in the folder of the README.
struct Shell<'a> {
    bed: &'a Bed,
    home: TempDir,
}

impl<'a> Shell<'a> {
    fn on(bed: &'a Bed) -> Self {
        let home = tempfile::tempdir().unwrap();
        for (name, program) in [("kubectl", Program::Kubectl), ("helm", Program::Helm)] {
            symlink(ensure_one(program).unwrap(), home.path().join(name)).unwrap();
        }
        Self { bed, home }
    }

    fn types(&self, command: &str) -> String {
        eprintln!("$ {command}");
        let mut shell = Command::new("timeout");
        shell.args(["330", "bash", "-euo", "pipefail", "-c", command]);
        shell.current_dir(env!("CARGO_MANIFEST_DIR")).env_clear();
        shell.env("PATH", format!("{}:/usr/bin:/bin", self.home.path().display()));
        shell.env("HOME", self.home.path()).env("KUBECONFIG", self.bed.machines().kubeconfig());
        let output = shell.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}\n{said}\n{complained}");
        said
    }
}

#[test]
fn what_the_readme_gives_to_type_works_as_it_stands() {
    let bed = turn();
    let shell = Shell::on(&bed);
    let demo = Subject::new(&bed, HERE, "demo");
    for command in run_by(By::Newcomer) {
        before(&bed, command);
        let said = shell.types(command);
        match command.split_whitespace().nth(1).unwrap() {
            "install" => assert!(said.contains("STATUS: deployed"), "{said}"),
            "get" => assert!(said.contains("demo") && said.contains("3/3"), "{said}"),
            "explain" => assert!(said.contains("deletionPolicy"), "{said}"),
            "describe" => assert!(said.contains("MigrationDone"), "{said}"),
            "logs" => assert!(!said.is_empty()),
            _ => {}
        }
    }
    is_moved(&demo, FEW, 3);
    forget(&bed, &demo);
    by_kubectl_no_more(&bed);
    label(&bed, "app.kubernetes.io/managed-by=Helm");
    bed.install(SYSTEM, &["--wait", "--timeout", "120s"]);
}

/// What the README says in words, or what only this machine needs between two commands.
fn before(bed: &Bed, command: &str) {
    if command.starts_with("helm install") {
        bed.uninstall(SYSTEM);
    } else if command.contains("-k config") {
        // A machine that had the one way does not take the other: here it is as new.
        bed.uninstall(SYSTEM);
        label(bed, "app.kubernetes.io/managed-by-");
    } else if command.starts_with("kubectl annotate") {
        // Another cluster of the same name, with smaller volumes.
        forget(bed, &Subject::new(bed, HERE, "demo"));
        let source = Source::new(bed, HERE, &["membership-sqlite"]);
        source.fill(FEW);
        bed.delete(HERE, "pod", SERVICE);
    }
}

fn label(bed: &Bed, label: &str) {
    bed.kubectl().run(["label", "--overwrite", CRD, label]).unwrap();
}

/// The cluster goes, with its volumes.
fn forget(bed: &Bed, demo: &Subject<'_>) {
    demo.delete();
    within("the servers to go", || bed.names(HERE, "pods").is_empty().then_some(()));
    let args = ["delete", "persistentvolumeclaims", "--all", "-n", HERE];
    bed.kubectl().run_within(crate::bed::PATIENCE, args).unwrap();
}

/// All but the CRD, with which the clusters of the other stories would go.
fn by_kubectl_no_more(bed: &Bed) {
    let mine = ["-l", "app.kubernetes.io/name=membership-operator"];
    for kinds in
        ["deployments,roles,rolebindings,serviceaccounts", "clusterroles,clusterrolebindings"]
    {
        let args = [&["delete", kinds, "-n", SYSTEM, "--wait"], &mine[..]].concat();
        bed.kubectl().run_within(crate::bed::PATIENCE, args).unwrap();
    }
}
