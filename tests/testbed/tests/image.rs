//! Images are built by the real buildah, which takes root and the Debian packages.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it does not expect")]

use std::{fs, path::Path, process::Command};

use testbed::{
    cache::Cache,
    debian,
    image::{self, Archive, ImageError, Part, Recipe, Source},
    progress::Progress,
    tools::{self, Tool},
};

/// What `tar` finds in an archive.
fn member(archive: &Path, name: &str) -> String {
    let tar = Command::new("tar").arg("xOf").arg(archive).arg(name).output().unwrap();
    assert!(tar.status.success(), "{archive:?} has no {name}");
    String::from_utf8(tar.stdout).unwrap()
}

/// What buildah is known to leave on a machine when nobody stops it.
fn traces() -> (String, bool, bool) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    (mounts, Path::new("/var/lib/containers").exists(), Path::new("/run/containers").exists())
}

fn hello(dockerfile: &'static str) -> Recipe {
    let parts = vec![
        Part { name: "Dockerfile", source: Source::Text(dockerfile) },
        Part { name: "hello", source: Source::Text("hello") },
    ];
    Recipe { name: "test.local/hello:1".to_owned(), parts }
}

#[test]
fn the_base_images_carry_their_names_and_buildah_leaves_nothing_behind() {
    debian::ensure(&Progress::stderr()).unwrap();
    let tools = Cache::of_this_user().unwrap();
    let tools = tools::ensure(&tools, &[Tool::NatsServer], &Progress::stderr()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().to_path_buf());
    let before = traces();
    let archives = image::ensure_base(&cache, &tools, &Progress::silent()).unwrap();
    assert_eq!(traces(), before);

    let names: Vec<&str> = archives.iter().map(|archive| archive.name.as_str()).collect();
    assert_eq!(names, [image::PAUSE, image::BUSYBOX, &image::nats()]);
    for Archive { name, path } in &archives {
        let manifest = member(path, "manifest.json");
        assert!(manifest.contains(&format!("\"RepoTags\":[\"{name}\"]")), "{manifest}");
    }
    let left: Vec<_> = fs::read_dir(folder.path().join("images")).unwrap().flatten().collect();
    assert_eq!(left.len(), archives.len() + 1, "only the archives and the lock stay: {left:?}");
}

#[test]
fn an_image_is_built_again_only_when_its_recipe_changed() {
    debian::ensure(&Progress::stderr()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().to_path_buf());
    let ensure = |dockerfile| image::ensure(&cache, &hello(dockerfile), &Progress::silent());
    let written = |archive: &Archive| fs::metadata(&archive.path).unwrap().modified().unwrap();

    let first = ensure("FROM scratch\nCOPY hello /hello\n").unwrap();
    let at = written(&first);
    let again = ensure("FROM scratch\nCOPY hello /hello\n").unwrap();
    assert_eq!((&again, written(&again)), (&first, at));

    let changed = ensure("FROM scratch\nCOPY hello /hello\nUSER 1\n").unwrap();
    assert_ne!(changed.path, first.path);
    assert!(!first.path.exists(), "the archive of the old recipe takes up room");
    assert_eq!(image::find(&cache, "test.local/hello:1"), Some(changed));
}

#[test]
fn a_build_that_fails_says_why_and_leaves_nothing() {
    debian::ensure(&Progress::stderr()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().to_path_buf());
    let recipe = hello("FROM scratch\nCOPY absent /\n");
    let error = image::ensure(&cache, &recipe, &Progress::silent()).unwrap_err();
    let ImageError::Build { said, .. } = &error else { panic!("{error}") };
    assert!(said.contains("absent"), "{said}");
    assert_eq!(image::find(&cache, &recipe.name), None);
    assert!(!folder.path().join("images/.building").exists());
}
