//! The `krappy` binary: understands the command line, and runs what it asks for.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use krappy::cli::{self, Command, Surroundings};
use krappy::config::Config;
use krappy::disk::Disk;
use krappy::disk::real::RealDisk;
use krappy::offline;

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
        Command::Check { dir, deep } => check(dir, deep),
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

fn check(dir: PathBuf, deep: bool) -> ExitCode {
    let mut out = io::stdout().lock();
    match offline::check(&RealDisk, &dir, deep, &mut out) {
        Ok(result) => ExitCode::from(result.exit_code() as u8),
        Err(e) => failed(&dir, &e),
    }
}

fn repair(dir: PathBuf, dry_run: bool) -> ExitCode {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut out = io::stdout().lock();
    match offline::repair(&disk, &dir, dry_run, &mut out) {
        Ok(_) => ExitCode::SUCCESS,
        Err(e) => failed(&dir, &e),
    }
}

fn dump(file: PathBuf) -> ExitCode {
    let mut out = io::stdout().lock();
    match offline::dump(&RealDisk, &file, true, &mut out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(&file, &e),
    }
}

/// A reader of the output that has gone, such as `head`, is no failure.
fn failed(path: &Path, error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ExitCode::SUCCESS;
    }
    eprintln!("krappy: {}: {error}", path.display());
    ExitCode::FAILURE
}
