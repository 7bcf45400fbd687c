//! Columns as values of the domain. A column that holds anything else, or the right thing in a
//! second spelling, makes its record unreadable; it is never mended or left out.

use std::fmt::Display;
use std::str::FromStr;

use rusqlite::types::Type;
use rusqlite::{Error, Row};

use crate::membership::ids::{Epoch, InvalidValue};
use crate::membership::records::{Revision, SealedKey, UnixMillis};

/// A text column, parsed.
pub(super) fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr<Err = InvalidValue> + Display,
{
    let text: String = row.get(column)?;
    let value = text.parse::<T>().map_err(|why| unreadable(row, column, why))?;
    if value.to_string() == text {
        return Ok(value);
    }
    let why = InvalidValue::Form { what: "a stored value", expected: "in its canonical spelling" };
    Err(unreadable(row, column, why))
}

pub(super) fn revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    row.get("revision").map(Revision)
}

pub(super) fn epoch(row: &Row<'_>) -> rusqlite::Result<Epoch> {
    Epoch::try_from(row.get::<_, u64>("epoch")?).map_err(|why| unreadable(row, "epoch", why))
}

pub(super) fn moment(row: &Row<'_>, column: &str) -> rusqlite::Result<UnixMillis> {
    row.get(column).map(UnixMillis)
}

pub(super) fn sealed(row: &Row<'_>) -> rusqlite::Result<SealedKey> {
    let bytes: Vec<u8> = row.get("sealed")?;
    SealedKey::try_from(bytes).map_err(|why| unreadable(row, "sealed", why))
}

/// An error of this row, which becomes `Corrupt`. It names the column, never the value.
pub(super) fn unreadable(row: &Row<'_>, column: &str, why: InvalidValue) -> Error {
    let index = row.as_ref().column_index(column).unwrap_or(0);
    Error::FromSqlConversionFailure(index, Type::Text, Box::new(why))
}
