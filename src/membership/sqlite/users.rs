//! The users, and the gate for the first admin.

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::cursor::{self, List};
use super::row::{parsed, revision};
use super::writing::Writing;
use crate::membership::error::StoreResult;
use crate::membership::ids::UserKey;
use crate::membership::records::{Origin, User, UserRole, UserStatus, Versioned};
use crate::membership::refusal;
use crate::membership::store::{NewUser, Page, PageRequest};

pub(super) fn find(txn: &Connection, key: &UserKey) -> StoreResult<Option<Versioned<User>>> {
    let mut statement = txn.prepare_cached("SELECT * FROM users WHERE user_key = ?1")?;
    Ok(statement.query_row([key.to_string()], versioned).optional()?)
}

pub(super) fn get(txn: &Connection, key: &UserKey) -> StoreResult<Versioned<User>> {
    find(txn, key)?.ok_or_else(|| refusal::no_user(key))
}

pub(super) fn list(txn: &Connection, request: &PageRequest) -> StoreResult<Page<User>> {
    page(txn, List::Users, request)
}

/// A page of users for any list that goes through them by key.
pub(super) fn page(txn: &Connection, list: List, request: &PageRequest) -> StoreResult<Page<User>> {
    let after: String = cursor::start(&list, request)?;
    let limit = request.limit.get();
    let mut statement =
        txn.prepare_cached("SELECT * FROM users WHERE user_key > ?1 ORDER BY user_key LIMIT ?2")?;
    let users = statement.query_map((after, limit + 1), user)?.collect::<Result<_, _>>()?;
    cursor::page(list, users, limit, |user| user.key.to_string())
}

pub(super) fn add(w: &Writing<'_>, new: NewUser) -> StoreResult<Versioned<User>> {
    if find(w.txn, &new.key)?.is_some() {
        return Err(refusal::user_exists(&new.key));
    }
    w.check_growth()?;
    let NewUser { key, handle, role } = new;
    put(w, User { key, handle, role, status: UserStatus::Active })
}

/// The gate opens once in a store's life: not after an import brought an admin, and not after
/// every admin was revoked.
pub(super) fn add_first_admin(w: &Writing<'_>, new: NewUser) -> StoreResult<Versioned<User>> {
    let taken: bool = w.txn.query_row(
        "SELECT first_admin IS NOT NULL OR EXISTS (SELECT 1 FROM users WHERE role = 'admin')
         FROM control",
        [],
        |row| row.get(0),
    )?;
    if taken {
        return Err(refusal::admin_exists());
    }
    let key = new.key;
    let user = add(w, new)?;
    w.txn.execute("UPDATE control SET first_admin = ?1", [key.to_string()])?;
    Ok(user)
}

pub(super) fn revoke(w: &Writing<'_>, key: &UserKey) -> StoreResult<Versioned<User>> {
    let found = get(w.txn, key)?;
    match found.record.status {
        UserStatus::Revoked => Ok(found),
        UserStatus::Active => put(w, User { status: UserStatus::Revoked, ..found.record }),
    }
}

pub(super) fn has_admin(txn: &Connection) -> StoreResult<bool> {
    let mut statement =
        txn.prepare_cached("SELECT EXISTS (SELECT 1 FROM users WHERE role = ?1 AND status = ?2)")?;
    let active_admin = (UserRole::Admin.as_str(), UserStatus::Active.as_str());
    Ok(statement.query_row(active_admin, |row| row.get(0))?)
}

/// Writes a user, whatever was there.
pub(super) fn put(w: &Writing<'_>, user: User) -> StoreResult<Versioned<User>> {
    let mut statement = w.txn.prepare_cached(
        "INSERT OR REPLACE INTO users
             (user_key, handle, role, status, revision, mutation, origin)
         VALUES (:user_key, :handle, :role, :status, :revision, :mutation, :origin)",
    )?;
    statement.execute(named_params! {
        ":user_key": user.key.to_string(),
        ":handle": user.handle.as_str(),
        ":role": user.role.as_str(),
        ":status": user.status.as_str(),
        ":revision": w.revision_number(),
        ":mutation": w.mutation.to_string(),
        ":origin": w.origin.as_str(),
    })?;
    Ok(Versioned { record: user, revision: w.revision })
}

/// A user with who wrote it, for imports.
pub(super) fn find_written(txn: &Connection, key: &UserKey) -> StoreResult<Option<(User, Origin)>> {
    let mut statement = txn.prepare_cached("SELECT * FROM users WHERE user_key = ?1")?;
    let read = |row: &Row<'_>| Ok((user(row)?, parsed(row, "origin")?));
    Ok(statement.query_row([key.to_string()], read).optional()?)
}

fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        key: parsed(row, "user_key")?,
        handle: parsed(row, "handle")?,
        role: parsed(row, "role")?,
        status: parsed(row, "status")?,
    })
}

fn versioned(row: &Row<'_>) -> rusqlite::Result<Versioned<User>> {
    Ok(Versioned { record: user(row)?, revision: revision(row)? })
}
