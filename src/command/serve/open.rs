//! Opens what is served from, and waits for it as long as a start may take. It makes a SQLite file
//! that is not there; buckets are the operator's, or `init`'s, to make.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use super::config::{FirstAdmin, ServeConfig};
use crate::command::choice::{NatsChoice, StoreChoice};
use crate::command::error::{CommandError, CommandResult};
use crate::jetstream::bucket::Budget;
use crate::jetstream::connect::{NatsOptions, Role};
use crate::membership::MembershipStore;
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::InvalidValue;
use crate::membership::kv::{Control, KvStore, Prefix, Settings as KvSettings};
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

/// How often it is looked whether a move is done: nobody is served meanwhile.
const MOVED_PAUSE: Duration = Duration::from_millis(250);

/// How long such a look may take.
const MOVED_LOOK: Duration = Duration::from_secs(1);

/// A store and the log of requests beside it.
pub struct Backing {
    /// The store.
    pub store: Arc<dyn MembershipStore>,
    /// The log.
    pub log: Arc<dyn RequestLog>,
}

/// What a start waits for, for the log and for who asks whether it is ready.
#[derive(Clone, Default)]
pub struct Awaited(Arc<Mutex<String>>);

impl Awaited {
    /// Tells why the store is not there. The same again is no news.
    fn tell(&self, why: &dyn Display) {
        let why = why.to_string();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != why {
            tracing::info!(%why, "waiting for the store");
            *told = why;
        }
    }

    /// The same in words.
    #[must_use]
    pub fn words(&self) -> String {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_empty() {
            return "waiting for the store".to_owned();
        }
        format!("waiting for the store: {told}")
    }
}

/// Opens the store within the start's time; none when the word to stop came first. A move that is to
/// be waited for is waited for before that time begins.
///
/// # Errors
/// `NoStore`, `Usage` for files that cannot be used.
pub async fn opened(
    config: &ServeConfig,
    awaited: &Awaited,
    stop: &Stop,
) -> CommandResult<Option<Backing>> {
    tokio::select! {
        backing = open(config, awaited) => backing.map(Some),
        () = stop.said() => Ok(None),
    }
}

async fn open(config: &ServeConfig, awaited: &Awaited) -> CommandResult<Backing> {
    let admin = config.first_admin.as_ref();
    match &config.store {
        StoreChoice::Sqlite(path) => {
            let deadline = Deadline::after(config.start_time);
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
            let store = Arc::new(Servers::of(nats)?.opened(config, awaited).await?);
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

/// The way to buckets.
struct Servers {
    options: NatsOptions,
    prefix: Prefix,
}

impl Servers {
    fn of(nats: &NatsChoice) -> CommandResult<Self> {
        let usage = |why: &dyn Display| CommandError::Usage(why.to_string());
        let options = NatsOptions::new(&nats.url, Role::Membershipd).map_err(|why| usage(&why))?;
        let options = options.nkey(nats.nkey.as_deref()).ca(nats.ca.as_deref());
        options.check_files().map_err(|why| usage(&why))?;
        let prefix = nats.prefix.parse().map_err(|why: InvalidValue| usage(&why))?;
        Ok(Self { options, prefix })
    }

    async fn opened(&self, config: &ServeConfig, awaited: &Awaited) -> CommandResult<KvStore> {
        if config.after_migration {
            // With as little to do then as can be: one record is read over a store that is open.
            // Somebody else says when there is nothing to wait for any more.
            let moved = async || until_moved(&self.store().await?, awaited).await;
            patiently(None, awaited, moved).await?;
        }
        let deadline = Deadline::after(config.start_time);
        patiently(Some(deadline), awaited, async || self.ready(config).await).await
    }

    async fn store(&self) -> StoreResult<KvStore> {
        let budget = Budget { total: LOOK, ..Budget::default() };
        let settings = KvSettings { budget, ..KvSettings::default() };
        KvStore::open(&self.options, self.prefix.clone(), settings).await
    }

    async fn ready(&self, config: &ServeConfig) -> StoreResult<KvStore> {
        let store = self.store().await?;
        let deadline = Deadline::after(LOOK);
        let Versioned { mut record, mut revision } = store.control(deadline).await?;
        // Before anybody is let in, and again in what may have been written since.
        may_be_served(&record, config.after_migration)?;
        if let Some(admin) = config.first_admin.as_ref().filter(|_| never_served(&record)) {
            let_in(&store, admin, deadline).await?;
            Versioned { record, revision } = store.control(deadline).await?;
            may_be_served(&record, config.after_migration)?;
        }
        if let Some(control) = claimed(record, store.born(), UnixMillis::now()) {
            store.set_control(&control, revision, deadline).await?;
        }
        Ok(store)
    }
}

/// Tries until it goes well: for what may come by itself, and until a deadline if there is one.
async fn patiently<T>(
    deadline: Option<Deadline>,
    awaited: &Awaited,
    attempt: impl AsyncFn() -> StoreResult<T>,
) -> CommandResult<T> {
    loop {
        let error = match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if !passes(error.kind()) || deadline.is_some_and(|end| end.remaining() <= PAUSE) {
            return Err(CommandError::NoStore(error));
        }
        awaited.tell(&error);
        sleep(PAUSE).await;
    }
}

/// Reads how far a move is until it is done.
async fn until_moved(store: &KvStore, awaited: &Awaited) -> StoreResult<()> {
    loop {
        let Versioned { record, .. } = store.control(Deadline::after(MOVED_LOOK)).await?;
        let Some(why) = obstacle(&record, true)? else { return Ok(()) };
        awaited.tell(&why);
        sleep(MOVED_PAUSE).await;
    }
}

/// Whether waiting can help: what is not there yet may come, what is somebody else's stays so.
const fn passes(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound | ErrorKind::Unavailable | ErrorKind::Unknown | ErrorKind::Conflict
    )
}

/// Whether nobody was ever served from the store, nor from a file that was moved into it.
const fn never_served(control: &Control) -> bool {
    control.served_since.is_none() && control.migration.is_none()
}

/// Why nobody may be served from a store yet, if nobody may: something is on its way into it, or has
/// not come although it is to.
fn obstacle(control: &Control, after_migration: bool) -> StoreResult<Option<&'static str>> {
    let Some(migration) = &control.migration else {
        let none = "no membership has been moved into the buckets yet: until one has, nobody is \
                    served from them";
        return Ok(after_migration.then_some(none));
    };
    let marker: Marker = serde_json::from_value(migration.clone()).map_err(|_| {
        StoreError::new(ErrorKind::Corrupt, "how far the move into the buckets is cannot be read")
    })?;
    Ok(match marker.phase {
        Phase::Done => None,
        Phase::Importing => Some(
            "a membership is being moved into the buckets: until that is done, nobody is served \
             from them",
        ),
    })
}

fn may_be_served(control: &Control, after_migration: bool) -> StoreResult<()> {
    obstacle(control, after_migration)?
        .map_or(Ok(()), |why| Err(StoreError::new(ErrorKind::Unavailable, why)))
}

/// What the store must say of itself before it is served from; `None` when it says so already. Once
/// it has been served from, nothing may be moved into it any more.
fn claimed(
    mut control: Control,
    born: &BTreeMap<String, String>,
    now: UnixMillis,
) -> Option<Control> {
    let before = control.clone();
    control.served_since = control.served_since.or(Some(now));
    control.note_born(born);
    (control != before).then_some(control)
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
    fn a_store_is_claimed_once() {
        let (now, none) = (UnixMillis(7), BTreeMap::new());
        for migration in [None, marker("done")] {
            let claimed_now = claimed(control(migration.clone(), None), &none, now);
            assert_eq!(claimed_now, Some(control(migration.clone(), Some(7))));
            assert_eq!(claimed(control(migration, Some(3)), &none, now), None);
        }
    }

    #[test]
    fn nobody_is_served_in_the_middle_of_a_move_nor_before_one_that_is_to_be_waited_for() {
        use ErrorKind::{Corrupt, Unavailable};
        for (migration, at_once, after) in [
            (None, Ok(()), Err(Unavailable)),
            (marker("importing"), Err(Unavailable), Err(Unavailable)),
            (marker("done"), Ok(()), Ok(())),
            (marker("else"), Err(Corrupt), Err(Corrupt)),
            (Some(json!(1)), Err(Corrupt), Err(Corrupt)),
        ] {
            for served in [None, Some(3)] {
                let record = control(migration.clone(), served);
                for (after_migration, may) in [(false, at_once), (true, after)] {
                    let judged = may_be_served(&record, after_migration);
                    assert_eq!(judged.map_err(|error| error.kind()), may, "{record:?}");
                }
            }
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
        let first = claimed(control(None, None), &born(&[("a", "1")]), now).unwrap();
        assert_eq!(first.born, born(&[("a", "1")]));
        assert_eq!(claimed(first.clone(), &born(&[("a", "1")]), now), None);
        let more = claimed(first, &born(&[("a", "2"), ("b", "3")]), now).unwrap();
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
