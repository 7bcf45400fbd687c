//! Who may use a subject's condition now. While one condition on a subject is in flight, a server
//! answers another one with "not now"; so a process sends one fence at a time for a subject, and
//! none while a write to it waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::fence::Flight;

/// The lanes of one bucket's subjects, as long as somebody uses them.
#[derive(Default)]
pub(super) struct Lanes(Open);

/// Each lane with how many are in it.
type Open = Arc<Mutex<HashMap<String, (Arc<Lane>, usize)>>>;

/// One subject's.
#[derive(Default)]
pub(super) struct Lane {
    state: watch::Sender<State>,
    /// The fences that are not sent yet, by the revision they prove; whoever asks for one of these
    /// shares it.
    gathering: Mutex<HashMap<u64, Arc<Flight>>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    writers: usize,
    fence: bool,
}

impl Lanes {
    /// The lane of a subject.
    pub(super) fn enter(&self, subject: &str) -> Entered {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (lane, users) = open.entry(subject.to_owned()).or_default();
        *users += 1;
        let lane = Arc::clone(lane);
        Entered { subject: subject.to_owned(), lane, open: Arc::clone(&self.0) }
    }
}

/// A place in a lane, which goes when the last one has left it.
pub(super) struct Entered {
    subject: String,
    lane: Arc<Lane>,
    open: Open,
}

impl Entered {
    pub(super) fn gathering(&self) -> MutexGuard<'_, HashMap<u64, Arc<Flight>>> {
        self.lane.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps fences back as long as the turn is held.
    pub(super) fn write(self) -> WriteTurn {
        self.lane.state.send_modify(|state| state.writers += 1);
        WriteTurn(self)
    }

    /// Waits until no fence is in flight and no write waits.
    pub(super) async fn fence(&self) -> FenceTurn<'_> {
        let mut seen = self.lane.state.subscribe();
        loop {
            // It fails only when the lane is gone, which is held here.
            let _ = seen.wait_for(|state| state.writers == 0 && !state.fence).await;
            let taken = self.lane.state.send_if_modified(|state| {
                let free = state.writers == 0 && !state.fence;
                state.fence |= free;
                free
            });
            if taken {
                return FenceTurn(&self.lane);
            }
        }
    }

    /// Waits, with the turn in hand, until no write waits.
    pub(super) async fn after_writers(&self) {
        let _ = self.lane.state.subscribe().wait_for(|state| state.writers == 0).await;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, users)) = open.get_mut(&self.subject) else { return };
        *users -= 1;
        if *users == 0 {
            open.remove(&self.subject);
        }
    }
}

/// A write that waits or is under way.
pub(super) struct WriteTurn(Entered);

impl Drop for WriteTurn {
    fn drop(&mut self) {
        self.0.lane.state.send_modify(|state| state.writers = state.writers.saturating_sub(1));
    }
}

/// A fence that is in flight.
pub(super) struct FenceTurn<'l>(&'l Lane);

impl Drop for FenceTurn<'_> {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.fence = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const MOMENT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn a_fence_waits_for_the_one_before_it_and_for_writes() {
        let lanes = Lanes::default();
        let (one, other) = (lanes.enter("a"), lanes.enter("a"));
        let turn = one.fence().await;
        assert!(timeout(MOMENT, other.fence()).await.is_err(), "two at once");
        assert!(timeout(MOMENT, lanes.enter("b").fence()).await.is_ok(), "another subject");
        let write = lanes.enter("a").write();
        drop(turn);
        assert!(timeout(MOMENT, other.fence()).await.is_err(), "past a waiting write");
        drop(write);
        assert!(timeout(MOMENT, other.fence()).await.is_ok());
    }

    #[tokio::test]
    async fn a_lane_that_nobody_uses_is_forgotten() {
        let lanes = Lanes::default();
        let fencing = lanes.enter("a");
        drop(fencing.fence().await);
        let write = lanes.enter("a").write();
        drop(fencing);
        assert_eq!(lanes.0.lock().unwrap().len(), 1);
        drop(write);
        assert!(lanes.0.lock().unwrap().is_empty());
    }
}
