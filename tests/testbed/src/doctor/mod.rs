//! Is this machine fit for a cluster? `facts` looks, this module judges: a pure function from
//! facts to findings, each one sentence that says what to do.

mod facts;

use std::fmt;

use serde::Serialize;

pub use self::facts::{Facts, Go};
use crate::tools::{GoVersion, Tool};

/// What three nodes take at rest (1.6 GiB, measured) and a few pods on them.
const CLUSTER_MEMORY_MIB: u64 = 2_560;

/// What linking the Kubernetes programs takes.
const BUILD_MEMORY_MIB: u64 = 4_096;

/// Images and disks of a cluster, without what pods write.
const CLUSTER_ROOM_MIB: u64 = 2_048;

/// What was found out about one thing that a cluster needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, for example "memory".
    pub subject: &'static str,
    /// How it is.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// How something is, with a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "text", rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    #[serde(rename = "ok")]
    Fine(String),
    /// Not there yet, and brought by the next `up`.
    Comes(String),
    /// Not as it should be; a person must act.
    Wrong(String),
}

impl Verdict {
    /// The sentence.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Fine(text) | Self::Comes(text) | Self::Wrong(text) => text,
        }
    }

    /// The verdict in one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Fine(_) => "ok",
            Self::Comes(_) => "comes",
            Self::Wrong(_) => "wrong",
        }
    }

    /// Must a person act?
    #[must_use]
    pub const fn is_wrong(&self) -> bool {
        match self {
            Self::Wrong(_) => true,
            Self::Fine(_) | Self::Comes(_) => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.verdict.text())
    }
}

/// Judges what was seen.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let finding = |subject, verdict| Finding { subject, verdict };
    vec![
        finding("user", user(facts)),
        finding("packages", packages(facts)),
        finding("tools", tools(facts)),
        finding("Go", go(facts)),
        finding("disk", disk(facts)),
        finding("memory", memory(facts)),
    ]
}

fn user(facts: &Facts) -> Verdict {
    if facts.root {
        return Verdict::Fine("root".to_owned());
    }
    let why = "nodes are made of namespaces, mounts and cgroups";
    Verdict::Wrong(format!("you are not root, and {why}: run it as root, for example by sudo"))
}

fn packages(facts: &Facts) -> Verdict {
    match &facts.missing_packages {
        None => Verdict::Wrong(
            "there is no dpkg-query: the test bed needs Debian 12 or newer".to_owned(),
        ),
        Some(missing) if missing.is_empty() => Verdict::Fine("all installed".to_owned()),
        Some(missing) => Verdict::Comes(format!("apt-get will install {}", missing.join(", "))),
    }
}

fn tools(facts: &Facts) -> Verdict {
    if facts.missing_tools.is_empty() {
        return Verdict::Fine(format!("all built, in {}", facts.cache.display()));
    }
    let names: Vec<&str> = facts.missing_tools.iter().map(|tool| tool.name()).collect();
    Verdict::Comes(format!("to be built once (minutes): {}", names.join(", ")))
}

fn go(facts: &Facts) -> Verdict {
    let Some(needed) = GoVersion::needed(&facts.missing_tools) else {
        return Verdict::Fine("not needed, the tools are built".to_owned());
    };
    match facts.go {
        Go::Version(there) if there >= needed => Verdict::Fine(format!("release {there}")),
        Go::Version(there) => Verdict::Wrong(format!(
            "release {there} is too old: install Go {needed} or newer and put it first on PATH"
        )),
        Go::Missing => Verdict::Wrong(format!(
            "not installed: install Go {needed} or newer and put `go` on PATH"
        )),
    }
}

fn disk(facts: &Facts) -> Verdict {
    let building = facts.missing_tools.iter().map(|tool| tool.room_mib()).max().unwrap_or(0);
    let needed = CLUSTER_ROOM_MIB + building;
    let (free, place) = (facts.free_disk_mib, facts.cache.display());
    if free >= needed {
        return Verdict::Fine(format!("{free} MiB free at {place}"));
    }
    Verdict::Wrong(format!(
        "{free} MiB are free at {place} and {needed} are needed: make room, or point \
         XDG_CACHE_HOME elsewhere"
    ))
}

fn memory(facts: &Facts) -> Verdict {
    let builds_kubernetes = facts.missing_tools.contains(&Tool::Kubernetes);
    let needed = if builds_kubernetes { BUILD_MEMORY_MIB } else { CLUSTER_MEMORY_MIB };
    let free = facts.free_memory_mib;
    if free >= needed {
        return Verdict::Fine(format!("{free} MiB available"));
    }
    let for_what = if builds_kubernetes { "to build the tools" } else { "by a cluster" };
    Verdict::Wrong(format!(
        "{free} MiB are available and {needed} are needed {for_what}: end something that is large"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine on which everything is there.
    fn fit() -> Facts {
        Facts {
            root: true,
            missing_packages: Some(Vec::new()),
            missing_tools: Vec::new(),
            go: Go::Missing,
            cache: "/cache".into(),
            free_disk_mib: 4_000,
            free_memory_mib: 3_000,
        }
    }

    fn fresh() -> Facts {
        Facts {
            missing_packages: Some(vec!["runc"]),
            missing_tools: vec![Tool::Kubernetes, Tool::Etcd],
            go: Go::Version(GoVersion::parse("1.26.8").unwrap()),
            free_disk_mib: 20_000,
            free_memory_mib: 8_000,
            ..fit()
        }
    }

    fn wrongs(facts: &Facts) -> Vec<String> {
        let wrong = |finding: &Finding| finding.verdict.is_wrong();
        judge(facts).iter().filter(|finding| wrong(finding)).map(Finding::to_string).collect()
    }

    #[test]
    fn a_machine_with_everything_and_a_fresh_one_are_both_fit() {
        assert_eq!(wrongs(&fit()), [""; 0]);
        assert_eq!(wrongs(&fresh()), [""; 0]);
        let coming = |finding: &&Finding| matches!(finding.verdict, Verdict::Comes(_));
        assert_eq!(judge(&fit()).iter().filter(coming).count(), 0);
        assert_eq!(judge(&fresh()).iter().filter(coming).count(), 2);
    }

    #[test]
    fn each_lack_is_one_sentence_that_says_what_to_do() {
        let cases = [
            (
                Facts { root: false, ..fit() },
                "user: you are not root, and nodes are made of namespaces, mounts and cgroups: \
                 run it as root, for example by sudo",
            ),
            (
                Facts { missing_packages: None, ..fit() },
                "packages: there is no dpkg-query: the test bed needs Debian 12 or newer",
            ),
            (
                Facts { go: Go::Missing, ..fresh() },
                "Go: not installed: install Go 1.26 or newer and put `go` on PATH",
            ),
            (
                Facts { go: Go::Version(GoVersion::parse("1.19.8").unwrap()), ..fresh() },
                "Go: release 1.19.8 is too old: install Go 1.26 or newer and put it first on PATH",
            ),
            (
                Facts { free_disk_mib: 2_047, ..fit() },
                "disk: 2047 MiB are free at /cache and 2048 are needed: make room, or point \
                 XDG_CACHE_HOME elsewhere",
            ),
            (
                Facts { free_disk_mib: 10_000, ..fresh() },
                "disk: 10000 MiB are free at /cache and 10240 are needed: make room, or point \
                 XDG_CACHE_HOME elsewhere",
            ),
            (
                Facts { free_memory_mib: 2_559, ..fit() },
                "memory: 2559 MiB are available and 2560 are needed by a cluster: end something \
                 that is large",
            ),
            (
                Facts { free_memory_mib: 3_000, ..fresh() },
                "memory: 3000 MiB are available and 4096 are needed to build the tools: end \
                 something that is large",
            ),
        ];
        for (facts, sentence) in cases {
            assert_eq!(wrongs(&facts), [sentence], "{facts:?}");
        }
    }
}
