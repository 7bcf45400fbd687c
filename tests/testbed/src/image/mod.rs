//! Container images without a registry: built by buildah from Dockerfiles into archives in the
//! cache, under the names that pods ask for.
//!
//! * `recipe` says what an image is made of, and turns that into a key.
//! * `base` is the list of images that every cluster has.
//! * `buildah` runs buildah so that it leaves nothing behind.
//!
//! Bringing an archive into a node is none of this module's business.

mod base;
mod buildah;
mod recipe;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::{
    base::{BUSYBOX, PAUSE, nats, recipes},
    recipe::{Part, Recipe, Source},
};
use crate::{
    cache::{Cache, CacheError, Lock},
    process::ProcessError,
    progress::Progress,
    tools::Tools,
};

/// The part of the cache that is used here.
const FOLDER: &str = "images";

/// How long another process's builds are waited for.
const PATIENCE: Duration = Duration::from_mins(20);

/// Why an image is not there.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A name that no pod could ask for.
    #[error(
        "`{0}` is no image name: give repository:tag in lower case, as in example.org/tool:1.0"
    )]
    BadName(String),
    /// A file that goes into the image cannot be read.
    #[error("{path}, which goes into {image}, cannot be read: {source}")]
    Part {
        /// The image.
        image: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The C compiler or buildah failed.
    #[error("{image} cannot be built, {program} said:\n{said}")]
    Build {
        /// The image.
        image: String,
        /// The program that failed.
        program: &'static str,
        /// The end of what it said.
        said: String,
    },
    /// A program did not start or did not end.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// An image in a file, in the form of `docker save`, that `ctr images import` takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The name that pods ask for.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// Makes sure that the images every cluster has are built. Quick when they are.
///
/// # Errors
/// [`ImageError`]; then nothing half-made is left.
pub fn ensure_base(
    cache: &Cache,
    tools: &Tools,
    progress: &Progress,
) -> Result<Vec<Archive>, ImageError> {
    recipes(tools).iter().map(|recipe| ensure(cache, recipe, progress)).collect()
}

/// Makes sure that an image is built from what its recipe says now.
///
/// # Errors
/// As [`ensure_base`].
pub fn ensure(cache: &Cache, recipe: &Recipe, progress: &Progress) -> Result<Archive, ImageError> {
    check_name(&recipe.name)?;
    let home = cache.folder(FOLDER)?;
    let key = recipe.key()?;
    let archive =
        Archive { name: recipe.name.clone(), path: archive_path(&home, &recipe.name, &key) };
    if archive.path.exists() {
        return Ok(archive);
    }
    let _lock = Lock::exclusive(&home.join(".lock"), PATIENCE)?;
    if !archive.path.exists() {
        let step = progress.step(&recipe.name, "building the image");
        let workshop = Workshop::open(&home)?;
        let folder = workshop.folder("context")?;
        recipe.lay_out(&folder)?;
        let context = Context { folder: &folder, dockerfile: None, stages: &[] };
        publish(&home, &workshop, &context, &archive)?;
        step.finish("built");
    }
    Ok(archive)
}

/// What an image is built from by a Dockerfile.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The folder that the Dockerfile copies from.
    pub folder: &'a Path,
    /// The Dockerfile; the one in the folder when it is not said.
    pub dockerfile: Option<&'a Path>,
    /// Stages of the Dockerfile that are not built, because a folder already holds what they would
    /// make: how a Dockerfile that compiles in a large base image is used without one.
    pub stages: &'a [(String, PathBuf)],
}

impl Context<'_> {
    fn dockerfile(&self) -> PathBuf {
        self.dockerfile.map_or_else(|| self.folder.join("Dockerfile"), Path::to_path_buf)
    }
}

/// Builds an image by a Dockerfile, whatever was built under that name before.
///
/// # Errors
/// As [`ensure_base`].
pub fn build_folder(
    cache: &Cache,
    name: &str,
    context: &Context<'_>,
    progress: &Progress,
) -> Result<Archive, ImageError> {
    check_name(name)?;
    let home = cache.folder(FOLDER)?;
    let archive = Archive { name: name.to_owned(), path: archive_path(&home, name, "folder") };
    let _lock = Lock::exclusive(&home.join(".lock"), PATIENCE)?;
    let step = progress.step(name, "building the image");
    publish(&home, &Workshop::open(&home)?, context, &archive)?;
    step.finish("built");
    Ok(archive)
}

/// The archive that was last built under a name.
#[must_use]
pub fn find(cache: &Cache, name: &str) -> Option<Archive> {
    let written = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    let path = archives_of(&cache.root().join(FOLDER), name).into_iter().max_by_key(written)?;
    Some(Archive { name: name.to_owned(), path })
}

/// Builds into the workshop, then puts the archive in the place of all older ones of its name.
fn publish(
    home: &Path,
    workshop: &Workshop,
    context: &Context<'_>,
    archive: &Archive,
) -> Result<(), ImageError> {
    let fresh = workshop.path.join("archive.tar");
    buildah::build(&archive.name, context, &workshop.path, &fresh)?;
    for old in archives_of(home, &archive.name) {
        fs::remove_file(&old).map_err(CacheError::at(&old))?;
    }
    fs::rename(&fresh, &archive.path).map_err(CacheError::at(&archive.path))?;
    Ok(())
}

/// The archives of a name, of whatever key.
fn archives_of(home: &Path, name: &str) -> Vec<PathBuf> {
    let prefix = format!("{}@", file_name(name));
    let Ok(entries) = fs::read_dir(home) else { return Vec::new() };
    let ours = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
    };
    entries.flatten().map(|entry| entry.path()).filter(ours).collect()
}

/// A folder for one build, gone afterwards; one that a killed build left is gone before.
struct Workshop {
    path: PathBuf,
}

impl Workshop {
    fn open(home: &Path) -> Result<Self, CacheError> {
        let workshop = Self { path: home.join(".building") };
        workshop.clear();
        fs::create_dir(&workshop.path).map_err(CacheError::at(&workshop.path))?;
        Ok(workshop)
    }

    fn folder(&self, name: &str) -> Result<PathBuf, CacheError> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(CacheError::at(&path))?;
        Ok(path)
    }

    fn clear(&self) {
        // What stays shows when the folder is made again.
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.clear();
    }
}

fn archive_path(home: &Path, name: &str, key: &str) -> PathBuf {
    home.join(format!("{}@{key}.tar", file_name(name)))
}

/// A name as one file name. Slashes become `+`, which names cannot hold, so no two names meet.
fn file_name(name: &str) -> String {
    name.replace('/', "+")
}

/// Lower-case path parts and a tag, enough to keep a name from being read as an option or a path.
fn check_name(name: &str) -> Result<(), ImageError> {
    let part = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-:".contains(c))
    };
    let tag = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    match name.rsplit_once(':') {
        Some((repository, version)) if repository.split('/').all(part) && tag(version) => Ok(()),
        Some(_) | None => Err(ImageError::BadName(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_a_pod_can_ask_for_are_taken() {
        let good = ["docker.io/library/nats:2.15.2-scratch", "localhost:5000/a:1", "a:B_1"];
        let bad =
            ["", "nats", "nats:", ":1", "Nats:1", "--a:1", "../a:1", "a//b:1", "a:1/b", "a:-1"];
        for name in good {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in bad {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_new_archive_takes_the_place_of_its_own_name_only() {
        let home = tempfile::tempdir().unwrap();
        for file in ["a+b:1@k1.tar", "a+b:1@k2.tar", "a+b:10@k1.tar", "a:1@k1.tar"] {
            fs::write(home.path().join(file), "").unwrap();
        }
        let mut names: Vec<String> = archives_of(home.path(), "a/b:1")
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["a+b:1@k1.tar", "a+b:1@k2.tar"]);
    }
}
