//! What is known of a cluster between two commands: one folder, one record. The record is written
//! before anything it speaks of is made. What runs is never written down; it is looked for.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::name::ClusterName;
use crate::network::AddressPlan;
use crate::network::plan::Taken;
use crate::{Error, Result, files};

/// Where clusters live. Not configurable: the name alone must lead to everything, for whoever
/// cleans up.
const ROOT: &str = "/var/lib/testbed";

/// The layout that this program writes and understands.
const VERSION: u8 = 1;

/// How far a cluster had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Phase {
    /// It is being started. Found without a command at work, it is a crash's rest.
    Starting,
    /// It was started completely.
    Up,
    /// It was, or is being, stopped; its disks are kept.
    Down,
}

/// What a cluster is made like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u8,
    pub(crate) phase: Phase,
    pub(crate) range: AddressPlan,
    pub(crate) nodes: u8,
    pub(crate) audit: bool,
}

impl Record {
    pub(crate) const fn new(range: AddressPlan, nodes: u8, audit: bool) -> Self {
        Self { version: VERSION, phase: Phase::Starting, range, nodes, audit }
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let record: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        match record.version {
            VERSION => Ok(record),
            other => Err(format!("it is of layout {other}, this program knows {VERSION}")),
        }
    }
}

/// The folder of one cluster.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
}

impl Folder {
    pub(crate) fn of(name: &ClusterName) -> Self {
        Self { path: Path::new(ROOT).join(name.as_str()) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path.join("kubeconfig")
    }

    /// The record; `None` when there is none, which is also how an empty folder of a crash reads.
    ///
    /// # Errors
    /// [`Error::State`] when there is one that cannot be understood.
    pub(crate) fn record(&self) -> Result<Option<Record>> {
        let path = self.record_path();
        match fs::read_to_string(&path) {
            Ok(text) => match Record::parse(&text) {
                Ok(record) => Ok(Some(record)),
                Err(reason) => Err(Error::State { path, reason }),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    pub(crate) fn write(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec_pretty(record).map_err(Error::make("a cluster's record"))?;
        files::write_private(&self.record_path(), &text)
    }

    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Removes the folder with all disks and logs.
    pub(crate) fn remove(&self) -> Result<()> {
        match fs::remove_dir_all(&self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("remove", &self.path)(error)),
        }
        // The last one closes the door; another cluster's folder keeps it open.
        let _ = fs::remove_dir(ROOT);
        Ok(())
    }

    fn record_path(&self) -> PathBuf {
        self.path.join("cluster.json")
    }
}

/// The ranges of all clusters that have a record, but for `except`.
pub(crate) fn ranges_of_others(except: &ClusterName) -> Vec<Taken> {
    let entries = fs::read_dir(ROOT).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<ClusterName>().ok());
    names
        .filter(|name| name != except)
        .filter_map(|name| {
            // A record that cannot be understood belongs to a cluster that cannot be started.
            let record = Folder::of(&name).record().ok().flatten()?;
            Some(Taken { range: Ipv4Net::from(record.range), by: format!("cluster `{name}`") })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_being_written_down() {
        let record = Record::new("10.123.7.0/24".parse().unwrap(), 3, true);
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(Record::parse(&text).unwrap(), record);
    }

    #[test]
    fn a_record_of_another_layout_or_of_rubbish_is_refused_with_the_reason() {
        let newer = r#"{"version":2,"phase":"up","range":"10.123.7.0/24","nodes":3,"audit":false}"#;
        assert!(Record::parse(newer).unwrap_err().contains("layout 2"));
        assert!(Record::parse("{").is_err());
        let outside = r#"{"version":1,"phase":"up","range":"8.8.8.0/24","nodes":3,"audit":false}"#;
        assert!(Record::parse(outside).unwrap_err().contains("8.8.8.0/24"));
    }
}
