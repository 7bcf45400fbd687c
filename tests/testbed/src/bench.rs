//! The test bed's figures: what it costs in time, memory and disk. They are printed, never
//! asserted: machines differ.

use std::time::Instant;

use serde::Serialize;

use crate::{
    Cluster, ClusterName, Result, UpRequest, cache::Cache, prepare::Prepared, progress::Progress,
};

/// What was measured. Times are in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// How long each tool took to build when it was built, downloads included.
    pub builds: Vec<Build>,
    /// From nothing to three Ready nodes, tools and images being there.
    pub up_new: Vec<f64>,
    /// The same on the disks of a stopped cluster.
    pub up_again: Vec<f64>,
    /// From a running cluster to nothing.
    pub down: Vec<f64>,
    /// The resident memory of all daemons without pods, in MiB.
    pub memory_mib: Vec<f64>,
    /// What the cache takes on disk, in MiB.
    pub cache_mib: f64,
}

/// One tool's build.
#[derive(Debug, Serialize)]
pub struct Build {
    /// The tool and its version.
    pub tool: String,
    /// How long it took.
    pub seconds: f64,
}

/// Starts and stops a cluster of three nodes, `rounds` times on new and on kept disks.
///
/// # Errors
/// See [`crate::Error`]; no cluster is left then.
pub fn measure(
    name: &ClusterName,
    rounds: u32,
    cache: &Cache,
    prepared: &Prepared,
    progress: &Progress,
) -> Result<Figures> {
    let builds = prepared.tools.records().into_iter();
    let mut figures = Figures {
        builds: builds.map(|built| Build { tool: built.tool, seconds: built.seconds }).collect(),
        up_new: Vec::new(),
        up_again: Vec::new(),
        down: Vec::new(),
        memory_mib: Vec::new(),
        cache_mib: figure(cache.size_mib()),
    };
    // One that an earlier run left would be as quick as no start at all.
    Cluster::down(name, true, &Progress::silent())?;
    let outcome = (1..=rounds).try_for_each(|round| {
        progress.note(&format!("round {round} of {rounds}"));
        figures.add_round(name, prepared)
    });
    Cluster::down(name, true, &Progress::silent())?;
    outcome.map(|()| figures)
}

impl Figures {
    fn add_round(&mut self, name: &ClusterName, prepared: &Prepared) -> Result<()> {
        let silent = Progress::silent();
        let request = UpRequest::new(name.clone());
        let (up, cluster) = timed(|| Cluster::up(&request, prepared, &silent))?;
        self.up_new.push(up);
        self.memory_mib.push(figure(cluster.status()?.memory_mib));
        self.down.push(timed(|| Cluster::down(name, false, &silent))?.0);
        self.up_again.push(timed(|| Cluster::up(&request, prepared, &silent))?.0);
        self.down.push(timed(|| Cluster::down(name, true, &silent))?.0);
        Ok(())
    }
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let outcome = work()?;
    Ok((start.elapsed().as_secs_f64(), outcome))
}

/// Mebibytes as a figure; exact up to 2^32 of them.
fn figure(mib: u64) -> f64 {
    u32::try_from(mib).map_or(f64::INFINITY, f64::from)
}

/// Least, median and greatest of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub least: f64,
    /// The one in the middle, or between the middle two.
    pub median: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Spread {
    /// The spread of some figures; `None` of none.
    #[must_use]
    pub fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (sorted.get((sorted.len() - 1) / 2)?, sorted.get(sorted.len() / 2)?);
        Some(Self { least, median: f64::midpoint(*low, *high), greatest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_number_of_figures_has_its_median_between_the_middle_two() {
        let cases: [(&[f64], _); 4] = [
            (&[], None),
            (&[5.0], Some((5.0, 5.0, 5.0))),
            (&[9.0, 1.0, 2.0], Some((1.0, 2.0, 9.0))),
            (&[4.0, 1.0, 2.0, 9.0], Some((1.0, 3.0, 9.0))),
        ];
        for (figures, expected) in cases {
            let expected =
                expected.map(|(least, median, greatest)| Spread { least, median, greatest });
            assert_eq!(Spread::of(figures), expected, "{figures:?}");
        }
    }
}
