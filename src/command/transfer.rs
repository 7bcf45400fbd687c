//! `membershipd export` and `membershipd import`: a store as lines of JSON, in order, page by page.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::choice::of_process;
use super::cli::{ExportArgs, ImportArgs};
use super::error::{CommandError, CommandResult};
use super::lines::Lines;
use super::show;
use crate::membership::MembershipStore;
use crate::membership::error::StoreError;
use crate::membership::snapshot::{Record, Table};
use crate::membership::store::{ImportCounts, ImportMode, PageLimit, PageRequest};
use crate::runtime::version::OutputFormat;

/// Records in one page of an import: one atomic batch of the buckets.
const PAGE: usize = 500;

/// How many bytes of sealed keys a page holds, give or take one.
const PAGE_MAX_BYTES: usize = 1 << 20;

/// Prints a store.
///
/// # Errors
/// Those of the store and of the output; `Refused` for a file that is there.
pub async fn export(args: &ExportArgs, out: &mut dyn Write) -> CommandResult<()> {
    let store = args.store.choose(&of_process)?.open(args.store.deadline()).await?;
    let counts = match named(args.file.as_ref()) {
        None => write_all(&*store, args, out).await?,
        Some(path) => {
            let mut file = NewFile::at(path)?;
            let counts = write_all(&*store, args, &mut file.out).await?;
            file.keep(path)?;
            counts
        }
    };
    out.flush()?;
    let [users, rooms, members, keys] = counts;
    tell(&format!("exported {users} users, {rooms} rooms, {members} members, {keys} sealed keys"));
    Ok(())
}

async fn write_all(
    store: &dyn MembershipStore,
    args: &ExportArgs,
    out: &mut dyn Write,
) -> CommandResult<[u64; 4]> {
    let mut counts = [0; 4];
    for (table, count) in Table::ALL.into_iter().zip(&mut counts) {
        let mut request = PageRequest { after: None, limit: PageLimit::MAX };
        loop {
            let page = store.export(table, request.clone(), args.store.deadline()).await?;
            for record in &page.items {
                show::json(out, record)?;
                *count += 1;
            }
            let Some(next) = page.next else { break };
            request.after = Some(next);
        }
    }
    Ok(counts)
}

/// A file that has its name once it is whole, and that only its owner can read.
struct NewFile {
    out: BufWriter<tempfile::NamedTempFile>,
}

impl NewFile {
    fn at(path: &Path) -> CommandResult<Self> {
        // Looked at before the work; a file that comes meanwhile is not written over either.
        if path.symlink_metadata().is_ok() {
            return Err(there_already(path));
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        };
        let file = tempfile::Builder::new().prefix(".membershipd-").tempfile_in(folder)?;
        Ok(Self { out: BufWriter::new(file) })
    }

    fn keep(self, path: &Path) -> CommandResult<()> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                Err(there_already(path))
            }
            Err(error) => Err(error.error.into()),
        }
    }
}

fn there_already(path: &Path) -> CommandError {
    let path = path.display();
    CommandError::Refused(format!("{path} is there already: name a new file, or remove this one"))
}

/// Reads lines into a store.
///
/// # Errors
/// `Input` for a line that is no record or that the store cannot take, and those of the store.
pub async fn import(args: &ImportArgs, out: &mut dyn Write) -> CommandResult<()> {
    let store = args.on.store.choose(&of_process)?.open(args.on.store.deadline()).await?;
    let from: Box<dyn BufRead> = match named(args.file.as_ref()) {
        None => Box::new(BufReader::new(io::stdin())),
        Some(path) => Box::new(BufReader::new(open(path)?)),
    };
    let mut importing = Importing {
        store: &*store,
        args,
        page: Vec::new(),
        bytes: 0,
        first_line: 1,
        counts: ImportCounts::default(),
    };
    let mut lines = Lines::of(from);
    while let Some(record) = lines.read()? {
        importing.take(record, lines.number()).await?;
    }
    importing.write().await?;
    Ok(print_counts(importing.counts, out, args.on.output)?)
}

fn open(path: &Path) -> CommandResult<File> {
    File::open(path).map_err(|error| {
        CommandError::Input(format!("{} cannot be opened: {error}", path.display()))
    })
}

struct Importing<'i> {
    store: &'i dyn MembershipStore,
    args: &'i ImportArgs,
    page: Vec<Record>,
    bytes: usize,
    /// The line of the page's first record.
    first_line: u64,
    counts: ImportCounts,
}

impl Importing<'_> {
    /// Writes a page whenever it is full. A page holds one kind of record.
    async fn take(&mut self, record: Record, line: u64) -> CommandResult<()> {
        let full = self.page.len() >= PAGE || self.bytes >= PAGE_MAX_BYTES;
        let other = self.page.last().is_some_and(|last| last.table() != record.table());
        if full || other {
            self.write().await?;
        }
        if self.page.is_empty() {
            self.first_line = line;
        }
        self.bytes += match &record {
            Record::RoomKey(key) => key.sealed.expose().len(),
            Record::User(_) | Record::Room(_) | Record::Member(_) => 0,
        };
        self.page.push(record);
        Ok(())
    }

    async fn write(&mut self) -> CommandResult<()> {
        self.bytes = 0;
        let page = std::mem::take(&mut self.page);
        if page.is_empty() {
            return Ok(());
        }
        let (first, last) = (self.first_line, self.first_line + page.len() as u64 - 1);
        let mode = if self.args.force { ImportMode::Force } else { ImportMode::KeepNewer };
        let written = self.store.import(page, mode, self.args.on.store.deadline()).await;
        let written = written.map_err(|error| in_lines(first, last, error))?;
        self.counts.created += written.created;
        self.counts.equal += written.equal;
        self.counts.overwritten += written.overwritten;
        self.counts.kept_newer += written.kept_newer;
        Ok(())
    }
}

fn in_lines(first: u64, last: u64, error: StoreError) -> CommandError {
    let message = format!(
        "lines {first} to {last} could not be imported, those before them were; importing them \
         again changes nothing"
    );
    StoreError::new(error.kind(), message).caused_by(error).into()
}

fn print_counts(counts: ImportCounts, out: &mut dyn Write, output: OutputFormat) -> io::Result<()> {
    match output {
        OutputFormat::Json => show::json(out, &counts),
        OutputFormat::Text => {
            let ImportCounts { created, equal, overwritten, kept_newer } = counts;
            let rows = [
                ("CREATED", created),
                ("EQUAL", equal),
                ("OVERWRITTEN", overwritten),
                ("KEPT NEWER", kept_newer),
            ];
            show::pairs(out, &rows.map(|(name, count)| (name, count.to_string())))
        }
    }
}

/// The file that is meant; `-` means the standard stream.
fn named(file: Option<&PathBuf>) -> Option<&Path> {
    file.map(PathBuf::as_path).filter(|path| *path != Path::new("-"))
}

fn tell(text: &str) {
    // Whoever closed standard error does not want to know.
    let _ = writeln!(io::stderr(), "{text}");
}
