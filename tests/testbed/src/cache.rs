//! The folder that outlives a cluster: built tools and image archives, keyed by what they are
//! made from. Where it is and how a place in it is locked; not what is put there.

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How often a held lock is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(100);

/// What can go wrong with the cache folder.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Neither variable that says where caches live is usable.
    #[error("no place for the tool cache: set XDG_CACHE_HOME or HOME to an absolute path")]
    NoHome,
    /// The file system refused.
    #[error("the cache at {path} cannot be used: {source}")]
    Io {
        /// The file or folder in question.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process kept a lock for longer than the caller wants to wait.
    #[error(
        "another process has been working on {path} for {seconds} s: wait for it, or end it, and run again"
    )]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
}

impl CacheError {
    /// Makes a mapper for `map_err` that remembers which path an I/O error was about.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// The cache folder of this user.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// The cache at its ordinary place: `$XDG_CACHE_HOME` or `~/.cache`, then
    /// `membership-operator`.
    ///
    /// # Errors
    /// [`CacheError::NoHome`] when neither variable holds an absolute path.
    pub fn of_this_user() -> Result<Self, CacheError> {
        let xdg = std::env::var_os("XDG_CACHE_HOME");
        let home = std::env::var_os("HOME");
        cache_home(xdg.as_deref(), home.as_deref())
            .map(|home| Self::at(home.join("membership-operator")))
            .ok_or(CacheError::NoHome)
    }

    /// A cache at a place of the caller's choice.
    #[must_use]
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder itself; it may not exist yet.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder in the cache, made when it is missing.
    ///
    /// # Errors
    /// [`CacheError::Io`] when it cannot be made.
    pub fn folder(&self, name: &str) -> Result<PathBuf, CacheError> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(CacheError::at(&path))?;
        Ok(path)
    }

    /// What the whole cache takes on disk, in MiB.
    #[must_use]
    pub fn size_mib(&self) -> u64 {
        disk_bytes(&self.root) / (1024 * 1024)
    }
}

/// What a file or folder takes on disk.
pub(crate) fn disk_bytes(path: &Path) -> u64 {
    blocks(path) * 512
}

/// The disk blocks of 512 bytes that a file or folder takes. What cannot be read, or goes while we
/// look, takes none.
fn blocks(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    found.blocks() + inside.map(|entry| blocks(&entry.path())).sum::<u64>()
}

/// The XDG base directory rule: a relative path in the variable is ignored.
fn cache_home(xdg: Option<&OsStr>, home: Option<&OsStr>) -> Option<PathBuf> {
    let absolute = |value: Option<&OsStr>| value.map(PathBuf::from).filter(|p| p.is_absolute());
    absolute(xdg).or_else(|| absolute(home).map(|home| home.join(".cache")))
}

/// What is free where a folder is, or would be made, in MiB.
pub(crate) fn free_disk_mib(folder: &Path) -> Result<u64, CacheError> {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(folder);
    let room = rustix::fs::statvfs(there).map_err(|errno| CacheError::at(there)(errno.into()))?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize) / (1024 * 1024))
}

/// A lock held on a file; given back on drop, and by the kernel when the process dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock alone, waiting at most `patience`.
    ///
    /// # Errors
    /// [`CacheError::Busy`] when the patience ran out, [`CacheError::Io`] otherwise.
    pub fn exclusive(path: &Path, patience: Duration) -> Result<Self, CacheError> {
        Self::take(path, patience, File::try_lock)
    }

    /// Takes the lock together with other sharers, waiting at most `patience`.
    ///
    /// # Errors
    /// As [`Lock::exclusive`].
    pub fn shared(path: &Path, patience: Duration) -> Result<Self, CacheError> {
        Self::take(path, patience, File::try_lock_shared)
    }

    fn take(
        path: &Path,
        patience: Duration,
        attempt: fn(&File) -> Result<(), TryLockError>,
    ) -> Result<Self, CacheError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(CacheError::at(path))?;
        let start = Instant::now();
        loop {
            match attempt(&file) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(source)) => return Err(CacheError::at(path)(source)),
                Err(TryLockError::WouldBlock) if start.elapsed() >= patience => {
                    return Err(CacheError::Busy {
                        path: path.to_path_buf(),
                        seconds: patience.as_secs(),
                    });
                }
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_RETRY),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_the_xdg_rule() {
        let cases = [
            (Some("/x"), Some("/home/u"), Some("/x")),
            (None, Some("/home/u"), Some("/home/u/.cache")),
            (Some("relative"), Some("/home/u"), Some("/home/u/.cache")),
            (Some(""), Some("/home/u"), Some("/home/u/.cache")),
            (None, Some("relative"), None),
            (None, None, None),
        ];
        for (xdg, home, expected) in cases {
            let found = cache_home(xdg.map(OsStr::new), home.map(OsStr::new));
            assert_eq!(found.as_deref(), expected.map(Path::new), "XDG {xdg:?}, HOME {home:?}");
        }
    }

    #[test]
    fn a_held_lock_is_refused_and_given_back_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = Lock::exclusive(&path, Duration::ZERO).unwrap();
        let refused = Lock::shared(&path, Duration::ZERO).unwrap_err();
        assert!(matches!(refused, CacheError::Busy { .. }), "{refused}");
        drop(held);
        let _one = Lock::shared(&path, Duration::ZERO).unwrap();
        let _two = Lock::shared(&path, Duration::ZERO).unwrap();
        assert!(Lock::exclusive(&path, Duration::ZERO).is_err());
    }

    #[test]
    fn room_is_measured_where_a_missing_folder_would_be() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free_disk_mib(&folder.path().join("not/there/yet")).is_ok());
    }
}
