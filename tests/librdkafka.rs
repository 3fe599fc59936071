//! The list of librdkafka's tests, `tests/librdkafka/expectations`, and the page that tells it, `docs/KAFKA.md`.
//!
//! The list says what each test is expected to do; `tests/librdkafka/run.sh` holds the broker to it.

use std::collections::BTreeSet;

const LIST: &str = include_str!("librdkafka/expectations");
const PAGE: &str = include_str!("../docs/KAFKA.md");

/// Longest line of the paragraph of tests that pass.
const WIDTH: usize = 120;

/// A line of the list.
struct Row {
    test: &'static str,
    scenario: &'static str,
    pace: &'static str,
    expectation: &'static str,
    what: &'static str,
    reason: &'static str,
}

fn rows() -> Vec<Row> {
    let lines = LIST.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split('|').map(str::trim).collect::<Vec<_>>()[..] {
            [test, scenario, pace, expectation, what, reason] => {
                Row { test, scenario, pace, expectation, what, reason }
            }
            _ => panic!("not six columns: {line}"),
        })
        .collect()
}

#[test]
fn every_row_is_one_that_the_script_understands() {
    let mut seen = BTreeSet::new();
    for Row { test, scenario, pace, expectation, what, reason } in rows() {
        assert!(seen.insert(test), "{test} is there twice");
        assert!(["default", "noautocreate"].contains(&scenario), "{test}: {scenario}");
        assert!(["short", "long"].contains(&pace), "{test}: {pace}");
        assert!(!what.is_empty(), "{test}: what does it test?");
        match expectation {
            "passes" => assert_eq!(reason, "", "{test} needs no excuse"),
            // Unless something else is in the way, too, the word says it all.
            "groups" | "transactions" => {}
            "other" | "skips" | "not run" => assert_ne!(reason, "", "{test} needs a reason"),
            unknown => panic!("{test}: {unknown}"),
        }
    }
}

#[test]
fn the_page_tells_the_list() {
    for wanted in [passing(), table()] {
        assert!(PAGE.contains(&wanted), "docs/KAFKA.md has to say:\n{wanted}");
    }
}

/// The tests that pass, as a paragraph.
fn passing() -> String {
    let rows = rows();
    let mut words: Vec<String> =
        rows.iter().filter(|row| row.expectation == "passes").map(|row| format!("`{}`", row.test)).collect();
    let count = words.len();
    words.iter_mut().take(count - 1).for_each(|word| word.push(','));
    words.last_mut().expect("some pass").push('.');
    let mut text = format!("{count} pass:");
    let mut width = text.len();
    for word in words {
        let fits = width + 1 + word.len() <= WIDTH;
        text.push(if fits { ' ' } else { '\n' });
        width = if fits { width + 1 + word.len() } else { word.len() };
        text.push_str(&word);
    }
    text + "\n"
}

/// The others, as a table.
fn table() -> String {
    let mut text = String::from("| test | what it tests | why it does not pass |\n|---|---|---|\n");
    for Row { test, expectation, what, reason, .. } in rows() {
        let why = match (expectation, reason) {
            ("passes", _) => continue,
            ("groups", "") => "needs consumer groups",
            ("transactions", "") => "needs transactions",
            (_, reason) => reason,
        };
        text.push_str(&format!("| `{test}` | {what} | {why} |\n"));
    }
    text
}
