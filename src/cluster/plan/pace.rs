//! When to look again: after a pass, in the probe, and after an error.

use std::time::Duration;

use super::{Plan, Trouble, Wait};

/// The longest pause while something is awaited that no watch reports.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long until the next pass, when nothing wakes the reconcile before. `waited` is how long the
/// cluster has been on its way: what takes long is asked for less often.
#[must_use]
pub fn requeue_after(plan: &Plan, waited: Duration) -> Duration {
    if !plan.steps.is_empty() && !matches!(plan.wait, Wait::Reloads { .. }) {
        return Duration::from_millis(100);
    }
    let shortest = match &plan.wait {
        // Watches and the probe report every change that matters; this is for what they miss.
        Wait::Nothing | Wait::Suspended => return Duration::from_secs(300),
        // A claim that is released, and a pod that lets go of it, are reported by nothing.
        Wait::Person(Trouble::Migration(_)) => Duration::from_secs(3),
        // A foreign object that goes is reported by nothing.
        Wait::Person(_) => return Duration::from_secs(15),
        // The kubelet carries a ConfigMap into a pod about once a minute.
        Wait::Reloads { .. } => return Duration::from_secs(5),
        Wait::Servers { .. } | Wait::Nats => Duration::from_secs(2),
        Wait::Children
        | Wait::OldChildrenGone { .. }
        | Wait::OwnChildrenGone { .. }
        | Wait::MetaLeader
        | Wait::BucketsMade { .. }
        | Wait::BucketLeaders { .. }
        | Wait::BucketsRaised { .. }
        | Wait::BucketsEqual { .. }
        | Wait::Migration(_)
        | Wait::Serving(_)
        | Wait::Restarts { .. } => Duration::from_secs(1),
    };
    (waited / 10).clamp(shortest, LONGEST_WAIT)
}

/// How often the probe asks: four times a second while something waits for its verdict, less often
/// when that takes long, and every 5 s otherwise.
#[must_use]
pub fn probe_pace(plan: &Plan, waited: Duration) -> Duration {
    let quick = |longest| (waited / 100).clamp(Duration::from_millis(250), longest);
    match &plan.wait {
        // Servers that have just started agree on a meta leader before Kubernetes calls the last of
        // them ready: who watches from then on has less of the settle time to wait afterwards.
        Wait::Nats | Wait::Servers { .. } => quick(Duration::from_secs(5)),
        Wait::Restarts { missing, .. } if !missing.is_empty() => Duration::from_secs(5),
        // Rounds further apart would not count as having watched the leader.
        Wait::MetaLeader
        | Wait::BucketsMade { .. }
        | Wait::BucketLeaders { .. }
        | Wait::BucketsRaised { .. }
        | Wait::BucketsEqual { .. }
        | Wait::Restarts { .. } => quick(Duration::from_secs(1)),
        // Its end is read from the control record.
        Wait::Migration(_) => Duration::from_secs(1),
        Wait::Nothing
        | Wait::Children
        | Wait::Suspended
        | Wait::OldChildrenGone { .. }
        | Wait::OwnChildrenGone { .. }
        | Wait::Reloads { .. }
        | Wait::Serving(_)
        | Wait::Person(_) => Duration::from_secs(5),
    }
}

/// Where an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// NATS: it may answer again any moment.
    Nats,
    /// Kubernetes, or anything else.
    Kubernetes,
}

/// The pauses after errors of one object, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    failures: u32,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(250);

    /// The pause after one more error: twice as long each time, up to 30 s towards NATS and 5 min
    /// elsewhere.
    #[must_use]
    pub fn failed(&mut self, towards: Towards) -> Duration {
        let longest = match towards {
            Towards::Nats => Duration::from_secs(30),
            Towards::Kubernetes => Duration::from_secs(300),
        };
        let pause = Self::FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        pause.min(longest)
    }

    /// A pass without an error starts again from the shortest pause.
    pub const fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::plan::Step;

    const DAY: Duration = Duration::from_secs(86_400);

    fn waiting(wait: Wait) -> Plan {
        Plan { wait, ..Plan::default() }
    }

    #[test]
    fn what_takes_long_is_asked_for_less_often() {
        let servers = waiting(Wait::Servers { missing: vec!["n0".to_owned()] });
        let table = [(0, 2), (15, 2), (100, 10), (86_400, 30)];
        for (waited, pause) in table {
            let after = requeue_after(&servers, Duration::from_secs(waited));
            assert_eq!(after, Duration::from_secs(pause), "{waited}");
        }
    }

    #[test]
    fn after_a_step_the_world_is_looked_at_at_once_and_at_rest_seldom() {
        let step = Plan { steps: vec![Step::SetFinalizer], ..Plan::default() };
        assert_eq!(requeue_after(&step, DAY), Duration::from_millis(100));
        assert_eq!(requeue_after(&waiting(Wait::Nothing), DAY), Duration::from_secs(300));
    }

    #[test]
    fn the_probe_hurries_only_while_something_waits_for_its_verdict() {
        let restarts = |missing| Wait::Restarts { servers: Vec::new(), missing };
        let table = [
            (Wait::MetaLeader, 10, 250),
            (Wait::MetaLeader, 86_400, 1_000),
            (Wait::Nats, 10, 250),
            (Wait::Nats, 86_400, 5_000),
            (Wait::Servers { missing: Vec::new() }, 10, 250),
            (Wait::Servers { missing: Vec::new() }, 86_400, 5_000),
            (restarts(Vec::new()), 10, 250),
            (restarts(vec!["n0".to_owned()]), 10, 5_000),
            (Wait::Nothing, 10, 5_000),
            (Wait::Suspended, 10, 5_000),
        ];
        for (wait, waited, pace) in table {
            let found = probe_pace(&waiting(wait.clone()), Duration::from_secs(waited));
            assert_eq!(found, Duration::from_millis(pace), "{wait:?}");
        }
    }

    #[test]
    fn pauses_after_errors_double_up_to_their_cap() {
        let mut back_off = BackOff::default();
        let pauses: Vec<u128> =
            (0..9).map(|_| back_off.failed(Towards::Nats).as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        assert_eq!(back_off.failed(Towards::Kubernetes), Duration::from_secs(128));
        for _ in 0..100 {
            assert!(back_off.failed(Towards::Kubernetes) <= Duration::from_secs(300));
        }
        back_off.succeeded();
        assert_eq!(back_off.failed(Towards::Kubernetes), Duration::from_millis(250));
    }
}
