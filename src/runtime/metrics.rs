//! The figures of a process, in one registry, as text for whoever scrapes them.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// What the answer of a scrape says to be.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All figures of a process, shared by whoever counts and whoever scrapes.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Registry>);

impl Metrics {
    /// The figures that were registered.
    #[must_use]
    pub fn of(registry: Registry) -> Self {
        Self(Arc::new(registry))
    }

    /// The figures as text.
    ///
    /// # Errors
    /// Those of a figure that cannot be written.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.0)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn what_was_counted_is_told() {
        let mut registry = Registry::default();
        let counted: Counter = Counter::default();
        registry.register("visits", "How often", counted.clone());
        let metrics = Metrics::of(registry);
        counted.inc();
        let text = metrics.text().unwrap();
        assert!(text.contains("visits_total 1\n") && text.ends_with("# EOF\n"), "{text}");
    }
}
