//! What a membership amounts to, whatever keeps it and in whatever order it is read: how many
//! records of each kind, and the sum of their hashes.

use std::fmt;

use data_encoding::HEXLOWER;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::membership::snapshot::{Record, Table};

/// The bytes that a record is hashed as: its line in an export.
///
/// # Errors
/// Never for a record of ours; `serde_json` cannot promise it.
pub fn canonical(record: &Record) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    serde_json::to_vec(record).map(Zeroizing::new)
}

/// A sum of SHA-256 hashes, each taken as one number, modulo 2^256. It says the same of the same
/// records in any order. It guards against loss and mistakes, not against somebody who may choose
/// both sides: sums of hashes can be forged.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    fn add(&mut self, bytes: [u8; 32]) {
        let mut carry = 0;
        for (sum, byte) in self.0.iter_mut().zip(bytes).rev() {
            let [high, low] = (u16::from(*sum) + u16::from(byte) + carry).to_be_bytes();
            (carry, *sum) = (u16::from(high), low);
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Records of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// The sum of their hashes.
    pub digest: Digest,
}

impl Tally {
    /// Counts one record in, given as its canonical bytes.
    pub fn count(&mut self, canonical: &[u8]) {
        self.count += 1;
        self.digest.add(Sha256::digest(canonical).into());
    }
}

/// Records of every kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tallies {
    /// The users.
    pub users: Tally,
    /// The rooms.
    pub rooms: Tally,
    /// The members of all rooms.
    pub members: Tally,
    /// The sealed keys.
    pub room_keys: Tally,
}

impl Tallies {
    /// The tally of one kind.
    #[must_use]
    pub const fn of(&self, table: Table) -> Tally {
        match table {
            Table::Users => self.users,
            Table::Rooms => self.rooms,
            Table::Members => self.members,
            Table::RoomKeys => self.room_keys,
        }
    }

    /// The tally of one kind, to count into.
    pub const fn of_mut(&mut self, table: Table) -> &mut Tally {
        match table {
            Table::Users => &mut self.users,
            Table::Rooms => &mut self.rooms,
            Table::Members => &mut self.members,
            Table::RoomKeys => &mut self.room_keys,
        }
    }

    /// How many records in all.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.users.count + self.rooms.count + self.members.count + self.room_keys.count
    }

    /// One digest for everything: which membership this is.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        for table in Table::ALL {
            let tally = self.of(table);
            hash.update(tally.count.to_be_bytes());
            hash.update(tally.digest.0);
        }
        Digest(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_the_same_in_any_order_and_carries_over() {
        let tally = |lines: &[&[u8]]| {
            let mut tally = Tally::default();
            lines.iter().for_each(|line| tally.count(line));
            tally
        };
        assert_eq!(tally(&[b"a", b"b", b"c"]), tally(&[b"c", b"a", b"b"]));
        assert_ne!(tally(&[b"a", b"b"]).digest, tally(&[b"a", b"a"]).digest);
        let mut all_ones = Digest([0xff; 32]);
        let mut one = [0; 32];
        one[31] = 1;
        all_ones.add(one);
        assert_eq!(all_ones, Digest::default(), "the sum is taken modulo 2^256");
    }

    #[test]
    fn records_that_change_kind_change_the_digest() {
        let (mut one, mut other) = (Tallies::default(), Tallies::default());
        one.of_mut(Table::Users).count(b"x");
        other.of_mut(Table::Rooms).count(b"x");
        assert_ne!(one.digest(), other.digest());
        assert_eq!((one.total(), other.total()), (1, 1));
    }
}
