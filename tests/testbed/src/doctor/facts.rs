//! Looking at the machine. What the facts mean is judged elsewhere.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    cache::{Cache, CacheError, free_disk_mib},
    debian,
    tools::{GoVersion, Tool, Tools},
};

/// What is known of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Is the effective user root?
    pub root: bool,
    /// The Debian packages that are not installed; `None` where there is no dpkg.
    pub missing_packages: Option<Vec<&'static str>>,
    /// The tools that are not built.
    pub missing_tools: Vec<Tool>,
    /// The Go toolchain.
    pub go: Go,
    /// Where the cache is, or will be.
    pub cache: PathBuf,
    /// What is free on the file system of the cache, in MiB.
    pub free_disk_mib: u64,
    /// What the kernel says new programs may take, in MiB.
    pub free_memory_mib: u64,
}

/// The Go toolchain on `PATH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Go {
    /// There is none, or it does not answer.
    Missing,
    /// It is of this release.
    Version(GoVersion),
}

impl Facts {
    /// Looks at this machine.
    ///
    /// # Errors
    /// [`CacheError::Io`] when the file system or the kernel cannot be asked.
    pub fn gather(cache: &Cache) -> Result<Self, CacheError> {
        Ok(Self {
            root: rustix::process::geteuid().is_root(),
            missing_packages: debian::missing().ok(),
            missing_tools: Tools::found_in(cache).missing(&Tool::prepared()),
            go: GoVersion::installed().map_or(Go::Missing, Go::Version),
            cache: cache.root().to_path_buf(),
            free_disk_mib: free_disk_mib(cache.root())?,
            free_memory_mib: free_memory_mib()?,
        })
    }
}

fn free_memory_mib() -> Result<u64, CacheError> {
    let path = Path::new("/proc/meminfo");
    let text = fs::read_to_string(path).map_err(CacheError::at(path))?;
    let unread = || CacheError::at(path)(io::Error::other("there is no MemAvailable"));
    available_mib(&text).ok_or_else(unread)
}

fn available_mib(meminfo: &str) -> Option<u64> {
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_as_the_kernel_writes_it() {
        let text = "MemTotal:       24681152 kB\nMemAvailable:   22118400 kB\n";
        assert_eq!(available_mib(text), Some(21_600));
        assert_eq!(available_mib("MemTotal: 1 kB\n"), None);
    }
}
