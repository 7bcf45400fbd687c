//! The first admin, who is let in by the flags of `serve`: once, and only to a store that nobody was
//! ever served from.

use std::sync::Arc;

use crate::http::{Caller, Sending};
use crate::program::{ADMIN, Host, Kept, OTHER, OWNER, over_both};

fn flags(n: u8) -> [String; 2] {
    let key = Caller::new(n).key();
    [format!("--first-admin={key}"), "--first-admin-handle=Ada Lovelace".to_owned()]
}

/// Serves with a first admin; whether each of these may list the users then.
fn may(host: &Arc<Host>, first: Option<u8>, callers: &[u8]) -> Vec<bool> {
    let flags: Vec<String> = first.into_iter().flat_map(flags).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = host.serve(&flags);
    let may = |n: &u8| server.send(*n, Sending::new("GET", "/v1/users")).status == 200;
    let answers = callers.iter().map(may).collect();
    assert!(server.stop().success());
    answers
}

fn a_first_admin_is_let_in_once(kept: Kept) {
    let host = Host::of(kept);
    assert_eq!(may(&host, Some(ADMIN), &[ADMIN, OTHER]), [true, false]);
    // The same again is no error, and another comes too late.
    assert_eq!(may(&host, Some(ADMIN), &[ADMIN]), [true]);
    assert_eq!(may(&host, Some(OTHER), &[ADMIN, OTHER]), [true, false]);
}

fn a_first_admin_who_was_sent_away_stays_away(kept: Kept) {
    let host = Host::of(kept);
    let flags = flags(ADMIN);
    let server = host.serve(&flags.each_ref().map(String::as_str));
    server.add_user(OWNER, "user");
    let revoke = format!("/v1/users/{}/revoke", Caller::new(ADMIN).key());
    server.send(ADMIN, Sending::new("POST", &revoke)).done(200);
    assert!(server.stop().success());
    for first in [ADMIN, OTHER] {
        assert_eq!(may(&host, Some(first), &[ADMIN, OTHER]), [false, false]);
    }
}

over_both!(a_first_admin_is_let_in_once, a_first_admin_who_was_sent_away_stays_away,);

#[test]
fn buckets_that_were_served_from_take_no_first_admin_any_more() {
    let host = Host::of(Kept::InBuckets);
    assert_eq!(may(&host, None, &[ADMIN]), [false]);
    assert_eq!(may(&host, Some(ADMIN), &[ADMIN]), [false]);
}
