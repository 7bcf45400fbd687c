//! kubectl with the cluster's kubeconfig: how this crate, its tests and its users talk to the API
//! server.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Result;
use crate::command::Invocation;

/// kubectl, aimed at one cluster.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub(crate) const fn new(program: PathBuf, kubeconfig: PathBuf) -> Self {
        Self { program, kubeconfig }
    }

    /// The kubeconfig it uses.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs it to its end, for at most 30 s, and returns what it wrote to stdout.
    ///
    /// # Errors
    /// [`crate::Error::Command`] with what it wrote to stderr.
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<String> {
        Ok(self.invocation(args).run()?)
    }

    /// As [`Kubectl::run`], for a call that may take long, like `wait` or `rollout status`.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn run_within<A: AsRef<OsStr>>(
        &self,
        limit: Duration,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String> {
        Ok(self.invocation(args).limit(limit).run()?)
    }

    /// Applies a manifest of one or more documents.
    ///
    /// # Errors
    /// As [`Kubectl::run`].
    pub fn apply(&self, manifest: &str) -> Result<String> {
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        Ok(self.invocation(apply).stdin(manifest).run()?)
    }

    /// The command line as a plain [`Command`], for a caller that wants to hold the process
    /// (port-forward) or to become it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.globals());
        command
    }

    fn invocation<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Invocation {
        Invocation::new(&self.program).args(self.globals()).args(args)
    }

    /// Its cache of API discovery lies beside the kubeconfig, not in the user's home, and goes with
    /// the cluster.
    fn globals(&self) -> [String; 2] {
        let cache = self.kubeconfig.with_file_name("kubectl-cache");
        [
            format!("--kubeconfig={}", self.kubeconfig.display()),
            format!("--cache-dir={}", cache.display()),
        ]
    }
}
