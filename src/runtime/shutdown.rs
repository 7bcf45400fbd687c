//! How a program stops: one word that everybody at work can wait for, said once.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Says the word.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Waits for the word.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// A word to say and to wait for.
#[must_use]
pub fn stop() -> (Stopper, Stop) {
    let (said, heard) = watch::channel(false);
    (Stopper(said), Stop(heard))
}

/// The word that is said at SIGTERM, which Kubernetes sends, and at SIGINT, which a terminal sends.
///
/// # Errors
/// When the operating system lets nobody listen for signals.
pub fn on_signals() -> io::Result<Stop> {
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stopper, stop) = stop();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopper.say();
    });
    Ok(stop)
}

impl Stopper {
    /// Says it.
    pub fn say(self) {
        // Nobody may be listening any more.
        let _ = self.0.send(true);
    }
}

impl Stop {
    /// Returns once it was said. Whoever could have said it and is gone has said it.
    pub async fn said(&self) {
        let _ = self.0.clone().wait_for(|said| *said).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn everybody_hears_it_also_who_asks_late() {
        let (stopper, stop) = stop();
        let early = stop.clone();
        assert!(timeout(Duration::from_millis(20), early.said()).await.is_err());
        stopper.say();
        for waiting in [early, stop] {
            timeout(Duration::from_secs(5), waiting.said()).await.unwrap();
        }
    }
}
