//! Building one tool from its pins into a folder. Where that folder is and whether a build is needed
//! at all is decided elsewhere.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    ToolError,
    go::{self, GoVersion},
    pin::{Recipe, Tool},
    python,
};
use crate::{
    cache::CacheError,
    process::{self, Heard},
    progress::Step,
};

/// The longest build (Kubernetes) takes 4 to 6 minutes on two cores, download included; a machine
/// ten times slower still gets there.
const DEADLINE: Duration = Duration::from_mins(45);

/// How much of a failed build's output is shown.
const LAST_LINES: usize = 12;

/// The name of the record beside a built tool.
pub(super) const RECORD: &str = "built.json";

/// What is remembered about a build, beside its outcome.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The tool and its version, as in `etcd 3.6.16`.
    pub tool: String,
    /// How long the build took, download of modules included.
    pub seconds: f64,
    /// The release of Go or Python that built it.
    #[serde(alias = "go")]
    pub toolchain: String,
    /// The size of what was built.
    pub bytes: u64,
}

/// The arguments that build a tool, without the place to build to. They are part of the cache key.
pub(super) fn arguments(tool: Tool) -> Vec<String> {
    match tool.recipe() {
        Recipe::Go(package) => go_arguments(tool, package),
        Recipe::Python(module) => python::arguments(module),
    }
}

fn go_arguments(tool: Tool, package: &str) -> Vec<String> {
    let set = |(variable, value)| format!(" -X {variable}={value}");
    let linking =
        "-s -w".to_owned() + &tool.link_variables().into_iter().map(set).collect::<String>();
    // Debug information is not linked in, by -w, and takes an eighth of the time to make.
    let compiling = "-gcflags=all=-dwarf=false";
    let fixed = ["build", "-trimpath", "-buildvcs=false", "-mod=readonly", compiling];
    [&fixed[..], &["-ldflags", &linking, package]].concat().into_iter().map(str::to_owned).collect()
}

/// Builds a tool into the empty folder `into`, with `go_cache` as Go's build cache.
pub(super) fn build(
    tool: Tool,
    into: &Path,
    go_cache: &Path,
    step: &mut Step,
) -> Result<(), ToolError> {
    let start = Instant::now();
    let module = into.join("module");
    fs::create_dir(&module).map_err(CacheError::at(&module))?;
    for file in tool.files() {
        let path = module.join(file.name);
        fs::write(&path, file.text).map_err(CacheError::at(&path))?;
    }
    let (toolchain, bytes) = match tool.recipe() {
        Recipe::Go(package) => {
            compile(tool, package, &module, go_cache, step)?;
            let bytes = place(tool, &module, into).map_err(CacheError::at(into))?;
            (GoVersion::installed()?.to_string(), bytes)
        }
        Recipe::Python(name) => python::install(tool, name, &module, into, step)?,
    };
    let seconds = start.elapsed().as_secs_f64();
    let record = BuildRecord { tool: tool.to_string(), seconds, toolchain, bytes };
    let path = into.join(RECORD);
    let text = serde_json::to_string_pretty(&record).map_err(io::Error::from);
    text.and_then(|text| fs::write(&path, text)).map_err(CacheError::at(&path))?;
    Ok(())
}

/// Moves the binary out of the module's folder, links its programs' names to it and removes the
/// module. Gives the size.
fn place(tool: Tool, module: &Path, into: &Path) -> io::Result<u64> {
    let binary = into.join(tool.name());
    fs::rename(module.join(tool.name()), &binary)?;
    fs::remove_dir_all(module)?;
    for program in tool.programs() {
        if program.name() != tool.name() {
            symlink(tool.name(), into.join(program.name()))?;
        }
    }
    Ok(fs::metadata(&binary)?.len())
}

fn compile(
    tool: Tool,
    package: &str,
    module: &Path,
    go_cache: &Path,
    step: &mut Step,
) -> Result<(), ToolError> {
    step.doing("downloading modules");
    let mut list = go_command(module, go_cache);
    list.args(["list", "-mod=readonly", "-deps", package]);
    let listed = process::run_heard(&mut list, DEADLINE, |_| step.doing("downloading modules"))?;
    if !listed.status.success() {
        return Err(failure(tool, &listed.stderr));
    }
    let packages: HashSet<&str> = listed.stdout.lines().collect();
    step.of(packages.len() as u64);
    step.doing("compiling");
    let mut go = go_command(module, go_cache);
    let mut arguments = go_arguments(tool, package);
    // `-v` names each package as it is compiled: that is the progress.
    arguments.splice(1..1, ["-v", "-o", tool.name()].map(str::to_owned));
    go.args(arguments);
    let mut compiled = 0;
    let built = process::run_heard(&mut go, DEADLINE, |heard| {
        if let Heard::Err(line) = heard
            && packages.contains(line)
        {
            compiled += 1;
        }
        step.at(compiled);
    })?;
    if built.status.success() { Ok(()) } else { Err(failure(tool, &built.stderr)) }
}

/// The go command, independent of what the user has configured but for the proxy settings.
fn go_command(module: &Path, go_cache: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(module)
        .env("GOCACHE", go_cache)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .env("GOTOOLCHAIN", "local")
        .env_remove("GOOS")
        .env_remove("GOARCH");
    go
}

/// What a failed run of go means. Without network it says the same for every module: the last
/// line will do.
fn failure(tool: Tool, stderr: &str) -> ToolError {
    let lines: Vec<&str> =
        stderr.lines().filter(|line| !line.starts_with("go: downloading")).collect();
    let last = |count| lines[lines.len().saturating_sub(count)..].join("\n");
    if go::blames_network(stderr) {
        ToolError::NoNetwork { tool, said: last(1) }
    } else {
        ToolError::Build { tool, said: last(LAST_LINES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_pin_what_a_build_may_depend_on() {
        let arguments = arguments(Tool::Helm).join(" ");
        assert_eq!(
            arguments,
            "build -trimpath -buildvcs=false -mod=readonly -gcflags=all=-dwarf=false -ldflags \
             -s -w -X helm.sh/helm/v4/internal/version.version=v4.3.1 tool"
        );
    }

    #[test]
    fn a_failure_shows_the_end_of_what_go_said() {
        let noise = "go: downloading x v1\n".repeat(30);
        let error = failure(Tool::Etcd, &format!("{noise}main.go:1: undefined: y\n"));
        let ToolError::Build { said, .. } = &error else { panic!("{error}") };
        assert_eq!(said, "main.go:1: undefined: y");
        let error = failure(Tool::Etcd, "x@v1: dial tcp: no route\ny@v1: dial tcp: no route\n");
        let ToolError::NoNetwork { said, .. } = &error else { panic!("{error}") };
        assert_eq!(said, "y@v1: dial tcp: no route");
    }
}
