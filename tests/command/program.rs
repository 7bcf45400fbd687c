//! The program, run in a folder of its own and with an environment of its own.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ed25519_dalek::SigningKey;
use serde_json::Value;
use tempfile::TempDir;

/// A folder to run the program in.
pub struct Host {
    folder: TempDir,
}

/// What a run came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Host {
    pub fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    /// A host with an empty store under the default name.
    pub fn with_store() -> Self {
        let host = Self::new();
        host.run(["init"]).done();
        host
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn db(&self) -> PathBuf {
        self.path("membership.db")
    }

    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_membershipd"));
        command.args(args).current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Runs it with something on its standard input.
    pub fn feed<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, input: &[u8]) -> Ran {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A program that refuses does not read to the end.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap().into()
    }

    /// Every record of the store, sorted.
    pub fn lines(&self, db: &Path) -> Vec<String> {
        let out = self.run([OsStr::new("export"), OsStr::new("--db"), db.as_os_str()]).done();
        let mut lines: Vec<String> = out.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// What it printed, as it went well.
    pub fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    pub fn json(self) -> Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// What it said, as it went wrong with this code: one sentence, and no data.
    #[track_caller]
    pub fn refused(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.out, "", "{self:?}");
        assert!(!self.err.contains("panicked"), "{self:?}");
        self.err
    }
}

/// The n-th user's key: a real public key, the same in every run.
pub fn user(n: u32) -> String {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&n.to_be_bytes());
    data_encoding::HEXLOWER.encode(SigningKey::from_bytes(&seed).verifying_key().as_bytes())
}
