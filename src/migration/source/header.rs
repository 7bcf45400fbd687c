//! What a file says of itself in its first bytes, before SQLite is let near it.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::migration::failure::{Failure, Outcome, Reason};

/// The largest source, in bytes: several times what the buckets of the largest sensible cluster
/// hold. A sparse file can claim any size.
pub const SOURCE_MAX_BYTES: u64 = 64 << 30;

/// How every SQLite 3 database begins.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// How a rollback journal that belongs to several databases at once ends.
const SUPER_JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Which file a path named. A file that was replaced has the same name and another identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Identity {
    fn new(path: &Path, metadata: &Metadata) -> Self {
        Self { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() }
    }

    /// Whether the path still names the same file.
    ///
    /// # Errors
    /// `SourceChanged` when it does not.
    pub fn check(&self) -> Outcome<()> {
        let now = std::fs::metadata(&self.path).map(|metadata| Self::new(&self.path, &metadata));
        if now.is_ok_and(|now| now == *self) {
            return Ok(());
        }
        Err(Failure::new(
            Reason::SourceChanged,
            format!(
                "{} was replaced or taken away while it was being migrated: put the file back, \
                 then run this again",
                self.path.display()
            ),
        ))
    }
}

/// What the first look finds.
#[derive(Clone, Debug)]
pub struct Header {
    /// Which file it is.
    pub identity: Identity,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Looks at the file and at what lies beside it.
///
/// # Errors
/// `SourceNotReadable`, `NotADatabase`, `TooLarge`, `IntegrityCheckFailed` for a file shorter than
/// it says, `SourceNotClean` for a journal that other databases share.
pub fn look(path: &Path) -> Outcome<Header> {
    let mut file = File::open(path).map_err(|error| not_readable(path, error))?;
    let metadata = file.metadata().map_err(|error| not_readable(path, error))?;
    let not_a_database = |why: &str| {
        Failure::new(
            Reason::NotADatabase,
            format!("{} is no SQLite database: {why}. Name another file", path.display()),
        )
    };
    if !metadata.is_file() {
        return Err(not_a_database("it is not a regular file"));
    }
    if metadata.len() > SOURCE_MAX_BYTES {
        return Err(Failure::new(
            Reason::TooLarge,
            format!(
                "{} has {} bytes; a source may have at most {SOURCE_MAX_BYTES}",
                path.display(),
                metadata.len()
            ),
        ));
    }
    let mut head = [0; 100];
    file.read_exact(&mut head).map_err(|_| not_a_database("it is too short"))?;
    if !head.starts_with(MAGIC) {
        return Err(not_a_database("its first bytes are not SQLite's, or it is encrypted"));
    }
    let page_size = page_size(&head).ok_or_else(|| not_a_database("its page size is none"))?;
    let header = Header { identity: Identity::new(path, &metadata), bytes: metadata.len() };
    if beside(path, "-journal").exists() || beside(path, "-wal").exists() {
        check_journal(path)?;
        // A crash may have cut the file short; the journal or the log makes up for it.
        return Ok(header);
    }
    if !metadata.len().is_multiple_of(page_size) {
        return Err(not_a_database("its size is not a whole number of pages"));
    }
    if pages(&head).is_some_and(|pages| pages.saturating_mul(page_size) > metadata.len()) {
        return Err(Failure::new(
            Reason::IntegrityCheckFailed,
            format!("{} is shorter than it says: restore it from a backup", path.display()),
        ));
    }
    Ok(header)
}

/// The path of a companion of a database.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn page_size(head: &[u8; 100]) -> Option<u64> {
    match u16::from_be_bytes([head[16], head[17]]) {
        1 => Some(65536),
        size if size >= 512 && size.is_power_of_two() => Some(size.into()),
        _ => None,
    }
}

/// How many pages the file says to have; `None` when it was last written by a program too old to
/// keep that number.
fn pages(head: &[u8; 100]) -> Option<u64> {
    (head[24..28] == head[92..96])
        .then(|| u32::from_be_bytes([head[28], head[29], head[30], head[31]]).into())
}

/// Rolling back a journal that names a super-journal would open a file that the journal names, in
/// whatever folder.
fn check_journal(path: &Path) -> Outcome<()> {
    let journal = beside(path, "-journal");
    let shared = match File::open(&journal) {
        Ok(mut journal) => ends_with(&mut journal, SUPER_JOURNAL_MAGIC)
            .map_err(|error| not_readable(path, error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(not_readable(&journal, error)),
    };
    if !shared {
        return Ok(());
    }
    Err(Failure::new(
        Reason::SourceNotClean,
        format!(
            "{} has an unfinished transaction over several databases: open it once with the \
             program that wrote it, then run this again",
            path.display()
        ),
    ))
}

fn ends_with(file: &mut File, end: [u8; 8]) -> io::Result<bool> {
    if file.metadata()?.len() < 8 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-8))?;
    let mut last = [0; 8];
    file.read_exact(&mut last)?;
    Ok(last == end)
}

fn not_readable(path: &Path, error: io::Error) -> Failure {
    let why = if error.kind() == io::ErrorKind::NotFound {
        "there is no such file: check its path".to_owned()
    } else {
        whose(path)
    };
    Failure::new(Reason::SourceNotReadable, format!("{} cannot be read: {why}", path.display()))
        .caused_by(error)
}

/// Who owns a file that keeps us out, and who we are.
fn whose(path: &Path) -> String {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let us = format!(
        "this runs as user {user} and group {group}",
        user = user.as_raw(),
        group = group.as_raw()
    );
    match std::fs::metadata(path) {
        Ok(file) => format!(
            "it belongs to user {} and group {} with mode {:04o}, and {us}: run this as that user, \
             or change the owner or mode",
            file.uid(),
            file.gid(),
            file.mode() & 0o7777
        ),
        Err(_) => format!("its folder cannot be entered, and {us}: check owners and modes"),
    }
}
