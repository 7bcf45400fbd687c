//! Where a list goes on: a sequence of the stream that it goes through.

use crate::membership::cursor;
pub(super) use crate::membership::cursor::List;
use crate::membership::error::StoreResult;
use crate::membership::store::{Page, PageRequest};

const STORE: &str = "kv/1";

/// The sequence to go on from; 0 for the first page.
pub(super) fn start(list: &List, page: &PageRequest) -> StoreResult<u64> {
    cursor::start(STORE, list, page)
}

/// A page of items, and the cursor after it while there is more.
pub(super) fn page<T>(list: List, items: Vec<T>, next: Option<u64>) -> StoreResult<Page<T>> {
    let next = next.map(|from| cursor::encode(STORE, list, from)).transpose()?;
    Ok(Page { items, next })
}
