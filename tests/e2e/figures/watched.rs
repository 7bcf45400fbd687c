//! A program in a pod, as this machine and the API server's log see it: memory, processor time and
//! writes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::Row;
use crate::bed::Bed;

/// What a clock tick of `/proc` is, in milliseconds.
const TICK: u32 = 10;

/// A program in a pod.
#[derive(Clone, Copy)]
pub struct Watched<'a> {
    pub bed: &'a Bed,
    pub namespace: &'a str,
    /// Its file in the image, and its service account.
    pub program: &'static str,
}

impl Watched<'_> {
    /// What it took for a while, and how often it wrote then.
    pub fn during(
        &self,
        time: Duration,
        what: &str,
        meanwhile: impl FnOnce(),
    ) -> (Vec<Row>, usize) {
        let (writes, before) = (self.writes(), self.ticks());
        meanwhile();
        let used = (self.ticks() - before) * u64::from(TICK);
        let writes = self.writes() - writes;
        let (program, seconds) = (self.program, time.as_secs());
        let rows = vec![
            (format!("{program}: memory, {what}"), format!("{} MiB", self.resident_mib())),
            (format!("{program}: processor, {what}"), format!("{} mCPU", used / seconds)),
            (format!("{program}: writes in {seconds} s, {what}"), writes.to_string()),
        ];
        (rows, writes)
    }

    /// Its process on this machine.
    fn process(&self) -> String {
        let pods = self.bed.get(self.namespace, "pods").unwrap();
        let uids: Vec<&str> = pods["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pod| pod["metadata"]["uid"].as_str().unwrap())
            .collect();
        let is_ours = |folder: &Path| {
            let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
            let (command, cgroup) = (read("cmdline"), read("cgroup"));
            command.starts_with(&format!("/{}\0", self.program))
                && uids.iter().any(|uid| cgroup.contains(uid))
        };
        let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let found = entries.into_iter().find(|folder| is_ours(folder)).unwrap();
        found.to_string_lossy().into_owned()
    }

    fn resident_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("{}/status", self.process())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
    }

    /// Clock ticks that its threads have used.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("{}/stat", self.process())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let used = fields.split_whitespace().skip(11).take(2);
        used.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Its requests that change something, by the API server's own log; its Lease apart.
    fn writes(&self) -> usize {
        let log = fs::read_to_string(self.bed.machines().audit_log().unwrap()).unwrap();
        let ours = format!("\"system:serviceaccount:{}:{}\"", self.namespace, self.program);
        let events = log.lines().filter(|line| line.contains(&ours));
        let changes = events.filter(|line| {
            let Ok(event) = serde_json::from_str::<Value>(line) else { return false };
            let reads = ["get", "list", "watch"].iter().any(|verb| event["verb"] == *verb);
            !reads && event["objectRef"]["resource"] != "leases"
        });
        changes.count()
    }
}
