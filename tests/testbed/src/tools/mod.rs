//! The programs that a cluster is made of and tests are made with, built from pinned Go modules and
//! Python packages into the cache.
//!
//! * `pin` is the one list of tools: names, versions, files, programs.
//! * `key` turns a pin into the name of a folder.
//! * `go` knows Go's toolchain and `python` Python's, `build` makes one tool, `store` keeps what was
//!   built.
//!
//! What the programs are run with is none of this module's business.

mod build;
mod go;
mod key;
mod pin;
mod python;
mod store;

use std::path::PathBuf;

pub use self::{
    build::BuildRecord,
    go::GoVersion,
    pin::{Program, Tool, UnknownProgram},
};
use crate::{
    cache::{Cache, CacheError},
    process::ProcessError,
    progress::Progress,
};

/// Why a tool is not there.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// There is no `go` on `PATH`.
    #[error(
        "Go is not installed: put the `go` command of release {} or newer on PATH",
        needed_go()
    )]
    GoMissing,
    /// The `go` on `PATH` does not tell its version.
    #[error("`go env GOVERSION` told no version ({said}): install Go {} or newer", needed_go())]
    GoUnknown {
        /// What it said instead.
        said: String,
    },
    /// The `go` on `PATH` is older than a pinned module allows.
    #[error("Go {installed} is too old: install Go {needed} or newer and put it first on PATH")]
    GoTooOld {
        /// What is there.
        installed: GoVersion,
        /// What the pins ask for.
        needed: GoVersion,
    },
    /// The file system of the cache has too little room for a build.
    #[error(
        "{free_mib} MiB are free at {path}, and building {tool} takes {needed_mib}: make room, or point XDG_CACHE_HOME elsewhere"
    )]
    NoRoom {
        /// What was to be built.
        tool: Tool,
        /// The cache.
        path: PathBuf,
        /// What is free, in MiB.
        free_mib: u64,
        /// What a build takes at its peak, in MiB.
        needed_mib: u64,
    },
    /// Modules or packages could not be downloaded.
    #[error(
        "{tool} cannot be built, what it is made of cannot be downloaded: check the network, and GOPROXY or pip's configuration, then run again\n{said}"
    )]
    NoNetwork {
        /// What was to be built.
        tool: Tool,
        /// The end of what was said.
        said: String,
    },
    /// The build failed.
    #[error("{tool} cannot be built:\n{said}")]
    Build {
        /// What was to be built.
        tool: Tool,
        /// The end of what was said.
        said: String,
    },
    /// A program did not start or did not end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn needed_go() -> String {
    GoVersion::needed(&Tool::ALL).map(|version| version.to_string()).unwrap_or_default()
}

/// Built tools.
#[derive(Debug, Clone)]
pub struct Tools {
    cache: Cache,
}

impl Tools {
    /// Where a program is; it is there if its tool has been ensured.
    #[must_use]
    pub fn path(&self, program: Program) -> PathBuf {
        store::folder(&self.cache, program.tool()).join(program.name())
    }

    /// How the tools that are there were built, in the order of [`Tool::ALL`].
    #[must_use]
    pub fn records(&self) -> Vec<BuildRecord> {
        Tool::ALL.into_iter().filter_map(|tool| store::record(&self.cache, tool)).collect()
    }

    /// The tools of a cache as they are, without building any.
    #[must_use]
    pub fn found_in(cache: &Cache) -> Self {
        Self { cache: cache.clone() }
    }

    /// The tools that are not built yet.
    #[must_use]
    pub fn missing(&self, wanted: &[Tool]) -> Vec<Tool> {
        let missing = |tool: &Tool| store::record(&self.cache, *tool).is_none();
        wanted.iter().copied().filter(missing).collect()
    }
}

/// Makes sure that tools are built. Quick when they are; safe to call from several processes.
///
/// # Errors
/// [`ToolError`]; then nothing half-made is left, and what was built before the failure stays.
pub fn ensure(cache: &Cache, wanted: &[Tool], progress: &Progress) -> Result<Tools, ToolError> {
    let tools = Tools::found_in(cache);
    let missing = tools.missing(wanted);
    if !missing.is_empty() {
        if GoVersion::needed(&missing).is_some() {
            fit(GoVersion::installed()?, &missing)?;
        }
        store::fill(cache, &missing, progress)?;
    }
    store::mark_used(cache, wanted);
    Ok(tools)
}

/// Makes sure that one program is there and gives its path: `ensure_one(Program::NatsServer)`.
///
/// # Errors
/// As [`ensure`].
pub fn ensure_one(program: Program) -> Result<PathBuf, ToolError> {
    let cache = Cache::of_this_user()?;
    ensure(&cache, &[program.tool()], &Progress::stderr()).map(|tools| tools.path(program))
}

/// Is this Go new enough for these tools?
fn fit(installed: GoVersion, tools: &[Tool]) -> Result<(), ToolError> {
    match GoVersion::needed(tools) {
        Some(needed) if installed < needed => Err(ToolError::GoTooOld { installed, needed }),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_go_is_refused_in_one_sentence() {
        let version = |text| GoVersion::parse(text).unwrap();
        assert!(fit(version("1.26.8"), &Tool::ALL).is_ok());
        let refusal = fit(version("1.19.8"), &[Tool::Etcd]).unwrap_err().to_string();
        assert_eq!(
            refusal,
            "Go 1.19.8 is too old: install Go 1.26 or newer and put it first on PATH"
        );
        assert!(fit(version("1.24"), &[Tool::Schemathesis]).is_ok(), "it takes no Go");
    }
}
