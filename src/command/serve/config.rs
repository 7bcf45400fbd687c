//! What `membershipd serve` shall do: decided purely from flags, environment and file, in this order
//! of weight.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;

use super::store::{StoreFlags, choose};
use crate::command::choice::{Environment, NatsArgs, StoreChoice};
use crate::command::error::{CommandError, CommandResult};
use crate::membership::ids::{Handle, UserKey};
use crate::runtime::telemetry::{DEFAULT_LEVEL, LogFormat, LogSettings};

/// Loopback: who wants to be reached from elsewhere says so.
const LISTEN: &str = "127.0.0.1:8080";

/// Where the admin endpoints are when nothing says otherwise.
const ADMIN_LISTEN: &str = "127.0.0.1:8081";

/// How long a start may take when nothing says otherwise, in seconds: the bootstrap budget.
const START_SECONDS: u16 = 120;

/// Which kind of store is served from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// One SQLite file.
    #[default]
    Sqlite,
    /// Replicated JetStream buckets.
    Jetstream,
}

/// Arguments of `serve`.
#[derive(Args, Debug, Default)]
#[command(before_help = "\
Examples:
  membershipd serve
  membershipd serve --db /var/lib/membership.db --listen 0.0.0.0:8080 --log-format json
  membershipd serve --store jetstream --nats-url nats://127.0.0.1:4222 --nkey membershipd.nk")]
pub struct ServeArgs {
    /// Where the service listens [default: 127.0.0.1:8080] [env: MEMBERSHIPD_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Where /livez, /readyz and /metrics are [default: 127.0.0.1:8081]
    /// [env: MEMBERSHIPD_ADMIN_LISTEN]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub admin_listen: Option<SocketAddr>,
    /// A name that callers reach the service under, as in Host; may be given several times. Requests
    /// that were signed for another name are refused [default: any] [env: MEMBERSHIPD_AUTHORITY,
    /// with commas between]
    #[arg(long, value_name = "HOST[:PORT]")]
    pub authority: Vec<String>,
    /// What is served from [default: sqlite] [env: MEMBERSHIPD_STORE]
    #[arg(long, value_enum)]
    pub store: Option<StoreKind>,
    /// The SQLite file, made when it is not there [default: membership.db] [env: MEMBERSHIPD_DB]
    #[arg(long, value_name = "PATH")]
    pub db: Option<PathBuf>,
    /// The NATS servers, with commas between [env: MEMBERSHIPD_NATS_URL, NATS_URL]
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// How to come to the servers.
    #[command(flatten)]
    pub nats: NatsArgs,
    /// The key of the user who is let in first, as an admin, to a store that never served
    /// [env: MEMBERSHIPD_FIRST_ADMIN]
    #[arg(long, value_name = "KEY", requires = "first_admin_handle")]
    pub first_admin: Option<UserKey>,
    /// What people call that user [env: MEMBERSHIPD_FIRST_ADMIN_HANDLE]
    #[arg(long, value_name = "HANDLE", requires = "first_admin")]
    pub first_admin_handle: Option<Handle>,
    /// How long to wait for the store at the start [default: 120] [env: MEMBERSHIPD_START_TIMEOUT]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub start_timeout: Option<u16>,
    /// Begin only when a membership has been moved into the buckets, and wait for that however long
    /// it takes: alive, not ready, answering nobody [env: MEMBERSHIPD_AFTER_MIGRATION, true or false]
    #[arg(long)]
    pub after_migration: bool,
    /// A YAML file with any of these, by the flags' names in camelCase [env: MEMBERSHIPD_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Logs.
    #[command(flatten)]
    pub log: LogArgs,
}

/// Flags about logs.
#[derive(Args, Debug, Default)]
pub struct LogArgs {
    /// The form of log lines [default: text] [env: MEMBERSHIPD_LOG_FORMAT]
    #[arg(long, value_enum)]
    pub log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or a list such as debug,async_nats=info
    /// [default: info] [env: MEMBERSHIPD_LOG_LEVEL]
    #[arg(long, value_name = "FILTER")]
    pub log_level: Option<String>,
}

/// The optional file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ServeFile {
    listen: Option<SocketAddr>,
    admin_listen: Option<SocketAddr>,
    authority: Vec<String>,
    store: Option<StoreKind>,
    db: Option<PathBuf>,
    nats_url: Option<String>,
    nkey: Option<PathBuf>,
    ca: Option<PathBuf>,
    bucket_prefix: Option<String>,
    first_admin: Option<UserKey>,
    first_admin_handle: Option<Handle>,
    start_timeout: Option<u16>,
    after_migration: bool,
    log_format: Option<LogFormat>,
    log_level: Option<String>,
}

/// What shall be done.
#[derive(Debug, PartialEq, Eq)]
pub struct ServeConfig {
    /// Where the service listens.
    pub listen: SocketAddr,
    /// Where the admin endpoints are.
    pub admin_listen: SocketAddr,
    /// The names that the service answers to, in lower case; every name when there are none.
    pub authorities: Vec<String>,
    /// The store.
    pub store: StoreChoice,
    /// Who is let in first.
    pub first_admin: Option<FirstAdmin>,
    /// How long to wait for the store at the start.
    pub start_time: Duration,
    /// Nobody is served before a membership has been moved into the store.
    pub after_migration: bool,
    /// What is logged, and how.
    pub log: LogSettings,
}

/// A user who is let in to a store that never served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstAdmin {
    /// The key.
    pub key: UserKey,
    /// What people call the user.
    pub handle: Handle,
}

/// Reads the file's text.
///
/// # Errors
/// `Usage` with where it is wrong.
pub fn parse(text: &str) -> CommandResult<ServeFile> {
    if text.trim().is_empty() {
        return Ok(ServeFile::default());
    }
    serde_saphyr::from_str(text)
        .map_err(|why| usage(format!("the file of --config is not valid: {why}")))
}

impl ServeArgs {
    /// The file that is meant, if any.
    #[must_use]
    pub fn file(&self, env: Environment<'_>) -> Option<PathBuf> {
        self.config.clone().or_else(|| env("MEMBERSHIPD_CONFIG").map(Into::into))
    }

    /// Decides: a flag beats the environment, which beats the file, which beats the defaults.
    ///
    /// # Errors
    /// `Usage` for what cannot be read or makes no sense together.
    pub fn decide(self, file: ServeFile, env: Environment<'_>) -> CommandResult<ServeConfig> {
        let address = |flag: Option<SocketAddr>, name, file: Option<SocketAddr>, default| {
            let chosen = match flag {
                Some(flag) => Some(flag),
                None => parsed(env, name)?.or(file),
            };
            chosen.map_or_else(|| known(default), Ok)
        };
        let listen = address(self.listen, "MEMBERSHIPD_LISTEN", file.listen, LISTEN)?;
        let admin_listen = address(
            self.admin_listen,
            "MEMBERSHIPD_ADMIN_LISTEN",
            file.admin_listen,
            ADMIN_LISTEN,
        )?;
        let authority = text(env, "MEMBERSHIPD_AUTHORITY")?
            .map(|names| names.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>());
        let authorities = match authority {
            _ if !self.authority.is_empty() => self.authority,
            Some(names) => names,
            None => file.authority,
        };
        let start_timeout = first_of(self.start_timeout, file.start_timeout, || {
            parsed(env, "MEMBERSHIPD_START_TIMEOUT")
        })?;
        let admin_key = first_of(self.first_admin, file.first_admin, || {
            parsed(env, "MEMBERSHIPD_FIRST_ADMIN")
        })?;
        let handle = first_of(self.first_admin_handle, file.first_admin_handle, || {
            parsed(env, "MEMBERSHIPD_FIRST_ADMIN_HANDLE")
        })?;
        let kind = first_of(self.store, file.store, || one_of(env, "MEMBERSHIPD_STORE"))?;
        let after_migration = self.after_migration
            || parsed(env, "MEMBERSHIPD_AFTER_MIGRATION")?.unwrap_or(file.after_migration);
        let log_of_file = LogArgs { log_format: file.log_format, log_level: file.log_level };
        let from_file =
            NatsArgs { nkey: file.nkey, ca: file.ca, bucket_prefix: file.bucket_prefix };
        let flags = StoreFlags { db: self.db, nats_url: self.nats_url, nats: self.nats };
        let of_file = StoreFlags { db: file.db, nats_url: file.nats_url, nats: from_file };
        let kind = kind.unwrap_or_default();
        if after_migration && kind == StoreKind::Sqlite {
            return Err(usage("--after-migration needs --store jetstream".to_owned()));
        }
        Ok(ServeConfig {
            listen,
            admin_listen,
            authorities: authorities.iter().map(|name| name.to_ascii_lowercase()).collect(),
            store: choose(kind, flags, of_file, env)?,
            after_migration,
            first_admin: first_admin(admin_key, handle)?,
            start_time: Duration::from_secs(start_timeout.unwrap_or(START_SECONDS).into()),
            log: log(self.log, log_of_file, env)?,
        })
    }
}

fn first_admin(key: Option<UserKey>, handle: Option<Handle>) -> CommandResult<Option<FirstAdmin>> {
    match (key, handle) {
        (Some(key), Some(handle)) => Ok(Some(FirstAdmin { key, handle })),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(usage(
            "the first admin needs a key and a handle: say both --first-admin and \
             --first-admin-handle"
                .to_owned(),
        )),
    }
}

fn log(flags: LogArgs, file: LogArgs, env: Environment<'_>) -> CommandResult<LogSettings> {
    let format =
        first_of(flags.log_format, file.log_format, || one_of(env, "MEMBERSHIPD_LOG_FORMAT"))?;
    let level = first_of(flags.log_level, file.log_level, || text(env, "MEMBERSHIPD_LOG_LEVEL"))?;
    let level = level.unwrap_or_else(|| DEFAULT_LEVEL.to_owned());
    Ok(LogSettings { format: format.unwrap_or_default(), level })
}

/// A flag beats the environment, which beats the file; what is beaten is not even read.
fn first_of<T>(
    flag: Option<T>,
    file: Option<T>,
    env: impl FnOnce() -> CommandResult<Option<T>>,
) -> CommandResult<Option<T>> {
    match flag {
        Some(flag) => Ok(Some(flag)),
        None => Ok(env()?.or(file)),
    }
}

/// One of a few words, under a name in the environment.
fn one_of<T: ValueEnum>(env: Environment<'_>, name: &str) -> CommandResult<Option<T>> {
    let Some(text) = text(env, name)? else {
        return Ok(None);
    };
    T::from_str(&text, false).map(Some).map_err(|_| {
        let words = T::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let words: Vec<String> = words.map(|word| word.get_name().to_owned()).collect();
        usage(format!("{name} must be {}", words.join(" or ")))
    })
}

pub(super) fn text(env: Environment<'_>, name: &str) -> CommandResult<Option<String>> {
    env(name)
        .map(OsString::into_string)
        .transpose()
        .map_err(|_| usage(format!("{name} is not UTF-8: set it anew")))
}

fn parsed<T: std::str::FromStr>(env: Environment<'_>, name: &str) -> CommandResult<Option<T>> {
    let wrong = || usage(format!("{name} cannot be read: set it anew, or use the flag"));
    text(env, name)?.map(|text| text.parse().map_err(|_| wrong())).transpose()
}

fn known(address: &str) -> CommandResult<SocketAddr> {
    address.parse().map_err(|_| usage(format!("{address} is no address")))
}

pub(super) fn usage(message: String) -> CommandError {
    CommandError::Usage(message)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn decided(flags: &[&str], env: &[(&str, &str)], file: &str) -> Result<ServeConfig, String> {
        let env = |name: &str| {
            env.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        let flags = Flags::try_parse_from(["serve"].iter().chain(flags)).unwrap().serve;
        let file = parse(file).map_err(|error| error.to_string())?;
        flags.decide(file, &env).map_err(|error| error.to_string())
    }

    #[test]
    fn without_any_word_it_is_a_file_here_on_loopback() {
        let config = decided(&[], &[], "").unwrap();
        assert_eq!(config.store, StoreChoice::Sqlite("membership.db".into()));
        assert!(config.listen.ip().is_loopback() && config.admin_listen.ip().is_loopback());
        assert_eq!(config.start_time, Duration::from_secs(120));
        assert_eq!(config.authorities, Vec::<String>::new());
        let log = LogSettings { format: LogFormat::Text, level: "info,async_nats=off".into() };
        assert_eq!(config.log, log);
        let other = decided(&[], &[("NATS_URL", "nats://x:1")], "").unwrap();
        assert_eq!(other, config, "it is set for other programs, too");
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file() {
        let file = "listen: 127.0.0.1:3\nadminListen: 127.0.0.2:3\nauthority: [C]\ndb: c.db\n\
                    startTimeout: 3\nlogFormat: json\nlogLevel: c";
        let env = [
            ("MEMBERSHIPD_LISTEN", "127.0.0.1:2"),
            ("MEMBERSHIPD_ADMIN_LISTEN", "127.0.0.2:2"),
            ("MEMBERSHIPD_AUTHORITY", "B,b2"),
            ("MEMBERSHIPD_DB", "b.db"),
            ("MEMBERSHIPD_START_TIMEOUT", "2"),
            ("MEMBERSHIPD_LOG_FORMAT", "text"),
            ("MEMBERSHIPD_LOG_LEVEL", "b"),
        ];
        let flags = [
            "--listen=127.0.0.1:1",
            "--admin-listen=127.0.0.2:1",
            "--authority=A",
            "--db=a.db",
            "--start-timeout=1",
            "--log-format=json",
            "--log-level=a",
        ];
        for (flags, env, name, n, format) in [
            (&flags[..], &env[..], vec!["a"], 1, LogFormat::Json),
            (&[], &env, vec!["b", "b2"], 2, LogFormat::Text),
            (&[], &[], vec!["c"], 3, LogFormat::Json),
        ] {
            let config = decided(flags, env, file).unwrap();
            assert_eq!((config.listen.port(), config.admin_listen.port()), (n, n));
            assert_eq!(config.log, LogSettings { format, level: name[0].to_owned() });
            assert_eq!(config.authorities, name);
            assert_eq!(config.start_time.as_secs(), u64::from(n));
            let db = format!("{}.db", name[0]);
            assert_eq!(config.store, StoreChoice::Sqlite(db.into()));
        }
    }

    #[test]
    fn jetstream_is_chosen_by_its_name_and_needs_servers() {
        let nats =
            |flags: &[&str], env: &[(&str, &str)], file: &str| match decided(flags, env, file)
                .unwrap()
                .store
            {
                StoreChoice::Nats(nats) => (nats.url, nats.prefix, nats.nkey),
                StoreChoice::Sqlite(path) => panic!("{}", path.display()),
            };
        let flags = ["--store=jetstream", "--nats-url=a:1"];
        assert_eq!(nats(&flags, &[], "").0, "a:1");
        let env = [("MEMBERSHIPD_STORE", "jetstream"), ("NATS_URL", "b:1")];
        assert_eq!(nats(&[], &env, "natsUrl: 'c:1'").0, "b:1");
        let env = [env[0], env[1], ("MEMBERSHIPD_NATS_URL", "d:1")];
        assert_eq!(nats(&[], &env, "").0, "d:1");
        assert_eq!(nats(&flags, &env, "store: sqlite").0, "a:1");
        let file = "{store: jetstream, natsUrl: 'c:1', bucketPrefix: C, nkey: c.nk}";
        assert_eq!(nats(&[], &[], file), ("c:1".into(), "C".into(), Some("c.nk".into())));
        let env = [("MEMBERSHIPD_BUCKET_PREFIX", "B"), ("MEMBERSHIPD_NKEY", "b.nk")];
        assert_eq!(nats(&[], &env, file), ("c:1".into(), "B".into(), Some("b.nk".into())));
    }

    #[test]
    fn it_begins_after_a_migration_only_when_it_is_told_to() {
        let name = "MEMBERSHIPD_AFTER_MIGRATION";
        let (store, file) = (["--store=jetstream", "--nats-url=a:1"], "afterMigration: true");
        for (flags, env, file, waits) in [
            (&[][..], &[][..], "", false),
            (&["--after-migration"], &[(name, "false")], "", true),
            (&[], &[(name, "true")], "", true),
            (&[], &[], file, true),
            (&[], &[(name, "false")], file, false),
        ] {
            let config = decided(&[&store, flags].concat(), env, file).unwrap();
            assert_eq!(config.after_migration, waits, "{flags:?} {env:?} {file}");
        }
    }

    #[test]
    fn the_first_admin_has_a_key_and_a_handle() {
        let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        let flags =
            [format!("--first-admin={key}"), "--first-admin-handle=Ada Lovelace".to_owned()];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let env =
            [("MEMBERSHIPD_FIRST_ADMIN", key), ("MEMBERSHIPD_FIRST_ADMIN_HANDLE", "Ada Lovelace")];
        let file = format!("{{firstAdmin: '{key}', firstAdminHandle: Ada Lovelace}}");
        for (flags, env, file) in [(&flags[..], &[][..], ""), (&[], &env, ""), (&[], &[], &file)] {
            let admin = decided(flags, env, file).unwrap().first_admin.unwrap();
            assert_eq!(
                (admin.key.to_string().as_str(), admin.handle.as_str()),
                (key, "Ada Lovelace")
            );
        }
        assert_eq!(decided(&[], &[], "").unwrap().first_admin, None);
        assert!(decided(&[], &env[..1], "").unwrap_err().contains("--first-admin-handle"));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_to_do() {
        for (flags, env, file, word) in [
            (&["--nats-url=a:1"][..], &[][..], "", "--store jetstream"),
            (&["--store=jetstream", "--db=x"], &[], "", "--store sqlite"),
            (&["--store=jetstream"], &[], "", "--nats-url"),
            (&["--nkey=x"], &[], "", "--nkey"),
            (&["--after-migration"], &[], "", "--store jetstream"),
            (&[], &[], "afterMigration: true", "--store jetstream"),
            (&[], &[("MEMBERSHIPD_AFTER_MIGRATION", "yes")], "", "MEMBERSHIPD_AFTER_MIGRATION"),
            (&[], &[("MEMBERSHIPD_STORE", "kv")], "", "sqlite or jetstream"),
            (&[], &[("MEMBERSHIPD_LOG_FORMAT", "xml")], "", "text or json"),
            (&[], &[], "logFormat: xml", "--config"),
            (&[], &[("MEMBERSHIPD_LISTEN", "8080")], "", "MEMBERSHIPD_LISTEN"),
            (&[], &[], "port: 1", "--config"),
            (&[], &[], "db: [", "--config"),
        ] {
            let refused = decided(flags, env, file).unwrap_err();
            assert!(refused.contains(word), "{refused}");
        }
    }
}
