//! The log of requests. Its mark that a mutation happened is written in the mutation's own
//! transaction, so that a request is never half done: either both stand or neither.

use rusqlite::{Connection, OptionalExtension};

use super::writing::{Writing, moment_number};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::InvalidValue;
use crate::membership::records::UnixMillis;
use crate::membership::requests::{Begun, Growth, Leave, NewRequest, Outcome, RequestKey};

/// Recorded, and nothing has happened yet.
const PENDING: &str = "pending";

/// The mutation happened; how the request was answered is not written down yet.
const COMMITTED: &str = "committed";

/// Before an outcome, which may be any text.
const ANSWERED: &str = "answered:";

pub(super) fn begin(w: &Writing<'_>, new: &NewRequest) -> StoreResult<Begun> {
    if let Some((fingerprint, state)) = find(w.txn, &new.key)? {
        return if fingerprint == new.fingerprint.0 {
            begun(new, &state)
        } else {
            Ok(Begun::Other)
        };
    }
    match new.growth {
        Growth::Grows => w.check_growth()?,
        Growth::Frees => {}
    }
    w.txn
        .prepare_cached(
            "INSERT INTO requests (caller, nonce, body_hash, outcome, answered_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute((
            new.key.caller.to_string(),
            new.key.nonce.as_str(),
            new.fingerprint.0,
            PENDING,
            moment_number(new.now)?,
        ))?;
    Ok(Begun::Fresh(Leave::of(new, 0)))
}

fn find(txn: &Connection, key: &RequestKey) -> StoreResult<Option<([u8; 32], String)>> {
    let mut statement = txn.prepare_cached(
        "SELECT body_hash, outcome FROM requests WHERE caller = ?1 AND nonce = ?2",
    )?;
    let by = (key.caller.to_string(), key.nonce.as_str());
    Ok(statement.query_row(by, |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

fn begun(new: &NewRequest, state: &str) -> StoreResult<Begun> {
    match state {
        PENDING => Ok(Begun::Pending(Leave::of(new, 0))),
        COMMITTED => Ok(Begun::Committed),
        _ => {
            let outcome = state.strip_prefix(ANSWERED).unwrap_or_default();
            let outcome = Outcome::try_from(outcome.to_owned()).map_err(unreadable)?;
            Ok(Begun::Answered(outcome))
        }
    }
}

fn unreadable(why: InvalidValue) -> StoreError {
    StoreError::new(ErrorKind::Corrupt, "the outcome of a request cannot be read").caused_by(why)
}

/// Marks the request's mutation as done, in the transaction that does it.
pub(super) fn claim(w: &Writing<'_>, key: &RequestKey) -> StoreResult<()> {
    let mut statement = w.txn.prepare_cached(
        "UPDATE requests SET outcome = ?3 WHERE caller = ?1 AND nonce = ?2 AND outcome = ?4",
    )?;
    let marked =
        statement.execute((key.caller.to_string(), key.nonce.as_str(), COMMITTED, PENDING))?;
    if marked == 1 {
        return Ok(());
    }
    Err(StoreError::new(
        ErrorKind::Conflict,
        "another try of this request was first, or the request was never recorded; nothing was \
         written",
    ))
}

pub(super) fn end(
    w: &Writing<'_>,
    key: &RequestKey,
    outcome: &Outcome,
    now: UnixMillis,
) -> StoreResult<()> {
    let mut statement = w.txn.prepare_cached(
        "UPDATE requests SET outcome = ?3, answered_at = ?4
         WHERE caller = ?1 AND nonce = ?2 AND outcome IN (?5, ?6)",
    )?;
    let answered = format!("{ANSWERED}{}", outcome.as_str());
    let by = (key.caller.to_string(), key.nonce.as_str());
    statement.execute((by.0, by.1, answered, moment_number(now)?, PENDING, COMMITTED))?;
    Ok(())
}

pub(super) fn forget(w: &Writing<'_>, before: UnixMillis) -> StoreResult<u64> {
    let gone =
        w.txn.execute("DELETE FROM requests WHERE answered_at < ?1", [moment_number(before)?])?;
    Ok(u64::try_from(gone).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ed25519_dalek::SigningKey;

    use super::super::{schema, writing};
    use super::*;
    use crate::membership::ids::UserKey;
    use crate::membership::records::Origin;
    use crate::membership::requests::{Fingerprint, Target};
    use crate::membership::store::Deadline;

    fn file() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        connection
    }

    fn write<T>(
        connection: &mut Connection,
        work: impl FnOnce(&Writing<'_>) -> StoreResult<T>,
    ) -> StoreResult<T> {
        let deadline = Deadline::after(Duration::from_secs(30));
        writing::write(connection, Origin::Service, deadline, work)
    }

    fn request(nonce: &str, fingerprint: u8, now: u64) -> NewRequest {
        let caller = SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes();
        NewRequest {
            key: RequestKey {
                caller: UserKey::try_from(caller).unwrap(),
                nonce: nonce.parse().unwrap(),
            },
            fingerprint: Fingerprint([fingerprint; 32]),
            growth: Growth::Grows,
            target: Target::Nothing,
            now: UnixMillis(now),
        }
    }

    const NONCE: &str = "nonce-0123456789";

    #[test]
    fn a_request_goes_from_fresh_over_committed_to_its_first_outcome() {
        let mut file = file();
        let new = request(NONCE, 1, 0);
        let begin = |file: &mut Connection| write(file, |w| begin(w, &new)).unwrap();
        assert_eq!(begin(&mut file), Begun::Fresh(Leave::of(&new, 0)));
        assert_eq!(begin(&mut file), Begun::Pending(Leave::of(&new, 0)));
        write(&mut file, |w| claim(w, &new.key)).unwrap();
        assert_eq!(begin(&mut file), Begun::Committed);
        let second = write(&mut file, |w| claim(w, &new.key)).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::Conflict, "a mutation happens under it once");
        for text in ["{}", "later"] {
            let outcome = Outcome::try_from(text.to_owned()).unwrap();
            write(&mut file, |w| end(w, &new.key, &outcome, UnixMillis(0))).unwrap();
        }
        assert_eq!(begin(&mut file), Begun::Answered("{}".to_owned().try_into().unwrap()));
    }

    #[test]
    fn a_mutation_that_fails_takes_its_mark_with_it() {
        let mut file = file();
        let new = request(NONCE, 1, 0);
        write(&mut file, |w| begin(w, &new)).unwrap();
        let failed: StoreResult<()> = write(&mut file, |w| {
            claim(w, &new.key)?;
            Err(StoreError::new(ErrorKind::Invalid, "no"))
        });
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(
            write(&mut file, |w| begin(w, &new)).unwrap(),
            Begun::Pending(Leave::of(&new, 0))
        );
    }

    #[test]
    fn a_mutation_under_a_request_that_was_never_recorded_is_refused() {
        let refused = write(&mut file(), |w| claim(w, &request(NONCE, 1, 0).key)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict);
    }

    #[test]
    fn the_same_nonce_with_another_request_is_seen_and_old_ones_are_forgotten() {
        let mut file = file();
        let old = request(NONCE, 1, 1000);
        write(&mut file, |w| begin(w, &old)).unwrap();
        let other = request(NONCE, 2, 1000);
        assert_eq!(write(&mut file, |w| begin(w, &other)).unwrap(), Begun::Other);
        let young = request("nonce-abcdefghij", 1, 2000);
        write(&mut file, |w| begin(w, &young)).unwrap();
        assert_eq!(write(&mut file, |w| forget(w, UnixMillis(2000))).unwrap(), 1);
        assert_eq!(write(&mut file, |w| begin(w, &old)).unwrap(), Begun::Fresh(Leave::of(&old, 0)));
        let young_again = write(&mut file, |w| begin(w, &young)).unwrap();
        assert_eq!(young_again, Begun::Pending(Leave::of(&young, 0)));
    }
}
