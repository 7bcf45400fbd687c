//! What can go wrong with a cluster: what happened, why, and what to do next.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::command::CommandError;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something about a cluster failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot be a cluster's.
    #[error(
        "`{0}` is no cluster name: use at most 11 lower-case letters, digits and dashes, \
         beginning with a letter, not ending with a dash"
    )]
    BadName(String),
    /// A number of nodes that cannot be had.
    #[error("a cluster has 1 to {most} nodes, not {wanted}")]
    BadNodeCount {
        /// What was asked for.
        wanted: u8,
        /// The most there can be.
        most: u8,
    },
    /// No node of that name.
    #[error("cluster `{cluster}` has no node `{wanted}`: it has {known}")]
    UnknownNode {
        /// The cluster.
        cluster: String,
        /// The name asked for.
        wanted: String,
        /// The names there are.
        known: String,
    },
    /// No component of that name has a log.
    #[error("there is no log of `{wanted}`: there is one of {known}")]
    UnknownComponent {
        /// The name asked for.
        wanted: String,
        /// The names there are.
        known: String,
    },
    /// The cluster is not there, or not running.
    #[error("cluster `{0}` is not up: start it with `cargo testbed up --name {0}`")]
    NotUp(String),
    /// A machine of the cluster is switched off.
    #[error("`{0}` is off: switch it on with `cargo testbed node power-on {0}`")]
    Off(String),
    /// A daemon ended that should go on.
    #[error("{daemon} on `{machine}` has ended; its last words:\n{said}")]
    Ended {
        /// The daemon.
        daemon: String,
        /// The machine it was on.
        machine: String,
        /// The end of its log.
        said: String,
    },
    /// Another command works on the same cluster.
    #[error(
        "another command works on cluster `{0}` right now: wait for it, or stop it and try again"
    )]
    Busy(String),
    /// The running cluster has another shape than the one asked for.
    #[error(
        "cluster `{cluster}` is already there with {there}, which cannot become {wanted}: \
         `cargo testbed down --name {cluster} --purge` first, or choose another name"
    )]
    OtherShape {
        /// The cluster.
        cluster: String,
        /// What it has.
        there: String,
        /// What was asked for.
        wanted: String,
    },
    /// The address range is taken.
    #[error("the address range {range} is in use: {by}; choose another with `--subnet`")]
    RangeInUse {
        /// The range.
        range: String,
        /// What uses it.
        by: String,
    },
    /// A range that cannot serve.
    #[error(
        "`{0}` cannot be a cluster's address range: give a private IPv4 /24 such as 10.123.7.0/24"
    )]
    BadRange(String),
    /// The cgroup layout is not one this test bed can use.
    #[error(
        "the cgroup layout of this machine cannot be used: {0}; the test bed needs the cgroup v1 \
         hierarchies (boot with `systemd.unified_cgroup_hierarchy=0 \
         SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1`)"
    )]
    Cgroups(String),
    /// A file of ours does not read as it should.
    #[error("{path} cannot be understood ({reason}): `cargo testbed down --purge` removes it")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something did not become true in time.
    #[error("{what} did not happen within {limit:?}: {hint}")]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// Where to look next.
        hint: String,
    },
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The file system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Something that was made here could not be written down.
    #[error("cannot make {what}: {reason}")]
    Make {
        /// What.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// Wraps an I/O error: `map_err(Error::io("read", path))`.
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source }
    }

    /// Wraps a failure to make something: `map_err(Error::make("a key"))`.
    pub(crate) fn make<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Make { what, reason: error.to_string() }
    }
}
