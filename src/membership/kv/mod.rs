//! The store in replicated JetStream buckets.

/// Proves that a quorum acknowledged every record of a decision as unchanged. Only this module
/// makes one.
#[derive(Debug)]
#[expect(dead_code, reason = "the store that makes it comes next")]
pub struct Fence {
    sealed: (),
}
