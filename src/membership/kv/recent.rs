//! The users that were read of late. A fence says whether a record is still the one that was read, be it
//! a moment or some seconds ago: so who asks often is read once in a while, and proven every time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::value::{Slot, UserValue};
use crate::membership::ids::UserKey;

/// How long a record is kept. Longer would only save a read in some hundreds.
const KEPT: Duration = Duration::from_secs(5);

/// How many are kept. Then all are forgotten.
const MANY: usize = 4096;

#[derive(Default)]
pub(super) struct Recent {
    users: Mutex<HashMap<UserKey, (Instant, Slot<UserValue>)>>,
}

impl Recent {
    /// The user as it was read of late.
    pub(super) fn user(&self, key: &UserKey) -> Option<Slot<UserValue>> {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let (read, slot) = users.get(key)?;
        (read.elapsed() < KEPT).then(|| slot.clone())
    }

    /// Keeps a user that has just been read. Whoever is none is not kept: strangers are many.
    pub(super) fn keep(&self, key: UserKey, slot: &Slot<UserValue>) {
        if slot.value.is_none() {
            return;
        }
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MANY {
            users.clear();
        }
        users.insert(key, (Instant::now(), slot.clone()));
    }

    /// Forgets a user whose record is no longer the one that was read.
    pub(super) fn forget(&self, key: &UserKey) {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::records::{UserRole, UserStatus};

    fn key(n: u8) -> UserKey {
        let keys = [
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        ];
        keys[usize::from(n)].parse().unwrap()
    }

    fn slot(at: u64) -> Slot<UserValue> {
        let handle = "ada".parse().unwrap();
        let value = UserValue { handle, role: UserRole::User, status: UserStatus::Active };
        Slot { at, mark: None, value: Some(value) }
    }

    #[test]
    fn who_was_read_is_known_until_forgotten_and_strangers_are_not_kept() {
        let recent = Recent::default();
        recent.keep(key(0), &slot(7));
        recent.keep(key(1), &Slot::NOTHING);
        assert_eq!(recent.user(&key(0)).unwrap().at, 7);
        assert!(recent.user(&key(1)).is_none());
        recent.keep(key(0), &slot(9));
        assert_eq!(recent.user(&key(0)).unwrap().at, 9);
        recent.forget(&key(0));
        assert!(recent.user(&key(0)).is_none());
    }
}
