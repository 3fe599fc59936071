//! Two sets of answers side by side: which fields differ, and which of those are meant to.
//!
//! What follows from a difference is not told again: the fields of an entry that only one of them has, what stands
//! beside an error code that differs, the fields of an answer where the other one closes the connection.
//!
//! Invariant: a field that only one of them has is a difference, and so is a step.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::differences::{Reason, Row};
use super::recording::{Answers, ranges};
use super::tree::Lines;

/// What stands for a field that is not there.
const ABSENT: &str = "(absent)";
/// What stands for the fields of an entry that only one has, and of an answer.
const THERE: &str = "(there)";
/// The one field of an answer that is none.
const CONNECTION: &str = "connection";

/// A field in which two answers differ, in these versions of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub step: String,
    pub versions: Vec<i16>,
    pub field: String,
    pub kafka: String,
    pub krappy: String,
}

/// All differences, in the order of the steps.
pub fn differences(kafka: &Answers, krappy: &Answers) -> Vec<Difference> {
    let none = Lines::new();
    let mut found: BTreeMap<(&str, String, String, String), Vec<i16>> = BTreeMap::new();
    let keys = kafka.keys().chain(krappy.keys().filter(|key| !kafka.contains_key(key)));
    for key in keys {
        let theirs = kafka.get(key).unwrap_or(&none);
        let ours = krappy.get(key).unwrap_or(&none);
        for (field, kafka, krappy) in fields(theirs, ours) {
            found.entry((&key.0, field, kafka, krappy)).or_default().push(key.1);
        }
    }
    let one = |((step, field, kafka, krappy), versions): ((&str, String, String, String), Vec<i16>)| {
        Difference { step: step.to_owned(), versions, field, kafka, krappy }
    };
    found.into_iter().map(one).collect()
}

/// A field in which two answers differ: path, Kafka's value, ours.
type Pair = (String, String, String);

/// The fields in which two answers differ, without those that follow from others.
fn fields(theirs: &Lines, ours: &Lines) -> Vec<Pair> {
    let value = |lines: &Lines, path: &str| {
        lines.iter().find(|(other, _)| other == path).map(|(_, value)| value.clone())
    };
    let is_answer = |lines: &Lines| !lines.is_empty() && value(lines, CONNECTION).is_none();
    if is_answer(theirs) != is_answer(ours) {
        let told = |lines| {
            value(lines, CONNECTION).unwrap_or(if is_answer(lines) { THERE } else { ABSENT }.to_owned())
        };
        return vec![(CONNECTION.to_owned(), told(theirs), told(ours))];
    }
    let only_ours = ours.iter().filter(|(path, _)| theirs.iter().all(|(other, _)| other != path));
    let mut found: Vec<Pair> = Vec::new();
    for (path, _) in theirs.iter().chain(only_ours) {
        let pair = match (value(theirs, path), value(ours, path)) {
            (Some(theirs), Some(ours)) if theirs == ours => continue,
            (Some(theirs), Some(ours)) => (path.clone(), theirs, ours),
            (Some(value), None) => only_one(path, value, ours, |value| (value, ABSENT.to_owned())),
            (None, Some(value)) => only_one(path, value, theirs, |value| (ABSENT.to_owned(), value)),
            (None, None) => unreachable!("one of them has it"),
        };
        if !found.contains(&pair) && !is_empty_list(&pair, theirs, ours) {
            found.push(pair);
        }
    }
    let wrong: Vec<String> = found.iter().filter_map(|(path, ..)| owner_of_error(path)).collect();
    found.retain(|(path, ..)| {
        owner_of_error(path).is_some_and(|owner| !is_below_any(&owner, &wrong))
            || !wrong.iter().any(|owner| path.starts_with(owner.as_str()))
    });
    found
}

/// A field that the other one does not have: the outermost entry around it that the other one does not have either.
fn only_one(path: &str, value: String, other: &Lines, order: impl Fn(String) -> (String, String)) -> Pair {
    let ends = path.match_indices(']').map(|(at, _)| &path[..=at]);
    let mut missing = ends.filter(|entry| !other.iter().any(|(path, _)| path.starts_with(entry)));
    let (path, value) = match missing.next() {
        Some(entry) if entry != path => (entry, THERE.to_owned()),
        _ => (path, value),
    };
    let (theirs, ours) = order(value);
    (path.to_owned(), theirs, ours)
}

/// Whether it says no more than that a list has no entries where the other one has some.
fn is_empty_list((path, theirs, ours): &Pair, lines: &Lines, others: &Lines) -> bool {
    let entry = format!("{path}[");
    let has = |lines: &Lines| lines.iter().any(|(path, _)| path.starts_with(&entry));
    (theirs == "[]" && ours == ABSENT && has(others)) || (ours == "[]" && theirs == ABSENT && has(lines))
}

/// The struct whose error code this path is.
fn owner_of_error(path: &str) -> Option<String> {
    path.strip_suffix("error_code")
        .filter(|owner| owner.is_empty() || owner.ends_with('.'))
        .map(str::to_owned)
}

fn is_below_any(owner: &str, wrong: &[String]) -> bool {
    wrong.iter().any(|other| owner != other && owner.starts_with(other.as_str()))
}

/// The differences that no row intends, and the rows that match none.
pub fn unintended<'a>(
    differences: &'a [Difference],
    intended: &'a [Reason],
) -> (Vec<&'a Difference>, Vec<&'a Row>) {
    let rows = || intended.iter().flat_map(|reason| reason.rows);
    let unknown = differences.iter().filter(|d| !rows().any(|row| row.is_about(d))).collect();
    let idle = rows().filter(|row| !differences.iter().any(|d| row.is_about(d))).collect();
    (unknown, idle)
}

/// For people: step, field, Kafka's value, ours.
pub fn report(differences: &[&Difference]) -> String {
    let mut text = String::new();
    let mut last = "";
    for d in differences {
        if d.step != last {
            last = &d.step;
            let _ = writeln!(text, "{}", d.step);
        }
        let _ = writeln!(text, "    {}  (versions {})", d.field, ranges(&d.versions));
        let _ = writeln!(text, "        Kafka   {}\n        krappy  {}", d.kafka, d.krappy);
    }
    text
}

impl Row {
    /// Whether the row means this difference.
    pub fn is_about(&self, d: &Difference) -> bool {
        fits(self.step, &d.step)
            && fits(self.field, &d.field)
            && fits(self.kafka, &d.kafka)
            && fits(self.krappy, &d.krappy)
    }
}

/// Whether a text fits a pattern, in which `*` stands for anything.
pub fn fits(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(head) else { return false };
    loop {
        if fits(rest, left) {
            return true;
        }
        let mut letters = left.chars();
        if letters.next().is_none() {
            return false;
        }
        left = letters.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(version: i16, fields: &[(&str, &str)]) -> ((String, i16), Lines) {
        let lines = fields.iter().map(|(path, value)| ((*path).to_owned(), (*value).to_owned())).collect();
        (("Fetch: x".to_owned(), version), lines)
    }

    /// Each difference between two answers to one request.
    fn told(kafka: &[(&str, &str)], krappy: &[(&str, &str)]) -> Vec<String> {
        let found = differences(&[answer(1, kafka)].into(), &[answer(1, krappy)].into());
        found.iter().map(|d| format!("{} {} {}", d.field, d.kafka, d.krappy)).collect()
    }

    #[test]
    fn every_field_that_differs_is_named_once_with_its_versions() {
        let kafka: Answers = [answer(1, &[("a", "1"), ("b", "2")]), answer(2, &[("a", "1")])].into();
        let krappy: Answers = [answer(1, &[("a", "7"), ("c", "3")]), answer(2, &[("a", "7")])].into();
        let found = differences(&kafka, &krappy);
        let told: Vec<String> =
            found.iter().map(|d| format!("{} {:?} {} {}", d.field, d.versions, d.kafka, d.krappy)).collect();
        assert_eq!(told, ["a [1, 2] 1 7", "b [1] 2 (absent)", "c [1] (absent) 3"]);
        assert_eq!(differences(&kafka, &kafka), []);
        assert_eq!(differences(&kafka, &Answers::new()).len(), 1, "a step that is missing is a difference");
    }

    #[test]
    fn what_follows_from_a_difference_is_not_told_again() {
        let two = [("t[0].name", "a"), ("t[1].name", "b"), ("t[1].p[0].n", "0")];
        assert_eq!(told(&two, &two[..1]), ["t[1] (there) (absent)"]);
        assert_eq!(told(&[("t", "[]")], &two[..1]), ["t[0] (absent) (there)"]);
        assert_eq!(told(&two, &[("connection", "closed")]), ["connection (there) closed"]);
        let good = [("t[0].error_code", "0"), ("t[0].offset", "5"), ("t[0].r[0]", "x"), ("t[1].offset", "5")];
        let bad = [("t[0].error_code", "3"), ("t[0].offset", "-1"), ("t[0].r", "[]"), ("t[1].offset", "6")];
        assert_eq!(told(&good, &bad), ["t[0].error_code 0 3", "t[1].offset 5 6"]);
        assert_eq!(
            told(
                &[("error_code", "1"), ("a.error_code", "1")],
                &[("error_code", "2"), ("a.error_code", "2")]
            )
            .len(),
            1
        );
    }

    #[test]
    fn a_row_covers_what_it_names_and_a_row_that_covers_nothing_is_told() {
        const ROWS: &[Row] = &[
            Row { step: "Fetch*", field: "*.a", kafka: "1", krappy: "*" },
            Row { step: "Fetch: x", field: "b", kafka: "1", krappy: "2" },
        ];
        let d = |field: &str, krappy: &str| Difference {
            step: "Fetch: x".to_owned(),
            versions: vec![1],
            field: field.to_owned(),
            kafka: "1".to_owned(),
            krappy: krappy.to_owned(),
        };
        let found = [d("t[0].a", "9"), d("b", "3")];
        let reasons = [Reason { why: "", rows: ROWS }];
        let (unknown, idle) = unintended(&found, &reasons);
        assert_eq!(unknown, [&found[1]]);
        assert_eq!(idle.len(), 1);
        assert_eq!(idle[0].field, "b");
        assert!(report(&unknown).contains("Kafka   1\n        krappy  3"));
    }

    #[test]
    fn a_star_stands_for_anything_and_nothing_else_does() {
        for (pattern, text) in
            [("*", ""), ("a*c", "abbc"), ("*b", "ab"), ("a.b", "a.b"), ("*a*", "bab"), ("a*", "a")]
        {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*c", "ab"), ("", "a"), ("*b", "ba"), ("a*a", "a")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
