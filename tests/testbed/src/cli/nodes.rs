//! `testbed node ...`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use testbed::cluster::Partition;

use super::{Outcome, Which, attach, show};

#[derive(Subcommand)]
pub(super) enum NodeCommand {
    /// List the nodes and whether they are on
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        output: show::OutputArgs,
    },
    /// Cut a node's power: everything on it ends at once, its disk stays
    PowerOff(NodeArgs),
    /// Give a node power again
    PowerOn(NodeArgs),
    /// Kill a node's kubelet: its pods go on, unheard
    KillKubelet(NodeArgs),
    /// Cut a node's network
    Partition {
        #[command(flatten)]
        node: NodeArgs,
        /// Only what the node sends is lost, it still hears
        #[arg(long)]
        outgoing: bool,
    },
    /// Undo partition and kill-kubelet
    Heal(NodeArgs),
}

#[derive(Args)]
pub(super) struct NodeArgs {
    #[command(flatten)]
    which: Which,
    /// The node
    node: String,
}

pub(super) fn run(command: NodeCommand) -> Outcome {
    match command {
        NodeCommand::List { which, output } => {
            show::nodes(&attach(&which)?.status()?.nodes, &output)?;
        }
        NodeCommand::PowerOff(args) => attach(&args.which)?.node(&args.node)?.power_off()?,
        NodeCommand::PowerOn(args) => attach(&args.which)?.node(&args.node)?.power_on()?,
        NodeCommand::KillKubelet(args) => attach(&args.which)?.node(&args.node)?.kill_kubelet()?,
        NodeCommand::Partition { node, outgoing } => {
            let way = if outgoing { Partition::Outgoing } else { Partition::Both };
            attach(&node.which)?.node(&node.node)?.partition(way)?;
        }
        NodeCommand::Heal(args) => attach(&args.which)?.node(&args.node)?.heal()?,
    }
    Ok(ExitCode::SUCCESS)
}
