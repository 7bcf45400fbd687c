//! The name of a cluster. Every resource on the machine carries it, so that two clusters live side
//! by side and whatever a crash left behind is found again by the name alone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Eleven letters, because a network interface may have fifteen and ours begins with `tb-`; the
/// last one is kept for a suffix.
const MAX_LENGTH: usize = 11;

/// A checked cluster name: `[a-z][a-z0-9-]*[a-z0-9]`, at most 11 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterName(String);

impl ClusterName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The machine's network interface that leads into the cluster.
    #[must_use]
    pub fn host_link(&self) -> String {
        format!("tb-{}", self.0)
    }

    /// The cgroup that holds every process of the cluster, in every hierarchy.
    #[must_use]
    pub fn cgroup(&self) -> String {
        format!("testbed-{}", self.0)
    }
}

impl FromStr for ClusterName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let good = text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.chars().all(inner)
            && text.len() <= MAX_LENGTH;
        if good { Ok(Self(text.to_owned())) } else { Err(Error::BadName(text.to_owned())) }
    }
}

impl TryFrom<String> for ClusterName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ClusterName> for String {
    fn from(name: ClusterName) -> Self {
        name.0
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_lower_case_and_safe_in_paths_and_interfaces() {
        for good in ["dev", "a", "e2e-1", "abcdefghijk"] {
            assert_eq!(good.parse::<ClusterName>().unwrap().as_str(), good);
        }
        for bad in ["", "Dev", "1a", "-a", "a-", "a/b", "..", "a b", "abcdefghijkl", "dév"] {
            assert!(bad.parse::<ClusterName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_interface_of_the_longest_name_fits_the_kernels_limit() {
        let name: ClusterName = "abcdefghijk".parse().unwrap();
        assert!(name.host_link().len() <= 15);
    }
}
