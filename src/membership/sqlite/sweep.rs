//! Taking away what nothing needs any more, a few rooms at a time, so that no write waits long.
//!
//! Only keys become needless: those of rekeys that can no longer be committed, and those of epochs
//! that are no longer kept. Markers of removed members stay, or an import could bring them back.

use rusqlite::OptionalExtension;

use super::row;
use super::writing::{Writing, moment_number};
use crate::membership::error::StoreResult;
use crate::membership::ids::RoomId;
use crate::membership::records::UnixMillis;
use crate::membership::store::SweepCounts;

/// How long a rekey may take, in milliseconds, when nothing else happens in its room: one hour. A
/// later commit is told to begin anew.
const REKEY_PATIENCE_MILLIS: u64 = 60 * 60 * 1000;

/// Gives up rekeys that were overtaken by a change of their room, or that nobody went on with.
pub(super) fn forget_dead_rekeys(w: &Writing<'_>, now: UnixMillis) -> StoreResult<()> {
    let oldest = UnixMillis(now.0.saturating_sub(REKEY_PATIENCE_MILLIS));
    w.txn.execute(
        "DELETE FROM rekeys
         WHERE begun_at < ?1
            OR room_revision <> (SELECT revision FROM rooms WHERE rooms.room = rekeys.room)",
        [moment_number(oldest)?],
    )?;
    Ok(())
}

/// Sweeps the next encrypted room after the given one. `None` when there is no further room.
pub(super) fn next_room(
    w: &Writing<'_>,
    after: Option<&RoomId>,
) -> StoreResult<Option<(RoomId, SweepCounts)>> {
    let after = after.map_or("", RoomId::as_str);
    let found: Option<RoomId> = w
        .txn
        .prepare_cached(
            "SELECT room FROM rooms WHERE room > ?1 AND encrypted = 1 ORDER BY room LIMIT 1",
        )?
        .query_row([after], |row| row::parsed(row, "room"))
        .optional()?;
    let Some(room) = found else {
        return Ok(None);
    };
    let counts = SweepCounts {
        old_keys: old_keys(w, &room)?,
        uncommitted: uncommitted_keys(w, &room)?,
        ..SweepCounts::default()
    };
    Ok(Some((room, counts)))
}

fn old_keys(w: &Writing<'_>, room: &RoomId) -> StoreResult<u64> {
    let mut statement = w.txn.prepare_cached(
        "DELETE FROM room_keys
         WHERE room = ?1 AND epoch < (SELECT min(epoch) FROM room_epochs WHERE room = ?1)",
    )?;
    Ok(counted(statement.execute([room.as_str()])?))
}

fn uncommitted_keys(w: &Writing<'_>, room: &RoomId) -> StoreResult<u64> {
    let mut statement = w.txn.prepare_cached(
        "DELETE FROM room_keys
         WHERE room = ?1
           AND NOT EXISTS (SELECT 1 FROM room_epochs
                           WHERE room_epochs.room = room_keys.room
                             AND room_epochs.epoch = room_keys.epoch
                             AND room_epochs.attempt = room_keys.attempt)
           AND NOT EXISTS (SELECT 1 FROM rekeys WHERE rekeys.attempt = room_keys.attempt)",
    )?;
    Ok(counted(statement.execute([room.as_str()])?))
}

fn counted(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::{keys, rekey, rooms, schema, writing};
    use super::*;
    use crate::membership::ids::Endpoint;
    use crate::membership::records::{Origin, SealedKey};
    use crate::membership::store::{Deadline, MemberKey, NewRoom, Rekey};
    use std::time::Duration;

    fn owner() -> Endpoint {
        "owner".parse().unwrap()
    }

    fn sealed() -> SealedKey {
        SealedKey::try_from(vec![7; 32]).unwrap()
    }

    fn file_with_a_room() -> (Connection, RoomId) {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        let room: RoomId = "lobby".parse().unwrap();
        let new = NewRoom {
            room: room.clone(),
            subject: "bus.lobby".parse().unwrap(),
            owner: owner(),
            owner_key: Some(sealed()),
            now: UnixMillis(0),
        };
        write(&mut connection, |w| rooms::create(w, new));
        (connection, room)
    }

    fn write<T>(
        connection: &mut Connection,
        work: impl FnOnce(&Writing<'_>) -> StoreResult<T>,
    ) -> T {
        let deadline = Deadline::after(Duration::from_secs(30));
        writing::write(connection, Origin::Service, deadline, work).unwrap()
    }

    fn begun(connection: &mut Connection, room: &RoomId, now: UnixMillis) -> Rekey {
        write(connection, |w| {
            let rekey = rekey::begin(w, room, now)?;
            rekey::put_keys(w, &rekey, &[MemberKey { endpoint: owner(), sealed: sealed() }])?;
            Ok(rekey)
        })
    }

    fn swept(connection: &mut Connection, now: UnixMillis) -> SweepCounts {
        write(connection, |w| {
            forget_dead_rekeys(w, now)?;
            Ok(next_room(w, None)?.unwrap().1)
        })
    }

    #[test]
    fn a_rekey_under_way_is_left_alone_for_an_hour_and_then_given_up() {
        let (mut file, room) = file_with_a_room();
        let rekey = begun(&mut file, &room, UnixMillis(1000));
        let in_time = UnixMillis(1000 + REKEY_PATIENCE_MILLIS);
        assert_eq!(swept(&mut file, in_time), SweepCounts::default());
        let late = UnixMillis(in_time.0 + 1);
        assert_eq!(swept(&mut file, late).uncommitted, 1);
        let deadline = Deadline::after(Duration::from_secs(30));
        let refused = writing::write(&mut file, Origin::Service, deadline, |w| {
            rekey::commit(w, &rekey).map(|_| ())
        });
        assert_eq!(
            refused.unwrap_err().kind(),
            crate::membership::ErrorKind::Conflict,
            "a rekey that was given up is begun anew"
        );
    }

    #[test]
    fn the_keys_of_a_rekey_that_lost_go_and_the_winners_stay() {
        let (mut file, room) = file_with_a_room();
        let lost = begun(&mut file, &room, UnixMillis(0));
        let won = begun(&mut file, &room, UnixMillis(0));
        write(&mut file, |w| rekey::commit(w, &won));
        assert_eq!(swept(&mut file, UnixMillis(0)).uncommitted, 1);
        let key = keys::get(&file, &room, &owner(), won.epoch).unwrap();
        assert!(key.sealed == sealed());
        assert_ne!(lost.attempt, won.attempt);
    }

    #[test]
    fn keys_of_epochs_that_are_no_longer_kept_go() {
        let (mut file, room) = file_with_a_room();
        for _ in 0..3 {
            let rekey = begun(&mut file, &room, UnixMillis(0));
            write(&mut file, |w| rekey::commit(w, &rekey));
        }
        let counts = swept(&mut file, UnixMillis(0));
        assert_eq!(counts, SweepCounts { old_keys: 1, ..SweepCounts::default() });
        assert_eq!(swept(&mut file, UnixMillis(0)), SweepCounts::default());
    }
}
