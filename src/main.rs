//! The `krappy` binary: understands the command line, and runs what it asks for.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use krappy::cli::{self, Command, Surroundings};
use krappy::config::Config;

/// A service is not available (sysexits.h: EX_UNAVAILABLE).
const EXIT_UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let variables = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .collect();
    let around = Surroundings { variables, read: &|name| std::fs::read_to_string(name) };
    match cli::parse(std::env::args_os().skip(1), &around) {
        Ok(command) => run(command),
        Err(failure) => {
            eprintln!("krappy: {}", failure.message);
            ExitCode::from(failure.status)
        }
    }
}

fn run(command: Command) -> ExitCode {
    match command {
        Command::Serve(loaded) => serve(loaded.config),
        Command::Check(dir) => check(dir),
        Command::Repair { dir, dry_run } => repair(dir, dry_run),
        Command::Dump(file) => dump(file),
        Command::Print(text) => print(&text),
    }
}

/// Writes to standard output. A reader that has gone, such as `head`, is no error.
fn print(text: &str) -> ExitCode {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn serve(config: Config) -> ExitCode {
    ExitCode::from(krappy::serve::serve(config))
}

fn check(_dir: PathBuf) -> ExitCode {
    unavailable("check")
}

fn repair(_dir: PathBuf, _dry_run: bool) -> ExitCode {
    unavailable("repair")
}

fn dump(_file: PathBuf) -> ExitCode {
    unavailable("dump")
}

fn unavailable(command: &str) -> ExitCode {
    eprintln!("krappy: {command} is not part of this build");
    ExitCode::from(EXIT_UNAVAILABLE)
}
