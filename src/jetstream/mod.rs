//! The hands towards NATS JetStream. No Kubernetes and nothing of the membership domain in here.
//!
//! * [`connect`] is the one place where connection options are made.
//! * [`link`] keeps a connection that can be given up, and replaced, when it no longer answers.
//! * [`transport`] is what everything else asks through: one request, one answer, in time.
//! * [`api`] is JetStream's own calls and errors, [`message`] a stored message.
//! * [`batch`] is messages that are stored together or not at all.
//! * [`meta`] is what the servers say of themselves and of the meta group, through the system account.
//! * [`bucket`] makes, raises and looks at key-value buckets, by short attempts within a budget.

pub mod api;
pub mod batch;
pub mod bucket;
pub mod connect;
pub mod link;
pub mod message;
pub mod meta;
pub mod transport;
