
    CREATE TABLE users (pubkey TEXT PRIMARY KEY, handle TEXT NOT NULL, role TEXT NOT NULL,
        revoked INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE rooms (room_id TEXT PRIMARY KEY, subject TEXT NOT NULL, owner TEXT NOT NULL,
        encrypted INTEGER NOT NULL DEFAULT 0, epoch INTEGER NOT NULL DEFAULT 1,
        created_at INTEGER NOT NULL);
    CREATE TABLE room_members (room_id TEXT NOT NULL, endpoint TEXT NOT NULL, role TEXT NOT NULL,
        added_by TEXT NOT NULL, added_at INTEGER NOT NULL, PRIMARY KEY (room_id, endpoint));
    CREATE TABLE room_keys (room_id TEXT NOT NULL, endpoint TEXT NOT NULL, epoch INTEGER NOT NULL,
        sealed_key BLOB NOT NULL, PRIMARY KEY (room_id, endpoint, epoch));
