//! One command at a time works on a cluster. The lock is a name in the kernel, not a file: it
//! leaves nothing behind, and it is gone when its holder is, however that ended.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::Duration;

use crate::name::ClusterName;
use crate::{Error, Result, wait};

const PAUSE: Duration = Duration::from_millis(50);

/// Held while it lives.
#[derive(Debug)]
pub(crate) struct Lock {
    _name: UnixListener,
}

impl Lock {
    /// Takes the lock of a cluster at once.
    ///
    /// # Errors
    /// [`Error::Busy`] when another command holds it.
    pub(crate) fn of(cluster: &ClusterName) -> Result<Self> {
        Self::attempt(cluster.as_str())?.ok_or_else(|| Error::Busy(cluster.to_string()))
    }

    /// As [`Lock::of`], but waits for at most `patience`.
    pub(crate) fn wait_for(cluster: &ClusterName, patience: Duration) -> Result<Self> {
        let attempt = || Self::attempt(cluster.as_str());
        wait::until("a lock", "", patience, PAUSE, attempt).map_err(|error| {
            let held = matches!(error, Error::Timeout { .. });
            if held { Error::Busy(cluster.to_string()) } else { error }
        })
    }

    /// The lock of the machine's address ranges, held for the moment of choosing one.
    pub(crate) fn of_ranges() -> Result<Self> {
        let what = "the choice of an address range by another command";
        // No cluster can have this name.
        let attempt = || Self::attempt("*ranges*");
        wait::until(what, "try again", Duration::from_secs(30), PAUSE, attempt)
    }

    fn attempt(name: &str) -> Result<Option<Self>> {
        let address = SocketAddr::from_abstract_name(format!("testbed-{name}"))
            .map_err(Error::make("the name of a lock"))?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Some(Self { _name: listener })),
            Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(None),
            Err(error) => Err(Error::make("a lock")(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_command_on_a_cluster_is_refused_until_the_first_has_ended() {
        let name: ClusterName = "lock-test".parse().unwrap();
        let first = Lock::of(&name).unwrap();
        let error = Lock::of(&name).unwrap_err();
        assert!(
            error.to_string().contains("another command works on cluster `lock-test`"),
            "{error}"
        );
        assert!(Lock::wait_for(&name, Duration::from_millis(120)).is_err());
        let _other = Lock::of(&"lock-other".parse().unwrap()).unwrap();
        drop(first);
        Lock::of(&name).unwrap();
    }
}
