//! Tables for people, JSON for programs, both on stdout.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use comfy_table::{Table, presets};
use testbed::bench::{Figures, Spread};
use testbed::cluster::{ClusterStatus, DaemonStatus, NodeStatus, Power};
use testbed::doctor::Finding;

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

pub(super) fn findings(findings: &[Finding], args: &OutputArgs) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match args.output {
        Output::Json => json(&mut out, findings),
        Output::Table => {
            let mut table = table(&["WHAT", "VERDICT", "WHY"]);
            for Finding { subject, verdict } in findings {
                table.add_row([subject, verdict.word(), verdict.text()]);
            }
            writeln!(out, "{table}")
        }
    }
}

pub(super) fn figures(figures: &Figures, args: &OutputArgs) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match args.output {
        Output::Json => json(&mut out, figures),
        Output::Table => {
            let mut table = table(&["FIGURE", "LEAST", "MEDIAN", "GREATEST", "UNIT"]);
            for build in &figures.builds {
                spread(&mut table, &format!("build {}", build.tool), &[build.seconds], "s");
            }
            let builds: f64 = figures.builds.iter().map(|build| build.seconds).sum();
            spread(&mut table, "build of all tools", &[builds], "s");
            spread(&mut table, "up, new disks", &figures.up_new, "s");
            spread(&mut table, "up, kept disks", &figures.up_again, "s");
            spread(&mut table, "down", &figures.down, "s");
            spread(&mut table, "memory without pods", &figures.memory_mib, "MiB");
            spread(&mut table, "cache on disk", &[figures.cache_mib], "MiB");
            writeln!(out, "{table}")
        }
    }
}

fn spread(table: &mut Table, what: &str, figures: &[f64], unit: &str) {
    if let Some(Spread { least, median, greatest }) = Spread::of(figures) {
        let figure = |value: f64| format!("{value:.1}");
        table.add_row([what, &figure(least), &figure(median), &figure(greatest), unit]);
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
