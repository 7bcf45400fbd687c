//! What of a machine a cluster could have changed, as comparable text.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Everything that one cluster, by its name, could leave behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeSet<String>);

impl Snapshot {
    pub fn of(cluster: &str) -> Self {
        let mut lines = BTreeSet::new();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        lines.extend(mounts.lines().map(|line| format!("mount {line}")));
        folders(&mut lines, "cgroup", Path::new("/sys/fs/cgroup"), &|path| {
            path.contains(&format!("testbed-{cluster}"))
        });
        for place in [
            "/run",
            "/opt",
            "/etc/cni",
            "/usr/libexec/kubernetes",
            "/var/lib/cni",
            "/var/lib/kubelet",
            "/var/log/pods",
            "/var/log/containers",
        ] {
            folders(&mut lines, "folder", Path::new(place), &|_| true);
        }
        folders(&mut lines, "state", Path::new("/var/lib/testbed"), &|path| {
            path.contains(&format!("/{cluster}"))
        });
        processes(&mut lines, cluster);
        sysctls(&mut lines);
        loops(&mut lines);
        lines.extend(
            output("ip", &["-o", "-4", "route"])
                .lines()
                .map(|line| format!("route {}", line.trim()))
                .filter(|line| !line.contains("tb-") || line.contains(&format!("tb-{cluster} "))),
        );
        lines.extend(output("ip", &["-o", "link"]).lines().filter_map(|line| {
            let name = line.split(": ").nth(1)?;
            (name.starts_with(&format!("tb-{cluster}@")) || !name.starts_with("tb-"))
                .then(|| format!("link {name}"))
        }));
        Self(lines)
    }

    /// What this one has and the other has not.
    pub fn beyond(&self, other: &Self) -> Vec<String> {
        self.0.difference(&other.0).cloned().collect()
    }
}

fn folders(lines: &mut BTreeSet<String>, kind: &str, top: &Path, wanted: &dyn Fn(&str) -> bool) {
    for entry in fs::read_dir(top).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = entry.path();
            let text = path.display().to_string();
            if wanted(&text) {
                lines.insert(format!("{kind} {text}"));
            }
            folders(lines, kind, &path, wanted);
        }
    }
}

/// Those that live in the cluster's cgroup, or say its name: other work goes on on this machine.
fn processes(lines: &mut BTreeSet<String>, cluster: &str) {
    let name = format!("testbed-{cluster}/");
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |file: &str| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        // The dead, until the system's first process collects them, are nobody's any more.
        let alive = !read("cmdline").is_empty();
        if alive && (read("cgroup").contains(&name) || read("cmdline").contains(&name)) {
            lines.insert(format!("process {} {}", entry.path().display(), read("comm").trim()));
        }
    }
}

fn sysctls(lines: &mut BTreeSet<String>) {
    let names = [
        "vm/overcommit_memory",
        "vm/panic_on_oom",
        "kernel/panic",
        "kernel/panic_on_oops",
        "kernel/keys/root_maxkeys",
        "kernel/keys/root_maxbytes",
        "net/ipv4/ip_forward",
        "net/ipv4/conf/all/route_localnet",
        "net/netfilter/nf_conntrack_max",
    ];
    for name in names {
        let value = fs::read_to_string(Path::new("/proc/sys").join(name)).unwrap_or_default();
        lines.insert(format!("sysctl {name} {}", value.trim()));
    }
}

fn loops(lines: &mut BTreeSet<String>) {
    for entry in fs::read_dir("/sys/block").unwrap().flatten() {
        if let Ok(file) = fs::read_to_string(entry.path().join("loop/backing_file")) {
            lines.insert(format!("loop {file}"));
        }
    }
}

fn output(program: &str, args: &[&str]) -> String {
    String::from_utf8(Command::new(program).args(args).output().unwrap().stdout).unwrap()
}
