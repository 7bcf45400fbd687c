//! Programs written in Python: each is a virtual environment with exactly the packages, by version and
//! hash, that its requirements.txt names, and a launcher beside it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command, time::Duration};

use super::{ToolError, pin::Tool};
use crate::{
    cache::{CacheError, disk_bytes},
    process::{self, Finished},
    progress::Step,
};

/// Debian's own: the one that `python3-venv` belongs to, whatever else is on `PATH`.
const PYTHON: &str = "/usr/bin/python3";

/// Making an environment takes seconds and downloading into it a minute; a slow machine or index
/// takes longer.
const DEADLINE: Duration = Duration::from_mins(15);

/// How much of a failed run's output is shown.
const LAST_LINES: usize = 4;

/// What is made inside of a tool's folder.
const ENVIRONMENT: &str = "environment";

/// What `pip` is told: only what is named, only as it was hashed, and nothing that would have to be
/// built here.
const PIP: [&str; 8] = [
    "-m",
    "pip",
    "install",
    "--require-hashes",
    "--only-binary=:all:",
    "--no-input",
    "--disable-pip-version-check",
    "--progress-bar=off",
];

/// What the outcome depends on besides the pins.
pub(super) fn arguments(module: &str) -> Vec<String> {
    PIP.into_iter().map(str::to_owned).chain([launcher(module)]).collect()
}

/// Installs the packages into `into`. Gives Python's release and the size.
pub(super) fn install(
    tool: Tool,
    module: &str,
    pins: &Path,
    into: &Path,
    step: &mut Step,
) -> Result<(String, u64), ToolError> {
    step.doing("making an environment");
    let environment = into.join(ENVIRONMENT);
    let mut venv = Command::new(PYTHON);
    done(tool, &run(venv.args(["-m", "venv"]).arg(&environment), step)?)?;
    step.doing("downloading packages");
    let mut pip = Command::new(environment.join("bin/python"));
    pip.args(PIP).arg("--requirement").arg(pins.join("requirements.txt"));
    done(tool, &run(&mut pip, step)?)?;
    let mut version = Command::new(environment.join("bin/python"));
    let version = run(version.arg("--version"), step)?;
    done(tool, &version)?;
    let launched = into.join(tool.name());
    place(module, pins, &launched).map_err(CacheError::at(&launched))?;
    Ok((version.stdout.trim().to_owned(), disk_bytes(into)))
}

fn place(module: &str, pins: &Path, launched: &Path) -> std::io::Result<()> {
    fs::remove_dir_all(pins)?;
    fs::write(launched, launcher(module))?;
    fs::set_permissions(launched, fs::Permissions::from_mode(0o755))
}

/// The scripts that pip makes know only the folder in which they were made; this one finds its own.
fn launcher(module: &str) -> String {
    format!(
        "#!/bin/sh\nexec \"$(dirname \"$(readlink -f \"$0\")\")/{ENVIRONMENT}/bin/python\" -m {module} \"$@\"\n"
    )
}

fn run(command: &mut Command, step: &mut Step) -> Result<Finished, ToolError> {
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env_remove("VIRTUAL_ENV");
    Ok(process::run_heard(command, DEADLINE, |_| step.beat())?)
}

fn done(tool: Tool, finished: &Finished) -> Result<(), ToolError> {
    if finished.status.success() { Ok(()) } else { Err(failure(tool, &finished.stderr)) }
}

/// What a failed run means. pip tries several times and tells of each: the end will do.
fn failure(tool: Tool, stderr: &str) -> ToolError {
    const NETWORK: [&str; 4] =
        ["NewConnectionError", "ConnectTimeoutError", "ReadTimeoutError", "name resolution"];
    let lines: Vec<&str> = stderr.lines().collect();
    let said = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    if NETWORK.iter().any(|sign| stderr.contains(sign)) {
        ToolError::NoNetwork { tool, said }
    } else {
        ToolError::Build { tool, said }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_told_from_a_package_that_is_another_one() {
        let away = "WARNING: Retrying: NewConnectionError\nERROR: No matching distribution found";
        assert!(matches!(failure(Tool::Schemathesis, away), ToolError::NoNetwork { .. }));
        let other = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.";
        let error = failure(Tool::Schemathesis, other);
        assert!(matches!(&error, ToolError::Build { said, .. } if said == other), "{error}");
    }

    #[test]
    fn nothing_is_installed_that_is_not_pinned_by_its_hash() {
        let arguments = arguments("x.cli");
        assert!(arguments.contains(&"--require-hashes".to_owned()), "{arguments:?}");
        assert!(arguments.last().unwrap().ends_with("/environment/bin/python\" -m x.cli \"$@\"\n"));
    }
}
