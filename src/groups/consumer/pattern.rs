//! Regular expressions for names of topics.
//!
//! A consumer may subscribe to a pattern instead of to names, and then it is the broker that has to match. Kafka takes
//! RE2's language; this is the part of it that names of topics need, and what is not in it is refused by name:
//!
//! ```text
//! orders\.eu     a character is itself, after a backslash also if it means something
//! .              any character              a|b         one or the other
//! [a-z_] [^0-9]  one of these, none of them (a) (?:a)   a group
//! \d \w \s       and \D \W \S               ^ $         the beginning and the end, which a match reaches anyway
//! a* a+ a? a{2} a{2,} a{2,5}                how often; a `?` behind these changes nothing here
//! ```
//!
//! A name matches as a whole. Invariant: matching takes time in proportion to the pattern times the name, whatever the
//! pattern (Thompson 1968): all ways through it are followed at once, none is ever taken back.

use std::iter::Peekable;
use std::str::Chars;

/// Steps of one pattern; a longer one is refused, so that a short text such as `((a{99}){99}){99}` cannot take all
/// memory.
const MOST_STEPS: usize = 4_096;
/// Groups within groups.
const MOST_DEPTH: usize = 32;

/// A pattern that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    steps: Vec<Step>,
}

/// One step of a way through a pattern; the numbers are those of the steps that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Takes a character that is one of these.
    Take(Set),
    /// Goes on here and there.
    Fork(usize, usize),
    /// Goes on there.
    Jump(usize),
    /// Goes on at the beginning of the name only.
    Begin,
    /// Goes on at the end of the name only.
    End,
    /// Has come through.
    Done,
}

/// Characters.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Set {
    ranges: Vec<(char, char)>,
    negated: bool,
}

impl Set {
    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != self.negated
    }
}

impl Pattern {
    /// Reads a pattern, or says what is wrong with it.
    pub fn new(text: &str) -> Result<Pattern, String> {
        let mut compiler = Compiler { left: text.chars().peekable(), steps: Vec::new(), depth: 0 };
        compiler.alternatives()?;
        if compiler.left.peek().is_some() {
            return Err("a parenthesis is closed that was not opened".into());
        }
        compiler.push(Step::Done)?;
        Ok(Pattern { text: text.into(), steps: compiler.steps })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Bytes that it takes, about.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.steps.len() * 48
    }

    /// Whether a name matches, from its beginning to its end.
    pub fn matches(&self, name: &str) -> bool {
        let mut here = vec![false; self.steps.len()];
        self.reach(0, (true, name.is_empty()), &mut here);
        let mut left = name.chars();
        while let Some(c) = left.next() {
            let mut next = vec![false; self.steps.len()];
            for at in (0..here.len()).filter(|at| here[*at]) {
                if matches!(&self.steps[at], Step::Take(set) if set.has(c)) {
                    self.reach(at + 1, (false, left.as_str().is_empty()), &mut next);
                }
            }
            here = next;
        }
        here.last().copied().unwrap_or(false)
    }

    /// Marks all steps that can be reached from here without taking a character.
    fn reach(&self, from: usize, (at_begin, at_end): (bool, bool), marks: &mut [bool]) {
        let mut left = vec![from];
        while let Some(at) = left.pop() {
            if std::mem::replace(&mut marks[at], true) {
                continue;
            }
            match self.steps[at] {
                Step::Fork(here, there) => left.extend([here, there]),
                Step::Jump(there) => left.push(there),
                Step::Begin if at_begin => left.push(at + 1),
                Step::End if at_end => left.push(at + 1),
                Step::Take(_) | Step::Begin | Step::End | Step::Done => {}
            }
        }
    }
}

/// Turns a text into steps. What was compiled last is at the end of the steps, and can be moved or copied.
struct Compiler<'a> {
    left: Peekable<Chars<'a>>,
    steps: Vec<Step>,
    depth: usize,
}

impl Compiler<'_> {
    fn push(&mut self, step: Step) -> Result<(), String> {
        if self.steps.len() >= MOST_STEPS {
            return Err(format!("it has more than {MOST_STEPS} steps"));
        }
        self.steps.push(step);
        Ok(())
    }

    /// `a|b|c`
    fn alternatives(&mut self) -> Result<(), String> {
        let start = self.steps.len();
        self.sequence()?;
        if !self.takes('|') {
            return Ok(());
        }
        // fork to the first or to the others; the first jumps over the others.
        self.insert(start, Step::Fork(start + 1, self.steps.len() + 2))?;
        let jump = self.steps.len();
        self.push(Step::Jump(0))?;
        self.alternatives()?;
        self.steps[jump] = Step::Jump(self.steps.len());
        Ok(())
    }

    /// `abc`
    fn sequence(&mut self) -> Result<(), String> {
        while let Some(c) = self.left.next_if(|c| !matches!(c, '|' | ')')) {
            let start = self.steps.len();
            self.one(c)?;
            while let Some((least, most)) = self.how_often()? {
                self.repeat(start, least, most)?;
            }
        }
        Ok(())
    }

    fn one(&mut self, c: char) -> Result<(), String> {
        match c {
            '(' => self.group(),
            '[' => {
                let set = self.set()?;
                self.push(Step::Take(set))
            }
            '.' => self.push(Step::Take(Set { ranges: Vec::new(), negated: true })),
            '^' => self.push(Step::Begin),
            '$' => self.push(Step::End),
            '*' | '+' | '?' => Err(format!("{c:?} has nothing to repeat")),
            '\\' => match self.left.next() {
                Some('A') => self.push(Step::Begin),
                Some('z') => self.push(Step::End),
                escaped => {
                    let set = escape(escaped)?;
                    self.push(Step::Take(set))
                }
            },
            c => self.push(Step::Take(just(c))),
        }
    }

    fn group(&mut self) -> Result<(), String> {
        if self.takes('?') && !self.takes(':') {
            return Err("of the groups that begin with (? only (?: is known".into());
        }
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(format!("it has more than {MOST_DEPTH} groups within groups"));
        }
        self.alternatives()?;
        self.depth -= 1;
        if self.takes(')') { Ok(()) } else { Err("a parenthesis is not closed".into()) }
    }

    /// What stands between `[` and `]`.
    fn set(&mut self) -> Result<Set, String> {
        let mut set = Set { negated: self.takes('^'), ranges: Vec::new() };
        let mut is_first = true;
        loop {
            let first = match self.left.next() {
                None => return Err("a bracket is not closed".into()),
                // Right behind the opening one it means itself.
                Some(']') if !is_first => return Ok(set),
                Some('[') if self.left.peek() == Some(&':') => {
                    return Err("classes such as [:alpha:] are not known".into());
                }
                Some('\\') => match escape(self.left.next())? {
                    Set { ranges, negated: false } if is_one(&ranges) => ranges[0].0,
                    Set { ranges, negated: false } => {
                        set.ranges.extend(ranges);
                        is_first = false;
                        continue;
                    }
                    _ => return Err("a negated class cannot stand in brackets".into()),
                },
                Some(c) => c,
            };
            is_first = false;
            set.ranges.push((first, self.end_of_range(first)?));
        }
    }

    /// What `-z` says after `a`; without it a range is of one character.
    fn end_of_range(&mut self, first: char) -> Result<char, String> {
        let mut ahead = self.left.clone();
        if ahead.next() != Some('-') || matches!(ahead.next(), None | Some(']')) {
            return Ok(first);
        }
        self.left.next();
        let last = match self.left.next() {
            Some('\\') => match escape(self.left.next())? {
                Set { ranges, negated: false } if is_one(&ranges) => ranges[0].0,
                _ => return Err("a range ends with a class".into()),
            },
            Some(c) => c,
            None => return Err("a bracket is not closed".into()),
        };
        if first <= last { Ok(last) } else { Err(format!("the range {first}-{last} is the wrong way round")) }
    }

    /// `*`, `+`, `?`, `{2}`, `{2,}`, `{2,5}`: least and most, if one stands here.
    fn how_often(&mut self) -> Result<Option<(usize, Option<usize>)>, String> {
        let often = match self.left.peek() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                self.left.next();
                let least = self.number()?.ok_or("braces begin without a number")?;
                let most = if self.takes(',') { self.number()? } else { Some(least) };
                if self.left.peek() != Some(&'}') || most.is_some_and(|most| most < least) {
                    return Err("braces do not hold one number, or two in order".into());
                }
                (least, most)
            }
            _ => return Ok(None),
        };
        self.left.next();
        // Whether it prefers few or many makes no difference to whether the whole matches.
        self.takes('?');
        Ok(Some(often))
    }

    fn number(&mut self) -> Result<Option<usize>, String> {
        let mut number = None;
        while let Some(digit) = self.left.peek().and_then(|c| c.to_digit(10)) {
            self.left.next();
            let so_far = number.unwrap_or(0) * 10 + digit as usize;
            if so_far > 1_000 {
                return Err("something is to be repeated more than 1000 times".into());
            }
            number = Some(so_far);
        }
        Ok(number)
    }

    /// Repeats what was compiled from `start` on.
    fn repeat(&mut self, start: usize, least: usize, most: Option<usize>) -> Result<(), String> {
        let body = self.steps.split_off(start);
        for _ in 0..least {
            self.copy(&body, start)?;
        }
        let Some(most) = most else {
            // fork over the body or into it, and back again.
            let fork = self.steps.len();
            self.push(Step::Fork(fork + 1, fork + body.len() + 2))?;
            self.copy(&body, start)?;
            return self.push(Step::Jump(fork));
        };
        let optional = most - least;
        let end = self.steps.len() + optional * (body.len() + 1);
        for _ in 0..optional {
            self.push(Step::Fork(self.steps.len() + 1, end))?;
            self.copy(&body, start)?;
        }
        Ok(())
    }

    /// Appends steps that were compiled at `start`.
    fn copy(&mut self, body: &[Step], start: usize) -> Result<(), String> {
        let by = self.steps.len() - start;
        for step in body {
            self.push(match step {
                Step::Fork(here, there) => Step::Fork(here + by, there + by),
                Step::Jump(there) => Step::Jump(there + by),
                other => other.clone(),
            })?;
        }
        Ok(())
    }

    /// Puts a step before those that were compiled at `start`.
    fn insert(&mut self, start: usize, step: Step) -> Result<(), String> {
        let body = self.steps.split_off(start);
        self.push(step)?;
        let by = 1;
        for step in body {
            self.push(match step {
                Step::Fork(here, there) => Step::Fork(here + by, there + by),
                Step::Jump(there) => Step::Jump(there + by),
                other => other,
            })?;
        }
        Ok(())
    }

    fn takes(&mut self, c: char) -> bool {
        self.left.next_if_eq(&c).is_some()
    }
}

fn just(c: char) -> Set {
    Set { ranges: vec![(c, c)], negated: false }
}

fn is_one(ranges: &[(char, char)]) -> bool {
    matches!(ranges, [(first, last)] if first == last)
}

/// What a backslash makes of a character.
fn escape(c: Option<char>) -> Result<Set, String> {
    let class = |ranges: &[(char, char)], negated| Ok(Set { ranges: ranges.to_vec(), negated });
    const WORD: &[(char, char)] = &[('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')];
    const SPACE: &[(char, char)] = &[('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')];
    match c {
        Some(c @ ('d' | 'D')) => class(&[('0', '9')], c == 'D'),
        Some(c @ ('w' | 'W')) => class(WORD, c == 'W'),
        Some(c @ ('s' | 'S')) => class(SPACE, c == 'S'),
        Some(c) if !c.is_alphanumeric() => Ok(just(c)),
        Some(c) => Err(format!("\\{c} is not known")),
        None => Err("it ends with a backslash".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let compiled = Pattern::new(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
        assert_eq!(compiled.text(), pattern);
        for name in matching {
            assert!(compiled.matches(name), "{pattern} matches {name}");
        }
        for name in others {
            assert!(!compiled.matches(name), "{pattern} does not match {name}");
        }
    }

    #[test]
    fn a_name_matches_as_a_whole() {
        check("orders", &["orders"], &["", "order", "orders2", "my-orders"]);
        check("orders.*", &["orders", "orders-eu"], &["my-orders"]);
        check("^orders$", &["orders"], &["orders2"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn characters_that_mean_something_mean_themselves_behind_a_backslash() {
        check(r"a\.b", &["a.b"], &["axb"]);
        check("a.b", &["a.b", "axb"], &["ab", "axxb"]);
        check(r"\Aa\|\(b\z", &["a|(b"], &["a"]);
        check(r"v\d+_\w\S", &["v12_ab"], &["v_ab", "v1_a"]);
    }

    #[test]
    fn one_of_several_characters() {
        check("[a-c_]x", &["ax", "bx", "_x"], &["dx", "x", "-x"]);
        check("[^0-9]+", &["abc"], &["a1c", ""]);
        check(r"[\d.\-x]*", &["1.2-x"], &["a"]);
        check("[]a-]+", &["]a-"], &["b"]);
        check("[a-]", &["a", "-"], &["b"]);
    }

    #[test]
    fn one_thing_or_the_other() {
        check("a|bc|d", &["a", "bc", "d"], &["ab", "b", "c", "abc", "bcd"]);
        check("x(a|b(c|d)|)y", &["xay", "xbcy", "xbdy", "xy"], &["xby", "xcy", "xabcy"]);
        check("(^a|b$)", &["a", "b"], &["ab"]);
        check("^(eu|us)-.*|audit$", &["eu-1", "us-", "audit"], &["eu", "audits"]);
    }

    #[test]
    fn things_are_repeated() {
        check("ab*c", &["ac", "abbbc"], &["abb"]);
        check("(ab)+", &["ab", "abab"], &["", "aba"]);
        check("a?b??", &["", "a", "b", "ab"], &["aa"]);
        check("(?:a|bc){2}", &["aa", "abc", "bca", "bcbc"], &["a", "aaa"]);
        check("a{2,}", &["aa", "aaaa"], &["a"]);
        check("(a{1,2}b){0,2}", &["", "ab", "aabab"], &["abb", "ababab"]);
        check("(a*)*b", &["b", "aaab"], &["a"]);
        check("a{0}b", &["b"], &["ab"]);
    }

    #[test]
    fn what_is_not_understood_is_refused_and_says_why() {
        for pattern in [
            "(",
            ")",
            "a)",
            "(a",
            "[",
            "[a",
            "[z-a]",
            "*",
            "a|*",
            r"\",
            r"\q",
            r"\b",
            "(?i)a",
            "(?=a)",
            "a{",
            "a{x}",
            "a{2,1}",
            "a{1",
            "a{5000}",
            "[[:alpha:]]",
            r"[\D]",
            "((a{99}){99}){99}",
        ] {
            assert!(!Pattern::new(pattern).expect_err(pattern).is_empty(), "{pattern}");
        }
        assert!(Pattern::new(&"(".repeat(1_000_000)).is_err());
        assert!(Pattern::new(&"a".repeat(MOST_STEPS)).is_err());
    }

    #[test]
    fn a_pattern_that_would_take_for_ever_elsewhere_takes_no_time() {
        let pattern = Pattern::new("(a|a)*(a*)*(a+)+b").unwrap();
        assert!(!pattern.matches(&"a".repeat(249)));
    }

    #[test]
    fn random_patterns_agree_with_a_slow_and_simple_matcher() {
        let mut rng = crate::disk::sim::Rng::new(1);
        for _ in 0..2_000 {
            let tree = Tree::random(&mut rng, 3);
            let pattern = Pattern::new(&tree.text()).unwrap();
            for _ in 0..20 {
                let name: String = (0..rng.below(6)).map(|_| ['a', 'b'][rng.below(2) as usize]).collect();
                let expected = tree.ends(&name, 0).contains(&name.len());
                assert_eq!(pattern.matches(&name), expected, "{} {name}", tree.text());
            }
        }
    }

    /// A pattern as it is meant.
    enum Tree {
        Letter(char),
        Both(Box<Tree>, Box<Tree>),
        Either(Box<Tree>, Box<Tree>),
        Many(Box<Tree>),
        Twice(Box<Tree>),
    }

    impl Tree {
        fn random(rng: &mut crate::disk::sim::Rng, depth: u32) -> Tree {
            let kind = if depth == 0 { 0 } else { rng.below(6) };
            let mut part = || Box::new(Tree::random(rng, depth - 1));
            match kind {
                0 => Tree::Letter('a'),
                1 => Tree::Letter('b'),
                2 => Tree::Both(part(), part()),
                3 => Tree::Either(part(), part()),
                4 => Tree::Many(part()),
                _ => Tree::Twice(part()),
            }
        }

        fn text(&self) -> String {
            match self {
                Tree::Letter(c) => c.to_string(),
                Tree::Both(a, b) => format!("{}{}", a.text(), b.text()),
                Tree::Either(a, b) => format!("({}|{})", a.text(), b.text()),
                Tree::Many(a) => format!("({})*", a.text()),
                Tree::Twice(a) => format!("(?:{}){{2}}", a.text()),
            }
        }

        /// Where a match that begins at `from` may end.
        fn ends(&self, name: &str, from: usize) -> std::collections::BTreeSet<usize> {
            match self {
                Tree::Letter(c) if name[from..].starts_with(*c) => [from + 1].into(),
                Tree::Letter(_) => [].into(),
                Tree::Both(a, b) => a.ends(name, from).into_iter().flat_map(|at| b.ends(name, at)).collect(),
                Tree::Either(a, b) => a.ends(name, from).union(&b.ends(name, from)).copied().collect(),
                Tree::Twice(a) => a.ends(name, from).into_iter().flat_map(|at| a.ends(name, at)).collect(),
                Tree::Many(a) => {
                    let mut ends = std::collections::BTreeSet::from([from]);
                    for _ in 0..=name.len() {
                        ends.extend(ends.clone().into_iter().flat_map(|at| a.ends(name, at)));
                    }
                    ends
                }
            }
        }
    }
}
