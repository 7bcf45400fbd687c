//! What every membership store must do, whatever it keeps its records in.
//!
//! Each test is a function over a [`Backend`]. A backend's module says
//! `contract_tests!(its_backend().await)` and gets them all; nothing here knows which one runs.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use membership_operator::membership::error::{ErrorKind, StoreResult};
use membership_operator::membership::ids::{Endpoint, RoomId};
use membership_operator::membership::requests::RequestLog;
use membership_operator::membership::snapshot::{Record, Table};
use membership_operator::membership::store::{Page, PageRequest};
use membership_operator::membership::{Decision, DenyReason, MembershipStore};

use crate::words::{first_page, next_page, soon};

pub mod authorize;
pub mod crowd;
pub mod full;
pub mod import;
pub mod keys;
pub mod members;
pub mod rekey;
pub mod requests;
pub mod rooms;
pub mod users;

/// Where stores come from.
#[async_trait]
pub trait Backend: Send + Sync {
    /// An empty store of its own.
    async fn fresh(&self) -> Fresh;

    /// An empty store that is full after about this many bytes.
    async fn small(&self, max_bytes: u64) -> Fresh;

    /// The same store as another process sees it: nothing shared but what is stored.
    async fn beside(&self, fresh: &Fresh) -> Arc<dyn MembershipStore>;
}

/// A store, the log of requests beside it, and what must live as long as they.
pub struct Fresh {
    pub store: Arc<dyn MembershipStore>,
    pub log: Arc<dyn RequestLog>,
    pub home: Box<dyn Any + Send + Sync>,
}

/// One test for each function of the contract, for one backend.
macro_rules! contract_tests {
    ($backend:expr) => {
        contract_tests! { in ($backend)
            rooms: a_new_room_is_read_back_as_it_was_made
            rooms: a_room_is_made_once
            rooms: of_many_creates_at_once_one_makes_the_room
            rooms: an_endpoint_lists_the_rooms_it_is_in
            rooms: every_miss_is_not_found
            rooms: ids_that_look_dangerous_are_only_names
            members: an_invited_member_goes_through_every_method
            members: a_member_is_added_once_and_can_come_back
            members: the_key_of_a_new_member_must_fit_the_room
            members: the_owner_never_leaves
            members: each_change_of_the_roster_moves_the_room
            members: a_long_list_comes_in_pages
            members: a_list_that_changes_keeps_those_who_stay
            members: a_cursor_of_another_list_is_refused
            keys: a_member_is_given_the_keys_it_lacks
            keys: keys_of_every_allowed_size_come_back_whole
            keys: keys_do_not_show_to_those_outside
            rekey: a_rekey_brings_the_next_epoch_and_its_keys
            rekey: only_the_last_three_epochs_are_kept
            rekey: nothing_of_a_rekey_shows_before_its_commit
            rekey: a_commit_needs_a_key_for_every_member
            rekey: of_two_rekeys_at_once_one_wins
            rekey: a_member_removed_during_a_rekey_gets_no_key_of_it
            rekey: a_member_added_during_a_rekey_makes_it_begin_anew
            rekey: a_rekey_that_was_never_begun_is_a_conflict
            rekey: a_sweep_disturbs_nothing_that_counts
            users: a_user_is_added_read_listed_and_revoked
            users: a_key_comes_in_once_and_never_again
            users: the_gate_for_the_first_admin_opens_once
            users: the_gate_stays_shut_once_there_was_any_admin
            users: of_many_first_admins_at_once_one_comes_in
            users: users_come_in_pages
            authorize: the_records_decide
            authorize: a_revocation_holds_in_every_process_at_once
            authorize: a_removal_holds_in_every_process_at_once
            authorize: a_crowd_that_asks_about_one_user_from_two_processes_is_let_in
            authorize: users_are_added_while_another_process_asks_about_them
            authorize: a_passed_deadline_denies
            crowd: many_add_and_remove_one_member_in_some_order
            crowd: many_grant_and_revoke_in_some_order
            full: a_full_store_still_revokes_and_removes
            requests: a_log_without_room_still_records_what_takes_away
            requests: requests_before_a_moment_are_forgotten_and_no_others
            requests: a_try_that_was_held_up_undoes_nothing_that_came_since
            import: an_export_makes_the_same_store_anywhere
            import: importing_again_changes_nothing
            import: what_an_import_wrote_an_import_writes_over
            import: what_the_service_wrote_is_kept_unless_forced
            import: a_removed_member_does_not_come_back
            import: records_that_the_room_contradicts_are_refused
            import: keys_of_epochs_left_behind_are_kept_out
            import: an_imported_room_goes_on_as_any_other
        }
    };
    (in ($backend:expr) $($module:ident: $name:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::contract::$module::$name(&$backend).await;
            }
        )*
    };
}
pub(crate) use contract_tests;

/// The kind of an error that must be there.
pub fn refusal<T>(result: StoreResult<T>) -> ErrorKind {
    result.err().expect("a refusal").kind()
}

/// Why a decision denies, as it must.
pub fn denial(decision: &Decision) -> DenyReason {
    match decision {
        Decision::Admit(_) => panic!("admitted"),
        Decision::Deny(deny) => deny.reason,
    }
}

/// All members of a room, page by page; nobody twice while nothing changes.
pub async fn members_of(store: &dyn MembershipStore, room: &RoomId) -> BTreeSet<Endpoint> {
    let mut page = store.members(room, first_page(100), soon()).await.unwrap();
    let mut members = BTreeSet::new();
    loop {
        for member in page.items {
            assert!(members.insert(member.endpoint), "a member came twice");
        }
        let Some(after) = page.next else {
            return members;
        };
        page = store.members(room, next_page(after, 100), soon()).await.unwrap();
    }
}

/// All rooms an endpoint lists, page by page.
pub async fn rooms_of(store: &dyn MembershipStore, endpoint: &Endpoint) -> BTreeSet<RoomId> {
    let mut page = store.rooms_of(endpoint, first_page(7), soon()).await.unwrap();
    let mut rooms = BTreeSet::new();
    loop {
        for joined in page.items {
            assert!(rooms.insert(joined.room.id), "a room came twice");
        }
        let Some(after) = page.next else {
            return rooms;
        };
        page = store.rooms_of(endpoint, next_page(after, 7), soon()).await.unwrap();
    }
}

/// Everything that a store exports, in the order in which an import takes it.
pub async fn exported(store: &dyn MembershipStore) -> Vec<Record> {
    let mut records = Vec::new();
    for table in Table::ALL {
        let mut request = first_page(50);
        loop {
            let Page { items, next } = store.export(table, request, soon()).await.unwrap();
            assert!(items.iter().all(|record| record.table() == table));
            records.extend(items);
            let Some(after) = next else {
                break;
            };
            request = next_page(after, 50);
        }
    }
    records
}

/// The export as sorted lines, which two equal stores have in common.
pub async fn exported_lines(store: &dyn MembershipStore) -> Vec<String> {
    let mut lines: Vec<String> =
        exported(store).await.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    lines.sort();
    lines
}

/// A request for the first page with the default limit.
pub fn any_page() -> PageRequest {
    PageRequest::default()
}
