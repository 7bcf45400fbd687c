//! Where the store is that `membershipd serve` serves from.

use std::path::PathBuf;

use super::config::{StoreKind, text, usage};
use crate::command::choice::{Environment, NatsArgs, StoreArgs, StoreChoice};
use crate::command::error::CommandResult;

/// Flags, or their like in the file, that say where the store is.
pub(super) struct StoreFlags {
    pub(super) db: Option<PathBuf>,
    pub(super) nats_url: Option<String>,
    pub(super) nats: NatsArgs,
}

/// Only what belongs to the chosen kind of store counts; `NATS_URL` is set for other programs, too,
/// so it alone does not choose.
pub(super) fn choose(
    kind: StoreKind,
    flags: StoreFlags,
    file: StoreFlags,
    env: Environment<'_>,
) -> CommandResult<StoreChoice> {
    match kind {
        StoreKind::Sqlite if flags.nats_url.is_some() => Err(usage(
            "--nats-url names servers, but the store is a SQLite file: say --store jetstream, too"
                .to_owned(),
        )),
        StoreKind::Sqlite => {
            let from_env = env("MEMBERSHIPD_DB").map(PathBuf::from);
            let db = flags.db.or(from_env).or(file.db);
            StoreArgs {
                db: Some(db.unwrap_or_else(StoreArgs::default_db)),
                nats: flags.nats,
                ..StoreArgs::default()
            }
            .choose(env)
        }
        StoreKind::Jetstream if flags.db.is_some() => Err(usage(
            "--db names a SQLite file, but the store is JetStream: leave it out, or say --store \
             sqlite"
                .to_owned(),
        )),
        StoreKind::Jetstream => {
            let from_env = match text(env, "MEMBERSHIPD_NATS_URL")? {
                Some(url) => Some(url),
                None => text(env, "NATS_URL")?,
            };
            let url = flags.nats_url.or(from_env).or(file.nats_url).ok_or_else(|| {
                usage("the store is JetStream: name the servers with --nats-url".to_owned())
            })?;
            let unset = |name: &str| env(name).is_none();
            let nats = NatsArgs {
                nkey: flags.nats.nkey.or(file.nats.nkey.filter(|_| unset("MEMBERSHIPD_NKEY"))),
                ca: flags.nats.ca.or(file.nats.ca.filter(|_| unset("MEMBERSHIPD_CA"))),
                bucket_prefix: flags
                    .nats
                    .bucket_prefix
                    .or(file.nats.bucket_prefix.filter(|_| unset("MEMBERSHIPD_BUCKET_PREFIX"))),
            };
            Ok(StoreChoice::Nats(nats.choose(url, env)?))
        }
    }
}
