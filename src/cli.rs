//! The command line of `krappy`: words in, one [`Command`] out.
//!
//! Invariant: parsing has no effect. It neither prints nor opens anything by itself (a configuration file is read
//! through the function that is passed in), so that every path through it can be tested.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use crate::config::load::{Given, Loaded, Source, load, parse_environment, parse_file};
use crate::config::nearest::did_you_mean;
use crate::config::table::{self, settings};
use crate::config::text;
use crate::config::value::Kind;
use crate::os;

/// The command line cannot be understood (sysexits.h: EX_USAGE).
pub const EXIT_USAGE: u8 = 64;
/// The settings are not in order (sysexits.h: EX_CONFIG).
pub const EXIT_CONFIG: u8 = 78;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Run the broker.
    Serve(Box<Loaded>),
    /// Verify a data folder.
    Check {
        /// The folder.
        dir: PathBuf,
        /// Compare views with their logs.
        deep: bool,
    },
    /// Repair a data folder.
    Repair {
        /// The folder.
        dir: PathBuf,
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Show what a file of the data folder holds.
    Dump(PathBuf),
    /// Write this to standard output; nothing else is to be done.
    Print(String),
}

/// Why nothing is done: what to say, and the exit status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// One line for each problem.
    pub message: String,
    /// [`EXIT_USAGE`] or [`EXIT_CONFIG`].
    pub status: u8,
}

/// Where things that are not arguments come from.
pub struct Surroundings<'a> {
    /// The environment, all of it.
    pub variables: Vec<(String, String)>,
    /// Reads a text file.
    pub read: &'a dyn Fn(&str) -> io::Result<String>,
}

const COMMANDS: [&str; 7] = ["serve", "check", "repair", "dump", "config", "version", "help"];
const CONFIG_COMMANDS: [&str; 4] = ["print", "default", "docs", "check"];

/// Understands the arguments, without the name of the program.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    around: &Surroundings<'_>,
) -> Result<Command, Failure> {
    let words = words(arguments)?;
    if words.iter().any(|w| w == "--help" || w == "-h") {
        return Ok(Command::Print(help()));
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--version" | "-V" | "version"] => Ok(Command::Print(version())),
        ["help"] => Ok(Command::Print(help())),
        [] => serve(&[], around),
        ["serve", flags @ ..] => serve(flags, around),
        [first, ..] if first.starts_with('-') => serve(&words, around),
        ["check", rest @ ..] => {
            let (others, deep) = without("--deep", rest);
            Ok(Command::Check { dir: one_path("check DIR [--deep]", &others)?, deep })
        }
        ["repair", rest @ ..] => repair(rest),
        ["dump", rest @ ..] => Ok(Command::Dump(one_path("dump FILE", rest)?)),
        ["config", rest @ ..] => config(rest, around),
        [extra @ ("version" | "help"), ..] => Err(usage(format!("krappy {extra} takes no arguments"))),
        [word, ..] => Err(usage(format!("krappy has no command {word}{}", did_you_mean(word, COMMANDS)))),
    }
}

fn words(arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<String>, Failure> {
    arguments.into_iter().map(|a| a.into_string().map_err(|a| usage(format!("{a:?} is not UTF-8")))).collect()
}

fn usage(problem: String) -> Failure {
    Failure { message: format!("{problem}\nkrappy --help says more"), status: EXIT_USAGE }
}

fn misconfigured(problems: Vec<String>) -> Failure {
    Failure { message: problems.join("\n"), status: EXIT_CONFIG }
}

fn one_path(form: &str, rest: &[&str]) -> Result<PathBuf, Failure> {
    match rest {
        [path] if !path.starts_with('-') => Ok(PathBuf::from(path)),
        _ => Err(usage(format!("this is not of the form: krappy {form}"))),
    }
}

/// The words without a flag, and whether it was there.
fn without<'a>(flag: &str, words: &[&'a str]) -> (Vec<&'a str>, bool) {
    let others: Vec<&str> = words.iter().copied().filter(|word| *word != flag).collect();
    let there = others.len() < words.len();
    (others, there)
}

fn repair(rest: &[&str]) -> Result<Command, Failure> {
    let (others, dry_run) = without("--dry-run", rest);
    Ok(Command::Repair { dir: one_path("repair DIR [--dry-run]", &others)?, dry_run })
}

fn serve(flags: &[&str], around: &Surroundings<'_>) -> Result<Command, Failure> {
    let mut loaded = settle(flags, around)?;
    if loaded.config.ephemeral {
        loaded.config.data_dir = temporary_folder()?;
    }
    Ok(Command::Serve(Box::new(loaded)))
}

/// A name that nobody else on the machine can have prepared.
fn temporary_folder() -> Result<PathBuf, Failure> {
    let random = os::random_bytes().map_err(|e| {
        misconfigured(vec![format!("the kernel gives no random bytes for a folder's name: {e}")])
    })?;
    Ok(std::env::temp_dir().join(format!("krappy-{:032x}", u128::from_be_bytes(random))))
}

fn config(rest: &[&str], around: &Surroundings<'_>) -> Result<Command, Failure> {
    match rest {
        ["print", flags @ ..] => Ok(Command::Print(text::print(&settle(flags, around)?))),
        ["default"] => Ok(Command::Print(text::default_file())),
        ["docs"] => Ok(Command::Print(text::manual())),
        ["check", file] if !file.starts_with('-') => check_file(file, around),
        [word, ..] if !CONFIG_COMMANDS.contains(word) => {
            Err(usage(format!("krappy config has no command {word}{}", did_you_mean(word, CONFIG_COMMANDS))))
        }
        _ => Err(usage(
            "this is not of the form: krappy config print [flags] | default | docs | check FILE".into(),
        )),
    }
}

fn check_file(name: &str, around: &Surroundings<'_>) -> Result<Command, Failure> {
    let given = read_file(name, around)?;
    load(&given).map_err(misconfigured)?;
    Ok(Command::Print(format!("{name}: in order, {} settings\n", given.len())))
}

/// Brings together flags, environment and file.
fn settle(flags: &[&str], around: &Surroundings<'_>) -> Result<Loaded, Failure> {
    let (from_flags, file) = parse_flags(flags)?;
    let variable =
        || around.variables.iter().find(|(name, _)| name == "KRAPPY_CONFIG").map(|(_, v)| v.clone());
    let mut given = match file.or_else(variable) {
        Some(name) => read_file(&name, around)?,
        None => Vec::new(),
    };
    given.extend(parse_environment(around.variables.iter().cloned()).map_err(misconfigured)?);
    given.extend(from_flags);
    load(&given).map_err(misconfigured)
}

fn read_file(name: &str, around: &Surroundings<'_>) -> Result<Vec<Given>, Failure> {
    let text = (around.read)(name).map_err(|e| misconfigured(vec![format!("{name} cannot be read: {e}")]))?;
    parse_file(name, &text).map_err(misconfigured)
}

/// Flags as settings, and the value of `--config`. `--name value` and `--name=value` are the same; a flag that is true
/// or false needs no value.
fn parse_flags(words: &[&str]) -> Result<(Vec<Given>, Option<String>), Failure> {
    let (mut given, mut file) = (Vec::new(), None);
    let mut words = words.iter().copied().peekable();
    while let Some(word) = words.next() {
        let (flag, attached) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (word, None),
        };
        if !flag.starts_with("--") {
            return Err(usage(format!("{word} is not a flag: those begin with --")));
        }
        let setting = settings().find(|s| s.flag() == flag);
        let optional = setting.is_some_and(|s| matches!(s.kind, Kind::Flag));
        let value = match attached {
            Some(value) => Some(value),
            None if optional => words.next_if(|next| ["true", "false"].contains(next)).or(Some("true")),
            None => words.next(),
        };
        match (setting, value) {
            (None, Some(value)) if flag == "--config" => file = Some(value.to_owned()),
            (None, _) if flag != "--config" => return Err(unknown_flag(flag)),
            (Some(setting), Some(value)) => given.push(Given {
                name: setting.name.to_owned(),
                value: value.to_owned(),
                source: Source::Flag(flag.to_owned()),
            }),
            (_, _) => return Err(usage(format!("{flag} needs a value"))),
        }
    }
    Ok((given, file))
}

fn unknown_flag(flag: &str) -> Failure {
    let flags: Vec<String> =
        settings().map(|s| s.flag()).chain(["--config".into(), "--help".into()]).collect();
    usage(format!("{flag} is not a flag{}", did_you_mean(flag, flags.iter().map(String::as_str))))
}

/// What `krappy version` prints.
pub fn version() -> String {
    format!("krappy {}\n", env!("CARGO_PKG_VERSION"))
}

fn help() -> String {
    let default = |name: &str| {
        let setting = table::find(name).expect("the help names settings that exist");
        setting.kind.show(&setting.get(&Default::default()))
    };
    HELP.replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{data.dir}", &default("data.dir"))
        .replace("{listen}", &default("listen"))
}

const HELP: &str = "\
krappy {version}, an event-streaming broker in one small binary and one poll loop

Usage:
  krappy [serve] [flags]          run the broker; Ctrl-C stops it
  krappy check DIR [--deep]       verify a data folder, change nothing; --deep compares views with logs
  krappy repair DIR [--dry-run]   put a damaged data folder in order, or say what that would take
  krappy dump FILE                show what a file of the data folder holds
  krappy config print [flags]     every setting, its value and where it came from
  krappy config default           a configuration file with every setting explained
  krappy config docs              the same as a page of Markdown
  krappy config check FILE        say what is wrong with a configuration file
  krappy version

Flags:
  --data-dir DIR                  the folder for all data (default: {data.dir})
  --listen ADDRESS:PORT[,...]     where to listen (default: {listen})
  --ephemeral                     a temporary folder, removed at exit, and a free port
  --allow-insecure                allow listening beyond this machine without authentication
  --config FILE                   read settings from a file
  Every setting is a flag: num.partitions is --num-partitions.

Environment:
  KRAPPY_LOG                      error, warn, info, debug or trace
  KRAPPY_CONFIG                   as --config
  Every setting is a variable: num.partitions is KRAPPY_NUM_PARTITIONS.

Exit status:
  0 done   64 wrong usage   65 data damaged or in use   69 address in use   74 disk failed   78 wrong settings

Examples:
  krappy --data-dir /var/lib/krappy
  krappy --ephemeral --log-segment-bytes 16MiB --log-retention-ms 1h
";

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "num.partitions = 2\nmax.topics = 20\ndrain.ms = 1s\n";

    fn run(line: &str, variables: &[(&str, &str)]) -> Result<Command, Failure> {
        let read = |name: &str| match name {
            "k.conf" => Ok(FILE.to_owned()),
            "bad.conf" => Ok("nonsense.name = 1\nmax.topics = 0\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let variables = variables.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        parse(line.split_whitespace().map(OsString::from), &Surroundings { variables, read: &read })
    }

    fn served(line: &str, variables: &[(&str, &str)]) -> Loaded {
        match run(line, variables) {
            Ok(Command::Serve(loaded)) => *loaded,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn printed(line: &str) -> String {
        match run(line, &[]) {
            Ok(Command::Print(text)) => text,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn failed(line: &str) -> (u8, String) {
        let failure = run(line, &[]).expect_err(line);
        (failure.status, failure.message)
    }

    #[test]
    fn no_words_serve_with_the_defaults() {
        assert_eq!(served("", &[]).config, Default::default());
        assert_eq!(served("serve", &[]).config, Default::default());
    }

    #[test]
    fn flags_beat_variables_and_variables_beat_the_file() {
        let variables =
            [("KRAPPY_MAX_TOPICS", "30"), ("KRAPPY_NUM_PARTITIONS", "3"), ("KRAPPY_CONFIG", "k.conf")];
        let loaded = served("--num-partitions 4", &variables);
        let limits = &loaded.config.limits;
        assert_eq!((loaded.config.num_partitions, limits.max_topics, limits.drain_ms), (4, 30, 1000));
        assert_eq!(loaded.source("num.partitions").to_string(), "--num-partitions");
        assert_eq!(loaded.source("max.topics").to_string(), "KRAPPY_MAX_TOPICS");
        assert_eq!(loaded.source("drain.ms").to_string(), "k.conf:3");
        let other = run("--config none.conf", &variables).unwrap_err();
        assert!(other.message.starts_with("none.conf cannot be read") && other.status == EXIT_CONFIG);
    }

    #[test]
    fn a_flag_takes_its_value_in_every_usual_way() {
        for line in ["--data-dir /d", "--data-dir=/d", "serve --data-dir /d"] {
            assert_eq!(served(line, &[]).config.data_dir, PathBuf::from("/d"), "{line}");
        }
        for (line, auto) in [
            ("", true),
            ("--auto-create-topics-enable false", false),
            ("--auto-create-topics-enable=no", false),
        ] {
            assert_eq!(served(line, &[]).config.auto_create, auto, "{line}");
        }
        let both = served("--allow-insecure --listen 0.0.0.0:1", &[]).config;
        assert!(both.allow_insecure && both.listen[0].port() == 1);
    }

    #[test]
    fn an_ephemeral_broker_gets_a_folder_of_its_own() {
        let folders = [served("--ephemeral", &[]).config, served("--ephemeral", &[]).config];
        assert_ne!(folders[0].data_dir, folders[1].data_dir);
        assert!(folders[0].data_dir.starts_with(std::env::temp_dir()));
        assert_eq!(folders[0].listen[0].port(), 0);
    }

    #[test]
    fn what_is_mistyped_is_named_with_what_was_meant() {
        assert_eq!(
            failed("--lisen 1"),
            (64, "--lisen is not a flag, did you mean --listen?\nkrappy --help says more".into())
        );
        assert!(failed("sevre").1.contains("did you mean serve?"));
        assert!(failed("config pirnt").1.contains("did you mean print?"));
        for line in [
            "--listen",
            "--config",
            "-x",
            "check",
            "check a b",
            "repair --dry-run",
            "dump",
            "config",
            "version x",
            "serve x",
        ] {
            assert_eq!(failed(line).0, EXIT_USAGE, "{line}");
        }
    }

    #[test]
    fn settings_that_are_not_in_order_stop_the_start() {
        let (status, message) = failed("--listen 0.0.0.0:9092");
        assert!(status == EXIT_CONFIG && message.contains("--allow-insecure"), "{message}");
        assert_eq!(failed("--num-partitions 0").0, EXIT_CONFIG);
        let unknown = run("", &[("KRAPPY_DATADIR", "x")]).unwrap_err();
        assert!(unknown.status == EXIT_CONFIG && unknown.message.contains("did you mean KRAPPY_DATA_DIR?"));
        let (status, message) = failed("config check bad.conf");
        assert_eq!((status, message.lines().count()), (EXIT_CONFIG, 2), "all problems at once: {message}");
    }

    #[test]
    fn the_other_commands_are_understood() {
        for (line, deep) in [("check d", false), ("check d --deep", true), ("check --deep d", true)] {
            assert_eq!(run(line, &[]), Ok(Command::Check { dir: "d".into(), deep }), "{line}");
        }
        assert_eq!(run("dump f", &[]), Ok(Command::Dump("f".into())));
        for (line, dry_run) in
            [("repair d", false), ("repair d --dry-run", true), ("repair --dry-run d", true)]
        {
            assert_eq!(run(line, &[]), Ok(Command::Repair { dir: "d".into(), dry_run }));
        }
        assert_eq!(printed("config check k.conf"), "k.conf: in order, 3 settings\n");
        assert_eq!(printed("config default"), text::default_file());
        assert_eq!(printed("config docs"), text::manual());
        assert!(printed("config print --max-topics 7").contains("--max-topics"));
        assert_eq!(printed("-V"), printed("version"));
    }

    #[test]
    fn the_help_is_filled_in_and_its_examples_work() {
        let help = printed("--help");
        assert_eq!((printed("config -h"), printed("help")), (help.clone(), help.clone()));
        assert!(!help.contains('{') && help.lines().all(|line| line.len() <= 110));
        let examples = help.split("Examples:\n").nth(1).unwrap();
        for line in examples.lines().map(|l| l.trim().trim_start_matches("krappy ")) {
            served(line, &[]);
        }
        assert_eq!(examples.lines().count(), 2);
        assert!(
            !help.contains("debug-sync-delay")
                && served("--debug-sync-delay-ms 50", &[]).config.debug_sync_delay_ms == 50
        );
    }
}
