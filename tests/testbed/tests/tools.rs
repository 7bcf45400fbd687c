//! The tool cache against the real Go toolchain.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops at what it does not expect")]

use std::{
    fs,
    io::Write,
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use testbed::{
    cache::Cache,
    progress::Progress,
    tools::{self, Program, Tool},
};

#[test]
fn a_tool_is_built_once_by_however_many_ask_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().to_path_buf());
    let said = Arc::new(Mutex::new(Vec::new()));
    let ensure = || {
        let sink: Arc<Mutex<dyn Write + Send>> = Arc::<Mutex<Vec<u8>>>::clone(&said);
        tools::ensure(&cache, &[Tool::NatsServer], &Progress::lines(sink)).unwrap()
    };
    thread::scope(|scope| {
        let askers: Vec<_> = (0..2).map(|_| scope.spawn(ensure)).collect();
        askers.into_iter().for_each(|asker| drop(asker.join().unwrap()));
    });
    let told = String::from_utf8(said.lock().unwrap().clone()).unwrap();
    assert_eq!(told.matches("nats-server 2.15.2: built in").count(), 1, "{told}");
    let built = ensure();
    let path = built.path(Program::NatsServer);
    let version = Command::new(&path).arg("--version").output().unwrap().stdout;
    assert_eq!(String::from_utf8(version).unwrap().trim(), "nats-server: v2.15.2");

    // A second build would give another file.
    let first = inode(&path);
    ensure();
    assert_eq!(inode(&path), first);
    let home = folder.path().join("tools");
    let hidden = |name: &str| name.starts_with('.') && !name.ends_with(".lock");
    let left: Vec<String> = fs::read_dir(home)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| hidden(name))
        .collect();
    assert!(left.is_empty(), "the build cache and the staging folder stay: {left:?}");
}

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}
