//! Waiting for something to become true, always with a deadline. What is waited for lives with the
//! caller.

use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Asks `look` every `pause` until it gives a value, at most for `limit`.
///
/// # Errors
/// What `look` fails with, or [`Error::Timeout`] saying `what` was waited for and `hint`, where to
/// look next.
pub(crate) fn until<T>(
    what: &str,
    hint: &str,
    limit: Duration,
    pause: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(Error::Timeout { what: what.to_owned(), limit, hint: hint.to_owned() });
        }
        thread::sleep(pause);
    }
}
