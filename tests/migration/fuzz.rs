//! Files with bytes changed at random: whatever comes of it, it comes soon, in little memory, and
//! as a reason.

use std::time::Duration;

use membership_operator::migration::prepare::prepare;
use membership_operator::migration::watch::Nobody;
use rustix::time::{ClockId, clock_gettime};

use crate::memory::peak_kib;
use crate::sources::Source;

/// Files a round; `TEST_ROUNDS` rounds.
const FILES: u64 = 250;

/// The most time of this thread that one file may take.
const TIME_MAX: Duration = Duration::from_secs(1);

/// The most memory that all of it may take, in KiB.
const MEMORY_MAX_KIB: u64 = 256 << 10;

/// A small generator, so that a seed says which file it was.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let at = match dice.below(4) {
            // The header, and the first page with the list of tables, matter most.
            0 => dice.below(108),
            1 => dice.below(4096),
            // The beginning of some page.
            2 => dice.below(bytes.len() / 4096) * 4096 + dice.below(64),
            _ => dice.below(bytes.len()),
        };
        if at >= bytes.len() {
            continue;
        }
        match dice.below(6) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes[at] = u8::try_from(dice.below(256)).unwrap(),
            2 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
            3 => bytes[at..].iter_mut().take(64).for_each(|byte| *byte = 0),
            4 => {
                let from = dice.below(bytes.len());
                let piece: Vec<u8> = bytes[from..].iter().copied().take(32).collect();
                for (place, byte) in bytes[at..].iter_mut().zip(piece) {
                    *place = byte;
                }
            }
            _ => bytes.truncate(at.max(1)),
        }
    }
}

fn thread_time() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

fn rounds() -> u64 {
    std::env::var("TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

#[tokio::test]
async fn a_file_changed_at_random_neither_crashes_nor_hangs_nor_fills_the_memory() {
    let legacy = std::fs::read(Source::legacy().path).unwrap();
    let ours = Source::ours().await;
    ours.execute("PRAGMA journal_mode = delete");
    let ours = std::fs::read(&ours.path).unwrap();
    let (mut moved, mut refused) = (0_u64, 0_u64);
    for seed in 0..FILES * rounds() {
        let mut dice = Dice(seed);
        let mut bytes = if dice.below(3) == 0 { ours.clone() } else { legacy.clone() };
        mutate(&mut bytes, &mut dice);
        let source = Source::of_bytes(&bytes);
        let before = thread_time();
        match prepare(&source.options(), &Nobody) {
            Ok(_) => moved += 1,
            Err(_) => refused += 1,
        }
        let took = thread_time() - before;
        assert!(took < TIME_MAX, "seed {seed} took {took:?}");
    }
    let peak = peak_kib();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
    // Both must happen, or the changes are too mild or too wild to find anything.
    assert!(moved > 0 && refused > moved, "{moved} moved, {refused} refused");
}
