//! What an image is made of, laid out as a build context, and the key that changes with it.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::ImageError;
use crate::{cache::CacheError, process};

/// Compiling one page of C takes a moment.
const COMPILE: Duration = Duration::from_secs(120);

/// How many digits of the hash name an archive.
const DIGITS: usize = 16;

/// What an image is made of: a context in which `Dockerfile` is one of the parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The name that pods ask for, with a tag.
    pub name: String,
    /// The files of the context.
    pub parts: Vec<Part>,
}

/// One file of a build context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name in the context.
    pub name: &'static str,
    /// Where it comes from.
    pub source: Source,
}

/// Where a file of a build context comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is this text.
    Text(&'static str),
    /// It is a copy of this file, with its mode.
    File(PathBuf),
    /// It is a static program compiled from this C text. Rust needs the C compiler too, so it is
    /// there.
    StaticC(&'static str),
}

impl Recipe {
    /// A hash over everything that decides what is in the image.
    pub(super) fn key(&self) -> Result<String, ImageError> {
        let mut hasher = Sha256::new();
        part(&mut hasher, &self.name);
        for Part { name, source } in &self.parts {
            part(&mut hasher, name);
            match source {
                Source::Text(text) => part(&mut hasher, text),
                Source::StaticC(text) => part(&mut hasher, &format!("C:{text}")),
                Source::File(path) => {
                    let mut file = File::open(path).map_err(self.unreadable(path))?;
                    let size = io::copy(&mut file, &mut HashWriter(&mut hasher))
                        .map_err(self.unreadable(path))?;
                    hasher.update(size.to_be_bytes());
                }
            }
        }
        let mut hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        hex.truncate(DIGITS);
        Ok(hex)
    }

    /// Writes the context into an empty folder.
    pub(super) fn lay_out(&self, context: &Path) -> Result<(), ImageError> {
        for Part { name, source } in &self.parts {
            let path = context.join(name);
            match source {
                Source::Text(text) => fs::write(&path, text).map_err(CacheError::at(&path))?,
                Source::File(from) => {
                    fs::copy(from, &path).map_err(self.unreadable(from))?;
                }
                Source::StaticC(text) => self.compile(text, &path)?,
            }
        }
        Ok(())
    }

    fn compile(&self, text: &str, path: &Path) -> Result<(), ImageError> {
        let source = path.with_extension("c");
        fs::write(&source, text).map_err(CacheError::at(&source))?;
        let mut cc = Command::new("cc");
        cc.args(["-static", "-Os", "-s", "-o"]).arg(path).arg(&source);
        let finished = process::run(&mut cc, COMPILE)?;
        if finished.status.success() {
            return Ok(());
        }
        Err(ImageError::Build { image: self.name.clone(), program: "cc", said: finished.stderr })
    }

    fn unreadable(&self, path: &Path) -> impl FnOnce(io::Error) -> ImageError {
        let (image, path) = (self.name.clone(), path.to_path_buf());
        move |source| ImageError::Part { image, path, source }
    }
}

fn part(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_be_bytes());
    hasher.update(text);
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(dockerfile: &'static str, file: &Path) -> Recipe {
        let parts = vec![
            Part { name: "Dockerfile", source: Source::Text(dockerfile) },
            Part { name: "tool", source: Source::File(file.to_path_buf()) },
        ];
        Recipe { name: "a:1".to_owned(), parts }
    }

    #[test]
    fn the_key_changes_with_every_file_and_not_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        fs::write(&one, "tool").unwrap();
        fs::write(&two, "tool").unwrap();
        let key = recipe("FROM scratch", &one).key().unwrap();
        assert_eq!(recipe("FROM scratch", &two).key().unwrap(), key);
        assert_ne!(recipe("FROM other", &one).key().unwrap(), key);
        fs::write(&two, "looT").unwrap();
        assert_ne!(recipe("FROM scratch", &two).key().unwrap(), key);
    }

    #[test]
    fn a_context_has_the_parts_and_an_unreadable_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let tool = folder.path().join("the-tool");
        let context = folder.path().join("context");
        fs::create_dir(&context).unwrap();
        let refused = recipe("FROM scratch", &tool).lay_out(&context).unwrap_err().to_string();
        assert!(refused.contains("the-tool"), "{refused}");
        fs::write(&tool, "tool").unwrap();
        recipe("FROM scratch", &tool).lay_out(&context).unwrap();
        assert_eq!(fs::read_to_string(context.join("Dockerfile")).unwrap(), "FROM scratch");
        assert_eq!(fs::read_to_string(context.join("tool")).unwrap(), "tool");
    }
}
