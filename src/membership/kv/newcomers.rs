//! Whom one move into the buckets has let in itself: their keys come later, and nobody needs to be asked
//! about them again.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::membership::ids::{Endpoint, RoomId};

/// How many are remembered. Whoever is not is looked up.
const REMEMBERED: usize = 1 << 20;

/// Enough of a hash that no two members ever share one.
type Print = [u8; 16];

/// The members whose records the imports of one move have created.
///
/// It lives as long as the move. Nobody serves from the buckets meanwhile; and if somebody sends a member
/// away all the same, then the member's key shows to nobody, as if it had come before.
#[derive(Default)]
pub struct Newcomers(Mutex<HashSet<Print>>);

impl Newcomers {
    pub(super) fn note(&self, room: &RoomId, endpoint: &Endpoint) {
        let mut prints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if prints.len() < REMEMBERED {
            prints.insert(print(room, endpoint));
        }
    }

    pub(super) fn has(&self, room: &RoomId, endpoint: &Endpoint) -> bool {
        let prints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prints.contains(&print(room, endpoint))
    }
}

fn print(room: &RoomId, endpoint: &Endpoint) -> Print {
    let mut hash = Sha256::new();
    // A room's name has no NUL.
    for part in [room.as_str(), "\0", endpoint.as_str()] {
        hash.update(part);
    }
    let mut print = Print::default();
    print.copy_from_slice(&hash.finalize()[..16]);
    print
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_noted_in_a_room_is_known_there_and_nowhere_else() {
        let newcomers = Newcomers::default();
        let [ab, a, c, bc] = ["ab", "a", "c", "bc"];
        newcomers.note(&ab.parse().unwrap(), &c.parse().unwrap());
        for (room, endpoint, known) in
            [(ab, c, true), (a, bc, false), (a, c, false), (ab, bc, false)]
        {
            let found = newcomers.has(&room.parse().unwrap(), &endpoint.parse().unwrap());
            assert_eq!(found, known, "{endpoint} in {room}");
        }
    }
}
