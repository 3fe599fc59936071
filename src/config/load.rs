//! Which value holds, and where it came from: a flag, the environment, the file, or the default, in this order.
//!
//! Invariant: a configuration that loads has only known names, values within bounds, and values that fit each other.
//! All that is wrong is reported at once.

use std::collections::BTreeMap;
use std::fmt;

use super::Config;
use super::nearest::did_you_mean;
use super::table::{self, Setting, settings};
use super::value::Value;
use crate::ordered;

/// Where a value came from; later ones win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody has set it.
    Default,
    /// A line of the file.
    File {
        /// The file's name as it was given.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable of this name.
    Environment(String),
    /// A flag of this name.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { name, line } => write!(f, "{name}:{line}"),
            Source::Environment(name) | Source::Flag(name) => f.write_str(name),
        }
    }
}

/// A value that somebody has given, not yet understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The name of the setting, with dots.
    pub name: String,
    /// The value as text.
    pub value: String,
    /// Who has given it.
    pub source: Source,
}

/// A configuration that is in order, and where each value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    sources: BTreeMap<&'static str, Source>,
}

impl Loaded {
    /// Where the value of this setting came from.
    pub fn source(&self, name: &str) -> &Source {
        self.sources.get(name).unwrap_or(&Source::Default)
    }
}

/// Reads the text of a configuration file: `name = value` lines, empty lines, and comments from a `#` at the start.
pub fn parse_file(name: &str, text: &str) -> Result<Vec<Given>, Vec<String>> {
    let mut given: Vec<Given> = Vec::new();
    let mut problems = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let (line, source) = (line.trim(), Source::File { name: name.to_owned(), line: i + 1 });
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            problems.push(format!("{source}: {line:?} is not of the form name = value"));
            continue;
        };
        let (name, value) = (key.trim().to_owned(), value.trim().to_owned());
        match given.iter().find(|earlier| earlier.name == name) {
            Some(earlier) => problems.push(format!("{source}: {name} is set already, at {}", earlier.source)),
            None => given.push(Given { name, value, source }),
        }
    }
    if problems.is_empty() { Ok(given) } else { Err(problems) }
}

/// Environment variables that begin with `KRAPPY_`, as settings. `KRAPPY_LOG` belongs to the logger and `KRAPPY_CONFIG`
/// names the file; any other that is not a setting is an error.
pub fn parse_environment(
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Given>, Vec<String>> {
    let (mut given, mut problems) = (Vec::new(), Vec::new());
    let ours = variables.into_iter().filter(|(name, _)| name.starts_with("KRAPPY_"));
    for (variable, value) in ordered::set(ours) {
        if variable == "KRAPPY_LOG" || variable == "KRAPPY_CONFIG" {
            continue;
        }
        match settings().find(|s| s.variable() == variable) {
            Some(s) => {
                given.push(Given { name: s.name.into(), value, source: Source::Environment(variable) })
            }
            None => {
                let names: Vec<_> = settings().map(|s| s.variable()).collect();
                let nearest = did_you_mean(&variable, names.iter().map(String::as_str));
                problems.push(format!("{variable} in the environment is not a setting{nearest}"));
            }
        }
    }
    if problems.is_empty() { Ok(given) } else { Err(problems) }
}

/// Puts together what was given, in any order: the strongest source of each setting wins, the last one among equals.
pub fn load(given: &[Given]) -> Result<Loaded, Vec<String>> {
    let mut loaded = Loaded { config: Config::default(), sources: BTreeMap::new() };
    let mut problems = Vec::new();
    for one in given {
        match understand(one) {
            Ok((setting, value)) => {
                if rank(&one.source) >= rank(loaded.source(setting.name)) {
                    setting.set(&mut loaded.config, value);
                    loaded.sources.insert(setting.name, one.source.clone());
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    choose_free_port(&mut loaded);
    if problems.is_empty() {
        problems = contradictions(&loaded);
    }
    if problems.is_empty() { Ok(loaded) } else { Err(problems) }
}

fn rank(source: &Source) -> u8 {
    match source {
        Source::Default => 0,
        Source::File { .. } => 1,
        Source::Environment(_) => 2,
        Source::Flag(_) => 3,
    }
}

fn understand(given: &Given) -> Result<(Setting, Value), String> {
    let Given { name, value, source } = given;
    let setting = table::find(name).ok_or_else(|| format!("{source}: {}", unknown(name)))?;
    let place = match source {
        Source::File { .. } => format!("{source}: {name}"),
        _ => source.to_string(),
    };
    let value = setting.kind.parse(value).map_err(|why| format!("{place}: {why}"))?;
    Ok((setting, value))
}

/// Names that people bring from Kafka's `server.properties`, and what to write here.
const FROM_KAFKA: &[(&str, &str)] = &[
    ("broker.id", "there is one broker, and it needs no number"),
    ("listeners", "write listen = address:port"),
    ("log.cleanup.policy", "a topic sets cleanup.policy itself"),
    ("log.dir", "write data.dir"),
    ("log.dirs", "write data.dir; there is one"),
    ("log.retention.hours", "write log.retention.ms, for example 168h"),
    ("log.retention.minutes", "write log.retention.ms, for example 90m"),
    ("log.roll.hours", "write log.roll.ms, for example 168h"),
    ("zookeeper.connect", "there is nothing to connect to"),
];

fn unknown(name: &str) -> String {
    match FROM_KAFKA.iter().find(|(kafka, _)| *kafka == name) {
        Some((_, advice)) => format!("{name} is not a setting here: {advice}"),
        None => format!("{name} is not a setting{}", did_you_mean(name, settings().map(|s| s.name))),
    }
}

fn choose_free_port(loaded: &mut Loaded) {
    if loaded.config.ephemeral && *loaded.source("listen") == Source::Default {
        loaded.config.listen.iter_mut().for_each(|address| address.set_port(0));
    }
}

/// What is wrong between values that are each in order.
fn contradictions(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.config;
    let (limits, topic) = (&config.limits, &config.topic);
    let mut problems = Vec::new();
    let mut check = |wrong: bool, problem: String| {
        if wrong {
            problems.push(problem);
        }
    };
    for address in config.listen.iter().filter(|a| !a.ip().to_canonical().is_loopback()) {
        check(!config.allow_insecure, beyond_this_machine(address, loaded.source("listen")));
    }
    check(
        config.ephemeral && *loaded.source("data.dir") != Source::Default,
        "ephemeral makes a data folder of its own: leave out data.dir, or ephemeral".into(),
    );
    check(
        limits.input_budget < limits.max_frame as usize,
        format!(
            "queued.max.request.bytes ({}) is smaller than socket.request.max.bytes ({}): the largest request could never \
             arrive",
            limits.input_budget, limits.max_frame
        ),
    );
    check(
        topic.max_message_bytes > limits.max_frame,
        format!(
            "message.max.bytes ({}) is larger than socket.request.max.bytes ({}): the largest batch could never arrive",
            topic.max_message_bytes, limits.max_frame
        ),
    );
    check(
        config.num_partitions as usize > limits.max_partitions,
        format!(
            "num.partitions ({}) is larger than max.partitions ({}): no topic could be created",
            config.num_partitions, limits.max_partitions
        ),
    );
    problems
}

fn beyond_this_machine(address: &std::net::SocketAddr, source: &Source) -> String {
    format!(
        "listen = {address} (from {source}) can be reached from other machines, and there is no authentication: everybody \
         who connects can read, write and delete everything. If that is what you want, say so with --allow-insecure. \
         Otherwise listen on 127.0.0.1"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(source: Source, name: &str, value: &str) -> Given {
        Given { name: name.into(), value: value.into(), source }
    }

    fn file(name: &str, value: &str) -> Given {
        given(Source::File { name: "k.conf".into(), line: 3 }, name, value)
    }

    fn environment(name: &str, value: &str) -> Given {
        given(Source::Environment(table::find(name).unwrap().variable()), name, value)
    }

    fn flag(name: &str, value: &str) -> Given {
        given(Source::Flag(format!("--{}", name.replace('.', "-"))), name, value)
    }

    fn problem(given: &[Given]) -> String {
        load(given).unwrap_err().join("\n")
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
        let mut all = vec![
            file("num.partitions", "2"),
            environment("num.partitions", "3"),
            flag("num.partitions", "4"),
        ];
        for order in 0..2 {
            let loaded = load(&all).unwrap();
            assert_eq!(
                (loaded.config.num_partitions, loaded.source("num.partitions").to_string()),
                (4, "--num-partitions".into()),
                "{order}"
            );
            all.reverse();
        }
        all.pop();
        let loaded = load(&all).unwrap();
        assert_eq!(
            (loaded.config.num_partitions, loaded.source("num.partitions").to_string()),
            (3, "KRAPPY_NUM_PARTITIONS".into())
        );
        all.pop();
        let loaded = load(&[file("num.partitions", "2")]).unwrap();
        assert_eq!(
            (loaded.config.num_partitions, loaded.source("num.partitions").to_string()),
            (2, "k.conf:3".into())
        );
        let loaded = load(&[]).unwrap();
        assert_eq!((loaded.config, loaded.sources.len()), (Config::default(), 0));
    }

    #[test]
    fn the_last_of_two_equal_flags_wins() {
        let loaded = load(&[flag("num.partitions", "4"), flag("num.partitions", "5")]).unwrap();
        assert_eq!(loaded.config.num_partitions, 5);
    }

    #[test]
    fn topic_defaults_go_by_the_brokers_names() {
        let loaded =
            load(&[file("log.segment.bytes", "1MiB"), file("log.retention.ms", "unlimited")]).unwrap();
        assert_eq!((loaded.config.topic.segment_bytes, loaded.config.topic.retention_ms), (1 << 20, -1));
    }

    #[test]
    fn unknown_names_are_errors_that_name_the_nearest() {
        assert_eq!(
            problem(&[file("data.dri", "x")]),
            "k.conf:3: data.dri is not a setting, did you mean data.dir?"
        );
        assert!(problem(&[file("log.dirs", "x")]).contains("write data.dir"));
        let variables =
            [("KRAPPY_LISTN", "x"), ("KRAPPY_LOG", "debug"), ("KRAPPY_CONFIG", "f"), ("HOME", "/")];
        let error = parse_environment(variables.map(|(n, v)| (n.to_owned(), v.to_owned()))).unwrap_err();
        assert_eq!(error, ["KRAPPY_LISTN in the environment is not a setting, did you mean KRAPPY_LISTEN?"]);
    }

    #[test]
    fn values_out_of_bounds_say_the_bounds_and_where_they_stand() {
        let error = problem(&[flag("num.partitions", "0"), file("log.segment.bytes", "1")]);
        assert_eq!(
            error,
            "--num-partitions: 0 is out of bounds: it must be 1 to 10000\n\
             k.conf:3: log.segment.bytes: 1 is out of bounds: it must be 1KiB to 2147483647"
        );
    }

    #[test]
    fn listening_beyond_this_machine_needs_the_word() {
        for open in ["0.0.0.0:9092", "[::]:9092", "192.168.1.5:9092", "127.0.0.1:9092,10.0.0.1:9092"] {
            assert!(problem(&[flag("listen", open)]).contains("--allow-insecure"), "{open}");
            load(&[flag("listen", open), flag("allow.insecure", "true")]).unwrap();
        }
        for closed in ["127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            load(&[flag("listen", closed)]).unwrap();
        }
    }

    #[test]
    fn an_ephemeral_broker_takes_a_free_port_and_no_data_folder() {
        let port = |given: &[Given]| load(given).unwrap().config.listen[0].port();
        assert_eq!(port(&[flag("ephemeral", "true")]), 0);
        assert_eq!(port(&[flag("ephemeral", "true"), file("listen", "127.0.0.1:5000")]), 5000);
        assert!(
            problem(&[flag("ephemeral", "true"), environment("data.dir", "/d")])
                .contains("leave out data.dir")
        );
    }

    #[test]
    fn values_that_contradict_each_other_are_refused() {
        assert!(problem(&[file("socket.request.max.bytes", "1MiB")]).contains("message.max.bytes"));
        assert!(problem(&[file("queued.max.request.bytes", "1MiB")]).contains("could never"));
        assert!(problem(&[file("num.partitions", "10"), file("max.partitions", "9")]).contains("no topic"));
        load(&[file("num.partitions", "9"), file("max.partitions", "9")]).unwrap();
    }

    #[test]
    fn a_file_is_lines_of_names_and_values() {
        let text = "# comment\n\n listen = 127.0.0.1:0 \ndata.dir=/a b/c=d#e\n";
        let parsed = parse_file("f", text).unwrap();
        let pairs: Vec<_> =
            parsed.iter().map(|g| (g.name.as_str(), g.value.as_str(), g.source.to_string())).collect();
        assert_eq!(
            pairs,
            [("listen", "127.0.0.1:0", "f:3".to_owned()), ("data.dir", "/a b/c=d#e", "f:4".to_owned())]
        );
        assert_eq!(
            parse_file("f", "listen = a\nnonsense\nlisten = b\n").unwrap_err(),
            ["f:2: \"nonsense\" is not of the form name = value", "f:3: listen is set already, at f:1"]
        );
    }
}
