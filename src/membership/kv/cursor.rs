//! Where a list goes on: a sequence of the stream that it goes through, under the name of its list.

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};

use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::refusal::foreign_cursor;
use crate::membership::store::{Cursor, Page, PageRequest};

/// Tells our cursors from those of other stores and of a later shape.
const STORE: &str = "kv/1";

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
struct Position {
    store: String,
    list: List,
    from: u64,
}

/// The sequence to go on from; 0 for the first page.
pub(super) fn start(list: &List, page: &PageRequest) -> StoreResult<u64> {
    let Some(Cursor(text)) = &page.after else {
        return Ok(0);
    };
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .ok()
        .and_then(|json| serde_json::from_slice::<Position>(&json).ok())
        .filter(|position| position.store == STORE && position.list == *list)
        .map(|position| position.from)
        .ok_or_else(foreign_cursor)
}

/// A page of items, and the cursor after it while there is more.
pub(super) fn page<T>(list: List, items: Vec<T>, next: Option<u64>) -> StoreResult<Page<T>> {
    let next = next.map(|from| encode(list, from)).transpose()?;
    Ok(Page { items, next })
}

fn encode(list: List, from: u64) -> StoreResult<Cursor> {
    let position = Position { store: STORE.to_owned(), list, from };
    let json = serde_json::to_vec(&position).map_err(|error| {
        StoreError::new(ErrorKind::Invalid, "the cursor cannot be written").caused_by(error)
    })?;
    Ok(Cursor(BASE64URL_NOPAD.encode(&json)))
}
