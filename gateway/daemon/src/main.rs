//! The program `lamppost`: configuration, supervision, command line, HTTP. The only crate that knows two of the rooms.

mod bench;
mod cli;
mod clock;
mod command;
mod config;
mod control;
mod demo;
mod descriptors;
mod durable;
mod exposition;
mod gateway;
mod health;
mod heap;
mod http;
mod log;
mod notify;
mod pty;
mod scrape;
mod wear;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    begin_log(&cli.command);
    match dispatch(&cli.command) {
        Ok(status) => ExitCode::from(status),
        // A reader that has gone (`| head`) is no mistake of ours. A verdict that it has not read may still be a bad one.
        Err(error) if is_broken_pipe(&error) => {
            if cli.command.judges() {
                ExitCode::from(COULD_NOT_JUDGE)
            } else {
                ExitCode::SUCCESS
            }
        }
        Err(error) => {
            // Where even this can't be written there is nobody to tell.
            drop(writeln!(std::io::stderr(), "lamppost: {}", told(&error)));
            if cli.command.judges() { ExitCode::from(COULD_NOT_JUDGE) } else { ExitCode::FAILURE }
        }
    }
}

/// What a command that judges (`demo`, `audit`, `journal verify`) ends with when it could not come to a verdict: 1 is a bad verdict. Of
/// `node`, 1 is a command that was not done, and this one of which nobody knows.
const COULD_NOT_JUDGE: u8 = 2;

/// The error and its causes, each said once.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn begin_log(command: &Command) {
    // librdkafka reports the end of a partition, which an audit reads up to, as an error; what concerns the command is its own error.
    let default =
        if matches!(command, Command::Run(_)) { "info,rumqttd=warn" } else { "error,rdkafka=off,librdkafka=off" };
    log::begin(default);
}

/// Runs the command, and says what to end with.
fn dispatch(command: &Command) -> anyhow::Result<u8> {
    match command {
        Command::Doctor(args) => return command::doctor::run(args, &mut std::io::stdout()),
        Command::Audit(args) => return command::audit::run(args, &mut std::io::stdout()),
        _ => {}
    }
    verdict(command).map(|well| u8::from(!well))
}

/// Runs a command that knows no degrees; false is a verdict against what was looked at.
fn verdict(command: &Command) -> anyhow::Result<bool> {
    let mut out = std::io::stdout();
    match command {
        Command::Doctor(args) => command::doctor::run(args, &mut out).map(|status| status == 0),
        Command::Run(args) => runtime()?.block_on(command::run::run(&args.config)).map(|()| true),
        Command::Check(args) => command::check::check(&args.config, &mut out).map(|()| true),
        Command::Demo(args) => {
            let verdict = runtime()?.block_on(demo::run(args))?;
            if args.json {
                writeln!(std::io::stderr(), "{verdict}")?;
                writeln!(out, "{}", verdict.json()?)?;
            } else {
                writeln!(out, "\n{verdict}")?;
            }
            Ok(verdict.is_kept())
        }
        Command::Audit(args) => command::audit::run(args, &mut out).map(|status| status == 0),
        Command::Bench(args) => bench::run(args, &mut out).map(|()| true),
        Command::Clients(args) => runtime()?.block_on(command::clients::run(args, &mut out)).map(|()| true),
        Command::Node(args) => runtime()?.block_on(command::node::run(args, &mut out)),
        Command::Status(args) => runtime()?.block_on(command::status::run(args, &mut out)).map(|()| true),
        Command::Passwd(args) => command::passwd::run(args, &mut out).map(|()| true),
        Command::Publish(args) => runtime()?.block_on(command::publish::run(args, &mut out)).map(|()| true),
        Command::Journal(args) => command::journal::run(args, &mut out),
        Command::Completions(args) => command::completions::print(args, &mut out).map(|()| true),
        Command::Manpages(args) => command::manpages::write(args).map(|()| true),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_the_error_has_said_is_not_said_again() {
        let error = anyhow::anyhow!("in use").context("port 1: in use").context("mqtt can't be served");
        assert_eq!(told(&error), "mqtt can't be served: port 1: in use");
    }
}
