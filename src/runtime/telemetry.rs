//! Logs: one line an event on standard error, for people or for machines. How a program is told
//! which, is its own affair.

use clap::ValueEnum;
use serde::Deserialize;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// What is logged when nothing says otherwise: the client library's own lines tell of each retry.
pub const DEFAULT_LEVEL: &str = "info,async_nats=off";

/// Which form log lines have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Words for people.
    #[default]
    Text,
    /// One JSON document a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The form of the lines.
    pub format: LogFormat,
    /// A level, or a list such as `debug,async_nats=info`.
    pub level: String,
}

/// Why there are no logs.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// The filter cannot be read.
    #[error("the log filter is not valid: {0}; say for example --log-level info")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logs were begun already.
    #[error("logs were begun twice: {0}")]
    Twice(#[from] TryInitError),
}

/// Begins to log. Once in a process.
///
/// # Errors
/// For a filter that cannot be read.
pub fn begin(settings: &LogSettings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&settings.level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Text => builder.with_ansi(false).finish().try_init()?,
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).finish().try_init()?;
        }
    }
    Ok(())
}
