//! What a service tidies up beside its work: requests that nobody can send again, and what the
//! store itself no longer needs.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::signature::{CHANGE_WINDOW_SECONDS, CLOCK_SKEW_SECONDS};
use crate::membership::records::UnixMillis;
use crate::membership::requests::RequestLog;
use crate::membership::store::{Deadline, MembershipStore};

/// How often requests are forgotten.
const PAUSE: Duration = Duration::from_secs(60);

/// How often the store is swept, in rounds of the above.
const ROUNDS_PER_SWEEP: u32 = 60;

/// How long one round may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a request is kept, in milliseconds: twice its window, and the window must be wider than
/// the clocks may differ.
pub const KEPT_MILLIS: u64 = 2 * CHANGE_WINDOW_SECONDS * 1000;

const _: () = assert!(CLOCK_SKEW_SECONDS < CHANGE_WINDOW_SECONDS);

/// Tidies up for as long as it is let.
pub async fn sweep(store: Arc<dyn MembershipStore>, log: Arc<dyn RequestLog>) {
    let mut pause = interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in (0..ROUNDS_PER_SWEEP).cycle() {
        pause.tick().await;
        let before = UnixMillis(UnixMillis::now().0.saturating_sub(KEPT_MILLIS));
        match log.forget_requests(before, Deadline::after(PATIENCE)).await {
            Ok(requests) => tracing::debug!(requests, "old requests were forgotten"),
            Err(error) => tracing::warn!(%error, "old requests could not be forgotten"),
        }
        if round == 0 {
            match store.sweep(Deadline::after(PATIENCE)).await {
                Ok(counts) => tracing::debug!(?counts, "the store was swept"),
                Err(error) => tracing::warn!(%error, "the store could not be swept"),
            }
        }
    }
}
