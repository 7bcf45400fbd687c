//! Making, finding and opening the file. Nothing here changes a file before it is known to be ours.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::schema::{self, Shape};
use crate::membership::error::{ErrorKind, StoreError, StoreResult};
use crate::membership::store::Deadline;

/// Only the owner reads or writes the file; SQLite gives its companions the same mode.
const PRIVATE: u32 = 0o600;

/// How every SQLite 3 database begins.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// How a store uses its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How many bytes the file may have; as many as there are when `None`. Operations that make it
    /// grow are refused from four fifths of it on, so that taking away always works.
    pub max_bytes: Option<NonZeroU64>,
}

/// What making a store came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// There was none.
    New,
    /// It was there already and was left as it is.
    Existing,
}

/// Which file a path named when it was opened. A file that was replaced or taken away would go on
/// answering: an open file outlives its name.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() })
    }

    /// Whether the path still names the same file.
    pub(super) fn check(&self) -> StoreResult<()> {
        let same = Self::of(&self.path)
            .is_ok_and(|now| (now.device, now.inode) == (self.device, self.inode));
        if same {
            return Ok(());
        }
        Err(StoreError::new(
            ErrorKind::Unavailable,
            format!(
                "the database file {} was replaced or taken away while it was in use: restart \
                 whatever uses it",
                self.path.display()
            ),
        ))
    }
}

/// Makes sure that there is a store of ours at the path.
pub(super) fn create(path: &Path, deadline: Deadline) -> StoreResult<Created> {
    let made = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(path);
    match made {
        Ok(_) => sync_folder(path).map_err(|error| unusable(path, error))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(unusable(path, error)),
    }
    check_header(path)?;
    let mut connection = told(path, connect(path, deadline))?;
    match told(path, schema::shape(&connection))? {
        Shape::Ours { .. } => Ok(Created::Existing),
        // Freshly made, or what an earlier try left that died right here.
        Shape::Empty => {
            connection.pragma_update(None, "journal_mode", "wal")?;
            schema::migrate(&mut connection)?;
            Ok(Created::New)
        }
    }
}

/// The connections of a store: the writer, and as many readers as asked for.
pub(super) struct Opened {
    pub(super) identity: Identity,
    pub(super) writer: Connection,
    pub(super) readers: Vec<Connection>,
}

/// Opens a store that is there, and brings it to the newest schema.
pub(super) fn open(
    path: &Path,
    settings: Settings,
    readers: usize,
    deadline: Deadline,
) -> StoreResult<Opened> {
    let identity = Identity::of(path).map_err(|error| unusable(path, error))?;
    check_header(path)?;
    let mut writer = told(path, connect(path, deadline))?;
    match told(path, schema::shape(&writer))? {
        Shape::Empty => return Err(none_here(path)),
        Shape::Ours { .. } => {}
    }
    writer.pragma_update(None, "journal_mode", "wal")?;
    schema::migrate(&mut writer)?;
    if let Some(max_bytes) = settings.max_bytes {
        let page: u64 = writer.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let pages = i64::try_from(max_bytes.get() / page.max(1)).unwrap_or(i64::MAX);
        writer.pragma_update(None, "max_page_count", pages)?;
    }
    let readers = (0..readers).map(|_| reader(path, deadline)).collect::<StoreResult<_>>()?;
    identity.check()?;
    Ok(Opened { identity, writer, readers })
}

fn reader(path: &Path, deadline: Deadline) -> StoreResult<Connection> {
    let connection = connect(path, deadline)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn connect(path: &Path, deadline: Deadline) -> StoreResult<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).map_err(|error| unusable(path, error))?;
    connection.busy_timeout(deadline.remaining())?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // An acknowledged write is on the disk: in WAL mode, only FULL waits for that.
    connection.pragma_update(None, "synchronous", "full")?;
    // The schema of a file that somebody else wrote into must not run functions of ours.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// A file that SQLite does not take for a database is not ours: nothing tells that it ever was.
fn told<T>(path: &Path, seen: StoreResult<T>) -> StoreResult<T> {
    seen.map_err(|error| {
        let not_a_database = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<rusqlite::Error>())
            .and_then(rusqlite::Error::sqlite_error_code)
            == Some(ErrorCode::NotADatabase);
        if not_a_database { no_database(path) } else { error }
    })
}

/// SQLite takes a file of a few bytes for an empty one and would write over it.
fn check_header(path: &Path) -> StoreResult<()> {
    let mut begin = Vec::with_capacity(MAGIC.len());
    let file = File::open(path).map_err(|error| unusable(path, error))?;
    file.take(MAGIC.len() as u64).read_to_end(&mut begin).map_err(|error| unusable(path, error))?;
    if begin.is_empty() || begin == MAGIC { Ok(()) } else { Err(no_database(path)) }
}

fn no_database(path: &Path) -> StoreError {
    StoreError::new(
        ErrorKind::ForeignStore,
        format!("{} is not a database; it was left alone. Name another file", path.display()),
    )
}

/// A new file's name is safe once its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn none_here(path: &Path) -> StoreError {
    StoreError::new(
        ErrorKind::NotFound,
        format!("there is no store in {}: make one with `membershipd init`", path.display()),
    )
}

fn unusable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    if !path.exists() {
        let why = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() && !parent.exists() => StoreError::new(
                ErrorKind::NotFound,
                format!("there is no folder {}: make it first", parent.display()),
            ),
            Some(_) | None => none_here(path),
        };
        return why.caused_by(error);
    }
    StoreError::new(ErrorKind::Unavailable, format!("{} cannot be opened", path.display()))
        .caused_by(error)
}
