//! Files with bytes changed at random: whatever comes of it, it comes soon, in little memory, and
//! as a reason.

use std::time::Duration;

use membership_operator::migration::prepare::{Prepared, prepare};
use membership_operator::migration::watch::Nobody;
use rustix::time::{ClockId, clock_gettime};

use crate::memory::peak_kib;
use crate::sources::Source;

/// Files a round; `TEST_ROUNDS` rounds.
const FILES: u64 = 250;

/// The most time that one file may take, by the clock and by this thread's own.
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
            2 => dice.below(bytes.len().div_ceil(4096)) * 4096 + dice.below(64),
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

/// How often a file is tried before it counts as slow by the clock.
const TRIES: usize = 5;

fn time_of(clock: ClockId) -> Duration {
    clock_gettime(clock).try_into().unwrap()
}

/// Whether the file can be moved, and how long it took to find out.
fn judged(source: &Source) -> (bool, Duration, Duration) {
    let (began, own) = (time_of(ClockId::Monotonic), time_of(ClockId::ThreadCPUTime));
    let moved = prepare(&source.options(), &Nobody).is_ok();
    (moved, time_of(ClockId::Monotonic) - began, time_of(ClockId::ThreadCPUTime) - own)
}

/// A file, and the log or journal beside it.
struct Files {
    database: Vec<u8>,
    beside: Option<(&'static str, Vec<u8>)>,
}

impl Files {
    fn laid_out(&self) -> Source {
        let source = Source::of_bytes(&self.database);
        if let Some((suffix, bytes)) = &self.beside {
            let name = format!("{}{suffix}", source.path.display());
            std::fs::write(name, bytes).unwrap();
        }
        source
    }

    /// What a crash left: changed pages in the file or in the log, and what is needed to mend that.
    fn after_a_crash(journal: &str, suffix: &'static str) -> Self {
        let source = Source::legacy();
        let writer = source.connect();
        writer.pragma_update(None, "journal_mode", journal).unwrap();
        writer.execute_batch("PRAGMA cache_size = 1; UPDATE users SET handle = 'y'; BEGIN; UPDATE users SET handle = 'x'").unwrap();
        writer
            .execute_batch(
                "CREATE TABLE big (x); WITH RECURSIVE n(i) AS
                 (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
                 INSERT INTO big SELECT randomblob(900) FROM n",
            )
            .unwrap();
        let database = std::fs::read(&source.path).unwrap();
        let beside = std::fs::read(format!("{}{suffix}", source.path.display())).unwrap();
        assert!(!beside.is_empty());
        Self { database, beside: Some((suffix, beside)) }
    }
}

/// Whole files of every kind to begin from.
async fn whole() -> Vec<Files> {
    let ours = Source::ours().await;
    ours.execute("PRAGMA journal_mode = delete");
    let alone =
        |source: &Source| Files { database: std::fs::read(&source.path).unwrap(), beside: None };
    let fenced = Source::legacy();
    let Prepared { lock, schema, .. } = fenced.prepare().unwrap();
    drop(lock.raise(&schema).unwrap());
    vec![
        alone(&Source::legacy()),
        alone(&ours),
        alone(&fenced),
        Files::after_a_crash("wal", "-wal"),
        Files::after_a_crash("delete", "-journal"),
    ]
}

fn rounds() -> u64 {
    std::env::var("TEST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(1)
}

#[tokio::test]
async fn a_file_changed_at_random_neither_crashes_nor_hangs_nor_fills_the_memory() {
    let mut whole = whole().await;
    let (mut moved, mut refused) = (0_u64, 0_u64);
    for seed in 0..FILES * rounds() {
        let mut dice = Dice(seed);
        let kind = dice.below(whole.len());
        let files = &mut whole[kind];
        let before = (files.database.clone(), files.beside.clone());
        match &mut files.beside {
            // The log is read first, and is believed.
            Some((_, beside)) if dice.below(3) > 0 => mutate(beside, &mut dice),
            Some(_) | None => mutate(&mut files.database, &mut dice),
        }
        let (could, mut clock, own) = judged(&files.laid_out());
        // What hangs does so each time; a machine with other work does not.
        for _ in 1..TRIES {
            if clock >= TIME_MAX {
                clock = clock.min(judged(&files.laid_out()).1);
            }
        }
        assert!(clock < TIME_MAX && own < TIME_MAX, "seed {seed} took {clock:?} ({own:?})");
        moved += u64::from(could);
        refused += u64::from(!could);
        (files.database, files.beside) = before;
    }
    let peak = peak_kib();
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");
    // Both must happen, or the changes are too mild or too wild to find anything.
    assert!(moved > FILES / 20 && refused > FILES / 20, "{moved} moved, {refused} refused");
}
