//! The name that somebody meant who mistyped one.

/// The candidate that takes the fewest edits, if it takes few enough to be what was meant: a third of the name.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let (distance, best) =
        candidates.into_iter().map(|c| (distance(&name, &c.to_lowercase()), c)).min_by_key(|(d, _)| *d)?;
    (distance <= (name.chars().count() / 3).max(2)).then_some(best)
}

/// The sentence that an error about an unknown name ends with: `, did you mean ...?`, or nothing.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, candidates).map(|best| format!(", did you mean {best}?")).unwrap_or_default()
}

/// The fewest insertions, removals and replacements of a character that turn `a` into `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_edits() {
        for (a, b, edits) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("flaw", "lawn", 2)] {
            assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a} {b}");
        }
    }

    #[test]
    fn a_slip_finds_its_name_and_nonsense_finds_none() {
        let names = ["listen", "data.dir", "num.partitions"];
        assert_eq!(nearest("lisetn", names), Some("listen"));
        assert_eq!(nearest("DATA.DIRS", names), Some("data.dir"));
        assert_eq!(nearest("zookeeper.connect", names), None);
        assert_eq!(nearest("listen", []), None);
        assert_eq!(did_you_mean("num.partition", names), ", did you mean num.partitions?");
    }
}
