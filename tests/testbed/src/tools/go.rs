//! The Go toolchain: is it there, is it new enough, and what its complaints mean.

use std::{fmt, process::Command, time::Duration};

use super::{ToolError, pin::Tool};
use crate::process::{self, ProcessError};

/// `go env` answers at once; this only keeps a broken installation from hanging us.
const ASK: Duration = Duration::from_secs(60);

/// A Go release, or the least one that a module asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl GoVersion {
    /// Reads `go1.26.8`, `1.26` or `go1.27rc1`; what follows the numbers is not compared.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut numbers = text.strip_prefix("go").unwrap_or(text).split('.').map(leading_number);
        let major = numbers.next()??;
        let minor = numbers.next()??;
        let patch = numbers.next().flatten().unwrap_or(0);
        Some(Self { major, minor, patch })
    }

    /// The newest `go` line of the go.mod files: what building them all takes.
    #[must_use]
    pub fn needed(tools: &[Tool]) -> Option<Self> {
        tools.iter().filter_map(|tool| tool.files().first().and_then(|file| asked(file.text))).max()
    }

    /// The version of the `go` on `PATH`.
    ///
    /// # Errors
    /// [`ToolError::GoMissing`] when there is none, [`ToolError::GoUnknown`] when it does not say
    /// a version.
    pub fn installed() -> Result<Self, ToolError> {
        let mut command = Command::new("go");
        command.args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local");
        match process::run(&mut command, ASK) {
            Ok(finished) => Self::parse(&finished.stdout)
                .ok_or(ToolError::GoUnknown { said: finished.stderr.trim().to_owned() }),
            Err(ProcessError::Start { .. }) => Err(ToolError::GoMissing),
            Err(error @ ProcessError::TimedOut { .. }) => Err(error.into()),
        }
    }
}

impl fmt::Display for GoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 { write!(f, ".{}", self.patch) } else { Ok(()) }
    }
}

fn leading_number(text: &str) -> Option<u32> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn asked(go_mod: &str) -> Option<GoVersion> {
    go_mod.lines().find_map(|line| line.strip_prefix("go ")).and_then(GoVersion::parse)
}

/// Is this complaint of the go command about the network rather than about the code?
pub(super) fn blames_network(stderr: &str) -> bool {
    const SIGNS: [&str; 9] = [
        "dial tcp",
        "no such host",
        "connection refused",
        "connection reset",
        "network is unreachable",
        "i/o timeout",
        "TLS handshake",
        "module lookup disabled by GOPROXY=off",
        "server misbehaving",
    ];
    SIGNS.iter().any(|sign| stderr.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_every_shape_go_gives_them() {
        let cases = [
            ("go1.26.8\n", Some((1, 26, 8))),
            ("1.26", Some((1, 26, 0))),
            ("go1.27rc1", Some((1, 27, 0))),
            ("go1.26.3 X:nodwarf5", Some((1, 26, 3))),
            ("devel go1.27-abcdef", None),
            ("", None),
            ("go", None),
            ("go1", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(major, minor, patch)| GoVersion { major, minor, patch });
            assert_eq!(GoVersion::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn versions_are_ordered_by_number_not_by_letter() {
        let version = |text| GoVersion::parse(text).unwrap();
        assert!(version("1.9") < version("1.26"));
        assert!(version("1.26.8") > version("1.26.0"));
        assert_eq!(version("go1.26.0").to_string(), "1.26");
        assert_eq!(version("go1.26.8").to_string(), "1.26.8");
    }

    #[test]
    fn the_newest_go_line_of_the_pins_is_needed() {
        let needed = GoVersion::needed(&Tool::ALL).unwrap();
        assert!(needed >= GoVersion::needed(&[Tool::LocalPathProvisioner]).unwrap());
        assert_eq!(needed, GoVersion::needed(&[Tool::Kubernetes]).unwrap());
        assert_eq!(GoVersion::needed(&[]), None);
    }

    #[test]
    fn the_network_is_told_from_the_code() {
        let cases = [
            ("go: x@v1: Get \"https://proxy/x\": dial tcp: lookup proxy: no such host", true),
            ("go: x@v1: module lookup disabled by GOPROXY=off", true),
            ("main.go:3:2: undefined: x", false),
            ("go: updates to go.mod needed", false),
            ("verifying x@v1: checksum mismatch", false),
        ];
        for (stderr, expected) in cases {
            assert_eq!(blames_network(stderr), expected, "{stderr}");
        }
    }
}
