//! The Debian packages that a cluster and the tests stand on: which are missing, and how they get here. Only
//! apt and dpkg are spoken to; what the packages are used for is said in the one list below.

use std::{
    fs::{self, File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    process::{self, Finished, Heard, ProcessError},
    progress::{Progress, Step},
};

/// What a cluster and the tests need from Debian.
pub const PACKAGES: [&str; 10] = [
    "ca-certificates",             // Go downloads its modules by TLS
    "busybox-static",              // the busybox image
    "buildah",                     // builds images
    "containernetworking-plugins", // bridge, host-local and portmap of the pod network
    "containerd",                  // runs containers
    "iproute2",                    // links, routes and network namespaces
    "nftables",                    // kube-proxy's rules, and one-way partitions
    "python3-venv",                // the tools that are written in Python
    "runc",                        // starts containers
    "util-linux",                  // unshare and nsenter: a node is a set of namespaces
];

/// dpkg only reads its own files.
const ASK: Duration = Duration::from_secs(60);

/// 60 MiB to download and another apt run to wait for.
const INSTALL: Duration = Duration::from_mins(15);

/// How long apt waits for another run, as it says it itself.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";

/// How much of a failed run's output is shown.
const LAST_LINES: usize = 2;

/// Asked by Debian's maintainer scripts whether a service may be started.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// A policy that forbids every service.
const FORBID: &[u8] = b"#!/bin/sh\n# Made by the test bed while it installs packages.\nexit 101\n";

/// Why the packages are not there.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// dpkg is not there: another distribution.
    #[error(
        "this is no Debian system (there is no dpkg-query): the test bed needs Debian 12 or newer"
    )]
    NoDebian,
    /// Only root may install.
    #[error(
        "the Debian packages {missing} are missing: run as root, or `sudo apt-get install {missing}`"
    )]
    NotRoot {
        /// What is to be installed.
        missing: String,
    },
    /// The archive cannot be reached, and the packages are not in apt's own cache.
    #[error(
        "the Debian packages {missing} are missing and the package archive cannot be reached: connect to the network, or install them, and run again\n{said}"
    )]
    NoNetwork {
        /// What is to be installed.
        missing: String,
        /// The end of what apt said.
        said: String,
    },
    /// apt failed for another reason.
    #[error("the Debian packages {missing} cannot be installed:\n{said}")]
    Apt {
        /// What is to be installed.
        missing: String,
        /// The end of what apt said.
        said: String,
    },
    /// The guard against started services could not be set up.
    #[error("{POLICY} cannot be written: {0}")]
    Policy(#[source] io::Error),
    /// A program did not start or did not end.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Which of [`PACKAGES`] are not installed.
///
/// # Errors
/// [`PackageError::NoDebian`] without dpkg.
pub fn missing() -> Result<Vec<&'static str>, PackageError> {
    let mut query = Command::new("dpkg-query");
    // An unknown package makes the exit code 1 and is simply not among the lines.
    query.args(["-W", "-f", "${Package} ${db:Status-Status}\n"]).args(PACKAGES).env("LC_ALL", "C");
    match process::run(&mut query, ASK) {
        Ok(Finished { stdout, .. }) => Ok(not_installed(&stdout)),
        Err(ProcessError::Start { .. }) => Err(PackageError::NoDebian),
        Err(error @ ProcessError::TimedOut { .. }) => Err(error.into()),
    }
}

fn not_installed(listing: &str) -> Vec<&'static str> {
    let installed: Vec<&str> =
        listing.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    PACKAGES.into_iter().filter(|package| !installed.contains(package)).collect()
}

/// Installs what is missing. Quick when nothing is. No service is started by it.
///
/// # Errors
/// [`PackageError`].
pub fn ensure(progress: &Progress) -> Result<(), PackageError> {
    let missing = missing()?;
    if missing.is_empty() {
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(PackageError::NotRoot { missing: missing.join(" ") });
    }
    let mut step = progress.step("Debian packages", "updating the package lists");
    let updated = apt_get(&["update", "-o", "APT::Update::Error-Mode=any"], &mut step)?;
    step.doing(&format!("installing {}", missing.join(", ")));
    let guard = NoServices::begin(Path::new(POLICY)).map_err(PackageError::Policy)?;
    let arguments = [&["install", "--yes", "--no-install-recommends"], missing.as_slice()].concat();
    // Tried even without fresh lists: the lists and packages that are here may do.
    let installed = apt_get(&arguments, &mut step)?;
    drop(guard);
    judge(&missing, &updated, &installed)?;
    step.finish("installed");
    Ok(())
}

fn apt_get(arguments: &[&str], step: &mut Step) -> Result<Finished, ProcessError> {
    let mut apt = Command::new("apt-get");
    apt.args(["-q", "-o", LOCK_TIMEOUT, "-o", "Acquire::Retries=2"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C");
    process::run_heard(&mut apt, INSTALL, |heard| match heard {
        Heard::Out(line) if line.starts_with("Setting up ") => {
            step.doing(line.trim_end_matches(" ..."));
        }
        Heard::Out(_) | Heard::Err(_) | Heard::Quiet => step.beat(),
    })
}

/// What two runs of apt mean together.
fn judge(missing: &[&str], updated: &Finished, installed: &Finished) -> Result<(), PackageError> {
    if installed.status.success() {
        return Ok(());
    }
    let missing = missing.join(" ");
    if updated.status.success() {
        return Err(PackageError::Apt { missing, said: complaints(&installed.stderr) });
    }
    Err(PackageError::NoNetwork { missing, said: complaints(&updated.stderr) })
}

/// The last lines that apt marks as errors or warnings.
fn complaints(stderr: &str) -> String {
    let lines: Vec<&str> =
        stderr.lines().filter(|line| line.starts_with("E:") || line.starts_with("W:")).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// While it lives, installing a package starts no service: the containerd of a node is ours, and
/// one more on the host would only be in the way. A policy that the administrator has already set
/// is left alone.
struct NoServices {
    ours: Option<PathBuf>,
}

impl NoServices {
    fn begin(policy: &Path) -> io::Result<Self> {
        match File::create_new(policy) {
            Ok(mut file) => {
                file.write_all(FORBID)?;
                file.set_permissions(Permissions::from_mode(0o755))?;
                Ok(Self { ours: Some(policy.to_path_buf()) })
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Ours when a run that made it was killed.
                let ours = fs::read(policy)? == FORBID;
                Ok(Self { ours: ours.then(|| policy.to_path_buf()) })
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = self.ours.take() {
            // Nothing more can be done; the file says whose it is.
            let _ = fs::remove_file(policy);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus};

    use super::*;

    fn ended(code: i32, stderr: &str) -> Finished {
        let status = ExitStatus::from_raw(code << 8);
        Finished { status, stdout: String::new(), stderr: stderr.to_owned() }
    }

    #[test]
    fn a_package_counts_only_when_it_is_fully_installed() {
        let all: String = PACKAGES.iter().map(|package| format!("{package} installed\n")).collect();
        assert!(not_installed(&all).is_empty());
        assert_eq!(not_installed(""), PACKAGES);
        let half = all
            .replace("runc installed", "runc half-configured")
            .replace("buildah installed", "buildah config-files")
            .replace("containerd installed\n", "");
        assert_eq!(not_installed(&half), ["buildah", "containerd", "runc"]);
    }

    #[test]
    fn two_runs_of_apt_are_judged_together() {
        let offline = ended(100, "Err:1 x\nE: Could not resolve 'deb'\n");
        let broken = ended(100, "E: Unable to locate package runc\n");
        let fine = ended(0, "");
        assert!(judge(&["runc"], &fine, &fine).is_ok());
        assert!(judge(&["runc"], &offline, &fine).is_ok(), "apt's own cache was enough");
        let error = judge(&["runc"], &offline, &broken).unwrap_err().to_string();
        assert_eq!(
            error,
            "the Debian packages runc are missing and the package archive cannot be reached: \
             connect to the network, or install them, and run again\nE: Could not resolve 'deb'"
        );
        let error = judge(&["runc"], &fine, &broken).unwrap_err();
        assert!(matches!(error, PackageError::Apt { .. }), "{error}");
    }

    #[test]
    fn the_guard_against_services_leaves_no_trace_and_spares_a_policy_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy-rc.d");
        let guard = NoServices::begin(&policy).unwrap();
        let script = Command::new(&policy).status().unwrap();
        assert_eq!(script.code(), Some(101), "101 is `forbidden` to invoke-rc.d");
        drop(guard);
        assert!(!policy.exists());
        fs::write(&policy, FORBID).unwrap();
        drop(NoServices::begin(&policy).unwrap());
        assert!(!policy.exists(), "one that a killed run left is taken over");
        fs::write(&policy, "theirs").unwrap();
        drop(NoServices::begin(&policy).unwrap());
        assert_eq!(fs::read_to_string(&policy).unwrap(), "theirs");
    }
}
