//! The users, and the gate for the first admin.

use super::bucket::Bucket;
use super::codec::Key;
use super::control::{self, Control};
use super::cursor::{self, List};
use super::refusal::{no_name, unfinished};
use super::store::KvStore;
use super::value::{Slot, UserValue, read};
use super::walk::Stretch;
use crate::jetstream::message::StoredMessage;
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::ids::UserKey;
use crate::membership::records::{Origin, Revision, User, UserRole, UserStatus, Versioned};
use crate::membership::refusal;
use crate::membership::store::{Deadline, NewUser, Page, PageRequest};

pub(super) async fn slot(
    store: &KvStore,
    key: &UserKey,
    deadline: Deadline,
) -> StoreResult<Slot<UserValue>> {
    store.streams.get(Bucket::Users, &Key::user(key), deadline).await
}

pub(super) async fn get(
    store: &KvStore,
    key: &UserKey,
    deadline: Deadline,
) -> StoreResult<Versioned<User>> {
    let slot = slot(store, key, deadline).await?;
    let value = slot.value.ok_or_else(|| refusal::no_user(key))?;
    Ok(Versioned { record: value.user(*key), revision: Revision(slot.at) })
}

/// Writes a user over a revision.
pub(super) async fn put(
    store: &KvStore,
    user: User,
    written: (Origin, u64),
    deadline: Deadline,
) -> StoreResult<Versioned<User>> {
    let (key, value) = (Key::user(&user.key), UserValue::of(&user));
    let at = store.streams.put(Bucket::Users, &key, &value, written, deadline).await?;
    Ok(Versioned { record: user, revision: Revision(at) })
}

pub(super) async fn add(
    store: &KvStore,
    new: NewUser,
    deadline: Deadline,
) -> StoreResult<Versioned<User>> {
    // Also the marker of another program: a key that ever was anybody's never comes back.
    if slot(store, &new.key, deadline).await?.at > 0 {
        return Err(refusal::user_exists(&new.key));
    }
    store.streams.check_growth(&[Bucket::Users], deadline).await?;
    let NewUser { key, handle, role } = new;
    let user = User { key, handle, role, status: UserStatus::Active };
    put(store, user, (Origin::Service, 0), deadline)
        .await
        .map_err(|error| error.on_conflict(|| refusal::user_exists(&key)))
}

/// Once this is acknowledged, no fence on the user's active record is any more. "There is no such
/// user" is proven like a denial: a leader that is none any more does not know who came since.
pub(super) async fn revoke(
    store: &KvStore,
    key: &UserKey,
    deadline: Deadline,
) -> StoreResult<Versioned<User>> {
    loop {
        let Slot { at, value, .. } = slot(store, key, deadline).await?;
        let Some(value) = value else {
            if store.stood(Bucket::Users, &Key::user(key), at, deadline).await? {
                return Err(refusal::no_user(key));
            }
            continue;
        };
        let (record, revision) = (value.user(*key), Revision(at));
        if record.status == UserStatus::Revoked {
            return Ok(Versioned { record, revision });
        }
        let revoked = User { status: UserStatus::Revoked, ..record };
        match put(store, revoked, (Origin::Service, revision.0), deadline).await {
            Err(error) if error.kind() == ErrorKind::Conflict && !deadline.has_passed() => {}
            ended => return ended,
        }
    }
}

/// A page of users, and of the list's own cursor.
pub(super) async fn page(
    store: &KvStore,
    list: List,
    request: &PageRequest,
    deadline: Deadline,
) -> StoreResult<Page<User>> {
    let from = cursor::start(&list, request)?;
    let limit = request.limit.get();
    let filter = Key::all(Bucket::Users);
    let stretch = store.streams.walk(Bucket::Users, &filter, from, limit, deadline).await?;
    let Stretch { messages, next } = stretch;
    let mut items = Vec::with_capacity(messages.len());
    for (key, message) in messages {
        items.extend(user(&key, &message)?);
    }
    cursor::page(list, items, next)
}

fn user(key: &Key, message: &StoredMessage) -> StoreResult<Option<User>> {
    let user = key.as_user().ok_or_else(|| no_name(Bucket::Users, key))?;
    let slot: Slot<UserValue> = read(Bucket::Users, key, message)?;
    Ok(slot.value.map(|value| value.user(user)))
}

/// What is known of the admins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admins {
    /// There never was one.
    Never,
    /// There were some, and none is active.
    Former,
    /// One is active.
    Active,
}

pub(super) async fn has_admin(store: &KvStore, deadline: Deadline) -> StoreResult<bool> {
    Ok(admins(store, deadline).await? == Admins::Active)
}

/// Looks at every user. "There is none" is only believed of a leader that has a fence of ours, made
/// before the look began: an old leader, or a copy that is behind, never saw it.
async fn admins(store: &KvStore, deadline: Deadline) -> StoreResult<Admins> {
    let everything = Key::everything();
    let fence = store.fences.mark(Bucket::Users, deadline).await?;
    let (mut from, mut seen) = (1, Admins::Never);
    loop {
        let next = store.streams.next(Bucket::Users, &everything, from, deadline).await?;
        let Some(message) = next else {
            return Err(behind());
        };
        from = message.sequence + 1;
        let user = match store.streams.key_of(Bucket::Users, &message) {
            Some(key) => user(&key, &message)?,
            None => None,
        };
        if let Some(User { role: UserRole::Admin, status, key, .. }) = user {
            let stands = status == UserStatus::Active
                && store.stood(Bucket::Users, &Key::user(&key), message.sequence, deadline).await?;
            if stands {
                return Ok(Admins::Active);
            }
            seen = Admins::Former;
        }
        if message.sequence >= fence {
            return Ok(seen);
        }
    }
}

fn behind() -> StoreError {
    StoreError::new(
        ErrorKind::Unavailable,
        "the users were read from a server that is behind: nothing is known of the admins",
    )
}

/// The gate opens once in a store's life, for one key: the control record says for whom before the
/// user is written, so a crash between the two lets the same key, and no other, come again.
pub(super) async fn add_first_admin(
    store: &KvStore,
    new: NewUser,
    deadline: Deadline,
) -> StoreResult<Versioned<User>> {
    if slot(store, &new.key, deadline).await?.at > 0 {
        return Err(refusal::user_exists(&new.key));
    }
    open_gate(store, &new.key, deadline).await?;
    // The gate is open, so the same key may come again: not a failure that wrote nothing.
    add(store, new, deadline).await.map_err(|error| {
        if error.kind() == ErrorKind::Unavailable { unfinished(error) } else { error }
    })
}

async fn open_gate(store: &KvStore, key: &UserKey, deadline: Deadline) -> StoreResult<()> {
    loop {
        let Versioned { record, revision } = store.control(deadline).await?;
        match record.first_admin {
            Some(first) if first == *key => return Ok(()),
            Some(_) => return Err(refusal::admin_exists()),
            None => {}
        }
        if admins(store, deadline).await? != Admins::Never {
            return Err(refusal::admin_exists());
        }
        store.streams.check_growth(&[Bucket::Users], deadline).await?;
        let opened = Control { first_admin: Some(*key), ..record };
        match control::write(&store.streams, &opened, Some(revision), deadline).await {
            Ok(_) => return Ok(()),
            // Something else about the store was written first: look again.
            Err(error) if error.kind() == ErrorKind::Conflict && !deadline.has_passed() => {}
            Err(error) => return Err(error),
        }
    }
}
