//! Every command and flag of `membershipd`. No logic lives here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use super::call::CallArgs;
use super::choice::StoreArgs;
use super::exit::Exit;
use super::keygen::KeygenArgs;
use super::migrate::MigrateArgs;
use super::serve::config::ServeArgs;
use crate::membership::ids::{Handle, UserKey};
use crate::membership::records::UserRole;
use crate::runtime::version::{OutputFormat, VersionArgs};

/// Keeps rooms, members, sealed room keys and the users who may come in
#[derive(Debug, Parser)]
#[command(
    name = "membershipd",
    version,
    arg_required_else_help = true,
    before_help = "\
Examples:
  membershipd init --db membership.db
  membershipd user add --admin KEY 'Ada Lovelace'
  membershipd user list -o json
  membershipd export --db membership.db | membershipd import --nats-url nats://127.0.0.1:4222",
    after_help = Exit::help()
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an empty store, or find the one that is there
    Init(InitArgs),
    /// Let users in, look at them and send them away
    User(UserArgs),
    /// Print a store as lines of JSON
    Export(ExportArgs),
    /// Read lines of JSON into a store
    Import(ImportArgs),
    /// Serve the membership over HTTP
    Serve(Box<ServeArgs>),
    /// Make a key to sign requests with
    Keygen(KeygenArgs),
    /// Sign a request, send it to a service and print the answer
    Call(CallArgs),
    /// Move a SQLite file into JetStream buckets, once and faithfully
    MigrateToKv(Box<MigrateArgs>),
    /// Print a shell's completions for this program
    #[command(before_help = "\
Examples:
  membershipd completions bash > /etc/bash_completion.d/membershipd
  membershipd completions fish > ~/.config/fish/completions/membershipd.fish")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the version
    Version(VersionArgs),
}

/// Arguments of `init`.
#[derive(Args, Debug)]
#[command(before_help = "\
Examples:
  membershipd init --db membership.db
  membershipd init --nats-url nats://127.0.0.1:4222 --replicas 3 --nkey operator.nk")]
pub struct InitArgs {
    /// Where.
    #[command(flatten)]
    pub store: StoreArgs,
    /// On how many servers each bucket is kept (only with NATS) [default: 1]
    #[arg(long, value_name = "1|3|5", value_parser = replicas)]
    pub replicas: Option<u8>,
    /// How many bytes each bucket may hold (only with NATS) [default: 1Gi]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_bytes: Option<u64>,
    /// How to print what was done
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Reads a number of replicas. A quorum of an even number is no better than that of one less.
///
/// # Errors
/// For anything but 1, 3 and 5.
pub fn replicas(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a bucket is kept on 1, 3 or 5 servers".to_owned()),
    }
}

/// Reads a number of bytes, as plain or with one of the units `Ki`, `Mi` and `Gi`.
///
/// # Errors
/// For anything else, and for less than a mebibyte.
pub fn size(text: &str) -> Result<u64, String> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let (number, power) = units
        .iter()
        .find_map(|(unit, power)| Some((text.strip_suffix(unit)?, *power)))
        .unwrap_or((text, 0));
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    let bytes = number.parse::<u64>().ok().filter(|_| plain);
    bytes
        .and_then(|bytes| bytes.checked_mul(1 << power))
        .filter(|bytes| (1 << 20..1 << 50).contains(bytes))
        .ok_or_else(|| "a size is a number with Ki, Mi or Gi, such as 512Mi".to_owned())
}

/// Arguments of `user`.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    before_help = "\
Examples:
  membershipd user add --admin KEY 'Ada Lovelace'
  membershipd user list
  membershipd user show KEY -o json
  membershipd user revoke KEY"
)]
pub struct UserArgs {
    /// What to do with users.
    #[command(subcommand)]
    pub command: UserCommand,
}

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Let a user in
    #[command(before_help = "\
Examples:
  membershipd user add KEY 'Bob'
  membershipd user add --admin KEY 'Ada Lovelace'
  membershipd user add --service KEY gateway --nats-url nats://127.0.0.1:4222")]
    Add {
        /// May manage users
        #[arg(long, conflicts_with = "service")]
        admin: bool,
        /// Is a program that may ask about others
        #[arg(long)]
        service: bool,
        /// The user's Ed25519 public key, in 64 hexadecimal digits
        key: UserKey,
        /// What people call the user
        handle: Handle,
        /// Where and how.
        #[command(flatten)]
        on: On,
    },
    /// List all users, the revoked ones too
    List {
        /// Where and how.
        #[command(flatten)]
        on: On,
    },
    /// Show one user
    Show {
        /// The user's public key
        key: UserKey,
        /// Where and how.
        #[command(flatten)]
        on: On,
    },
    /// Send a user away, for good: the key never comes back
    Revoke {
        /// The user's public key
        key: UserKey,
        /// Where and how.
        #[command(flatten)]
        on: On,
    },
}

/// Which store is asked and how the answer is printed.
#[derive(Args, Debug)]
pub struct On {
    /// Which store.
    #[command(flatten)]
    pub store: StoreArgs,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// The role that flags of `user add` name.
#[must_use]
pub const fn role(admin: bool, service: bool) -> UserRole {
    match (admin, service) {
        (true, _) => UserRole::Admin,
        (false, true) => UserRole::Service,
        (false, false) => UserRole::User,
    }
}

/// Arguments of `export`.
#[derive(Args, Debug)]
#[command(before_help = "\
Examples:
  membershipd export > membership.jsonl
  membershipd export membership.jsonl --nats-url nats://127.0.0.1:4222")]
pub struct ExportArgs {
    /// A new file, readable by its owner only; standard output when left out or -
    pub file: Option<PathBuf>,
    /// From where.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Arguments of `import`.
#[derive(Args, Debug)]
#[command(before_help = "\
Examples:
  membershipd import membership.jsonl
  membershipd export --db membership.db | membershipd import --nats-url nats://127.0.0.1:4222")]
pub struct ImportArgs {
    /// What `export` wrote; standard input when left out or -
    pub file: Option<PathBuf>,
    /// Write over what the service wrote since, instead of keeping it
    #[arg(long)]
    pub force: bool,
    /// Into where, and how to print what was done.
    #[command(flatten)]
    pub on: On,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_flag_of_user_add_names_a_role() {
        assert_eq!(role(true, false), UserRole::Admin);
        assert_eq!(role(false, true), UserRole::Service);
        assert_eq!(role(false, false), UserRole::User);
    }

    #[test]
    fn a_bucket_is_kept_on_an_odd_number_of_servers() {
        for (text, expected) in [("1", Some(1)), ("3", Some(3)), ("5", Some(5))] {
            assert_eq!(replicas(text).ok(), expected);
        }
        for text in ["", "0", "2", "4", "7", "-1", "03", "three"] {
            assert!(replicas(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_size_is_a_number_with_a_unit() {
        for (text, bytes) in
            [("1048576", 1 << 20), ("1024Ki", 1 << 20), ("3Mi", 3 << 20), ("2Gi", 2 << 30)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "1", "Gi", "1G", "1 Gi", "-1Gi", "+1Gi", "1.5Gi", "99999999999Gi"] {
            assert!(size(text).is_err(), "{text:?}");
        }
    }
}
