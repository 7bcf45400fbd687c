-- What is true of the whole store: one row. The schema version lies in SQLite's own header.
CREATE TABLE control (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    -- Random, made once: tells this store from every other.
    store_id TEXT NOT NULL,
    -- Counts write transactions; each record says which one wrote it last.
    revision INTEGER NOT NULL CHECK (revision >= 0),
    -- The key of the admin that came in through the gate for the first one; never taken back.
    first_admin TEXT,
    -- When a service first answered from this store, in milliseconds since 1970.
    served_since INTEGER
) STRICT;

INSERT INTO control (only_row, store_id, revision) VALUES (1, lower(hex(randomblob(16))), 0);

CREATE TABLE users (
    user_key TEXT PRIMARY KEY NOT NULL,
    handle TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'user', 'service')),
    status TEXT NOT NULL CHECK (status IN ('active', 'revoked')),
    revision INTEGER NOT NULL,
    mutation TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('service', 'import'))
) STRICT, WITHOUT ROWID;

CREATE TABLE rooms (
    room TEXT PRIMARY KEY NOT NULL,
    incarnation TEXT NOT NULL,
    subject TEXT NOT NULL,
    owner TEXT NOT NULL,
    encrypted INTEGER NOT NULL CHECK (encrypted IN (0, 1)),
    roster_revision INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    mutation TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('service', 'import'))
) STRICT, WITHOUT ROWID;

-- The committed epochs that a room keeps, each with the one attempt whose keys count.
CREATE TABLE room_epochs (
    room TEXT NOT NULL REFERENCES rooms,
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    attempt TEXT NOT NULL,
    PRIMARY KEY (room, epoch)
) STRICT, WITHOUT ROWID;

-- A member that was taken out stays as a marker, so that no import brings it back.
CREATE TABLE members (
    room TEXT NOT NULL REFERENCES rooms,
    endpoint TEXT NOT NULL,
    added_by TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
    revision INTEGER NOT NULL,
    mutation TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('service', 'import')),
    PRIMARY KEY (room, endpoint)
) STRICT, WITHOUT ROWID;

CREATE INDEX rooms_by_member ON members (endpoint, room) WHERE removed = 0;

-- The rekeys that were begun and may still be committed.
CREATE TABLE rekeys (
    attempt TEXT PRIMARY KEY NOT NULL,
    room TEXT NOT NULL REFERENCES rooms,
    epoch INTEGER NOT NULL,
    room_revision INTEGER NOT NULL,
    begun_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys count only under an attempt that room_epochs names and for a member that is in the room.
CREATE TABLE room_keys (
    room TEXT NOT NULL REFERENCES rooms,
    endpoint TEXT NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch >= 1),
    attempt TEXT NOT NULL,
    sealed BLOB NOT NULL CHECK (length(sealed) BETWEEN 1 AND 65536),
    revision INTEGER NOT NULL,
    mutation TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('service', 'import')),
    PRIMARY KEY (room, endpoint, epoch, attempt)
) STRICT;

-- Requests that were answered, so that one sent twice is done once. Never exported.
CREATE TABLE requests (
    caller TEXT NOT NULL,
    nonce TEXT NOT NULL,
    body_hash BLOB NOT NULL,
    outcome TEXT NOT NULL,
    answered_at INTEGER NOT NULL,
    PRIMARY KEY (caller, nonce)
) STRICT, WITHOUT ROWID;
