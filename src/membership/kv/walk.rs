//! Walks along a bucket's stream, in its order, through the leader. Where what is meant stands close
//! together, several messages are asked for at once; what they mean is decided elsewhere.

use std::collections::BTreeMap;
use std::ops::Range;

use futures_util::future::try_join_all;

use super::bucket::Bucket;
use super::codec::Key;
use super::streams::Streams;
use crate::jetstream::message::StoredMessage;
use crate::membership::error::StoreResult;
use crate::membership::store::Deadline;

/// How many bytes a stretch takes, give or take what is asked for at once: a page of the largest keys
/// must not be a burden where a page of users is none.
const BYTES_PER_PAGE: usize = 1 << 20;

/// How many messages are asked for at once where they stand close together.
const AHEAD: u64 = 16;

/// A stretch of a stream.
pub(super) struct Stretch {
    /// What matched, in the stream's order, fences left out.
    pub(super) messages: Vec<(Key, StoredMessage)>,
    /// Where to go on; `None` at the end.
    pub(super) next: Option<u64>,
}

/// A few messages of a stream, and where to go on; `None` at the end.
struct Few {
    messages: Vec<StoredMessage>,
    next: Option<u64>,
}

impl Streams {
    /// The messages from a sequence on whose keys match a filter: at most `limit`, and about
    /// [`BYTES_PER_PAGE`].
    pub(super) async fn walk(
        &self,
        bucket: Bucket,
        filter: &Key,
        from: u64,
        limit: usize,
        deadline: Deadline,
    ) -> StoreResult<Stretch> {
        let mut stretch = Stretch { messages: Vec::new(), next: Some(from) };
        let (mut size, mut ahead) = (0, 1);
        while stretch.messages.len() < limit && size < BYTES_PER_PAGE {
            let Some(from) = stretch.next else {
                break;
            };
            let left = u64::try_from(limit - stretch.messages.len()).unwrap_or(u64::MAX);
            let asked = ahead.min(left);
            let few = self.few(bucket, filter, from..from + asked, deadline).await?;
            ahead = few.next.map_or(1, |next| pace(ahead, asked, next - from));
            stretch.next = few.next;
            for message in few.messages {
                if let Some(key) = self.key_of(bucket, &message) {
                    size += message.payload.len();
                    stretch.messages.push((key, message));
                }
            }
        }
        Ok(stretch)
    }

    /// What is next from each of these sequences on, in order. The leader is asked for all of them at
    /// once: one by one, most of the time would be spent on the way to it and back.
    async fn few(
        &self,
        bucket: Bucket,
        filter: &Key,
        sequences: Range<u64>,
        deadline: Deadline,
    ) -> StoreResult<Few> {
        let asked = sequences.clone().map(|from| self.next(bucket, filter, from, deadline));
        let answers = try_join_all(asked).await?;
        let mut asked = sequences.zip(&answers);
        let nothing_from = asked.find_map(|(from, answer)| answer.is_none().then_some(from));
        let found = answers.into_iter().flatten();
        let found: BTreeMap<u64, _> = found.map(|message| (message.sequence, message)).collect();
        // Between two answers a record may have been written anew and moved to the end: that there was
        // nothing from a sequence on holds only if nobody else saw anything there.
        let last = found.keys().next_back().copied();
        let ended = nothing_from.is_some_and(|from| last.is_none_or(|last| last < from));
        let next = if ended { None } else { last.map(|last| last + 1) };
        Ok(Few { messages: found.into_values().collect(), next })
    }
}

/// How many to ask for at once after so many were: more where what was found stands close together,
/// one where most of what lies between is not meant.
const fn pace(ahead: u64, asked: u64, went: u64) -> u64 {
    if went > 2 * asked {
        1
    } else if ahead * 2 > AHEAD {
        AHEAD
    } else {
        ahead * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_asked_for_at_once_where_messages_stand_close_together() {
        for (ahead, asked, went, next) in [
            (1, 1, 1, 2),
            (2, 2, 2, 4),
            (8, 8, 8, 16),
            (16, 16, 16, 16),
            // The end of a page asks for few.
            (16, 1, 1, 16),
            (4, 4, 8, 8),
            (4, 4, 9, 1),
            (1, 1, 3, 1),
            (16, 16, 100_000, 1),
        ] {
            assert_eq!(pace(ahead, asked, went), next, "{ahead} {asked} {went}");
        }
    }
}
