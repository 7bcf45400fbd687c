//! What the operator counts.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds that a pass may take: a look is some hundredth, a bucket call up to ten.
const SECONDS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// A condition of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabels {
    namespace: String,
    name: String,
    condition: String,
}

/// Whom an error came from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    towards: String,
}

/// The operator's figures.
#[derive(Clone)]
pub struct Figures {
    passes: Counter,
    pass_seconds: Histogram,
    errors: Family<ErrorLabels, Counter>,
    leading: Gauge,
    conditions: Family<ConditionLabels, Gauge>,
    told: Arc<Mutex<HashSet<ConditionLabels>>>,
}

impl Figures {
    /// Registers the figures.
    pub fn register(registry: &mut Registry) -> Self {
        let figures = Self {
            passes: Counter::default(),
            pass_seconds: Histogram::new(SECONDS),
            errors: Family::default(),
            leading: Gauge::default(),
            conditions: Family::default(),
            told: Arc::default(),
        };
        let registry = registry.sub_registry_with_prefix("membership_operator");
        registry.register("reconciles", "Passes over a resource", figures.passes.clone());
        registry.register(
            "reconcile_duration_seconds",
            "How long passes took",
            figures.pass_seconds.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Passes that ended early, by whom they met",
            figures.errors.clone(),
        );
        registry.register("leader", "Whether this instance leads", figures.leading.clone());
        registry.register(
            "condition",
            "A resource's condition: 1 true, 0 false, -1 unknown",
            figures.conditions.clone(),
        );
        figures
    }

    /// A pass has ended.
    pub(super) fn passed(&self, took: Duration) {
        self.passes.inc();
        self.pass_seconds.observe(took.as_secs_f64());
    }

    /// A pass has met an error.
    pub(super) fn failed(&self, towards: &str) {
        self.errors.get_or_create(&ErrorLabels { towards: towards.to_owned() }).inc();
    }

    /// Whether this instance leads.
    pub fn leads(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    /// What a resource's conditions are by now.
    pub(super) fn conditions<'a>(
        &self,
        namespace: &str,
        name: &str,
        conditions: impl Iterator<Item = (&'a str, &'a str)>,
    ) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (condition, status) in conditions {
            let labels = ConditionLabels {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                condition: condition.to_owned(),
            };
            let value = match status {
                "True" => 1,
                "False" => 0,
                _ => -1,
            };
            self.conditions.get_or_create(&labels).set(value);
            told.insert(labels);
        }
    }

    /// Forgets the resources that are gone.
    pub(super) fn keep(&self, exists: impl Fn(&str, &str) -> bool) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|labels| {
            let stays = exists(&labels.namespace, &labels.name);
            if !stays {
                self.conditions.remove(labels);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::metrics::Metrics;

    #[test]
    fn conditions_are_told_until_their_resource_is_gone() {
        let mut registry = Registry::default();
        let figures = Figures::register(&mut registry);
        let metrics = Metrics::of(registry);
        figures.conditions("chat", "demo", [("Ready", "True"), ("Stalled", "False")].into_iter());
        let ready = "condition{namespace=\"chat\",name=\"demo\",condition=\"Ready\"} 1";
        let text = metrics.text().unwrap();
        assert!(text.contains(ready), "{text}");
        figures.keep(|_, name| name != "demo");
        let text = metrics.text().unwrap();
        assert!(!text.contains("demo"), "{text}");
    }
}
