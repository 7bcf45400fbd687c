//! The command line: what may be asked for, and which part of the library does it. Data goes to
//! stdout, everything else to stderr.
//!
//! Exit codes: 0 done, 1 not done (one sentence on stderr says why), 2 wrong usage; `kubectl` has
//! kubectl's own.

mod figures;
mod images;
mod nodes;
mod show;

use std::error::Error;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use testbed::cache::Cache;
use testbed::doctor::{self, Facts};
use testbed::prepare::{self, Prepared};
use testbed::progress::Progress;
use testbed::tools::{self, Program, Tools};
use testbed::{AddressPlan, Cluster, ClusterName, UpRequest};

type Outcome = Result<ExitCode, Box<dyn Error>>;

const EXAMPLES: &str = "\
Examples:
  cargo testbed up                          three nodes, Ready in seconds
  cargo testbed kubectl -- get nodes        kubectl, aimed at it
  cargo testbed node power-off node2        pull a plug
  cargo testbed node power-on node2
  cargo testbed up --name two --nodes 1     a second cluster beside the first
  cargo testbed down --purge                nothing is left";

/// Run a real Kubernetes of several nodes on this machine, without Docker
#[derive(Parser)]
#[command(name = "testbed", version, arg_required_else_help = true, before_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build what a cluster is made of, if it is not built yet
    Prepare,
    /// Start a cluster and wait until its nodes are Ready
    Up(UpArgs),
    /// Stop a cluster and take all it has from this machine
    Down(DownArgs),
    /// Say what runs of a cluster, and what it takes
    Status(StatusArgs),
    /// Print the administrator's kubeconfig
    Kubeconfig(Which),
    /// Run kubectl on a cluster
    Kubectl(KubectlArgs),
    /// Build images, and put them on the nodes
    #[command(subcommand)]
    Image(images::ImageCommand),
    /// Make a node fail, and make it well again
    #[command(subcommand)]
    Node(nodes::NodeCommand),
    /// Print where a program of the tool cache is, and build it if it is not built yet
    Which(ProgramArgs),
    /// Print the log of a component, such as kube-apiserver or node1/kubelet
    Logs(LogArgs),
    /// Say whether this machine is fit for a cluster, and what it lacks
    Doctor(show::OutputArgs),
    /// Measure what a cluster costs in time, memory and disk
    Bench(figures::BenchArgs),
}

#[derive(Args)]
struct ProgramArgs {
    /// The program, such as kubectl or nats
    program: Program,
}

/// Which cluster.
#[derive(Args)]
struct Which {
    /// The cluster's name
    #[arg(long, default_value = "dev")]
    name: ClusterName,
}

#[derive(Args)]
struct UpArgs {
    #[command(flatten)]
    which: Which,
    /// How many nodes [default: 3, or what the cluster has]
    #[arg(long)]
    nodes: Option<u8>,
    /// Let the API server write an audit log
    #[arg(long)]
    audit: bool,
    /// The cluster's address range on this machine, a private /24 [default: the first free one of
    /// 10.123.0.0/16]
    #[arg(long)]
    subnet: Option<AddressPlan>,
}

#[derive(Args)]
struct DownArgs {
    #[command(flatten)]
    which: Which,
    /// Remove its disks and logs, too
    #[arg(long)]
    purge: bool,
}

#[derive(Args)]
struct StatusArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    output: show::OutputArgs,
}

#[derive(Args)]
struct KubectlArgs {
    #[command(flatten)]
    which: Which,
    /// What kubectl is to do
    #[arg(last = true, required = true)]
    args: Vec<String>,
}

#[derive(Args)]
struct LogArgs {
    #[command(flatten)]
    which: Which,
    /// The component
    component: String,
}

/// Does what was asked for.
pub fn run(cli: Cli) -> Outcome {
    match cli.command {
        Command::Prepare => prepared().map(|_| ExitCode::SUCCESS),
        Command::Up(args) => up(args),
        Command::Down(args) => {
            Cluster::down(&args.which.name, args.purge, &Progress::stderr())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(args) => {
            show::status(&attach(&args.which)?.status()?, &args.output)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Kubeconfig(which) => print_file(attach(&which)?.kubeconfig()),
        Command::Kubectl(args) => {
            // Becomes kubectl: its terminal, its signals and its exit code are the caller's.
            Err(attach(&args.which)?.kubectl().command().args(args.args).exec().into())
        }
        Command::Image(command) => images::run(command),
        Command::Node(command) => nodes::run(command),
        Command::Which(args) => {
            println!("{}", tools::ensure_one(args.program)?.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Logs(args) => print_file(&attach(&args.which)?.log_path(&args.component)?),
        Command::Doctor(output) => doctor(&output),
        Command::Bench(args) => figures::run(&args),
    }
}

fn up(args: UpArgs) -> Outcome {
    let UpArgs { which, nodes, audit, subnet } = args;
    let request = UpRequest { nodes, audit, range: subnet, ..UpRequest::new(which.name) };
    let cluster = Cluster::up(&request, &prepared()?, &Progress::stderr())?;
    eprintln!("export KUBECONFIG={}", cluster.kubeconfig().display());
    Ok(ExitCode::SUCCESS)
}

fn prepared() -> Result<Prepared, Box<dyn Error>> {
    Ok(prepare::prepare(&Cache::of_this_user()?, &Progress::stderr())?)
}

/// Exits by 1 when a person must act.
fn doctor(output: &show::OutputArgs) -> Outcome {
    let findings = doctor::judge(&Facts::gather(&Cache::of_this_user()?)?);
    show::findings(&findings, output)?;
    let fit = !findings.iter().any(|finding| finding.verdict.is_wrong());
    Ok(if fit { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The running cluster. Its tools are there: it runs by them.
fn attach(which: &Which) -> Result<Cluster, Box<dyn Error>> {
    Ok(Cluster::attach(&which.name, &Tools::found_in(&Cache::of_this_user()?))?)
}

fn print_file(path: &std::path::Path) -> Outcome {
    let mut file =
        std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    std::io::copy(&mut file, &mut std::io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}
