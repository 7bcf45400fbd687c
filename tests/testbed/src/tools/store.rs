//! Where built tools are kept: one folder a key, complete or absent. Two processes never build
//! the same tool at the same time, and what nobody uses any more goes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use super::{
    ToolError,
    build::{self, BuildRecord, RECORD},
    key,
    pin::Tool,
};
use crate::{
    cache::{Cache, CacheError, Lock, free_disk_mib},
    progress::Progress,
};

/// The part of the cache that is used here.
const FOLDER: &str = "tools";

/// Go's own build cache, there only while something is built.
const GO_CACHE: &str = ".go-build";

/// How long another process's build of the same tool is waited for.
const PATIENCE: Duration = Duration::from_mins(50);

/// A tool of other pins that nobody asked for in this time goes.
const UNUSED: Duration = Duration::from_hours(7 * 24);

/// The folder of a tool, whether it is there or not.
pub(super) fn folder(cache: &Cache, tool: Tool) -> PathBuf {
    cache.root().join(FOLDER).join(key::folder_name(tool))
}

/// The record of a built tool. A folder gets its name only when it is complete, so the record
/// also says that the tool is there.
pub(super) fn record(cache: &Cache, tool: Tool) -> Option<BuildRecord> {
    let text = fs::read(folder(cache, tool).join(RECORD)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Builds what is missing, one after the other: each build alone keeps all cores busy.
pub(super) fn fill(cache: &Cache, missing: &[Tool], progress: &Progress) -> Result<(), ToolError> {
    let home = cache.folder(FOLDER)?;
    let go_cache = GoCache::open(&home)?;
    for (index, tool) in missing.iter().enumerate() {
        if missing.len() > 1 && index == 0 {
            let names: Vec<&str> = missing.iter().map(|tool| tool.name()).collect();
            progress.note(&format!("building {} tools once: {}", names.len(), names.join(", ")));
        }
        fill_one(cache, *tool, &home, &go_cache.path, progress)?;
    }
    let step = progress.step("Go's build cache", "removing");
    drop(go_cache);
    step.finish("removed");
    prune(&home, SystemTime::now());
    Ok(())
}

fn fill_one(
    cache: &Cache,
    tool: Tool,
    home: &Path,
    go_cache: &Path,
    progress: &Progress,
) -> Result<(), ToolError> {
    let mut step = progress.step(&tool.to_string(), "downloading modules");
    let lock_path = home.join(format!(".{}.lock", tool.name()));
    let _lock = Lock::exclusive(&lock_path, Duration::ZERO).or_else(|_| {
        step.doing("waiting for another process that builds it");
        Lock::exclusive(&lock_path, PATIENCE)
    })?;
    if record(cache, tool).is_some() {
        step.finish("built by another process");
        return Ok(());
    }
    check_room(tool, home)?;
    // Left by a process that died: the lock is ours, so nobody works in it.
    let staging = home.join(format!(".{}.building", tool.name()));
    remove(&staging)?;
    fs::create_dir(&staging).map_err(CacheError::at(&staging))?;
    let target = folder(cache, tool);
    let outcome = build::build(tool, &staging, go_cache, &mut step).and_then(|()| {
        remove(&target)?;
        fs::rename(&staging, &target).map_err(CacheError::at(&target)).map_err(ToolError::from)
    });
    match outcome {
        Ok(()) => {
            step.finish("built");
            Ok(())
        }
        Err(error) => {
            remove(&staging)?;
            Err(error)
        }
    }
}

fn remove(folder: &Path) -> Result<(), CacheError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(CacheError::at(folder)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn check_room(tool: Tool, home: &Path) -> Result<(), ToolError> {
    let free_mib = free_disk_mib(home)?;
    let needed_mib = tool.room_mib();
    if free_mib < needed_mib {
        return Err(ToolError::NoRoom { tool, path: home.to_path_buf(), free_mib, needed_mib });
    }
    Ok(())
}

/// Go's build cache, shared by all processes that build and removed by the last one: it grows to
/// gigabytes and is of no use once the tools are linked.
struct GoCache {
    path: PathBuf,
    lock_path: PathBuf,
    lock: Option<Lock>,
}

impl GoCache {
    fn open(home: &Path) -> Result<Self, CacheError> {
        let lock_path = home.join(".go-build.lock");
        let lock = Some(Lock::shared(&lock_path, PATIENCE)?);
        Ok(Self { path: home.join(GO_CACHE), lock_path, lock })
    }
}

impl Drop for GoCache {
    fn drop(&mut self) {
        self.lock = None;
        if let Ok(_alone) = Lock::exclusive(&self.lock_path, Duration::ZERO) {
            // What cannot be removed now is removed after the next build.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Notes that the tools are in use, which keeps them from being pruned.
pub(super) fn mark_used(cache: &Cache, tools: &[Tool]) {
    for tool in tools {
        // A cache that is read-only can still be used; then nothing prunes it either.
        if let Ok(record) = File::open(folder(cache, *tool).join(RECORD)) {
            let _ = record.set_modified(SystemTime::now());
        }
    }
}

/// Removes tools of other pins that have not been asked for in a week.
fn prune(home: &Path, now: SystemTime) {
    let current: Vec<String> = Tool::ALL.into_iter().map(key::folder_name).collect();
    let Ok(entries) = fs::read_dir(home) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let used = fs::metadata(entry.path().join(RECORD)).and_then(|record| record.modified());
        if let Ok(used) = used
            && is_stale(&name, &current, now.duration_since(used).unwrap_or_default())
        {
            // What cannot be removed now is looked at again after the next build.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_stale(name: &str, current: &[String], unused_for: Duration) -> bool {
    !name.starts_with('.') && !current.iter().any(|kept| kept == name) && unused_for > UNUSED
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn only_what_other_pins_left_long_ago_is_stale() {
        let current = ["etcd-new".to_owned()];
        let cases = [
            ("etcd-new", DAY * 99, false),
            ("etcd-old", DAY * 6, false),
            ("etcd-old", DAY * 8, true),
            (".etcd.building", DAY * 99, false),
        ];
        for (name, age, expected) in cases {
            assert_eq!(is_stale(name, &current, age), expected, "{name} after {age:?}");
        }
    }

    #[test]
    fn pruning_removes_the_stale_and_keeps_the_rest() {
        let home = tempfile::tempdir().unwrap();
        for name in ["etcd-old", "etcd-recent"] {
            fs::create_dir(home.path().join(name)).unwrap();
            File::create(home.path().join(name).join(RECORD)).unwrap();
        }
        let old = File::open(home.path().join("etcd-old").join(RECORD)).unwrap();
        old.set_modified(SystemTime::now() - DAY * 8).unwrap();
        prune(home.path(), SystemTime::now());
        assert!(!home.path().join("etcd-old").exists());
        assert!(home.path().join("etcd-recent").exists());
    }

    #[test]
    fn the_go_build_cache_goes_with_its_last_user() {
        let home = tempfile::tempdir().unwrap();
        let one = GoCache::open(home.path()).unwrap();
        let two = GoCache::open(home.path()).unwrap();
        fs::create_dir(&one.path).unwrap();
        let path = one.path.clone();
        drop(one);
        assert!(path.exists(), "the other build still needs it");
        drop(two);
        assert!(!path.exists());
    }
}
