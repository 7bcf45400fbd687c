//! Tables for people, JSON for programs, both on stdout.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use testbed::cluster::{ClusterStatus, DaemonStatus, NodeStatus, Power};

#[derive(Args)]
pub(super) struct OutputArgs {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

pub(super) fn status(status: &ClusterStatus, args: &OutputArgs) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match args.output {
        Output::Json => json(&mut out, status),
        Output::Table => {
            let mut table = table(&["MACHINE", "DAEMON", "PID", "MEMORY"]);
            rows(&mut table, "control-plane", &status.control_plane);
            status.nodes.iter().for_each(|node| rows(&mut table, &node.name, &node.daemons));
            writeln!(out, "cluster {} at {}, range {}", status.name, status.server, status.range)?;
            writeln!(out, "{table}")?;
            writeln!(out, "{} MiB in all, without pods", status.memory_mib)
        }
    }
}

pub(super) fn nodes(nodes: &[NodeStatus], args: &OutputArgs) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match args.output {
        Output::Json => json(&mut out, nodes),
        Output::Table => {
            let mut table = table(&["NODE", "ADDRESS", "POWER"]);
            for node in nodes {
                table.add_row([&node.name, &node.address, word(node.power)]);
            }
            writeln!(out, "{table}")
        }
    }
}

fn json<T: serde::Serialize + ?Sized>(out: &mut impl Write, value: &T) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

fn rows(table: &mut Table, machine: &str, daemons: &[DaemonStatus]) {
    if daemons.is_empty() {
        table.add_row([machine, "-", "-", "-"]);
    }
    for daemon in daemons {
        let (pid, memory) = (daemon.pid.to_string(), format!("{} MiB", daemon.memory_mib));
        table.add_row([machine, &daemon.name, &pid, &memory]);
    }
}

const fn word(power: Power) -> &'static str {
    match power {
        Power::On => "on",
        Power::Off => "off",
    }
}
