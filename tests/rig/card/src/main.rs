//! `lamppost-card`: see README.md.

mod cuts;
mod disk;
mod mount;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lamppost_card::say;
use lamppost_card::writer::{Task, write};

/// A modelled memory card under a real ext4.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Puts up a card and keeps it until stdin closes or a signal comes.
    Mount(mount::Arguments),
    /// Serves a card as a file, for an emulated machine, and cuts its power as it is told on stdin
    Disk(disk::Arguments),
    /// Cuts the power of a journal on a card, many times, and tells what it has kept; and of a control beside it
    Cuts(cuts::Arguments),
    /// What `cuts` starts: a store's writer
    #[command(hide = true)]
    Writer(Task),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Mount(arguments) => mount::mount(&arguments),
        Command::Disk(arguments) => disk::disk(&arguments),
        Command::Cuts(arguments) => cuts::cuts(&arguments),
        Command::Writer(task) => write(&task),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
