//! Connections, each for one caller at a time, and the deadline round whatever they do.
//!
//! SQLite blocks, so its calls run on the runtime's blocking threads. A store has one lane of one
//! connection for writes and one of several for reads, which in WAL mode do not wait for a writer.
//! A caller waits for its turn in order, never past its deadline, and the statement itself is
//! given up when the deadline passes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task;
use tokio::time::timeout_at;

use super::error::{late, late_in_doubt};
use super::open::Identity;
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::store::Deadline;

/// How many steps of SQLite's machine go between two looks at the deadline: tens of microseconds.
const STEPS_BETWEEN_LOOKS: i32 = 1000;

/// What a lane's connections are for, which says what a time-out means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Nothing can have changed.
    Read,
    /// What was begun may still come to its end.
    Write,
}

/// Some connections to one file, all for the same purpose.
pub(super) struct Lane {
    purpose: Purpose,
    identity: Identity,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Lane {
    pub(super) fn new(
        purpose: Purpose,
        identity: Identity,
        connections: Vec<Connection>,
    ) -> Arc<Self> {
        let turns = Arc::new(Semaphore::new(connections.len()));
        Arc::new(Self { purpose, identity, turns, idle: Mutex::new(connections) })
    }

    /// Does the work on a connection of the lane, within the deadline.
    pub(super) async fn run<T, W>(self: &Arc<Self>, deadline: Deadline, work: W) -> StoreResult<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Connection) -> StoreResult<T> + Send + 'static,
    {
        let turn = timeout_at(deadline.instant().into(), Arc::clone(&self.turns).acquire_owned())
            .await
            .map_err(|_| late())?
            .map_err(|_| broken())?;
        let lane = Arc::clone(self);
        let job = task::spawn_blocking(move || lane.work(turn, deadline, work));
        match timeout_at(deadline.instant().into(), job).await {
            Ok(Ok(answer)) => answer,
            // The transaction was rolled back while the panic unwound.
            Ok(Err(_panicked)) => Err(broken()),
            Err(_) => Err(match self.purpose {
                Purpose::Read => late(),
                Purpose::Write => late_in_doubt(),
            }),
        }
    }

    fn work<T>(
        self: Arc<Self>,
        turn: OwnedSemaphorePermit,
        deadline: Deadline,
        work: impl FnOnce(&mut Connection) -> StoreResult<T>,
    ) -> StoreResult<T> {
        let mut lease = Lease::take(self, turn)?;
        if deadline.has_passed() {
            return Err(late());
        }
        lease.lane.identity.check()?;
        let connection = lease.connection.as_mut().ok_or_else(broken)?;
        connection.busy_timeout(deadline.remaining().min(LONGEST_BUSY_WAIT))?;
        connection.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || deadline.has_passed()))?;
        work(connection)
    }
}

/// As long as SQLite can count a busy wait; a longer deadline is only looked at more often.
const LONGEST_BUSY_WAIT: Duration = Duration::from_hours(1);

/// A connection that goes back to its lane however the work on it ends.
struct Lease {
    lane: Arc<Lane>,
    connection: Option<Connection>,
    /// Given back after the connection is, so that whoever gets the turn finds one.
    _turn: OwnedSemaphorePermit,
}

impl Lease {
    fn take(lane: Arc<Lane>, turn: OwnedSemaphorePermit) -> StoreResult<Self> {
        let connection = lane.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if connection.is_none() {
            return Err(broken());
        }
        Ok(Self { lane, connection, _turn: turn })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut idle = self.lane.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.extend(self.connection.take());
    }
}

fn broken() -> StoreError {
    StoreError::new(
        ErrorKind::Unavailable,
        "the work on the database file broke off; nothing was written: try again",
    )
}
