//! Old files to move: of the old program and of ours.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use membership_operator::membership::ids::UserKey;
use membership_operator::membership::sqlite::SqliteStore;
use membership_operator::membership::store::Deadline;
use membership_operator::migration::failure::Outcome;
use membership_operator::migration::prepare::{Backup, Prepared, SourceOptions, prepare};
use membership_operator::migration::watch::Nobody;
use rusqlite::Connection;
use tempfile::TempDir;

/// The tables of the old program, as `docs/adr` assumes them.
pub const LEGACY_TABLES: &str = include_str!("../sample/tables.sql");

/// A file in a folder of its own.
pub struct Source {
    pub folder: TempDir,
    pub path: PathBuf,
}

impl Source {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("membership.db");
        Self { folder, path }
    }

    /// A file of the old program whose users' tree leads back to its root.
    pub fn of_a_tree_that_bites_its_tail() -> Self {
        let source = Self::of_sql(LEGACY_TABLES);
        source.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 999)
            INSERT INTO users SELECT printf('%064d', i), 'x', 'user', 0 FROM n",
        );
        let root: u64 = source
            .connect()
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'users'", [], |row| {
                row.get(0)
            })
            .unwrap();
        let file = fs::File::options().write(true).read(true).open(&source.path).unwrap();
        let page = (root - 1) * 4096;
        let mut kind = [0];
        file.read_exact_at(&mut kind, page).unwrap();
        assert_eq!(kind, [5], "an inner page");
        // Its right-most child is the page itself.
        file.write_all_at(&u32::try_from(root).unwrap().to_be_bytes(), page + 8).unwrap();
        source
    }

    /// A file that these statements make.
    pub fn of_sql(sql: &str) -> Self {
        let source = Self::new();
        source.execute(sql);
        source
    }

    /// The old program's file with two rooms, one of them at epoch 2, and a revoked user.
    pub fn legacy() -> Self {
        Self::of_sql(&format!("{LEGACY_TABLES}{}", legacy_rows()))
    }

    /// An empty file of ours.
    pub async fn ours() -> Self {
        let source = Self::new();
        SqliteStore::create(&source.path, soon()).await.unwrap();
        source
    }

    /// A file that holds these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let source = Self::new();
        fs::write(&source.path, bytes).unwrap();
        source
    }

    pub fn connect(&self) -> Connection {
        Connection::open(&self.path).unwrap()
    }

    pub fn execute(&self, sql: &str) {
        self.connect().execute_batch(sql).unwrap();
    }

    pub fn backups(&self) -> PathBuf {
        self.folder.path().join("backups")
    }

    pub fn options(&self) -> SourceOptions {
        SourceOptions {
            path: self.path.clone(),
            backup: Backup::In(self.backups()),
            dry_run: false,
            allow_empty: false,
            patience: Duration::from_millis(200),
        }
    }

    pub fn prepare(&self) -> Outcome<Prepared> {
        prepare(&self.options(), &Nobody)
    }
}

/// Rows of the old program: users 1 to 3, of whom 3 is revoked, in two rooms.
pub fn legacy_rows() -> String {
    let [one, two, three] = [user(1), user(2), user(3)];
    format!(
        "INSERT INTO users VALUES ('{one}', 'Ada', 'admin', 0), ('{two}', 'Bo B', 'user', 0),
            ('{three}', 'Cy', 'service', 1);
         INSERT INTO rooms VALUES ('open', 'bus.open', '{one}', 0, 1, 1000),
            ('sealed', 'bus.sealed', '{two}', 1, 2, 2000);
         INSERT INTO room_members VALUES ('open', '{one}', 'owner', '{one}', 1000),
            ('open', '{two}', 'member', '{one}', 1001),
            ('sealed', '{two}', 'owner', '{two}', 2000),
            ('sealed', 'phone.7', 'member', '{two}', 2001);
         INSERT INTO room_keys VALUES ('sealed', '{two}', 1, x'01'), ('sealed', '{two}', 2, x'02'),
            ('sealed', 'phone.7', 2, x'03');"
    )
}

/// The n-th user's key: a real public key, the same in every run.
pub fn user(n: u32) -> UserKey {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_bytes(&seed).verifying_key().to_bytes().try_into().unwrap()
}

/// Longer than anything healthy takes on a loaded machine.
pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

/// What a file holds in these tables, row by row, as text.
pub fn dump(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let tables: Vec<String> = connection
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE '\\_unibus%'
             ESCAPE '\\' ORDER BY name",
        )
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut lines = Vec::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells: Vec<_> = (0..columns).map(|n| row.get_ref(n).unwrap()).collect();
            lines.push(format!("{table} {cells:?}"));
        }
    }
    lines
}
