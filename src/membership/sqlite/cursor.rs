//! Where a list goes on: the last key of the page before.

use serde::{Deserialize, Serialize};

use crate::membership::cursor;
pub(super) use crate::membership::cursor::List;
use crate::membership::error::StoreResult;
use crate::membership::store::{Cursor, Page, PageRequest};

const STORE: &str = "sqlite/1";

/// The key to go on after; the least key of all for the first page.
pub(super) fn start<K>(list: &List, page: &PageRequest) -> StoreResult<K>
where
    K: Default + for<'de> Deserialize<'de>,
{
    cursor::start(STORE, list, page)
}

/// A page of items, and the cursor after it when it was cut off at `limit` items.
pub(super) fn page<T, K: Serialize>(
    list: List,
    mut items: Vec<T>,
    limit: usize,
    key: impl FnOnce(&T) -> K,
) -> StoreResult<Page<T>> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = match items.last() {
        Some(last) if more => Some(encode(list, key(last))?),
        Some(_) | None => None,
    };
    Ok(Page { items, next })
}

fn encode<K: Serialize>(list: List, after: K) -> StoreResult<Cursor> {
    cursor::encode(STORE, list, after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::error::ErrorKind;

    fn after(cursor: &str) -> PageRequest {
        PageRequest { after: Some(Cursor(cursor.to_owned())), ..PageRequest::default() }
    }

    #[test]
    fn a_page_goes_on_after_its_last_item_only_when_there_is_more() {
        let whole = page(List::Users, vec![1_u8, 2], 2, ToString::to_string).unwrap();
        assert_eq!((whole.items, whole.next), (vec![1, 2], None));
        let cut = page(List::Users, vec![1_u8, 2, 3], 2, ToString::to_string).unwrap();
        assert_eq!(cut.items, [1, 2]);
        let request = PageRequest { after: cut.next, ..PageRequest::default() };
        assert_eq!(start::<String>(&List::Users, &request).unwrap(), "2");
    }

    #[test]
    fn a_cursor_serves_in_its_own_list_only() {
        let own = encode(List::MembersOf("a".into()), "x").unwrap().0;
        let start = |list: &List, cursor: &str| start::<String>(list, &after(cursor));
        assert_eq!(start(&List::MembersOf("a".into()), &own).unwrap(), "x");
        for list in [List::MembersOf("b".into()), List::RoomsOf("a".into()), List::Users] {
            assert_eq!(start(&list, &own).unwrap_err().kind(), ErrorKind::Invalid);
        }
        for rubbish in ["", "x", "1", "e30", "=", "AAAA", &own[1..], &format!("{own}A")] {
            let refused = start(&List::MembersOf("a".into()), rubbish).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{rubbish}");
        }
    }
}
