//! Is there one order of events that explains what clients saw? A history is what was asked of one
//! key, when, and what was answered; it is linearizable when its events can be put into an order
//! that keeps real time and in which every answer is right.
//!
//! * `search` decides it, for any model of a key (Wing and Gong's search, with a memory of the
//!   places that led nowhere). Keys do not touch each other, so each is decided alone.
//! * [`users`] is the model of one user, and the plain rule beside it: nobody is admitted by a
//!   question that began after a revocation was acknowledged.
//! * [`requests`] asks a store and says what the answer tells; `recorded` takes histories from a real store.

pub mod requests;
pub mod search;
pub mod users;

mod recorded;
