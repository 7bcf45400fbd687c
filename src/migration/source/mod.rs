//! The old file, as nobody's friend: everything in here assumes that it was made to do harm.
//!
//! * [`header`] looks at the bytes before SQLite does.
//! * [`guard`] is what a connection may do with a file that nobody vouches for.
//! * [`schema`] tells ours from the old program's and from everything else; [`legacy`] is what is
//!   assumed of the old program's.
//! * [`cell`] makes values of the domain out of columns, [`rows`] records out of rows, and [`bad`]
//!   counts what is none.
//!
//! Nothing here writes, and nothing knows where the records go.

pub mod bad;
mod cell;
pub mod guard;
pub mod header;
pub mod legacy;
pub mod rows;
pub mod schema;
mod words;
