//! `testbed image ...`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use testbed::cache::Cache;
use testbed::image;
use testbed::progress::Progress;

use super::{Outcome, Which, attach};

#[derive(Subcommand)]
pub(super) enum ImageCommand {
    /// Build an image from a folder with a Dockerfile, and print the path of its archive
    Build(BuildArgs),
    /// Put images on every node that is on
    Load {
        #[command(flatten)]
        which: Which,
        /// The names of images that were built here, or tar archives of others
        #[arg(required = true)]
        images: Vec<String>,
    },
}

#[derive(Args)]
pub(super) struct BuildArgs {
    /// The name that pods ask for, as in example.org/tool:1.0
    #[arg(short, long)]
    tag: String,
    /// The Dockerfile [default: the one in the folder]
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// A stage of the Dockerfile that is not built, and the folder with what it would have made
    #[arg(long, value_name = "STAGE=FOLDER", value_parser = stage)]
    build_context: Vec<(String, PathBuf)>,
    /// The folder
    context: PathBuf,
}

pub(super) fn run(command: ImageCommand) -> Outcome {
    let cache = Cache::of_this_user()?;
    match command {
        ImageCommand::Build(BuildArgs { tag, file, build_context, context }) => {
            let progress = Progress::stderr();
            let context = image::Context {
                folder: &context,
                dockerfile: file.as_deref(),
                stages: &build_context,
            };
            let built = image::build_folder(&cache, &tag, &context, &progress)?;
            println!("{}", built.path.display());
        }
        ImageCommand::Load { which, images } => {
            let cluster = attach(&which)?;
            for image in images {
                cluster.load_image(&archive(&cache, &image)?)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The archive that a word means: a file, else what was built under that name.
fn archive(cache: &Cache, word: &str) -> Result<PathBuf, String> {
    if Path::new(word).is_file() {
        return Ok(word.into());
    }
    image::find(cache, word).map(|found| found.path).ok_or_else(|| {
        format!(
            "there is no file {word}, and no image of that name was built: \
             `cargo testbed image build --tag {word} FOLDER` builds it"
        )
    })
}

fn stage(word: &str) -> Result<(String, PathBuf), String> {
    let (stage, folder) = word.split_once('=').ok_or("it must be STAGE=FOLDER")?;
    Ok((stage.to_owned(), folder.into()))
}
