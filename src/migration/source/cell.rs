//! Columns as values of the domain. SQLite lets any type sit in any column, so each is looked at
//! before it is read, and nothing is guessed: a yes is the integer 1 and nothing else.

use std::str::FromStr;

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::bad::BadClass;
use crate::membership::ids::{Epoch, InvalidValue};
use crate::membership::records::{SEALED_KEY_MAX_BYTES, SealedKey, UnixMillis};

/// The longest text that is read at all, in bytes. No text of the domain comes near it.
pub(super) const TEXT_MAX_BYTES: usize = 4096;

/// A column that is not what it must be.
pub(super) struct BadCell {
    pub(super) column: &'static str,
    pub(super) class: BadClass,
    pub(super) why: String,
}

/// A column of a record, and the expression that gives it.
pub(super) type Column = (&'static str, &'static str);

/// A row under the names its query gave the columns. Each column comes twice: its size in bytes,
/// and its value unless that is too large to be looked at.
pub(super) struct Cells<'r, 's> {
    row: &'r Row<'s>,
    columns: &'static [Column],
}

/// What a query selects for a column: `(size, value)`. The size is known without reading the value.
pub(super) fn selected(column: &str) -> String {
    let max = SEALED_KEY_MAX_BYTES.max(TEXT_MAX_BYTES);
    format!("octet_length({column}), CASE WHEN octet_length({column}) <= {max} THEN {column} END")
}

impl<'r, 's> Cells<'r, 's> {
    pub(super) const fn new(row: &'r Row<'s>, columns: &'static [Column]) -> Self {
        Self { row, columns }
    }

    fn value(&self, column: &'static str, max: usize) -> Result<ValueRef<'r>, BadCell> {
        let bad = |class, why: &str| BadCell { column, class, why: why.to_owned() };
        let unread = |_| bad(BadClass::WrongType, "it cannot be read");
        let place =
            self.columns.iter().position(|known| known.0 == column).unwrap_or(self.columns.len());
        match self.row.get_ref(2 * place).map_err(unread)? {
            ValueRef::Integer(bytes) if bytes > i64::try_from(max).unwrap_or(i64::MAX) => {
                Err(bad(BadClass::TooLarge, &format!("it has {bytes} bytes; at most {max} may be")))
            }
            ValueRef::Integer(_) => self.row.get_ref(2 * place + 1).map_err(unread),
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
                Err(bad(BadClass::Null, "it holds nothing"))
            }
        }
    }

    /// A text of the domain.
    pub(super) fn text<T>(&self, column: &'static str) -> Result<T, BadCell>
    where
        T: FromStr<Err = InvalidValue>,
    {
        let ValueRef::Text(bytes) = self.value(column, TEXT_MAX_BYTES)? else {
            return Err(wrong_type(column, "a text"));
        };
        let text = std::str::from_utf8(bytes).map_err(|_| BadCell {
            column,
            class: BadClass::NotUtf8,
            why: "it is not UTF-8".to_owned(),
        })?;
        text.parse().map_err(|why| invalid(column, &why))
    }

    /// A yes or a no.
    pub(super) fn boolean(&self, column: &'static str) -> Result<bool, BadCell> {
        match self.value(column, TEXT_MAX_BYTES)? {
            ValueRef::Integer(0) => Ok(false),
            ValueRef::Integer(1) => Ok(true),
            ValueRef::Null
            | ValueRef::Integer(_)
            | ValueRef::Real(_)
            | ValueRef::Text(_)
            | ValueRef::Blob(_) => Err(BadCell {
                column,
                class: BadClass::NotABoolean,
                why: "it must be the integer 0 or 1".to_owned(),
            }),
        }
    }

    fn number(&self, column: &'static str) -> Result<u64, BadCell> {
        let ValueRef::Integer(number) = self.value(column, TEXT_MAX_BYTES)? else {
            return Err(wrong_type(column, "an integer"));
        };
        u64::try_from(number).map_err(|_| BadCell {
            column,
            class: BadClass::Invalid,
            why: "it is less than zero".to_owned(),
        })
    }

    /// A moment, in milliseconds since 1970.
    pub(super) fn moment(&self, column: &'static str) -> Result<UnixMillis, BadCell> {
        self.number(column).map(UnixMillis)
    }

    /// An epoch.
    pub(super) fn epoch(&self, column: &'static str) -> Result<Epoch, BadCell> {
        Epoch::try_from(self.number(column)?).map_err(|why| invalid(column, &why))
    }

    /// Sealed bytes.
    pub(super) fn sealed(&self, column: &'static str) -> Result<SealedKey, BadCell> {
        let ValueRef::Blob(bytes) = self.value(column, SEALED_KEY_MAX_BYTES)? else {
            return Err(wrong_type(column, "a blob"));
        };
        SealedKey::try_from(bytes.to_vec()).map_err(|why| invalid(column, &why))
    }
}

fn wrong_type(column: &'static str, expected: &str) -> BadCell {
    BadCell { column, class: BadClass::WrongType, why: format!("it must be {expected}") }
}

fn invalid(column: &'static str, why: &InvalidValue) -> BadCell {
    let class = match why {
        InvalidValue::TooLong { .. } => BadClass::TooLarge,
        InvalidValue::Empty { .. }
        | InvalidValue::Character { .. }
        | InvalidValue::NotNormalised { .. }
        | InvalidValue::Form { .. } => BadClass::Invalid,
    };
    BadCell { column, class, why: why.to_string() }
}
