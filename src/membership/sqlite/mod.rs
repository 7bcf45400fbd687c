//! The store in one SQLite file: the embedded default.
//!
//! Each operation is one transaction, so there is nothing between its writes that a crash could
//! leave: a room's incarnation is its name for itself and nothing more, and only a rekey, which
//! takes several calls, has attempts. [`lane`] keeps blocking calls off the async workers and holds
//! the deadline, [`schema`] is the file's shape, [`open`] tells ours from others, [`fence`] is what a
//! migration puts round it. The files named after tables hold the SQL and know neither threads nor
//! deadlines.

mod authorize;
mod cursor;
mod error;
mod export;
pub mod fence;
mod import;
mod keys;
mod lane;
mod members;
mod open;
mod rekey;
mod requests;
mod rooms;
mod row;
mod schema;
mod store;
mod sweep;
mod users;
mod writing;

pub use authorize::SqliteTxn;
pub use open::{Created, Settings};
pub use schema::{APPLICATION_ID, SCHEMA_VERSION, schema_objects};
pub use store::SqliteStore;
