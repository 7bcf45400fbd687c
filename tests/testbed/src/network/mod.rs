//! The network of a cluster: a bridge in the control plane's namespace, a veth pair to each node
//! and one to the host. The text of every `ip -batch` is made by pure functions; what addresses
//! mean is decided in `plan`.

pub(crate) mod plan;

use std::fmt::Write as _;

use serde::Deserialize;

use crate::command::{CommandError, Invocation};
use crate::machine::Machine;
use crate::name::ClusterName;
use crate::{Error, Result};
use plan::Taken;
pub use plan::{AddressPlan, MOST_NODES};

const BRIDGE: &str = "br0";

/// The interface that every node has.
const NODE_LINK: &str = "eth0";

/// Makes the bridge in the control plane's network and leads a cable to the host.
pub(crate) fn connect_control_plane(
    control: &Machine,
    name: &ClusterName,
    plan: &AddressPlan,
    nodes: u8,
) -> Result<()> {
    remove_host_link(name)?;
    let pid = first_process(control)?;
    let link = name.host_link();
    host_ip(&host_lines(&link, pid, plan))?;
    control.ip(&control_lines(plan, nodes))
}

/// Leads a cable from the bridge to a node that has just been switched on.
pub(crate) fn connect_node(
    control: &Machine,
    node: &Machine,
    number: u8,
    plan: &AddressPlan,
    nodes: u8,
) -> Result<()> {
    unplug(control, node)?;
    control.ip(&cable_lines(node.name(), first_process(node)?, plan.node(number)))?;
    node.ip(&node_lines(plan, number, nodes))
}

/// Takes the cable of a node out of the bridge, if it is there.
pub(crate) fn unplug(control: &Machine, node: &Machine) -> Result<()> {
    absent_is_fine(control.ip(&format!("link del {}\n", node.name())))
}

/// Cuts a node off, or connects it again, at the bridge: both ends stay as they are.
pub(crate) fn set_cable(control: &Machine, node: &Machine, up: bool) -> Result<()> {
    let state = if up { "up" } else { "down" };
    control.ip(&format!("link set {} {state}\n", node.name()))
}

/// Lets nothing out of a node any more, neither its own nor its pods', while it still hears.
pub(crate) fn silence(node: &Machine) -> Result<()> {
    node.nft(&format!(
        "add table inet silence\ndelete table inet silence\n\
         table inet silence {{\n\
         chain own {{ type filter hook output priority 0; oifname {NODE_LINK} drop; }}\n\
         chain pods {{ type filter hook forward priority 0; oifname {NODE_LINK} drop; }}\n\
         }}\n"
    ))
}

/// Undoes [`silence`]; also where there was none.
pub(crate) fn unsilence(node: &Machine) -> Result<()> {
    node.nft("add table inet silence\ndelete table inet silence\n")
}

/// Removes the host's end of the cable; the other end goes with it.
pub(crate) fn remove_host_link(name: &ClusterName) -> Result<()> {
    absent_is_fine(host_ip(&format!("link del {}\n", name.host_link())))
}

/// What the host's routes already use, but for the cluster `except`.
pub(crate) fn taken_on_host(except: &ClusterName) -> Result<Vec<Taken>> {
    let text =
        Invocation::new("ip").args(["-4", "-json", "route", "show", "table", "all"]).run()?;
    taken_by_routes(&text, &except.host_link())
}

fn host_ip(lines: &str) -> Result<()> {
    Invocation::new("ip").args(["-batch", "-"]).stdin(lines).run()?;
    Ok(())
}

fn first_process(machine: &Machine) -> Result<i32> {
    machine.first_process().ok_or_else(|| Error::Off(machine.name().to_owned()))
}

fn absent_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(Error::Command(CommandError::Failed { stderr, .. }))
            if stderr.contains("Cannot find device") =>
        {
            Ok(())
        }
        other => other,
    }
}

fn host_lines(link: &str, control: i32, plan: &AddressPlan) -> String {
    let hardware = AddressPlan::hardware(plan.host());
    format!(
        "link add {link} address {hardware} type veth peer name host netns {control}\n\
         address add {host}/24 dev {link}\n\
         link set {link} up\n",
        host = plan.host(),
    )
}

fn control_lines(plan: &AddressPlan, nodes: u8) -> String {
    let address = plan.control_plane();
    // A default route, although it leads nowhere: programs that look for "the" address of a
    // machine take the one their default route would use.
    let mut lines = format!(
        "link add {BRIDGE} address {hardware} type bridge forward_delay 0\n\
         address add {address}/24 dev {BRIDGE}\n\
         link set {BRIDGE} up\n\
         link set host master {BRIDGE}\n\
         link set host up\n\
         route add default dev {BRIDGE}\n",
        hardware = AddressPlan::hardware(address),
    );
    for number in 1..=nodes {
        pod_route(&mut lines, plan, number);
    }
    lines
}

fn cable_lines(node: &str, pid: i32, address: std::net::Ipv4Addr) -> String {
    format!(
        "link add {node} type veth peer name {NODE_LINK} address {hardware} netns {pid}\n\
         link set {node} master {BRIDGE}\n\
         link set {node} up\n",
        hardware = AddressPlan::hardware(address),
    )
}

fn node_lines(plan: &AddressPlan, number: u8, nodes: u8) -> String {
    // The kubelet of a test bed asks nobody for a password. The host's users have no business with
    // it: only the API server is theirs, so no answer goes back to the host.
    let mut lines = format!(
        "address add {address}/24 dev {NODE_LINK}\n\
         link set {NODE_LINK} up\n\
         route add default via {gateway}\n\
         route add blackhole {host}\n",
        address = plan.node(number),
        gateway = plan.control_plane(),
        host = plan.host(),
    );
    for other in (1..=nodes).filter(|other| *other != number) {
        pod_route(&mut lines, plan, other);
    }
    lines
}

fn pod_route(lines: &mut String, plan: &AddressPlan, number: u8) {
    // Writing into a String cannot fail.
    let _ = writeln!(lines, "route add {} via {}", plan.pods(number), plan.node(number));
}

#[derive(Deserialize)]
struct Route {
    dst: String,
    #[serde(default)]
    dev: String,
}

/// The ranges in `ip -json route` that are not behind the interface `except`.
fn taken_by_routes(json: &str, except: &str) -> Result<Vec<Taken>> {
    let routes: Vec<Route> =
        serde_json::from_str(json).map_err(Error::make("sense of `ip route`"))?;
    let used = routes.into_iter().filter(|route| route.dst != "default" && route.dev != except);
    used.map(|route| {
        let whole =
            if route.dst.contains('/') { route.dst.clone() } else { format!("{}/32", route.dst) };
        let range = whole.parse().map_err(Error::make("sense of a route"))?;
        let by = match route.dev.as_str() {
            "" => format!("the route {}", route.dst),
            dev => format!("the route {} on interface {dev}", route.dst),
        };
        Ok(Taken { range, by })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> AddressPlan {
        "10.123.7.0/24".parse().unwrap()
    }

    #[test]
    fn a_node_knows_the_way_to_every_other_nodes_pods_and_none_to_the_host() {
        let lines = node_lines(&plan(), 2, 3);
        assert!(lines.contains("address add 10.123.7.12/24 dev eth0\n"), "{lines}");
        assert!(lines.contains("route add default via 10.123.7.1\n"), "{lines}");
        assert!(lines.contains("route add 10.244.1.0/24 via 10.123.7.11\n"), "{lines}");
        assert!(lines.contains("route add 10.244.3.0/24 via 10.123.7.13\n"), "{lines}");
        assert!(lines.contains("route add blackhole 10.123.7.254\n"), "{lines}");
        assert!(!lines.contains("10.244.2.0"), "its own pods are behind its own bridge: {lines}");
    }

    #[test]
    fn the_control_plane_knows_the_way_to_all_pods() {
        let lines = control_lines(&plan(), 3);
        assert_eq!(lines.lines().filter(|line| line.starts_with("route add 10.244.")).count(), 3);
        assert!(lines.contains("address add 10.123.7.1/24 dev br0\n"), "{lines}");
    }

    #[test]
    fn every_cable_has_a_hardware_address_that_survives_a_power_off() {
        assert!(host_lines("tb-dev", 5, &plan()).contains("address 0a:7b:0a:7b:07:fe"));
        assert!(
            cable_lines("node1", 6, plan().node(1)).contains("address 0a:7b:0a:7b:07:0b netns 6")
        );
    }

    #[test]
    fn routes_become_taken_ranges_but_for_the_default_and_our_own() {
        let json = r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0"},
            {"dst":"10.0.0.0/8","dev":"wg0"}, {"type":"local","dst":"192.0.2.2","dev":"eth0"},
            {"dst":"10.123.7.0/24","dev":"tb-dev"}, {"type":"blackhole","dst":"10.9.0.0/16"}]"#;
        let taken = taken_by_routes(json, "tb-dev").unwrap();
        let said: Vec<_> =
            taken.iter().map(|taken| format!("{} {}", taken.range, taken.by)).collect();
        assert_eq!(
            said,
            [
                "10.0.0.0/8 the route 10.0.0.0/8 on interface wg0",
                "192.0.2.2/32 the route 192.0.2.2 on interface eth0",
                "10.9.0.0/16 the route 10.9.0.0/16",
            ]
        );
    }
}
