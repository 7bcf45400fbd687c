//! The store: its buckets, and what its operations share.

use std::sync::Arc;

use super::bucket::Bucket;
use super::control::Control;
use super::table::Table;

/// A store in replicated JetStream buckets. Several processes may use the same buckets at once.
pub struct KvStore {
    tables: [Arc<Table>; 7],
}

impl KvStore {
    pub(super) const fn over(tables: [Arc<Table>; 7]) -> Self {
        Self { tables }
    }

    pub(super) const fn table(&self, bucket: Bucket) -> &Arc<Table> {
        let [control, rooms, members, rooms_by_member, room_keys, users, requests] = &self.tables;
        match bucket {
            Bucket::Control => control,
            Bucket::Rooms => rooms,
            Bucket::Members => members,
            Bucket::RoomsByMember => rooms_by_member,
            Bucket::RoomKeys => room_keys,
            Bucket::Users => users,
            Bucket::Requests => requests,
        }
    }

    /// What is true of the whole store, to be read and written.
    #[must_use]
    pub fn control(&self) -> Control {
        Control::over(Arc::clone(self.table(Bucket::Control)))
    }
}
