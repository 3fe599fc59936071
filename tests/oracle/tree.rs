//! An answer as a tree of named fields, read from what `{:?}` prints of it: the crate that decodes the answers derives
//! that from Kafka's schemas, so a field that Kafka has cannot be forgotten here.
//!
//! Invariant: nothing of the printed text is lost, except tagged fields of which there are none.

/// A value and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tree {
    /// A number, a word, or a string in quotes, as printed.
    Leaf(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Tree>),
    /// A list whose entries are known by names.
    Named(Vec<(String, Tree)>),
    /// A struct.
    Fields(Vec<(String, Tree)>),
}

/// Paths and values, in the order in which they travel.
pub type Lines = Vec<(String, String)>;

impl Tree {
    /// Reads what `{:?}` has printed.
    pub fn of(printed: &str) -> Tree {
        let mut from = Printed { bytes: printed.as_bytes(), at: 0 };
        let tree = from.value();
        assert_eq!(from.at, printed.len(), "left over: {}", &printed[from.at..]);
        tree
    }

    /// The printed value, if it has no parts.
    pub fn leaf(&self) -> Option<&str> {
        match self {
            Tree::Leaf(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is a struct of which nothing is known: all its fields are -1.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Tree::Fields(fields) if fields.iter().all(|(_, tree)| tree.leaf() == Some("-1")))
    }

    /// A field of a struct.
    pub fn field(&self, name: &str) -> Option<&Tree> {
        match self {
            Tree::Fields(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, tree)| tree),
            _ => None,
        }
    }

    /// One line for each value: `topics[0].partitions[1].error_code` and `3`.
    pub fn lines(&self) -> Lines {
        let mut lines = Vec::new();
        self.add_lines("", &mut lines);
        lines
    }

    fn add_lines(&self, path: &str, lines: &mut Lines) {
        match self {
            Tree::Leaf(text) => lines.push((path.to_owned(), text.clone())),
            Tree::Bytes(bytes) => lines.push((path.to_owned(), format!("{} bytes", bytes.len()))),
            Tree::List(items) if items.is_empty() => lines.push((path.to_owned(), "[]".to_owned())),
            Tree::List(items) => {
                for (n, item) in items.iter().enumerate() {
                    item.add_lines(&format!("{path}[{n}]"), lines);
                }
            }
            Tree::Named(items) => {
                for (name, item) in items {
                    item.add_lines(&format!("{path}[{name}]"), lines);
                }
            }
            Tree::Fields(fields) => {
                for (name, tree) in fields {
                    let dot = if path.is_empty() { "" } else { "." };
                    tree.add_lines(&format!("{path}{dot}{name}"), lines);
                }
            }
        }
    }
}

/// Printed text, and how far it has been read.
struct Printed<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Printed<'_> {
    fn value(&mut self) -> Tree {
        match self.bytes[self.at] {
            b'[' => Tree::List(self.items(b']')),
            b'"' => Tree::Leaf(self.quoted()),
            b'{' => self.fields(),
            b'b' if self.bytes.get(self.at + 1) == Some(&b'"') => {
                self.at += 1;
                Tree::Bytes(unescaped(&self.quoted()))
            }
            _ => self.named(),
        }
    }

    /// What begins with a word: a number, a unit, a struct, `Some(...)` or another wrapper, which adds nothing.
    fn named(&mut self) -> Tree {
        let word = self.word();
        if self.bytes[self.at..].starts_with(b" {") {
            self.at += 1;
            return self.fields();
        }
        if self.skip(b"(") {
            let mut items = self.items_until(b')');
            assert_eq!(items.len(), 1, "{word} holds one value");
            return items.remove(0);
        }
        Tree::Leaf(if word == "None" { "null".to_owned() } else { word })
    }

    fn fields(&mut self) -> Tree {
        self.at += 1;
        let mut fields = Vec::new();
        loop {
            while self.skip(b" ") || self.skip(b",") {}
            if self.skip(b"}") {
                return Tree::Fields(fields);
            }
            let name = self.word();
            assert!(self.skip(b": "), "a field {name} has a value");
            let value = self.value();
            if name != "unknown_tagged_fields" || value != Tree::Fields(Vec::new()) {
                fields.push((name, value));
            }
        }
    }

    fn items(&mut self, end: u8) -> Vec<Tree> {
        self.at += 1;
        self.items_until(end)
    }

    fn items_until(&mut self, end: u8) -> Vec<Tree> {
        let mut items = Vec::new();
        loop {
            while self.skip(b" ") || self.skip(b",") {}
            if self.skip(&[end]) {
                return items;
            }
            items.push(self.value());
        }
    }

    fn word(&mut self) -> String {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| b" ,:(){}[]".contains(b)).unwrap_or(rest.len());
        self.at += end;
        String::from_utf8(rest[..end].to_vec()).expect("a word")
    }

    /// A string with its quotes and escapes.
    fn quoted(&mut self) -> String {
        let from = self.at;
        self.at += 1;
        while self.bytes[self.at] != b'"' {
            self.at += if self.bytes[self.at] == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
        String::from_utf8(self.bytes[from..self.at].to_vec()).expect("a string")
    }

    fn skip(&mut self, what: &[u8]) -> bool {
        let there = self.bytes[self.at..].starts_with(what);
        if there {
            self.at += what.len();
        }
        there
    }
}

/// The bytes that are meant by text in quotes.
fn unescaped(quoted: &str) -> Vec<u8> {
    let mut left = quoted[1..quoted.len() - 1].bytes();
    let mut bytes = Vec::new();
    while let Some(byte) = left.next() {
        bytes.push(match byte {
            b'\\' => match left.next().expect("an escape has a second letter") {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'0' => 0,
                b'x' => {
                    let mut digit =
                        || left.next().and_then(|d| char::from(d).to_digit(16)).expect("hexadecimal");
                    (digit() * 16 + digit()) as u8
                }
                other => other,
            },
            other => other,
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[derive(Debug)]
    #[allow(dead_code)] // Printed, not read.
    struct Example {
        name: Option<&'static str>,
        numbers: Vec<i32>,
        data: Option<Bytes>,
        inner: Option<Inner>,
        unknown_tagged_fields: std::collections::BTreeMap<i32, Bytes>,
    }

    #[derive(Debug, Clone)]
    #[allow(dead_code)] // Printed, not read.
    struct Inner {
        list: Vec<Inner>,
        flag: bool,
    }

    fn example() -> Example {
        let leaf = Inner { list: Vec::new(), flag: true };
        Example {
            name: Some("a \"{[(,:\\ b"),
            numbers: vec![-1, 2],
            data: Some(Bytes::from_static(b"\0\n\\\"\xff{")),
            inner: Some(Inner { list: vec![leaf.clone(), leaf], flag: false }),
            unknown_tagged_fields: Default::default(),
        }
    }

    #[test]
    fn every_field_of_a_printed_value_is_found() {
        let lines = Tree::of(&format!("{:?}", example())).lines();
        let lines: Vec<String> = lines.into_iter().map(|(path, value)| format!("{path}: {value}")).collect();
        let expected = [
            r#"name: "a \"{[(,:\\ b""#,
            "numbers[0]: -1",
            "numbers[1]: 2",
            "data: 6 bytes",
            "inner.list[0].list: []",
            "inner.list[0].flag: true",
            "inner.list[1].list: []",
            "inner.list[1].flag: true",
            "inner.flag: false",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn bytes_are_those_that_were_printed() {
        let tree = Tree::of(&format!("{:?}", example()));
        assert_eq!(tree.field("data"), Some(&Tree::Bytes(b"\0\n\\\"\xff{".to_vec())));
        let empty = Example { name: None, data: None, inner: None, ..example() };
        let tree = Tree::of(&format!("{empty:?}"));
        assert_eq!(tree.field("name").and_then(Tree::leaf), Some("null"));
        assert_eq!(tree.field("inner").and_then(Tree::leaf), Some("null"));
    }

    #[test]
    fn a_tagged_field_that_nobody_knows_is_kept() {
        let odd = Example { unknown_tagged_fields: [(7, Bytes::from_static(b"x"))].into(), ..example() };
        let lines = Tree::of(&format!("{odd:?}")).lines();
        assert!(lines.contains(&("unknown_tagged_fields.7".to_owned(), "1 bytes".to_owned())));
    }
}
