//! How far a move has come, as the buckets say it, and what a run must do about it. Pure: what was
//! read goes in, what to do comes out.

use serde::{Deserialize, Serialize};

use super::failure::{Failure, Outcome, Reason};
use crate::membership::ids::MutationId;
use crate::membership::records::Revision;
use crate::membership::sqlite::fence::FenceState;

/// How far the move has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Records are being written. Nobody serves from these buckets.
    Importing,
    /// All records are there. The service may serve.
    Done,
}

/// The marker in the control record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Marker {
    /// How far.
    pub phase: Phase,
    /// The run that made the marker, or took it over.
    pub attempt: MutationId,
    /// Which membership is moved: the digest of the source.
    pub digest: String,
    /// What the source was, and what it held.
    pub source: MarkedSource,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MarkedSource {
    /// `ours` or `legacy`.
    pub kind: String,
    /// Users in it.
    pub users: u64,
    /// Rooms in it.
    pub rooms: u64,
    /// Members of its rooms.
    pub members: u64,
    /// Sealed keys in it.
    pub room_keys: u64,
}

/// What the buckets say of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// The marker with the revision it was read at.
    pub marker: Option<(Marker, Revision)>,
    /// The revision that a first marker must be written over.
    pub control: Option<Revision>,
    /// Whether a service has answered from them.
    pub served: bool,
    /// Whether they hold records of which no migration says that it wrote them.
    pub foreign: bool,
}

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Put up the fence, write a marker of this run, import, verify, conclude.
    Begin,
    /// The same under the marker that is there: an earlier run, or one beside this, made it.
    Continue,
    /// The same under a marker that takes the place of an earlier one: the source has changed since.
    TakeOver,
    /// Everything was imported and the source says so: verify, then say so in the buckets.
    Conclude,
    /// Everything is done: compare and write nothing.
    Compare,
}

/// What to do about a source of this digest, given what it and the buckets say.
///
/// # Errors
/// `StoreNotEmpty`, `OtherMigration`.
pub fn course(digest: &str, fence: Option<FenceState>, situation: &Situation) -> Outcome<Course> {
    let moved = fence == Some(FenceState::Done);
    match &situation.marker {
        None if situation.served || situation.foreign => Err(not_empty()),
        None if moved => Err(other(
            "this file was moved into other buckets than these: check --nats-url and the prefix",
        )),
        None => Ok(Course::Begin),
        Some((marker, _)) => match (marker.phase, marker.digest == digest, moved) {
            (Phase::Done, true, _) => Ok(Course::Compare),
            (Phase::Done, false, _) => Err(other(
                "another membership was moved into these buckets already: nothing was changed",
            )),
            (Phase::Importing, true, true) => Ok(Course::Conclude),
            (Phase::Importing, false, true) => Err(other(
                "this file was moved away already, and another one is being moved into these \
                 buckets: check --db and --nats-url",
            )),
            (Phase::Importing, true, false) => Ok(Course::Continue),
            (Phase::Importing, false, false) => Ok(Course::TakeOver),
        },
    }
}

fn not_empty() -> Failure {
    Failure::new(
        Reason::StoreNotEmpty,
        "the buckets are in use: a service has answered from them, or they hold records that no \
         migration wrote. A membership is only moved into buckets that are new",
    )
}

fn other(message: &str) -> Failure {
    Failure::new(Reason::OtherMigration, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(phase: Option<Phase>, digest: &str) -> Situation {
        let marker = phase.map(|phase| {
            let source =
                MarkedSource { kind: "ours".into(), users: 0, rooms: 0, members: 0, room_keys: 0 };
            let attempt = MutationId::from([7; 16]);
            (Marker { phase, attempt, digest: digest.to_owned(), source }, Revision(3))
        });
        Situation { marker, ..Situation::default() }
    }

    #[test]
    fn what_the_file_and_the_buckets_say_decides() {
        use FenceState::{Done as Moved, Raised};
        let (importing, done) = (Some(Phase::Importing), Some(Phase::Done));
        for (fence, phase, digest, expected) in [
            (None, None, "", Ok(Course::Begin)),
            (Some(Raised), None, "", Ok(Course::Begin)),
            (Some(Moved), None, "", Err(Reason::OtherMigration)),
            (None, importing, "same", Ok(Course::Continue)),
            (Some(Raised), importing, "same", Ok(Course::Continue)),
            (Some(Moved), importing, "same", Ok(Course::Conclude)),
            (None, importing, "other", Ok(Course::TakeOver)),
            (Some(Raised), importing, "other", Ok(Course::TakeOver)),
            (Some(Moved), importing, "other", Err(Reason::OtherMigration)),
            (None, done, "same", Ok(Course::Compare)),
            (Some(Raised), done, "same", Ok(Course::Compare)),
            (Some(Moved), done, "same", Ok(Course::Compare)),
            (None, done, "other", Err(Reason::OtherMigration)),
            (Some(Raised), done, "other", Err(Reason::OtherMigration)),
            (Some(Moved), done, "other", Err(Reason::OtherMigration)),
        ] {
            let found = course("same", fence, &situation(phase, digest));
            let found = found.map_err(|failure| failure.reason());
            assert_eq!(found, expected, "{fence:?} {phase:?} {digest}");
        }
    }

    #[test]
    fn buckets_in_use_are_left_alone() {
        for (served, foreign) in [(true, false), (false, true), (true, true)] {
            let used = Situation { served, foreign, ..Situation::default() };
            let refused = course("same", None, &used).unwrap_err();
            assert_eq!(refused.reason(), Reason::StoreNotEmpty);
        }
        // A service serves after a move: that is no reason against comparing.
        let served = Situation { served: true, ..situation(Some(Phase::Done), "same") };
        assert_eq!(course("same", None, &served).unwrap(), Course::Compare);
    }
}
