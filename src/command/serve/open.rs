//! Opens what is served from, and waits for it as long as a start may take. It makes a SQLite file
//! that is not there; buckets are the operator's, or `init`'s, to make.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::config::{FirstAdmin, ServeConfig};
use crate::command::choice::{NatsChoice, StoreChoice};
use crate::command::error::{CommandError, CommandResult};
use crate::jetstream::bucket::Budget;
use crate::jetstream::connect::{NatsOptions, Role};
use crate::membership::MembershipStore;
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::kv::{Control, KvStore, Settings as KvSettings};
use crate::membership::records::{UnixMillis, Versioned};
use crate::membership::requests::RequestLog;
use crate::membership::sqlite::{Settings, SqliteStore};
use crate::membership::store::{Deadline, PageLimit, PageRequest};
use crate::migration::marker::{Marker, Phase};
use crate::runtime::shutdown::Stop;

/// How long to wait before what was not there is looked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// How long one look may take.
const LOOK: Duration = Duration::from_secs(5);

/// A store and the log of requests beside it.
pub struct Backing {
    /// The store.
    pub store: Arc<dyn MembershipStore>,
    /// The log.
    pub log: Arc<dyn RequestLog>,
}

/// Opens the store within the start's time; none when the word to stop came first.
///
/// # Errors
/// `NoStore`, `Usage` for files that cannot be used.
pub async fn opened(config: &ServeConfig, stop: &Stop) -> CommandResult<Option<Backing>> {
    let deadline = Deadline::after(config.start_time);
    tokio::select! {
        backing = open(config, deadline) => backing.map(Some),
        () = stop.said() => Ok(None),
    }
}

async fn open(config: &ServeConfig, deadline: Deadline) -> CommandResult<Backing> {
    let admin = config.first_admin.as_ref();
    match &config.store {
        StoreChoice::Sqlite(path) => {
            let none = CommandError::NoStore;
            SqliteStore::create(path, deadline).await.map_err(none)?;
            let opened = SqliteStore::open(path, Settings::default(), deadline).await;
            let store = Arc::new(opened.map_err(none)?);
            if let Some(admin) = admin {
                first_in_file(&store, admin, deadline).await.map_err(none)?;
            }
            Ok(Backing { store: store.clone(), log: store })
        }
        StoreChoice::Nats(nats) => {
            let store = Arc::new(buckets(nats, admin, deadline).await?);
            Ok(Backing { store: store.clone(), log: store })
        }
    }
}

/// Lets the first admin in to a file that never served: nobody was ever in it, for who is sent away
/// stays in it as such.
async fn first_in_file(
    store: &SqliteStore,
    admin: &FirstAdmin,
    deadline: Deadline,
) -> StoreResult<()> {
    let request = PageRequest { after: None, limit: PageLimit::MAX };
    if store.users(request, deadline).await?.items.is_empty() {
        let_in(store, admin, deadline).await?;
    }
    Ok(())
}

/// That somebody was let in before is no error: then nobody else is.
async fn let_in(
    store: &dyn MembershipStore,
    admin: &FirstAdmin,
    deadline: Deadline,
) -> StoreResult<()> {
    let FirstAdmin { key, handle } = admin.clone();
    match store.add_first_admin(key, handle, deadline).await {
        Ok(_) => tracing::info!(%key, "let the first admin in"),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn buckets(
    nats: &NatsChoice,
    admin: Option<&FirstAdmin>,
    deadline: Deadline,
) -> CommandResult<KvStore> {
    let usage = |why: &dyn std::fmt::Display| CommandError::Usage(why.to_string());
    let options = NatsOptions::new(&nats.url, Role::Membershipd).map_err(|why| usage(&why))?;
    let options = options.nkey(nats.nkey.as_deref()).ca(nats.ca.as_deref());
    options.check_files().map_err(|why| usage(&why))?;
    let mut told = String::new();
    loop {
        let error = match ready(nats, &options, admin).await {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        if !passes(error.kind()) || deadline.remaining() <= PAUSE {
            return Err(CommandError::NoStore(error));
        }
        let why = error.to_string();
        if why != told {
            tracing::info!(%why, "waiting for the store");
            told = why;
        }
        sleep(PAUSE).await;
    }
}

/// Whether waiting can help: what is not there yet may come, what is somebody else's stays so.
const fn passes(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound | ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Conflict
    )
}

async fn ready(
    nats: &NatsChoice,
    options: &NatsOptions,
    admin: Option<&FirstAdmin>,
) -> StoreResult<KvStore> {
    let prefix = nats.prefix.parse().map_err(|why: crate::membership::ids::InvalidValue| {
        StoreError::new(ErrorKind::Invalid, why.to_string())
    })?;
    let budget = Budget { total: LOOK, ..Budget::default() };
    let settings = KvSettings { budget, ..KvSettings::default() };
    let store = KvStore::open(options, prefix, settings).await?;
    let deadline = Deadline::after(LOOK);
    let Versioned { mut record, mut revision } = store.control(deadline).await?;
    if let Some(admin) = admin.filter(|_| never_served(&record)) {
        let_in(&store, admin, deadline).await?;
        Versioned { record, revision } = store.control(deadline).await?;
    }
    if let Some(control) = claimed(record, store.born(), UnixMillis::now())? {
        store.set_control(&control, revision, deadline).await?;
    }
    Ok(store)
}

/// Whether nobody was ever served from the store, nor from a file that was moved into it.
const fn never_served(control: &Control) -> bool {
    control.served_since.is_none() && control.migration.is_none()
}

/// What the store must say of itself before it is served from; `None` when it says so already. Once
/// it has been served from, nothing may be moved into it any more.
fn claimed(
    mut control: Control,
    born: &BTreeMap<String, String>,
    now: UnixMillis,
) -> StoreResult<Option<Control>> {
    let before = control.clone();
    if let Some(migration) = &control.migration {
        let marker: Marker = serde_json::from_value(migration.clone()).map_err(|_| {
            StoreError::new(
                ErrorKind::Corrupt,
                "how far the move into the buckets is cannot be read",
            )
        })?;
        match marker.phase {
            Phase::Done => {}
            Phase::Importing => {
                return Err(StoreError::new(
                    ErrorKind::Unavailable,
                    "a membership is being moved into the buckets: until that is done, nobody is \
                     served from them",
                ));
            }
        }
    }
    control.served_since = control.served_since.or(Some(now));
    control.note_born(born);
    Ok((control != before).then_some(control))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn control(migration: Option<serde_json::Value>, served: Option<u64>) -> Control {
        let mut control = json!({"clusterId": "c", "buckets": [], "servedSince": served});
        control["migration"] = migration.unwrap_or_default();
        serde_json::from_value(control).unwrap()
    }

    fn marker(phase: &str) -> Option<serde_json::Value> {
        let source = json!({"kind": "ours", "users": 0, "rooms": 0, "members": 0, "roomKeys": 0});
        let attempt = "0".repeat(32);
        Some(json!({"phase": phase, "attempt": attempt, "digest": "", "source": source}))
    }

    #[test]
    fn a_store_is_claimed_once_and_never_in_the_middle_of_a_move() {
        let (now, none) = (UnixMillis(7), BTreeMap::new());
        for migration in [None, marker("done")] {
            let claimed_now =
                claimed(control(migration.clone(), None), &none, now).unwrap().unwrap();
            assert_eq!(claimed_now, control(migration.clone(), Some(7)));
            assert_eq!(claimed(control(migration, Some(3)), &none, now).unwrap(), None);
        }
        for (migration, kind) in [
            (marker("importing"), ErrorKind::Unavailable),
            (marker("else"), ErrorKind::Corrupt),
            (Some(json!(1)), ErrorKind::Corrupt),
        ] {
            assert_eq!(claimed(control(migration, Some(3)), &none, now).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn a_first_admin_is_let_in_only_where_nobody_was_ever_served() {
        assert!(never_served(&control(None, None)));
        assert!(!never_served(&control(None, Some(3))));
        for phase in ["importing", "done"] {
            assert!(!never_served(&control(marker(phase), None)), "{phase}");
        }
    }

    #[test]
    fn a_bucket_is_noted_once_as_the_one_that_was_served_from() {
        let now = UnixMillis(7);
        let born = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, when)| ((*name).to_owned(), (*when).to_owned())).collect()
        };
        let first = claimed(control(None, None), &born(&[("a", "1")]), now).unwrap().unwrap();
        assert_eq!(first.born, born(&[("a", "1")]));
        assert_eq!(claimed(first.clone(), &born(&[("a", "1")]), now).unwrap(), None);
        let more = claimed(first, &born(&[("a", "2"), ("b", "3")]), now).unwrap().unwrap();
        assert_eq!(more.born, born(&[("a", "1"), ("b", "3")]));
    }

    #[test]
    fn only_what_may_come_is_waited_for() {
        let waited: Vec<_> = ErrorKind::ALL.into_iter().filter(|kind| passes(*kind)).collect();
        let expected =
            [ErrorKind::NotFound, ErrorKind::Conflict, ErrorKind::Unavailable, ErrorKind::Unknown];
        assert_eq!(waited, expected);
    }
}
