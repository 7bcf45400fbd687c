//! The command line of `membershipd`: what may be asked, how it is answered, and how it ends.
//!
//! * [`cli`] is every command and flag. Parsing ends in values that are right.
//! * [`choice`] decides from flags and environment which store is meant, [`open`] opens or makes it;
//!   [`destination`] is the buckets that a membership is moved to.
//! * [`init`], [`user`], [`transfer`] and [`migrate`] are the commands; [`lines`] reads what `import`
//!   is fed, [`progress`] tells how far a move is.
//! * [`serve`] is the service, [`keygen`] and [`call`] are its callers' tools.
//! * [`show`] prints data, on standard output only. Everything else goes to standard error.
//! * [`exit`] is the one table of exit codes, [`error`] how a command can end early.
//!
//! What a command does is the domain's affair: nothing here decides about a membership.

pub mod call;
pub mod choice;
pub mod cli;
pub mod destination;
pub mod error;
pub mod exit;
pub mod init;
pub mod keygen;
pub mod lines;
pub mod migrate;
pub mod open;
pub mod progress;
pub mod serve;
pub mod show;
pub mod transfer;
pub mod user;

use std::io::{self, BufWriter, Write};
use std::process;

use clap::CommandFactory;
use tokio::runtime;

use self::cli::{Cli, Command};
use self::error::{CommandError, CommandResult};
use self::exit::Exit;
use crate::runtime::version::Version;

/// Does what the command line says and tells how it ended.
#[must_use]
pub fn run(cli: Cli) -> process::ExitCode {
    let ended = match runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let mut out = BufWriter::new(io::stdout());
            let ended = runtime.block_on(dispatch(cli, &mut out));
            // What was printed before an error is data all the same.
            let flushed = out.flush().map_err(CommandError::Output);
            // A call that SQLite is still blocked in must not hold up the end.
            runtime.shutdown_background();
            ended.and(flushed)
        }
        Err(error) => Err(CommandError::Output(error)),
    };
    process::ExitCode::from(match ended {
        Ok(()) => Exit::Done,
        Err(error) => error.tell(&mut io::stderr()),
    } as u8)
}

async fn dispatch(cli: Cli, out: &mut dyn Write) -> CommandResult<()> {
    match cli.command {
        Command::Init(args) => init::run(&args, out).await,
        Command::User(user) => user::run(&user.command, out).await,
        Command::Export(args) => transfer::export(&args, out).await,
        Command::Import(args) => transfer::import(&args, out).await,
        Command::Serve(args) => serve::run(*args, out).await,
        Command::Keygen(args) => keygen::run(&args, out),
        Command::Call(args) => call::run(args, out).await,
        Command::MigrateToKv(args) => migrate::run(&args, out).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "membershipd", &mut &mut *out);
            Ok(())
        }
        Command::Version(args) => Ok(Version::of("membershipd").print(args.output, out)?),
    }
}
