//! Running buildah so that it leaves nothing behind: in a mount namespace of its own, with its
//! storage in a folder of the caller's and everything else it writes in memory.

use std::{ffi::OsString, path::Path, process::Command, time::Duration};

use super::{Context, ImageError};
use crate::process;

/// Copying a few files takes seconds; a large context on a slow disk takes longer.
const DEADLINE: Duration = Duration::from_mins(10);

/// How much of a failed build's output is shown.
const LAST_LINES: usize = 12;

/// Buildah keeps a cache in /var/lib/containers and locks in /run whatever it is told. Both
/// vanish with the namespace.
const IN_MEMORY: &str = "mount -t tmpfs tmpfs /var/lib && mount -t tmpfs tmpfs /run && exec \"$@\"";

/// Builds a context and writes the image to `archive`. `storage` is an empty or missing folder on
/// disk that the caller removes afterwards.
pub(super) fn build(
    name: &str,
    context: &Context<'_>,
    storage: &Path,
    archive: &Path,
) -> Result<(), ImageError> {
    let mut bud: Vec<OsString> = vec![
        "bud".into(),
        "--isolation".into(),
        "chroot".into(),
        "--pull-never".into(),
        "--tag".into(),
        name.into(),
        "--file".into(),
        context.dockerfile().into(),
    ];
    for (stage, folder) in context.stages {
        let mut given = OsString::from(format!("{stage}="));
        given.push(folder);
        bud.extend(["--build-context".into(), given]);
    }
    bud.push(context.folder.into());
    buildah(name, storage, &bud)?;
    let mut target = OsString::from("docker-archive:");
    target.push(archive);
    target.push(format!(":{name}"));
    buildah(name, storage, &["push".into(), name.into(), target])
}

fn buildah(name: &str, storage: &Path, arguments: &[OsString]) -> Result<(), ImageError> {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "--", "sh", "-c", IN_MEMORY, "sh"])
        .args(["buildah", "--storage-driver", "vfs", "--root"])
        .arg(storage.join("root"))
        .arg("--runroot")
        .arg(storage.join("runroot"))
        .args(arguments)
        .env("TMPDIR", storage);
    let finished = process::run(&mut command, DEADLINE)?;
    if finished.status.success() {
        return Ok(());
    }
    let lines: Vec<&str> = finished.stderr.lines().collect();
    let said = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    Err(ImageError::Build { image: name.to_owned(), program: "buildah", said })
}
