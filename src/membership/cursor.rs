//! Where a list goes on, for every store: a place of the store's own, under the name of its list.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use super::error::StoreResult;
use super::refusal::foreign_cursor;
use super::store::{Cursor, PageRequest};

/// A list and whose it is, so that a cursor serves in no other one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum List {
    Users,
    RoomsOf(String),
    MembersOf(String),
    ExportedUsers,
    ExportedRooms,
    ExportedMembers,
    ExportedKeys,
}

#[derive(Serialize, Deserialize)]
struct Position<K> {
    /// Tells a store's cursors from those of other stores and of a later shape.
    store: String,
    list: List,
    after: K,
}

/// The place to go on from; the least of all for the first page.
pub(super) fn start<K>(store: &str, list: &List, page: &PageRequest) -> StoreResult<K>
where
    K: Default + for<'de> Deserialize<'de>,
{
    let Some(Cursor(text)) = &page.after else {
        return Ok(K::default());
    };
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .ok()
        .and_then(|json| serde_json::from_slice::<Position<K>>(&json).ok())
        .filter(|position| position.store == store && position.list == *list)
        .map(|position| position.after)
        .ok_or_else(foreign_cursor)
}

/// The cursor of a place.
pub(super) fn encode<K: Serialize>(store: &str, list: List, after: K) -> StoreResult<Cursor> {
    let position = Position { store: store.to_owned(), list, after };
    let json = serde_json::to_vec(&position).map_err(|_| foreign_cursor())?;
    Ok(Cursor(BASE64URL_NOPAD.encode(&json)))
}
