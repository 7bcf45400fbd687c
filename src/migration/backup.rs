//! The copy of the source that everything is read from, and that is kept as the backup.
//!
//! SQLite's `VACUUM INTO` writes into an empty file that is there and follows a link, with a mode
//! that lets everybody read. So it writes into a folder that was made for it a moment ago.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::failure::{Failure, Outcome, Reason};
use super::lock;
use super::source::guard::{self, Access};
use super::source::schema::Schema;

/// What is kept free beside the copy and the staging file, in bytes.
const SPARE_BYTES: u64 = 16 << 20;

/// A fresh folder that only we can enter. It goes with everything in it.
pub struct PrivateFolder {
    folder: tempfile::TempDir,
    /// Says that the folder is in use; the system lets go of it when this process ends.
    _held: File,
    home: PathBuf,
}

/// A whole copy of the source in a private folder.
pub struct Copy {
    folder: PrivateFolder,
    path: PathBuf,
    bytes: u64,
}

impl PrivateFolder {
    /// Makes one in the folder for backups, which is made when it is not there.
    ///
    /// # Errors
    /// `BackupFailed`, `NoSpace` when the source would not fit twice.
    pub fn in_home(home: &Path, source_bytes: u64) -> Outcome<Self> {
        let cannot = |error| failed(&format!("{} takes no backup", home.display()), error);
        DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(cannot)?;
        let space = rustix::fs::statvfs(home).map_err(|error| cannot(error.into()))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let needed = source_bytes.saturating_mul(2).saturating_add(SPARE_BYTES);
        if free < needed {
            return Err(Failure::new(
                Reason::NoSpace,
                format!(
                    "{} has {free} bytes free; the backup and its check need {needed}: make room, \
                     or name another folder with --backup-dir",
                    home.display()
                ),
            ));
        }
        remove_leftovers(home).map_err(cannot)?;
        // Its mode is 0700, whatever the umask.
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(home).map_err(cannot)?;
        let held = File::open(folder.path()).map_err(cannot)?;
        flock(&held, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| cannot(error.into()))?;
        Ok(Self { folder, _held: held, home: home.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// How the name of every private folder begins.
const PREFIX: &str = ".migration-";

/// Folders of earlier tries that were killed. One that is in use is held by a lock.
fn remove_leftovers(home: &Path) -> io::Result<()> {
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !ours || !entry.file_type()?.is_dir() {
            continue;
        }
        let folder = File::open(entry.path())?;
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

impl Copy {
    /// Copies the source, whose schema was checked and which somebody holds still.
    ///
    /// # Errors
    /// As [`guard::explain`], and `NoSpace`.
    pub fn of(source: &Path, bytes: u64, folder: PrivateFolder) -> Outcome<Self> {
        let path = folder.path().join("copy.db");
        // Made beforehand with its mode: SQLite takes an empty file as it is.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|error| failed("the copy cannot be made", error))?;
        let name = path.to_str().ok_or_else(|| {
            Failure::new(
                Reason::BackupFailed,
                "the backup folder's name is not UTF-8: name another",
            )
        })?;
        let connection = guard::open(source, bytes, Access::Copy)?;
        connection.execute("VACUUM INTO ?1", [name]).map_err(guard::explain)?;
        let bytes = fs::metadata(&path).map_err(|error| failed("the copy is gone", error))?.len();
        Ok(Self { folder, path, bytes })
    }

    /// The folder, for whatever else must lie beside the copy.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Opens it under the rules for files that nobody vouches for.
    ///
    /// # Errors
    /// As [`guard::open`].
    pub fn open(&self, access: Access) -> Outcome<Connection> {
        guard::open(&self.path, self.bytes, access)
    }

    /// Takes our fence out, so that the backup restores as a file that can be written.
    ///
    /// # Errors
    /// As [`guard::explain`].
    pub fn remove_fence(&self, schema: &Schema) -> Outcome<()> {
        if !schema.fenced {
            return Ok(());
        }
        let connection = Connection::open(&self.path).map_err(guard::explain)?;
        lock::remove(&connection, &schema.tables).map_err(guard::explain)
    }

    /// What the file is, byte for byte.
    ///
    /// # Errors
    /// `BackupFailed` when it cannot be read.
    pub fn fingerprint(&self) -> Outcome<[u8; 32]> {
        fingerprint(&self.path)
    }

    /// Keeps the copy as the backup of this membership, under a name that says which one it is, if
    /// it still is the file that was read.
    ///
    /// # Errors
    /// `BackupFailed`.
    pub fn keep(self, digest: &Digest, read: [u8; 32]) -> Outcome<PathBuf> {
        let file = File::open(&self.path).map_err(|error| failed("the copy is gone", error))?;
        file.sync_all().map_err(|error| failed("the backup cannot be written to disk", error))?;
        if self.fingerprint()? != read {
            return Err(Failure::new(
                Reason::BackupFailed,
                "the backup changed after it was written and read: check the disk",
            ));
        }
        let mut name = digest.to_string();
        name.truncate(16);
        let kept = self.folder.home.join(format!("membership-{name}.db"));
        fs::rename(&self.path, &kept)
            .and_then(|()| fs::set_permissions(&kept, Permissions::from_mode(0o600)))
            .and_then(|()| File::open(&self.folder.home)?.sync_all())
            .map_err(|error| failed("the backup cannot be given its name", error))?;
        Ok(kept)
    }
}

fn fingerprint(path: &Path) -> Outcome<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut file = File::open(path).map_err(|error| failed("the backup cannot be read", error))?;
    io::copy(&mut file, &mut HashWriter(&mut hash))
        .map_err(|error| failed("the backup cannot be read", error))?;
    Ok(hash.finalize().into())
}

struct HashWriter<'h>(&'h mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed(what: &str, error: io::Error) -> Failure {
    let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&error.kind());
    let reason = if full { Reason::NoSpace } else { Reason::BackupFailed };
    Failure::new(
        reason,
        format!(
            "{what}: check the folder, its owner and its mode, or name another with --backup-dir"
        ),
    )
    .caused_by(error)
}
