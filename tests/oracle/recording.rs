//! What Apache Kafka has answered to the script, as a text file, so that every test run compares with it and only
//! `make oracle` needs a Kafka.
//!
//! ```text
//! == Produce: a gap in the sequence | 3..8 13
//! responses[0]
//!   name: "orders"
//!   partition_responses[0]
//!     error_code: 45 OutOfOrderSequenceNumber
//! ```
//!
//! A block is one answer, and the versions of the request that have got it. What stands further to the right belongs to
//! the line above it: the last one is `responses[0].partition_responses[0].error_code`.
//!
//! Invariant: reading what was written gives the same steps; their order is by name and version.

use std::collections::BTreeMap;

use super::run::Step;
use super::tree::Lines;

/// Where it is, seen from the root.
pub const PATH: &str = "tests/oracle/kafka-4.1.1.txt";

/// Answers by step and version.
pub type Answers = BTreeMap<(String, i16), Lines>;

/// The answers of a run.
pub fn answers(steps: Vec<Step>) -> Answers {
    steps.into_iter().map(|step| ((step.name, step.version), step.lines)).collect()
}

/// The text of answers.
pub fn written(answers: &Answers) -> String {
    let mut blocks: Vec<(&str, Vec<i16>, &Lines)> = Vec::new();
    for ((name, version), lines) in answers {
        match blocks.iter_mut().find(|(other, _, same)| other == name && *same == lines) {
            Some((_, versions, _)) => versions.push(*version),
            None => blocks.push((name, vec![*version], lines)),
        }
    }
    let mut text = String::new();
    for (name, versions, lines) in blocks {
        text += &format!("== {name} | {}\n", ranges(&versions));
        text += &indented(lines);
    }
    text
}

/// Lines of which each says only what the one before it has not said.
fn indented(lines: &Lines) -> String {
    let mut text = String::new();
    let mut open: Vec<&str> = Vec::new();
    for (path, value) in lines {
        let mut names = parts(path);
        let last = names.pop().expect("a path has a part");
        let shared = open.iter().zip(&names).take_while(|(a, b)| a == b).count();
        for (depth, name) in names.iter().enumerate().skip(shared) {
            text += &format!("{:width$}{name}\n", "", width = 2 * depth);
        }
        text += &format!("{:width$}{last}: {value}\n", "", width = 2 * names.len());
        open = names;
    }
    text
}

/// The parts of a path; a dot within brackets belongs to a name.
fn parts(path: &str) -> Vec<&str> {
    let mut depth = 0;
    path.split(|c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        c == '.' && depth == 0
    })
    .collect()
}

/// What [`indented`] has written.
fn lines_of(text: &str) -> Lines {
    let mut open: Vec<&str> = Vec::new();
    let mut lines = Lines::new();
    for line in text.lines() {
        let said = line.trim_start();
        open.truncate((line.len() - said.len()) / 2);
        match said.split_once(": ") {
            None => open.push(said),
            Some((last, value)) => {
                let path = open.iter().copied().chain([last]).collect::<Vec<_>>().join(".");
                lines.push((path, value.to_owned()));
            }
        }
    }
    lines
}

/// The answers of a text.
pub fn read(text: &str) -> Answers {
    let mut answers = Answers::new();
    let blocks = text.split("== ").skip(1);
    for block in blocks {
        let (head, lines) = block.split_once('\n').expect("a block has a first line");
        let (name, versions) = head.split_once(" | ").expect("a block names its versions");
        let lines = lines_of(lines);
        for version in versions.split(' ').flat_map(range) {
            answers.insert((name.to_owned(), version), lines.clone());
        }
    }
    answers
}

/// `3..8 13` for growing numbers.
pub fn ranges(versions: &[i16]) -> String {
    let runs = versions.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
        [one] => one.to_string(),
        _ => format!("{}..{}", run[0], run[run.len() - 1]),
    });
    runs.collect::<Vec<_>>().join(" ")
}

fn range(word: &str) -> std::ops::RangeInclusive<i16> {
    let number = |text: &str| text.parse::<i16>().expect("a version");
    let (first, last) = word.split_once("..").unwrap_or((word, word));
    number(first)..=number(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(last: &str) -> Lines {
        let paths = ["a.b[0].c", "a.b[0].d.e", "a.b[1].c", "f[g.h].i", "j"];
        paths.into_iter().zip(["1", "[]", "\"x: y\"", "(all -1)", last]).map(owned).collect()
    }

    fn owned((path, value): (&str, &str)) -> (String, String) {
        (path.to_owned(), value.to_owned())
    }

    #[test]
    fn what_is_written_is_read_again_and_equal_answers_are_written_once() {
        let step = |version, last| Step { name: "Fetch: x".to_owned(), version, lines: lines(last) };
        let kept = answers(vec![step(4, "1"), step(5, "1"), step(6, "2"), step(7, "1")]);
        let text = written(&kept);
        assert_eq!(text.matches("== ").count(), 2, "{text}");
        assert!(
            text.starts_with("== Fetch: x | 4..5 7\na\n  b[0]\n    c: 1\n    d\n      e: []\n  b[1]\n"),
            "{text}"
        );
        assert_eq!(read(&text), kept);
    }
}
