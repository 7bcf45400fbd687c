//! One user as a model: absent, then active, then revoked for good.

use super::search::{Event, Model};

/// What a user is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum User {
    #[default]
    Absent,
    Active,
    Revoked,
}

/// What was asked about a user, and what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// The user was added; or the answer never came.
    Added,
    /// An add was refused: there is, or was, such a user.
    AddRefused,
    /// The user was revoked; or the answer never came.
    Revoked,
    /// The user was seen to be this: by an admission (active), a denial that says why, a read.
    Seen(User),
}

impl Model for Op {
    type State = User;

    fn step(&self, state: &User) -> Option<User> {
        match (self, state) {
            (Self::Added, User::Absent) => Some(User::Active),
            (Self::Added, User::Active | User::Revoked) => None,
            (Self::AddRefused, state) => (*state != User::Absent).then_some(*state),
            (Self::Revoked, state) => (*state != User::Absent).then_some(User::Revoked),
            (Self::Seen(seen), state) => (seen == state).then_some(*state),
        }
    }
}

/// The admissions that began after a revocation was acknowledged. There may be none.
pub fn admitted_after_revocation(history: &[Event<Op>]) -> Vec<&Event<Op>> {
    let acknowledged = history
        .iter()
        .filter(|event| event.op == Op::Revoked)
        .filter_map(|event| event.returned)
        .min();
    history
        .iter()
        .filter(|event| event.op == Op::Seen(User::Active))
        .filter(|event| acknowledged.is_some_and(|revoked| event.invoked > revoked))
        .collect()
}

mod tests {
    use proptest::prelude::*;

    use super::super::search::is_linearizable;
    use super::*;

    fn at(invoked: u64, returned: u64, op: Op) -> Event<Op> {
        Event { invoked, returned: Some(returned), op }
    }

    fn unanswered(invoked: u64, op: Op) -> Event<Op> {
        Event { invoked, returned: None, op }
    }

    #[test]
    fn histories_that_one_order_explains_are_accepted() {
        let good = [
            vec![],
            vec![at(1, 2, Op::Added), at(3, 4, Op::Seen(User::Active))],
            // An admission beside the revocation may come before or after it.
            vec![at(1, 2, Op::Added), at(3, 9, Op::Revoked), at(4, 8, Op::Seen(User::Active))],
            vec![at(1, 2, Op::Added), at(3, 9, Op::Revoked), at(4, 8, Op::Seen(User::Revoked))],
            // A write without an answer may come late, or never.
            vec![
                unanswered(1, Op::Added),
                at(2, 3, Op::Seen(User::Absent)),
                at(4, 5, Op::Seen(User::Active)),
            ],
            vec![unanswered(1, Op::Added), at(2, 3, Op::Seen(User::Absent))],
            vec![at(1, 2, Op::Added), unanswered(3, Op::Revoked), at(4, 5, Op::Seen(User::Active))],
            vec![at(1, 2, Op::Added), at(3, 4, Op::Revoked), at(5, 6, Op::Revoked)],
        ];
        for history in good {
            assert!(is_linearizable(&history), "{history:?}");
        }
    }

    #[test]
    fn wrong_histories_are_caught() {
        let wrong = [
            (
                "an admission after the revocation",
                vec![at(1, 2, Op::Added), at(3, 4, Op::Revoked), at(5, 6, Op::Seen(User::Active))],
            ),
            (
                "an acknowledged add that is lost",
                vec![at(1, 2, Op::Added), at(3, 4, Op::Seen(User::Absent))],
            ),
            ("two adds that both succeed", vec![at(1, 9, Op::Added), at(1, 9, Op::Added)]),
            ("a refused add without a user", vec![at(1, 2, Op::AddRefused), at(3, 4, Op::Added)]),
            (
                "a revocation that comes and goes",
                vec![
                    at(1, 2, Op::Added),
                    unanswered(3, Op::Revoked),
                    at(4, 5, Op::Seen(User::Revoked)),
                    at(6, 7, Op::Seen(User::Active)),
                ],
            ),
            (
                "an effect before its request",
                vec![at(1, 2, Op::Seen(User::Active)), unanswered(3, Op::Added)],
            ),
            ("a revocation of nobody", vec![at(1, 2, Op::Revoked)]),
        ];
        for (what, history) in wrong {
            assert!(!is_linearizable(&history), "not caught: {what}");
        }
    }

    #[test]
    fn an_admission_counts_as_late_only_when_it_began_after_the_acknowledgement() {
        let revoked = at(3, 6, Op::Revoked);
        let cases = [(2, 0), (4, 0), (6, 0), (7, 1)];
        for (invoked, late) in cases {
            let history = [revoked.clone(), at(invoked, 9, Op::Seen(User::Active))];
            assert_eq!(admitted_after_revocation(&history).len(), late, "asked at {invoked}");
        }
        let never_answered = [unanswered(3, Op::Revoked), at(7, 9, Op::Seen(User::Active))];
        assert!(admitted_after_revocation(&never_answered).is_empty());
    }

    /// Tries every order of every choice of unanswered events: slow, and plainly right.
    fn by_force(history: &[Event<Op>], state: User) -> bool {
        if history.iter().all(|event| event.returned.is_none()) {
            return true;
        }
        (0..history.len()).any(|first| {
            let event = &history[first];
            let mut rest = history.to_vec();
            rest.remove(first);
            let precedes =
                |other: &Event<Op>| other.returned.is_some_and(|end| end < event.invoked);
            !rest.iter().any(precedes)
                && event.op.step(&state).is_some_and(|next| by_force(&rest, next))
        })
    }

    fn any_event() -> impl Strategy<Value = Event<Op>> {
        let op = prop_oneof![
            Just(Op::Added),
            Just(Op::AddRefused),
            Just(Op::Revoked),
            Just(Op::Seen(User::Absent)),
            Just(Op::Seen(User::Active)),
            Just(Op::Seen(User::Revoked)),
        ];
        (0..12_u64, prop::option::weighted(0.8, 0..6_u64), op).prop_map(|(invoked, took, op)| {
            Event { invoked, returned: took.map(|took| invoked + took), op }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_search_finds_an_order_where_trying_all_of_them_does(
            history in prop::collection::vec(any_event(), 0..7)
        ) {
            prop_assert_eq!(is_linearizable(&history), by_force(&history, User::Absent));
        }
    }
}
