//! Command line and benchmarks for krappy. `args` says what can be typed; each command has a file of its name.
//!
//! Invariant: stdout carries only data and goes through [`out::Out`]; everything else is said on stderr.

mod args;
mod bench;
mod consume;
mod envelope;
mod failure;
mod find;
mod group;
mod health;
mod keyed;
mod member;
mod out;
mod place;
mod print;
mod produce;
mod progress;
mod queue;
mod session;
mod show;
mod signal;
mod table;
mod topic;
mod units;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use failure::Failure;
use out::Out;
use session::Session;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match Out::stdout().and_then(|mut out| run(&cli, &mut out).and_then(|()| out.flush())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: &Cli, out: &mut Out) -> Result<(), Failure> {
    let connect = || Session::connect(&cli.global);
    match &cli.command {
        Command::Topic(command) => topic::run(&connect()?, command, out),
        Command::Group(command) => group::run(&connect()?, command, out),
        Command::Produce(args) => {
            let session = connect()?;
            signal::watch();
            produce::run(&session, args)
        }
        Command::Consume(args) => {
            let session = connect()?;
            signal::watch();
            consume::consume(&session, args, out)
        }
        Command::Tail(args) => {
            let session = connect()?;
            signal::watch();
            consume::tail(&session, args, out)
        }
        Command::Show(args) => show::run(&connect()?, args, cli.global.timeout, out),
        Command::Get(args) => keyed::get::run(&connect()?, args, cli.global.timeout, out),
        Command::Put(args) => keyed::put::put(&connect()?, args, out),
        Command::Del(args) => keyed::put::del(&connect()?, args, out),
        Command::Scan(args) => {
            let session = connect()?;
            signal::watch();
            keyed::scan::run(&session, args, cli.global.timeout, out)
        }
        Command::Watch(args) => {
            let session = connect()?;
            signal::watch();
            keyed::watch::run(&session, args, out)
        }
        Command::Find(args) => {
            let session = connect()?;
            signal::watch();
            find::run(&session, args, out)
        }
        Command::Queue(command) => queue::run(&connect()?, command, out),
        Command::Health => health::health(&cli.global, out),
        Command::Status => health::status(&connect()?, out),
        Command::Bench(command) => bench::run(&cli.global, command, out),
        Command::Completions { shell } => completions(*shell, out),
    }
}

fn completions(shell: clap_complete::Shell, out: &mut Out) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "krappyctl", &mut script);
    out.bytes(&script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_ends_with_two_examples() {
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help
                .lines()
                .filter(|l| l.trim_start().starts_with("krappyctl ") || l.contains("| krappyctl "));
            let hidden = command.is_hide_set();
            assert!(
                hidden || help.starts_with("Examples:") && examples.count() >= 2,
                "{}",
                command.get_name()
            );
            commands.extend(command.get_subcommands().cloned());
        }
    }
}
