//! The lists of librdkafka's tests, `expectations` and `expectations-consumer` in `tests/librdkafka`, and the page that
//! tells them, `docs/KAFKA.md`.
//!
//! A list says what each test is expected to do; `tests/librdkafka/run.sh` holds the broker to it.

use std::collections::BTreeSet;

const LISTS: [&str; 2] =
    [include_str!("librdkafka/expectations"), include_str!("librdkafka/expectations-consumer")];
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

fn rows(list: &'static str) -> Vec<Row> {
    let lines = list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
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
    let rows = LISTS.iter().flat_map(|list| rows(list).into_iter().map(move |row| (list.len(), row)));
    for (list, Row { test, scenario, pace, expectation, what, reason }) in rows {
        assert!(seen.insert((list, test)), "{test} is there twice");
        assert!(["default", "noautocreate", "delay"].contains(&scenario), "{test}: {scenario}");
        assert!(["short", "long"].contains(&pace), "{test}: {pace}");
        assert!(!what.is_empty(), "{test}: what does it test?");
        match expectation {
            "passes" => assert_eq!(reason, "", "{test} needs no excuse"),
            // Unless something else is in the way, too, the word says it all.
            "groups" | "transactions" => {}
            "other" | "varies" | "skips" | "not run" => assert_ne!(reason, "", "{test} needs a reason"),
            unknown => panic!("{test}: {unknown}"),
        }
    }
}

#[test]
fn the_page_tells_the_lists() {
    for wanted in LISTS.iter().flat_map(|list| [passing(list), table(list)]) {
        assert!(PAGE.contains(&wanted), "docs/KAFKA.md has to say:\n{wanted}");
    }
}

/// The tests that pass, as a paragraph.
fn passing(list: &'static str) -> String {
    let rows = rows(list);
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
fn table(list: &'static str) -> String {
    let mut text = String::from("| test | what it tests | why it does not pass |\n|---|---|---|\n");
    for Row { test, expectation, what, reason, .. } in rows(list) {
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
