//! `membershipd keygen`, and how a key file is read back.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use serde::Serialize;
use zeroize::Zeroizing;

use super::error::{CommandError, CommandResult};
use super::show;
use crate::runtime::version::OutputFormat;

/// What a key file begins with, so that one can be told from other files of digits.
const PREFIX: &str = "ed25519-seed:";

/// Only the owner reads it.
const PRIVATE: u32 = 0o600;

/// Arguments of `keygen`.
#[derive(Args, Debug)]
#[command(before_help = "\
Examples:
  membershipd keygen ada.key
  membershipd user add --admin \"$(membershipd keygen ada.key)\" 'Ada Lovelace'")]
pub struct KeygenArgs {
    /// The new file with the secret half, readable by its owner only
    pub file: PathBuf,
    /// How to print the public half
    #[arg(short, long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Makes a key and prints its public half.
///
/// # Errors
/// `Refused` when the file is there already; `Output` when it cannot be written.
pub fn run(args: &KeygenArgs, out: &mut dyn Write) -> CommandResult<()> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        public_key: String,
        file: String,
    }
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())
        .map_err(|_| CommandError::Refused("the system has no random bytes".to_owned()))?;
    let key = SigningKey::from_bytes(&seed);
    let text = Zeroizing::new(format!("{PREFIX}{}\n", HEXLOWER.encode(seed.as_ref())));
    let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&args.file);
    let mut file = file.map_err(|error| {
        if error.kind() != ErrorKind::AlreadyExists {
            return CommandError::Output(error);
        }
        CommandError::Refused(format!(
            "{} is there already and was left as it is: name another file",
            args.file.display()
        ))
    })?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let public_key = HEXLOWER.encode(key.verifying_key().as_bytes());
    match args.output {
        OutputFormat::Text => writeln!(out, "{public_key}")?,
        OutputFormat::Json => {
            show::json(out, &Answer { public_key, file: args.file.display().to_string() })?;
        }
    }
    Ok(())
}

/// Reads a key file. Nothing of it is ever repeated.
///
/// # Errors
/// `Usage` when it is not there, not a key, or open to others.
pub fn read(path: &Path) -> CommandResult<SigningKey> {
    let wrong = |why: &str| CommandError::Usage(format!("the key file {} {why}", path.display()));
    let metadata =
        fs::metadata(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(wrong("can be read by others: take that away with `chmod 600`"));
    }
    let text = fs::read_to_string(path);
    let text = Zeroizing::new(text.map_err(|_| wrong("cannot be read as text"))?);
    let seed = text.trim_end().strip_prefix(PREFIX);
    let seed = seed.and_then(|hex| HEXLOWER.decode(hex.as_bytes()).ok()).map(Zeroizing::new);
    let seed = seed.and_then(|seed| <[u8; 32]>::try_from(seed.as_slice()).ok());
    let seed = Zeroizing::new(seed.ok_or_else(|| wrong("is not one that `keygen` made"))?);
    Ok(SigningKey::from_bytes(&seed))
}
