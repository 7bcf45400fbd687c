//! The search for an order. It knows nothing of users.

use std::collections::HashSet;
use std::hash::Hash;

/// One request of a history. Times only need an order; they come from one monotonic clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<O> {
    /// When it was asked.
    pub invoked: u64,
    /// When it was answered. `None`: never, so it may take effect at any later time, or not at all.
    pub returned: Option<u64>,
    /// What was asked and what was answered.
    pub op: O,
}

/// What one key is, step by step.
pub trait Model {
    type State: Clone + Default + Eq + Hash;

    /// The state after this step; `None` when the answer would be wrong in this state.
    fn step(&self, state: &Self::State) -> Option<Self::State>;
}

/// Whether some order explains the history of one key.
pub fn is_linearizable<O: Model>(history: &[Event<O>]) -> bool {
    let mut been = HashSet::new();
    let mut todo = vec![(vec![false; history.len()], O::State::default())];
    while let Some((placed, state)) = todo.pop() {
        if is_complete(history, &placed) {
            return true;
        }
        // Whatever came after an answered event cannot be placed before it.
        let horizon = unplaced(history, &placed).filter_map(|(_, event)| event.returned).min();
        for (index, event) in unplaced(history, &placed) {
            if horizon.is_some_and(|horizon| event.invoked > horizon) {
                continue;
            }
            if let Some(next) = event.op.step(&state) {
                let mut placed = placed.clone();
                placed[index] = true;
                if been.insert((placed.clone(), next.clone())) {
                    todo.push((placed, next));
                }
            }
        }
    }
    false
}

fn unplaced<'a, O>(
    history: &'a [Event<O>],
    placed: &'a [bool],
) -> impl Iterator<Item = (usize, &'a Event<O>)> {
    history.iter().enumerate().filter(|(index, _)| !placed[*index])
}

/// An event that was never answered need not have happened.
fn is_complete<O>(history: &[Event<O>], placed: &[bool]) -> bool {
    unplaced(history, placed).all(|(_, event)| event.returned.is_none())
}
