//! The `version` command that every program of this project answers.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

/// Which form a command prints its data in, on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Words and tables for people.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// Arguments of `version`.
#[derive(Args, Clone, Debug)]
pub struct VersionArgs {
    /// How to print the version
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// What a program says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The program's name, as it is called on a command line.
    pub program: &'static str,
    /// The package version, which all programs of one release share.
    pub version: &'static str,
}

impl Version {
    /// The version of this build, under the name of the program that asks.
    #[must_use]
    pub const fn of(program: &'static str) -> Self {
        Self { program, version: env!("CARGO_PKG_VERSION") }
    }

    /// Writes the version in the wanted form, with a line end.
    ///
    /// # Errors
    /// When the writer refuses, as a closed pipe does.
    pub fn print(&self, output: OutputFormat, mut out: impl Write) -> io::Result<()> {
        match output {
            OutputFormat::Text => writeln!(out, "{} {}", self.program, self.version),
            OutputFormat::Json => {
                serde_json::to_writer(&mut out, self)?;
                writeln!(out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(output: OutputFormat) -> String {
        let mut out = Vec::new();
        Version { program: "membershipd", version: "1.2.3" }.print(output, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_version_reads_as_words_and_as_json() {
        assert_eq!(printed(OutputFormat::Text), "membershipd 1.2.3\n");
        assert_eq!(
            printed(OutputFormat::Json),
            "{\"program\":\"membershipd\",\"version\":\"1.2.3\"}\n"
        );
    }
}
