//! Whose file it is, by its header and by the list of its tables. Our own fence is no part of that
//! list: its triggers are left out by their exact text.

use std::collections::BTreeSet;

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde::Serialize;

use super::guard::explain;
use super::legacy::{self, LegacyTable};
use super::words::bare_words;
use crate::membership::sqlite::{APPLICATION_ID, SCHEMA_VERSION, fence, schema_objects};
use crate::migration::failure::{Failure, Outcome, Reason};

/// The most objects that a schema of a membership can have, with a wide margin.
const OBJECTS_MAX: usize = 1000;

/// One line of SQLite's list of tables, indexes, views and triggers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaObject {
    /// `table`, `index`, `view` or `trigger`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The table that it belongs to.
    pub table: String,
    /// The statement that made it; empty for an index that a constraint made.
    pub sql: String,
}

/// Whose file it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum SourceKind {
    /// The embedded store's.
    Ours,
    /// The old program's.
    Legacy {
        /// Tables and columns that the old program was not known to have. They stay behind.
        extras: Vec<String>,
    },
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Whose file it is.
    pub kind: SourceKind,
    /// Every table, for the fence; without the fence's own.
    pub tables: Vec<String>,
    /// Whether the fence is up, as far as the list tells.
    pub fenced: bool,
}

/// Tells whose file it is.
///
/// # Errors
/// `ForeignDatabase`, `NewerSchema`, `SchemaMismatch`.
pub fn read(connection: &Connection) -> Outcome<Schema> {
    let mut objects = list(connection)?;
    let fenced = take_fence(&mut objects)?;
    let id: i32 = pragma(connection, "application_id")?;
    let kind = match id {
        APPLICATION_ID => ours(connection, &objects)?,
        0 => legacy(connection, &objects)?,
        other => {
            return Err(Failure::new(
                Reason::ForeignDatabase,
                format!("the database belongs to another program (application id {other})"),
            ));
        }
    };
    let tables = objects.into_iter().filter(|object| object.kind == "table");
    Ok(Schema { kind, tables: tables.map(|table| table.name).collect(), fenced })
}

fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> Outcome<T> {
    connection.pragma_query_value(None, name, |row| row.get(0)).map_err(explain)
}

/// Everything that the schema lists, in a fixed order.
///
/// # Errors
/// `SchemaMismatch` for lines that SQLite would not have written.
pub fn list(connection: &Connection) -> Outcome<Vec<SchemaObject>> {
    let mut statement = connection
        .prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")
        .map_err(explain)?;
    let mut rows = statement.query([]).map_err(explain)?;
    let mut objects = Vec::new();
    while let Some(row) = rows.next().map_err(explain)? {
        let text = |index: usize| match row.get_ref(index).map_err(explain)? {
            ValueRef::Null => Ok(String::new()),
            ValueRef::Text(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => {
                Err(mismatch("a line of its schema is no text"))
            }
        };
        objects.push(SchemaObject {
            kind: text(0)?,
            name: text(1)?,
            table: text(2)?,
            sql: text(3)?,
        });
        if objects.len() > OBJECTS_MAX {
            return Err(mismatch("it has more tables than any membership"));
        }
    }
    objects.sort();
    Ok(objects)
}

/// Takes our own fence out of the list; a table or trigger that only has its name is somebody
/// else's.
fn take_fence(objects: &mut Vec<SchemaObject>) -> Outcome<bool> {
    let tables: Vec<String> = objects
        .iter()
        .filter(|object| object.kind == "table" && object.name != fence::TABLE)
        .map(|object| object.name.clone())
        .collect();
    let ours: BTreeSet<String> = fence::statements(&tables).collect();
    let before = objects.len();
    objects.retain(|object| !ours.contains(&object.sql));
    match objects.iter().find(|object| object.name.starts_with(fence::TABLE)) {
        Some(object) => Err(mismatch(&format!(
            "{} {} has the name of a fence and another text",
            object.kind,
            shown(&object.name)
        ))),
        None => Ok(objects.len() < before),
    }
}

fn ours(connection: &Connection, objects: &[SchemaObject]) -> Outcome<SourceKind> {
    let version: i64 = pragma(connection, "user_version")?;
    if version > SCHEMA_VERSION {
        return Err(Failure::new(
            Reason::NewerSchema,
            format!(
                "the database has schema version {version}, this program knows {SCHEMA_VERSION}: \
                 use the newer program that wrote it"
            ),
        ));
    }
    if version < SCHEMA_VERSION {
        return Err(mismatch(&format!(
            "it has schema version {version}: open it once with `membershipd user list`, which \
             brings it to version {SCHEMA_VERSION}"
        )));
    }
    let expected: BTreeSet<SchemaObject> = schema_objects()
        .map_err(|error| mismatch("the schema of this program is unreadable").caused_by(error))?
        .into_iter()
        .map(|[kind, name, table, sql]| SchemaObject { kind, name, table, sql })
        .collect();
    let found: BTreeSet<SchemaObject> = objects.iter().cloned().collect();
    if found.len() == objects.len() && found == expected {
        return Ok(SourceKind::Ours);
    }
    let names = |objects: Vec<&SchemaObject>| {
        let names: Vec<_> = objects.into_iter().map(|object| shown(&object.name)).collect();
        names.join(", ")
    };
    Err(mismatch(&format!(
        "expected and not found: [{}]; found and not expected: [{}]",
        names(expected.difference(&found).collect()),
        names(found.difference(&expected).collect())
    )))
}

fn legacy(connection: &Connection, objects: &[SchemaObject]) -> Outcome<SourceKind> {
    for object in objects {
        check_plain(connection, object)?;
    }
    let mut extras = Vec::new();
    let mut missing = Vec::new();
    for table in legacy::TABLES {
        match objects.iter().find(|object| object.kind == "table" && object.name == table.name) {
            Some(_) => compare_columns(connection, table, &mut extras, &mut missing)?,
            None => missing.push(format!("table {}", table.name)),
        }
    }
    let known = |name: &str| legacy::TABLES.iter().any(|table| table.name == name);
    let tables = || objects.iter().filter(|object| object.kind == "table");
    if !missing.is_empty() {
        let found: Vec<_> = tables().map(|table| shown(&table.name)).collect();
        return Err(mismatch(&format!(
            "expected and not found: [{}]; its tables are [{}]",
            missing.join(", "),
            found.join(", ")
        )));
    }
    extras.extend(
        tables()
            .filter(|table| !known(&table.name) && !table.name.starts_with("sqlite_"))
            .map(|table| format!("table {}", shown(&table.name))),
    );
    Ok(SourceKind::Legacy { extras })
}

/// Refuses what could run when the file is only read or checked.
fn check_plain(connection: &Connection, object: &SchemaObject) -> Outcome<()> {
    let refuse = |what: &str| {
        Err(mismatch(&format!("{} {} {what}", shown(&object.kind), shown(&object.name))))
    };
    match object.kind.as_str() {
        "table" => {}
        "index" => return check_index(connection, object),
        _ => return refuse("has no place in a membership"),
    }
    let words = bare_words(&object.sql);
    let has = |word: &str| words.iter().any(|found| found == word);
    if has("VIRTUAL") {
        return refuse("is a virtual table");
    }
    if has("CHECK") || has("COLLATE") || has("GENERATED") || has("AS") {
        return refuse("has a check, a collation or a generated column");
    }
    if words.windows(2).any(|pair| pair[0] == "DEFAULT" && pair[1] == "(") {
        return refuse("has a default that is an expression");
    }
    Ok(())
}

fn check_index(connection: &Connection, object: &SchemaObject) -> Outcome<()> {
    let words = bare_words(&object.sql);
    let nested = words.iter().filter(|word| *word == "(").count() > 1;
    let mut computed = nested || words.iter().any(|word| word == "WHERE" || word == "COLLATE");
    connection
        .pragma(None, "index_xinfo", &object.name, |row| {
            computed |= row.get::<_, i64>("cid")? == -2;
            Ok(())
        })
        .map_err(explain)?;
    if computed {
        return Err(mismatch(&format!("index {} is computed or partial", shown(&object.name))));
    }
    Ok(())
}

fn compare_columns(
    connection: &Connection,
    table: &LegacyTable,
    extras: &mut Vec<String>,
    missing: &mut Vec<String>,
) -> Outcome<()> {
    let mut found = Vec::new();
    connection
        .pragma(None, "table_xinfo", table.name, |row| {
            found.push((row.get::<_, String>("name")?, row.get::<_, i64>("hidden")?));
            Ok(())
        })
        .map_err(explain)?;
    if found.iter().any(|(_, hidden)| *hidden != 0) {
        return Err(mismatch(&format!("table {} has a generated column", table.name)));
    }
    let there = |column: &str| found.iter().any(|(name, _)| name == column);
    let lacking = table.columns.iter().filter(|column| !there(column));
    missing.extend(lacking.map(|column| format!("column {}.{column}", table.name)));
    let needed = |name: &str| table.columns.contains(&name);
    let more = found.iter().filter(|(name, _)| !needed(name));
    extras.extend(more.map(|(name, _)| format!("column {}.{}", table.name, shown(name))));
    Ok(())
}

/// A name from the file, short and on one line.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(60).collect()
}

fn mismatch(why: &str) -> Failure {
    Failure::new(
        Reason::SchemaMismatch,
        format!("the database is not the one of a membership: {why}"),
    )
}
