//! Which store is meant: decided from flags and environment, purely. Nothing is opened here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::error::{CommandError, CommandResult};
use crate::jetstream::connect::{NatsOptions, Role};
use crate::membership::ids::InvalidValue;
use crate::membership::kv::Prefix;
use crate::membership::store::Deadline;

/// The file that is meant when nothing says otherwise.
pub(super) const DEFAULT_DB: &str = "membership.db";

/// Flags that choose a store.
#[derive(Args, Clone, Debug, Default)]
pub struct StoreArgs {
    /// The store in this SQLite file [default: membership.db] [env: MEMBERSHIPD_DB]
    #[arg(long, value_name = "PATH", conflicts_with = "nats_url")]
    pub db: Option<PathBuf>,
    /// The store in JetStream on these servers, with commas between [env: MEMBERSHIPD_NATS_URL,
    /// NATS_URL]
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// How to come to the servers.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// How long one call of the store may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub timeout: u16,
}

/// Flags that say how to come to NATS servers.
#[derive(Args, Clone, Debug, Default)]
pub struct NatsArgs {
    /// The file with the seed of the nkey to come in with [env: MEMBERSHIPD_NKEY]
    #[arg(long, value_name = "FILE")]
    pub nkey: Option<PathBuf>,
    /// The file with the certificate authority of the servers; demands TLS [env: MEMBERSHIPD_CA]
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// How the names of the buckets begin [default: UNIBUS] [env: MEMBERSHIPD_BUCKET_PREFIX]
    #[arg(long, value_name = "PREFIX")]
    pub bucket_prefix: Option<String>,
}

/// What the environment says under a name.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<OsString>;

/// The environment of this process; an empty variable says nothing.
#[must_use]
pub fn of_process(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The store that is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// In a SQLite file.
    Sqlite(PathBuf),
    /// In JetStream buckets.
    Nats(NatsChoice),
}

/// Servers, and how to come to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatsChoice {
    /// Their addresses, with commas between.
    pub url: String,
    /// The seed file.
    pub nkey: Option<PathBuf>,
    /// The certificate authority's file.
    pub ca: Option<PathBuf>,
    /// The buckets' prefix.
    pub prefix: String,
}

impl StoreArgs {
    /// The file that is meant when nothing says otherwise.
    #[must_use]
    pub fn default_db() -> PathBuf {
        DEFAULT_DB.into()
    }

    /// Which store is meant. A flag beats the environment, and `MEMBERSHIPD_*` beats `NATS_URL`,
    /// which other programs read, too.
    ///
    /// # Errors
    /// `Usage` when two stores are meant at once, or a part makes no sense.
    pub fn choose(&self, env: Environment<'_>) -> CommandResult<StoreChoice> {
        match (&self.db, &self.nats_url) {
            (Some(path), _) => return self.file(path.clone()),
            (None, Some(url)) => return Ok(StoreChoice::Nats(self.nats.choose(url.clone(), env)?)),
            (None, None) => {}
        }
        match (env("MEMBERSHIPD_DB"), text(env, "MEMBERSHIPD_NATS_URL")?) {
            (Some(_), Some(_)) => Err(usage(
                "MEMBERSHIPD_DB and MEMBERSHIPD_NATS_URL are both set: unset one, or say which \
                 store is meant with --db or --nats-url",
            )),
            (Some(path), None) => self.file(path.into()),
            (None, Some(url)) => Ok(StoreChoice::Nats(self.nats.choose(url, env)?)),
            (None, None) => match text(env, "NATS_URL")? {
                Some(url) => Ok(StoreChoice::Nats(self.nats.choose(url, env)?)),
                None => self.file(DEFAULT_DB.into()),
            },
        }
    }

    fn file(&self, path: PathBuf) -> CommandResult<StoreChoice> {
        let NatsArgs { nkey, ca, bucket_prefix } = &self.nats;
        if nkey.is_some() || ca.is_some() || bucket_prefix.is_some() {
            return Err(usage(
                "--nkey, --ca and --bucket-prefix are about NATS servers, but the store is a \
                 file: leave them out, or name the servers with --nats-url",
            ));
        }
        Ok(StoreChoice::Sqlite(path))
    }

    /// When one call of the store that begins now must have ended.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        Deadline::after(Duration::from_secs(self.timeout.into()))
    }
}

impl NatsChoice {
    /// The buckets' prefix, ready for use.
    ///
    /// # Errors
    /// `Usage` for one that no bucket can have.
    pub fn buckets(&self) -> CommandResult<Prefix> {
        parse_prefix(&self.prefix)
    }

    /// How to connect, as a role.
    ///
    /// # Errors
    /// `Usage` for an address that is none, or a file that cannot serve.
    pub fn options(&self, role: Role) -> CommandResult<NatsOptions> {
        let options = NatsOptions::new(&self.url, role)
            .map_err(|error| CommandError::Usage(error.to_string()))?
            .nkey(self.nkey.as_deref())
            .ca(self.ca.as_deref());
        options.check_files().map_err(|error| CommandError::Usage(error.to_string()))?;
        Ok(options)
    }
}

impl NatsArgs {
    /// How to come to these servers.
    ///
    /// # Errors
    /// `Usage` for a password in the address, or a prefix that no bucket can have.
    pub fn choose(&self, url: String, env: Environment<'_>) -> CommandResult<NatsChoice> {
        // Not repeated: it is a secret that everybody on this machine can see already.
        if url.contains('@') {
            return Err(usage(
                "the NATS address holds a password or token, which other programs on this machine \
                 can read: take it out and use --nkey FILE",
            ));
        }
        let file =
            |flag: &Option<PathBuf>, name| flag.clone().or_else(|| env(name).map(Into::into));
        let prefix = match &self.bucket_prefix {
            Some(prefix) => Some(prefix.clone()),
            None => text(env, "MEMBERSHIPD_BUCKET_PREFIX")?,
        };
        let prefix = prefix.unwrap_or_else(|| Prefix::default().to_string());
        parse_prefix(&prefix)?;
        let (nkey, ca) = (file(&self.nkey, "MEMBERSHIPD_NKEY"), file(&self.ca, "MEMBERSHIPD_CA"));
        Ok(NatsChoice { url, nkey, ca, prefix })
    }
}

fn parse_prefix(text: &str) -> CommandResult<Prefix> {
    text.parse().map_err(|error: InvalidValue| CommandError::Usage(error.to_string()))
}

pub(super) fn text(env: Environment<'_>, name: &str) -> CommandResult<Option<String>> {
    env(name)
        .map(OsString::into_string)
        .transpose()
        .map_err(|_| usage(&format!("{name} is not UTF-8: set it anew")))
}

fn usage(message: &str) -> CommandError {
    CommandError::Usage(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(args: &StoreArgs, env: &[(&str, &str)]) -> Result<String, String> {
        let env = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        match args.choose(&env) {
            Ok(StoreChoice::Sqlite(path)) => Ok(path.display().to_string()),
            Ok(StoreChoice::Nats(nats)) => Ok(format!("{} {}", nats.url, nats.prefix)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn args(db: Option<&str>, nats_url: Option<&str>) -> StoreArgs {
        let nats_url = nats_url.map(str::to_owned);
        StoreArgs { db: db.map(Into::into), nats_url, ..StoreArgs::default() }
    }

    #[test]
    fn a_flag_beats_the_environment_and_the_default() {
        const DB: (&str, &str) = ("MEMBERSHIPD_DB", "env.db");
        const URL: (&str, &str) = ("MEMBERSHIPD_NATS_URL", "env:1");
        const NATS: (&str, &str) = ("NATS_URL", "nats:1");
        const PREFIX: (&str, &str) = ("MEMBERSHIPD_BUCKET_PREFIX", "P");
        for (db, url, env, expected) in [
            (None, None, &[][..], "membership.db"),
            (Some("a.db"), None, &[], "a.db"),
            (Some("a.db"), None, &[DB, URL, NATS, PREFIX], "a.db"),
            (None, Some("h:1"), &[DB, URL, NATS], "h:1 UNIBUS"),
            (None, None, &[DB], "env.db"),
            (None, None, &[DB, NATS], "env.db"),
            (None, None, &[URL, NATS, PREFIX], "env:1 P"),
            (None, None, &[NATS], "nats:1 UNIBUS"),
        ] {
            assert_eq!(
                chosen(&args(db, url), env).as_deref(),
                Ok(expected),
                "{db:?} {url:?} {env:?}"
            );
        }
        assert!(chosen(&args(None, None), &[DB, URL]).is_err(), "two stores at once");
    }

    #[test]
    fn flags_about_servers_go_with_servers_only() {
        let nats = NatsArgs { bucket_prefix: Some("OTHER".to_owned()), ..NatsArgs::default() };
        let with = |args: StoreArgs| StoreArgs { nats: nats.clone(), ..args };
        assert_eq!(chosen(&with(args(None, Some("h:1"))), &[]).as_deref(), Ok("h:1 OTHER"));
        assert!(chosen(&with(args(Some("a.db"), None)), &[]).is_err());
        assert!(chosen(&with(args(None, None)), &[]).is_err());
        let env = [("MEMBERSHIPD_NKEY", "seed.nk")];
        assert!(chosen(&args(None, None), &env).is_ok(), "the environment is for every command");
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for url in ["nats://me:secret@host:4222", "h:1,nats://secret@host"] {
            let refused = chosen(&args(None, Some(url)), &[]).unwrap_err();
            assert!(refused.contains("--nkey") && !refused.contains("secret"), "{refused}");
        }
    }
}
