//! The addresses of a cluster: pure arithmetic on one /24. Nothing here touches the machine.
//!
//! Only that /24 is seen on the host, so only it must differ from cluster to cluster. The ranges of
//! pods and Services live inside the cluster's own network namespaces.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The most nodes a cluster can have: their addresses are `.11` to `.19`.
pub const MOST_NODES: u8 = 9;

/// The range that clusters take their /24 from unless told otherwise.
const POOL: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 123, 0, 0), 16);

/// Where pods have their addresses, a /24 of it on each node.
pub(crate) const PODS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);

/// Where Services have theirs.
pub(crate) const SERVICES: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);

/// The addresses of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Ipv4Net", into = "Ipv4Net")]
pub struct AddressPlan {
    range: Ipv4Net,
}

impl AddressPlan {
    /// The control plane: API server, DNS, and the way between nodes and host.
    #[must_use]
    pub fn control_plane(&self) -> Ipv4Addr {
        self.at(1)
    }

    /// The host's own address in the range, from which tests and people reach the API server.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        self.at(254)
    }

    /// Node `number`, counted from 1.
    #[must_use]
    pub fn node(&self, number: u8) -> Ipv4Addr {
        self.at(10 + number)
    }

    /// The pods of node `number`.
    #[must_use]
    pub fn pods(&self, number: u8) -> Ipv4Net {
        let [a, b, ..] = PODS.addr().octets();
        Ipv4Net::new_assert(Ipv4Addr::new(a, b, number, 0), 24)
    }

    /// The range itself.
    #[must_use]
    pub const fn range(&self) -> Ipv4Net {
        self.range
    }

    /// A fixed hardware address for each address of the range. With a random one, neighbours would
    /// go on sending to a node's old one for seconds after it was switched on again.
    pub(crate) fn hardware(address: Ipv4Addr) -> String {
        let [a, b, c, d] = address.octets();
        format!("0a:7b:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }

    fn at(&self, last: u8) -> Ipv4Addr {
        let [a, b, c, _] = self.range.addr().octets();
        Ipv4Addr::new(a, b, c, last)
    }
}

impl TryFrom<Ipv4Net> for AddressPlan {
    type Error = Error;

    fn try_from(range: Ipv4Net) -> Result<Self> {
        let inside_taken = [PODS, SERVICES].iter().any(|net| overlap(*net, range));
        if range.prefix_len() != 24 || !range.addr().is_private() || inside_taken {
            return Err(Error::BadRange(range.to_string()));
        }
        Ok(Self { range: range.trunc() })
    }
}

impl From<AddressPlan> for Ipv4Net {
    fn from(plan: AddressPlan) -> Self {
        plan.range
    }
}

impl std::str::FromStr for AddressPlan {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let range: Ipv4Net = text.parse().map_err(|_| Error::BadRange(text.to_owned()))?;
        Self::try_from(range)
    }
}

/// A range that something already uses, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) range: Ipv4Net,
    pub(crate) by: String,
}

/// Chooses the range of a new cluster: the wanted one, or the first free /24 of the pool.
pub(crate) fn choose(wanted: Option<AddressPlan>, taken: &[Taken]) -> Result<AddressPlan> {
    let user = |range: Ipv4Net| taken.iter().find(|taken| overlap(taken.range, range));
    if let Some(plan) = wanted {
        return match user(plan.range) {
            None => Ok(plan),
            Some(taken) => Err(in_use(plan.range, &taken.by)),
        };
    }
    let free = POOL.subnets(24).into_iter().flatten().find(|range| user(*range).is_none());
    match free {
        Some(range) => AddressPlan::try_from(range),
        None => Err(in_use(POOL, user(POOL).map_or("other clusters", |taken| &taken.by))),
    }
}

fn in_use(range: Ipv4Net, by: &str) -> Error {
    Error::RangeInUse { range: range.to_string(), by: by.to_owned() }
}

fn overlap(one: Ipv4Net, other: Ipv4Net) -> bool {
    one.contains(&other) || other.contains(&one)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(range: &str) -> Taken {
        Taken { range: range.parse().unwrap(), by: format!("the route {range}") }
    }

    #[test]
    fn a_plan_gives_every_part_its_own_address() {
        let plan: AddressPlan = "10.123.7.0/24".parse().unwrap();
        assert_eq!(plan.control_plane().to_string(), "10.123.7.1");
        assert_eq!(plan.host().to_string(), "10.123.7.254");
        assert_eq!(plan.node(MOST_NODES).to_string(), "10.123.7.19");
        assert_eq!(plan.pods(3).to_string(), "10.244.3.0/24");
        assert_eq!(AddressPlan::hardware(plan.node(2)), "0a:7b:0a:7b:07:0c");
    }

    #[test]
    fn a_plan_survives_being_written_down() {
        let plan: AddressPlan = "10.123.7.0/24".parse().unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(text, r#""10.123.7.0/24""#);
        assert_eq!(serde_json::from_str::<AddressPlan>(&text).unwrap(), plan);
    }

    #[test]
    fn a_range_that_cannot_serve_is_refused() {
        for bad in
            ["10.123.0.0/16", "10.123.0.0/25", "8.8.8.0/24", "10.244.9.0/24", "10.96.0.0/24", "x"]
        {
            let error = bad.parse::<AddressPlan>().unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("/24"), "{error}");
        }
    }

    #[test]
    fn the_first_free_range_is_taken_whatever_lies_over_or_under_it() {
        let first = |ranges: &[&str]| {
            let taken: Vec<_> = ranges.iter().map(|range| taken(range)).collect();
            choose(None, &taken).map(|plan| plan.range.to_string())
        };
        assert_eq!(first(&[]).unwrap(), "10.123.0.0/24");
        assert_eq!(first(&["192.0.2.0/24"]).unwrap(), "10.123.0.0/24");
        assert_eq!(first(&["10.123.0.7/32", "10.123.1.0/24"]).unwrap(), "10.123.2.0/24");
        assert_eq!(first(&["10.123.0.0/17"]).unwrap(), "10.123.128.0/24");
        let error = first(&["10.0.0.0/8"]).unwrap_err().to_string();
        assert!(error.contains("the route 10.0.0.0/8") && error.contains("--subnet"), "{error}");
    }

    #[test]
    fn a_wanted_range_is_taken_or_refused_naming_its_user() {
        let wanted = "10.123.9.0/24".parse().unwrap();
        assert_eq!(choose(Some(wanted), &[]).unwrap(), wanted);
        let error = choose(Some(wanted), &[taken("10.123.9.128/25")]).unwrap_err().to_string();
        assert!(error.contains("10.123.9.0/24") && error.contains("10.123.9.128/25"), "{error}");
    }
}
