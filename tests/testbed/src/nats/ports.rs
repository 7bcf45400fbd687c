//! Ports that a server may listen on for as long as a test runs, also across its restarts. Several
//! test processes look for ports at once: a lock on a file is what makes a port one's own.
//!
//! The range lies below the one from which the kernel takes ports for outgoing connections, so
//! that none of those can take the port of a server that is down for a moment.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use super::NatsError;
use crate::cache::{CacheError, Lock};

/// First port of the range.
const FIRST: u16 = 20_000;

/// Last port of the range: outgoing connections begin at 32768.
const LAST: u16 = 32_000;

/// A port that is ours until this is dropped.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: Lock,
}

impl Port {
    /// A free port.
    ///
    /// # Errors
    /// [`NatsError::NoPort`] when all are taken.
    pub fn free() -> Result<Self, NatsError> {
        let folder = lock_folder()?;
        // Where to begin only spreads the tries of parallel tests; the lock decides.
        let span = LAST - FIRST + 1;
        let start = u16::try_from(std::process::id() * 97 % u32::from(span)).unwrap_or(0);
        (0..span)
            .map(|step| FIRST + (start + step) % span)
            .find_map(|number| take(&folder, number).transpose())
            .unwrap_or(Err(NatsError::NoPort { first: FIRST, last: LAST }))
    }

    /// The port's number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }
}

fn lock_folder() -> Result<PathBuf, NatsError> {
    let folder = std::env::temp_dir().join("membership-testbed-ports");
    fs::create_dir_all(&folder).map_err(NatsError::io("making the folder of port locks"))?;
    Ok(folder)
}

/// The port, if nobody of us holds it and nobody else listens on it.
fn take(folder: &Path, number: u16) -> Result<Option<Port>, NatsError> {
    let lock = match Lock::exclusive(&folder.join(number.to_string()), Duration::ZERO) {
        Ok(lock) => lock,
        Err(CacheError::Busy { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok();
    Ok(free.then_some(Port { number, _lock: lock }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_not_while_another_listens() {
        let one = Port::free().unwrap();
        let two = Port::free().unwrap();
        assert_ne!(one.number(), two.number());
        let folder = lock_folder().unwrap();
        assert!(take(&folder, one.number()).unwrap().is_none(), "a held port was given again");

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, two.number())).unwrap();
        let number = two.number();
        drop(two);
        assert!(take(&folder, number).unwrap().is_none(), "a port in use was given");
        drop(listener);
    }
}
