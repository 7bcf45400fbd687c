//! Everything that a cluster needs and that outlives it, in the order in which one needs the
//! other: packages, tools, images. The only place that knows the whole list.

use crate::{
    cache::{Cache, CacheError},
    debian::{self, PackageError},
    doctor::{self, Facts, Finding},
    image::{self, Archive, ImageError},
    progress::Progress,
    tools::{self, Tool, ToolError, Tools},
};

/// What a cluster is started from.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The programs.
    pub tools: Tools,
    /// The images that every node gets.
    pub images: Vec<Archive>,
}

/// Why a machine could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The machine lacks what cannot be brought.
    #[error("this machine is not fit for a cluster:{}", list(.0))]
    Unfit(Vec<Finding>),
    /// A Debian package is missing.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// A tool is missing.
    #[error(transparent)]
    Tools(#[from] ToolError),
    /// An image is missing.
    #[error(transparent)]
    Images(#[from] ImageError),
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn list(findings: &[Finding]) -> String {
    match findings {
        [one] => format!(" {one}"),
        many => many.iter().map(|finding| format!("\n  {finding}")).collect(),
    }
}

/// Brings what is missing. Takes a moment when nothing is.
///
/// # Errors
/// [`PrepareError`]; then nothing half-made is left.
pub fn prepare(cache: &Cache, progress: &Progress) -> Result<Prepared, PrepareError> {
    let mut findings = doctor::judge(&Facts::gather(cache)?);
    findings.retain(|finding| finding.verdict.is_wrong());
    if !findings.is_empty() {
        return Err(PrepareError::Unfit(findings));
    }
    debian::ensure(progress)?;
    let tools = tools::ensure(cache, &Tool::prepared(), progress)?;
    let images = image::ensure_base(cache, &tools, progress)?;
    Ok(Prepared { tools, images })
}
