//! May this user act? One read transaction answers, so that all records held together, and what was
//! committed before the question was asked is in it.

use rusqlite::{Connection, TransactionBehavior};

use super::fence::{self, FenceState};
use super::{members, rooms, users};
use crate::membership::authorize::{
    Admit, AuthorizeRequest, Decision, DenyReason, Evidence, Place, Proof, judge,
};
use crate::membership::error::StoreResult;
use crate::membership::ids::{Endpoint, RoomId, UserKey};

/// Proves that all records of a decision were read in one transaction. Only this module makes one.
#[derive(Debug)]
pub struct SqliteTxn {
    /// Private, so that nobody else can write one down.
    #[expect(dead_code, reason = "it is there to be private, not to be read")]
    sealed: (),
}

/// Reads what the question needs and decides, in one transaction.
pub(super) fn decide(
    connection: &mut Connection,
    request: &AuthorizeRequest,
) -> StoreResult<Decision> {
    let txn = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    if fence::state(&txn)? == Some(FenceState::Done) {
        return Ok(Decision::deny(DenyReason::Moved, None));
    }
    let evidence = Evidence {
        user: users::find(&txn, &request.user)?,
        place: match &request.room {
            Some(room) => Some(place(&txn, room, &request.user)?),
            None => None,
        },
    };
    Ok(match judge(&request.user, &evidence) {
        Ok(standing) => {
            let proof = Proof::SqliteTxn(SqliteTxn { sealed: () });
            Decision::Admit(Admit::proven(standing, proof))
        }
        Err(deny) => Decision::Deny(deny),
    })
}

fn place(txn: &Connection, room: &RoomId, user: &UserKey) -> StoreResult<Place> {
    let room = rooms::find(txn, room)?;
    let member = match &room {
        Some(room) => members::find(txn, &room.record, &Endpoint::from(user))?,
        None => None,
    };
    Ok(Place { room, member })
}
