//! Logs: one line an event on standard error, for people or for machines.

use clap::{Args, ValueEnum};
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Which form log lines have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Words for people.
    #[default]
    Text,
    /// One JSON document a line.
    Json,
}

/// Flags about logs.
#[derive(Args, Clone, Debug, Default)]
pub struct LogArgs {
    /// The form of log lines
    #[arg(long, value_enum, default_value_t, env = "LOG_FORMAT", hide_env_values = true)]
    pub log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or a list such as debug,async_nats=info
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "info,async_nats=off",
        env = "LOG_LEVEL",
        hide_env_values = true
    )]
    pub log_level: String,
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
pub fn begin(args: &LogArgs) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&args.log_level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => builder.with_ansi(false).finish().try_init()?,
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(false).finish().try_init()?;
        }
    }
    Ok(())
}
