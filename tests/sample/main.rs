//! Writes a believable SQLite file of the old program, for demos and trials.

mod data;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Write a SQLite file with a believable membership
#[derive(Parser)]
struct Args {
    /// The new file
    path: PathBuf,
    /// How many users
    #[arg(long, default_value_t = 500)]
    users: u32,
    /// How many rooms
    #[arg(long, default_value_t = 60)]
    rooms: u32,
    /// How many members each room has
    #[arg(long, default_value_t = 20)]
    members: u32,
    /// The highest epoch that a room has come to
    #[arg(long, default_value_t = 6)]
    epochs: u32,
    /// Another seed is another membership
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let Args { path, users, rooms, members, epochs, seed } = Args::parse();
    if path.exists() {
        eprintln!("sample: {} is there already: name a new file", path.display());
        return ExitCode::FAILURE;
    }
    match data::write(&path, data::Amounts { users, rooms, members, epochs }, seed) {
        Ok(rows) => {
            println!("{}: {rows} rows", path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sample: {} cannot be written: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
