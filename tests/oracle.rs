//! krappy against Apache Kafka 4.1.1: the same requests are sent to both, and the answers are compared field by field.
//!
//! `oracle/script/` holds the requests, `oracle/kafka-4.1.1.txt` what Kafka has answered to them, and
//! `oracle/differences.rs` where krappy is meant to answer otherwise. A difference that is not in that table fails, and
//! so does a row of the table that is no longer true.
//!
//! ```text
//! cargo test --test oracle                                        against the answers in the file
//! make oracle                                                     against a real Kafka, which must agree with the file
//! make oracle RECORD=yes                                          writes the file
//! ```

mod common;

mod oracle {
    pub mod batch;
    pub mod compare;
    pub mod differences;
    pub mod normal;
    pub mod recording;
    pub mod run;
    pub mod script;
    pub mod tree;
}

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Broker, TempDir};
use krappy::kafka::table::TABLE;
use oracle::compare::{differences, report, unintended};
use oracle::differences::INTENDED;
use oracle::recording::{self, Answers};
use oracle::run::Run;
use oracle::script;

/// Names the program that starts a real Kafka, as `scripts/kafka-oracle.sh` does.
const ORACLE: &str = "KRAPPY_ORACLE";
/// Writes what it has answered.
const RECORD: &str = "KRAPPY_ORACLE_RECORD";

fn recording() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(recording::PATH)
}

/// What a broker answers that this program starts on a new folder.
fn answers_of(program: &Path) -> Answers {
    let data = TempDir::new("oracle");
    let mut command = Command::new(program);
    command.arg("--data-dir").arg(data.path().join("data")).args(["--listen", "127.0.0.1:0"]);
    let mut broker = Broker::try_run(&mut command)
        .unwrap_or_else(|(status, said)| panic!("{} ended with {status}:\n{said}", program.display()));
    let mut run = Run::on(broker.addr);
    script::play(&mut run);
    broker.kill();
    recording::answers(run.steps)
}

/// What Kafka answers: a real one if the environment names it, or else as it has been recorded.
fn kafka() -> Answers {
    let text = std::fs::read_to_string(recording());
    let Some(program) = std::env::var_os(ORACLE) else {
        return recording::read(&text.expect("the answers of Kafka are in the repository"));
    };
    let live = answers_of(Path::new(&program));
    if std::env::var_os(RECORD).is_some() {
        std::fs::write(recording(), recording::written(&live)).expect("the answers can be written");
        return live;
    }
    let recorded = recording::read(&text.expect("the answers of Kafka are in the repository"));
    let stale = differences(&live, &recorded);
    let stale: Vec<_> = stale.iter().collect();
    assert!(
        stale.is_empty(),
        "{} is not what Kafka answers (here \"krappy\" is the file); if the script is new, make oracle RECORD=yes:\n{}",
        recording::PATH,
        report(&stale)
    );
    live
}

#[test]
fn the_script_asks_every_api_in_its_first_and_in_its_last_version() {
    let text = std::fs::read_to_string(recording()).expect("the answers of Kafka are in the repository");
    let asked = recording::read(&text);
    for api in TABLE {
        for version in [*api.versions.start(), *api.versions.end()] {
            let about = format!("{}: ", api.name);
            assert!(
                asked.keys().any(|(step, of)| step.starts_with(&about) && *of == version),
                "no step asks {} in version {version}",
                api.name
            );
        }
    }
}

#[test]
fn the_manual_tells_every_reason_for_a_difference_and_no_other() {
    const PAGE: &str = include_str!("../docs/KAFKA.md");
    let (_, section) = PAGE.split_once("## Where the answers differ from Kafka's").expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let told: Vec<String> = section
        .split("\n* ")
        .skip(1)
        .map(|item| item.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let reasons: Vec<&str> = INTENDED.iter().map(|reason| reason.why).collect();
    assert_eq!(told, reasons, "left: docs/KAFKA.md, right: oracle/differences.rs");
}

#[test]
fn krappy_answers_as_apache_kafka_does_except_where_it_is_meant_not_to() {
    let kafka = kafka();
    let krappy = answers_of(Path::new(common::KRAPPY));
    let found = differences(&kafka, &krappy);
    let (unknown, idle) = unintended(&found, INTENDED);
    println!("{} answers, {} fields differ, {} unintended", kafka.len(), found.len(), unknown.len());
    assert!(
        unknown.is_empty() && idle.is_empty(),
        "answers differ:\n{}\nrows of oracle/differences.rs that are not true any more:\n{idle:#?}",
        report(&unknown)
    );
}
