//! A believable membership in a file of the old program: people with names, rooms with subjects,
//! and sealed keys for every member of an encrypted room at each of its last epochs. The same seed
//! gives the same file.

use std::path::Path;

use ed25519_dalek::SigningKey;
use rusqlite::{Connection, Transaction, params};

/// The tables of the old program; `docs/adr/0006-the-old-programs-file.md` explains them.
const TABLES: &str = include_str!("tables.sql");

const FIRST: [&str; 20] = [
    "Ada", "Alan", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace", "Hedy", "Ivan",
    "Joan", "Ken", "Leslie", "Margaret", "Niklaus", "Olga", "Peter", "Radia", "Sophie", "Tim",
];

const LAST: [&str; 20] = [
    "Allen", "Baker", "Clarke", "Dijkstra", "Evans", "Franklin", "Gauss", "Hopper", "Ito",
    "Johnson", "Knuth", "Lamport", "Mbeki", "Noether", "Okafor", "Perlman", "Ritchie", "Shannon",
    "Turing", "Wirth",
];

const TOPICS: [&str; 10] = [
    "announcements",
    "billing",
    "deploys",
    "design",
    "incidents",
    "kitchen",
    "on-call",
    "random",
    "releases",
    "security",
];

/// Milliseconds since 1970 of a morning in the year 2024.
const BEGAN: i64 = 1_704_096_000_000;

/// How much there is of what.
#[derive(Clone, Copy, Debug)]
pub struct Amounts {
    /// Users, of whom every hundredth is an admin and every twentieth was revoked.
    pub users: u32,
    /// Rooms, of which two of three are encrypted.
    pub rooms: u32,
    /// Members of each room.
    pub members: u32,
    /// The highest epoch that a room has come to.
    pub epochs: u32,
}

/// Rows in all tables together.
pub type Rows = usize;

/// Makes a new file.
///
/// # Errors
/// What SQLite says.
pub fn write(path: &Path, amounts: Amounts, seed: u64) -> rusqlite::Result<Rows> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    let mut random = fastrand::Rng::with_seed(seed);
    let users = users(&transaction, amounts, &mut random)?;
    let mut rows = users.len();
    for number in 0..amounts.rooms {
        rows += room(&transaction, number, amounts, &users, &mut random)?;
    }
    transaction.commit()?;
    Ok(rows)
}

fn users(
    to: &Transaction<'_>,
    amounts: Amounts,
    random: &mut fastrand::Rng,
) -> rusqlite::Result<Vec<String>> {
    let mut insert = to.prepare("INSERT INTO users VALUES (?1, ?2, ?3, ?4)")?;
    let mut keys = Vec::new();
    for number in 0..amounts.users {
        let mut seed = [0; 32];
        random.fill(&mut seed);
        let key = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        let pick = |names: &[&'static str; 20], n: u32| names[n as usize % names.len()];
        let handle =
            format!("{} {} {number}", pick(&FIRST, number), pick(&LAST, number / 20 + number));
        let role = if number.is_multiple_of(100) { "admin" } else { "user" };
        let revoked = u8::from(number % 20 == 19);
        insert.execute(params![key, handle, role, revoked])?;
        keys.push(key);
    }
    Ok(keys)
}

fn room(
    to: &Transaction<'_>,
    number: u32,
    amounts: Amounts,
    users: &[String],
    random: &mut fastrand::Rng,
) -> rusqlite::Result<Rows> {
    let topic = TOPICS[number as usize % TOPICS.len()];
    let (id, subject) = (format!("{topic}-{number}"), format!("bus.{topic}.{number}"));
    let encrypted = !number.is_multiple_of(3);
    let epoch = if encrypted { random.u32(1..=amounts.epochs.max(1)) } else { 1 };
    let created = BEGAN + i64::from(number) * 3_600_000;
    let members = random.choose_multiple(users.iter(), amounts.members as usize);
    let Some(owner) = members.first().copied() else { return Ok(0) };
    to.execute(
        "INSERT INTO rooms VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![id, subject, owner, u8::from(encrypted), epoch, created],
    )?;
    let mut rows = 1;
    for (place, member) in members.iter().enumerate() {
        let role = if place == 0 { "owner" } else { "member" };
        to.execute(
            "INSERT INTO room_members VALUES (?1, ?2, ?3, ?4, ?5)",
            params![id, member, role, owner, created + i64::try_from(place).unwrap_or(0)],
        )?;
        rows += 1;
        for epoch in (1..=epoch).rev().take(3).filter(|_| encrypted) {
            let mut sealed = [0; 120];
            random.fill(&mut sealed);
            to.execute(
                "INSERT INTO room_keys VALUES (?1, ?2, ?3, ?4)",
                params![id, member, epoch, sealed.as_slice()],
            )?;
            rows += 1;
        }
    }
    Ok(rows)
}
