//! The shape of the file, and the way from each older shape to the newest.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::membership::error::{ErrorKind, StoreError, StoreResult};

/// Marks a file as ours in SQLite's header: "UMbr" in ASCII, from Unibus membership.
pub const APPLICATION_ID: i32 = 0x554D_6272;

/// What each schema version adds to the one before it. The version in force is SQLite's
/// `user_version`: it lies in the file's header, can be read before any table is trusted, and
/// changes in the same transaction as the tables.
const MIGRATIONS: [&str; 1] = [include_str!("schema/1.sql")];

/// The newest schema version.
pub const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;

/// What SQLite lists of a file of the newest schema: for each object its type, its name, its table
/// and its statement (empty for an index that a constraint made).
///
/// # Errors
/// Those of SQLite.
pub fn schema_objects() -> StoreResult<Vec<[String; 4]>> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection)?;
    let mut statement =
        connection.prepare("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema")?;
    let objects =
        statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
    Ok(objects.collect::<Result<_, _>>()?)
}

/// What a file is, by its header and its list of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// No table and no mark: nothing was ever kept here.
    Empty,
    /// Ours, at a schema version that this program knows.
    Ours {
        /// The schema version, at least 1.
        version: usize,
    },
}

/// Tells what a file is, without changing it.
///
/// # Errors
/// `ForeignStore` for somebody else's database, `Corrupt` for a newer schema.
pub(super) fn shape(connection: &Connection) -> StoreResult<Shape> {
    let id: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let objects: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (id, version, objects) == (0, 0, 0) {
        return Ok(Shape::Empty);
    }
    if id != APPLICATION_ID {
        return Err(foreign());
    }
    match usize::try_from(version) {
        Ok(version @ 1..) if version <= MIGRATIONS.len() => Ok(Shape::Ours { version }),
        Ok(1..) => Err(newer(version)),
        Ok(0) | Err(_) => Err(StoreError::new(
            ErrorKind::Corrupt,
            format!("the database file says to be of schema version {version}, which never was"),
        )),
    }
}

/// Brings an empty or older file to the newest schema, in one transaction. Two programs may try at
/// once: the second finds the work done.
pub(super) fn migrate(connection: &mut Connection) -> StoreResult<()> {
    let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done = match shape(&txn)? {
        Shape::Empty => 0,
        Shape::Ours { version } => version,
    };
    apply(&txn, &MIGRATIONS, done)?;
    Ok(txn.commit()?)
}

fn apply(txn: &Transaction<'_>, migrations: &[&str], done: usize) -> StoreResult<()> {
    for migration in migrations.iter().skip(done) {
        txn.execute_batch(migration)?;
    }
    if done < migrations.len() {
        txn.pragma_update(None, "application_id", APPLICATION_ID)?;
        txn.pragma_update(None, "user_version", migrations.len())?;
    }
    Ok(())
}

fn foreign() -> StoreError {
    StoreError::new(
        ErrorKind::ForeignStore,
        "the file is the database of another program; it was left alone. Name another file",
    )
}

fn newer(version: i64) -> StoreError {
    StoreError::new(
        ErrorKind::Corrupt,
        format!(
            "the database file has schema version {version}, this program knows up to {}: use the \
             newer program that wrote it",
            MIGRATIONS.len()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_after(sql: &str) -> StoreResult<Shape> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        shape(&connection)
    }

    #[test]
    fn a_file_is_told_by_its_header_and_tables() {
        assert_eq!(shape_after("").unwrap(), Shape::Empty);
        let ours = format!("PRAGMA application_id = {APPLICATION_ID};");
        let at = |version: &str| shape_after(&format!("{ours} PRAGMA user_version = {version};"));
        assert_eq!(at("1").unwrap(), Shape::Ours { version: 1 });
        assert_eq!(at("2").unwrap_err().kind(), ErrorKind::Corrupt, "a newer schema");
        assert_eq!(at("0").unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(at("-1").unwrap_err().kind(), ErrorKind::Corrupt);
        for foreign in [
            "CREATE TABLE cats (name TEXT)",
            "PRAGMA user_version = 1",
            "PRAGMA application_id = 1",
            "CREATE TABLE rooms (room TEXT); PRAGMA user_version = 1",
        ] {
            assert_eq!(shape_after(foreign).unwrap_err().kind(), ErrorKind::ForeignStore);
        }
    }

    #[test]
    fn migrations_go_on_from_the_version_in_force() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = ["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y", "CREATE TABLE b (z)"];
        let txn = connection.transaction().unwrap();
        apply(&txn, &steps[..1], 0).unwrap();
        txn.execute("INSERT INTO a (x) VALUES (7)", []).unwrap();
        // From 1 to 3: running the first step again would fail, as its table is there.
        apply(&txn, &steps, 1).unwrap();
        apply(&txn, &steps, 3).unwrap();
        let kept: (i64, Option<i64>) =
            txn.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(kept, (7, None));
        let version: usize =
            txn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        assert_eq!(version, 3);
    }

    #[test]
    fn a_fresh_file_comes_to_the_newest_schema_and_stays_there() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(shape(&connection).unwrap(), Shape::Ours { version: MIGRATIONS.len() });
        migrate(&mut connection).unwrap();
    }
}
