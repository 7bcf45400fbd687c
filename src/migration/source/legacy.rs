//! What is assumed of the file that the old program kept. `docs/adr` says why, and what to do when
//! it turns out otherwise.

/// A table of the old program, with the columns that a migration needs.
#[derive(Debug)]
pub struct LegacyTable {
    /// Its name.
    pub name: &'static str,
    /// The columns that must be there.
    pub columns: &'static [&'static str],
}

/// The users: `revoked` is 0 or 1.
pub const USERS: LegacyTable =
    LegacyTable { name: "users", columns: &["pubkey", "handle", "role", "revoked"] };

/// The rooms: `encrypted` is 0 or 1, `created_at` in milliseconds since 1970.
pub const ROOMS: LegacyTable = LegacyTable {
    name: "rooms",
    columns: &["room_id", "subject", "owner", "encrypted", "epoch", "created_at"],
};

/// The members of all rooms: `added_at` in milliseconds since 1970.
pub const MEMBERS: LegacyTable = LegacyTable {
    name: "room_members",
    columns: &["room_id", "endpoint", "role", "added_by", "added_at"],
};

/// The sealed keys: `sealed_key` is a blob.
pub const ROOM_KEYS: LegacyTable =
    LegacyTable { name: "room_keys", columns: &["room_id", "endpoint", "epoch", "sealed_key"] };

/// All tables that must be there.
pub const TABLES: [&LegacyTable; 4] = [&USERS, &ROOMS, &MEMBERS, &ROOM_KEYS];
