//! The value of one setting: how it is written, read and bounded.
//!
//! Invariant: what [`Kind::show`] writes, [`Kind::parse`] reads back as the same value; a parsed value is within
//! bounds.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// A value, whatever setting it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a [`Kind::Flag`].
    Flag(bool),
    /// Of every kind that counts something; for a [`Kind::Choice`], the position of the word; for a [`Kind::Ratio`],
    /// millionths.
    Number(i64),
    /// Of a [`Kind::Path`].
    Path(PathBuf),
    /// Of a [`Kind::Addresses`].
    Addresses(Vec<SocketAddr>),
    /// Of a [`Kind::Endpoint`].
    Endpoint(Option<Address>),
    /// Of a [`Kind::Names`]: sorted, each once.
    Names(Vec<String>),
}

/// What a setting holds.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Yes or no.
    Flag,
    /// A number of things.
    Count(Bounds),
    /// A number of bytes; may be written with a unit.
    Bytes(Bounds),
    /// A number of milliseconds; may be written with a unit.
    Millis(Bounds),
    /// A share of a whole, from 0 to 1.
    Ratio,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A file or folder.
    Path,
    /// Addresses with ports, separated by commas.
    Addresses,
    /// A host and a port that others are told, or `none`.
    Endpoint,
    /// Names of things, separated by commas; may be empty.
    Names,
}

/// A host, by name or number, and a port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Address {
    /// As a client would write it; an IPv6 address stands without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The smallest and the largest number allowed, and a word for one number that is not meant as a number.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Smallest.
    pub least: i64,
    /// Largest.
    pub most: i64,
    /// For example `unlimited` for -1.
    pub word: Option<(&'static str, i64)>,
}

impl Bounds {
    /// From `least` to `most`, both allowed.
    pub const fn new(least: i64, most: i64) -> Bounds {
        Bounds { least, most, word: None }
    }

    /// The same, with a word for one of the numbers.
    pub const fn or(self, word: &'static str, number: i64) -> Bounds {
        Bounds { word: Some((word, number)), ..self }
    }
}

/// A [`Kind::Endpoint`] that is not set.
const NOBODY: &str = "none";
/// Most [`Kind::Names`] of one setting, and most bytes of one of them.
const NAMES: usize = 100;
const NAME_BYTES: usize = 255;
/// A [`Kind::Ratio`] of 1.
pub const WHOLE: i64 = 1_000_000;
const SIZES: [(&str, i64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIMES: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Kind {
    /// Reads a value as people write it. The error says what would be right.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Kind::Flag => parse_flag(text).map(Value::Flag),
            Kind::Count(bounds) => self.number(text, bounds, &[]),
            Kind::Bytes(bounds) => self.number(text, bounds, &SIZES),
            Kind::Millis(bounds) => self.number(text, bounds, &TIMES),
            Kind::Ratio => match parse_ratio(text) {
                Some(millionths) => Ok(Value::Number(millionths)),
                None => Err(format!("{text:?} is not {}", self.expectation())),
            },
            Kind::Choice(words) => match words.iter().position(|word| *word == text) {
                Some(i) => Ok(Value::Number(i as i64)),
                None => Err(format!("{text:?} is not {}", self.expectation())),
            },
            Kind::Path if text.is_empty() => Err("a path cannot be empty".into()),
            Kind::Path => Ok(Value::Path(text.into())),
            Kind::Addresses => parse_addresses(text).map(Value::Addresses),
            Kind::Endpoint => parse_endpoint(text).map(Value::Endpoint),
            Kind::Names => parse_names(text).map(Value::Names),
        }
    }

    fn number(self, text: &str, bounds: Bounds, units: &[(&str, i64)]) -> Result<Value, String> {
        let special = bounds.word.filter(|(word, _)| *word == text).map(|(_, number)| number);
        let number = match special {
            Some(number) => number,
            None => {
                parse_number(text, units).ok_or_else(|| format!("{text:?} is not {}", self.expectation()))?
            }
        };
        if (bounds.least..=bounds.most).contains(&number) {
            Ok(Value::Number(number))
        } else {
            Err(format!("{text} is out of bounds: it must be {}", self.bounds()))
        }
    }

    /// Writes a value for people: `16MiB`, `7d`.
    pub fn show(self, value: &Value) -> String {
        match (self, value) {
            (Kind::Count(bounds), Value::Number(n)) => show_number(*n, bounds, &[]),
            (Kind::Bytes(bounds), Value::Number(n)) => show_number(*n, bounds, &SIZES),
            (Kind::Millis(bounds), Value::Number(n)) => show_number(*n, bounds, &TIMES),
            _ => self.plain(value),
        }
    }

    /// Writes a value for programs, as Kafka would: numbers without units and words.
    pub fn plain(self, value: &Value) -> String {
        match (self, value) {
            (Kind::Choice(words), Value::Number(i)) => words[*i as usize].to_owned(),
            (Kind::Ratio, Value::Number(n)) => show_ratio(*n),
            (_, Value::Number(n)) => n.to_string(),
            (_, Value::Flag(yes)) => yes.to_string(),
            (_, Value::Path(path)) => path.display().to_string(),
            (_, Value::Addresses(list)) => {
                list.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(",")
            }
            (_, Value::Endpoint(address)) => {
                address.as_ref().map_or_else(|| NOBODY.to_owned(), Address::to_string)
            }
            (_, Value::Names(names)) => names.join(","),
        }
    }

    /// The number of the type in Kafka's DescribeConfigs (`org.apache.kafka.common.requests.DescribeConfigsResponse`).
    pub fn kafka_type(self) -> i8 {
        match self {
            Kind::Flag => 1,
            Kind::Count(b) | Kind::Bytes(b) | Kind::Millis(b) if b.most <= i64::from(i32::MAX) => 3,
            Kind::Count(_) | Kind::Bytes(_) | Kind::Millis(_) => 5,
            Kind::Ratio => 6,
            Kind::Choice(words) if words.iter().any(|word| word.contains(',')) => 7,
            Kind::Addresses | Kind::Names => 7,
            Kind::Choice(_) | Kind::Path | Kind::Endpoint => 2,
        }
    }

    /// The values that are allowed, in a few words.
    pub fn bounds(self) -> String {
        match self {
            Kind::Count(b) | Kind::Bytes(b) | Kind::Millis(b) => self.range(b),
            Kind::Flag => "true, false".into(),
            Kind::Ratio => "0 to 1".into(),
            Kind::Choice(words) => words.join(", "),
            Kind::Path => "a path".into(),
            Kind::Addresses => "addresses with ports".into(),
            Kind::Endpoint => format!("a host with a port, or {NOBODY}"),
            Kind::Names => "names, separated by commas".into(),
        }
    }

    fn range(self, bounds: Bounds) -> String {
        let show = |n| self.show(&Value::Number(n));
        let (least, word) = match bounds.word {
            Some((word, n)) if n == bounds.least => (n + 1, format!(", or {word} ({n})")),
            Some((word, _)) => (bounds.least, format!(", or {word}")),
            None => (bounds.least, String::new()),
        };
        match bounds.most {
            most if most == least => show(most),
            i64::MAX => format!("{} or more{word}", show(least)),
            most => format!("{} to {}{word}", show(least), show(most)),
        }
    }

    fn expectation(self) -> String {
        match self {
            Kind::Bytes(_) => "a size: digits, and B, KiB, MiB, GiB or TiB if need be".into(),
            Kind::Millis(_) => "a time: digits, and ms, s, m, h or d if need be".into(),
            Kind::Ratio => "a number from 0 to 1, such as 0.5".into(),
            Kind::Choice(words) => format!("one of {}", words.join(", ")),
            _ => "a whole number".into(),
        }
    }
}

fn parse_flag(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("{text:?} is not true or false")),
    }
}

fn parse_addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = Vec::new();
    for part in text.split(',').map(str::trim) {
        let found = part
            .to_socket_addrs()
            .map_err(|e| format!("{part:?} is not an address with a port, such as 127.0.0.1:9092 ({e})"))?;
        for address in found.filter(|a| a.port() == 0 || !addresses.contains(a)).collect::<Vec<_>>() {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

/// `host:port`, also behind Kafka's `PLAINTEXT://`.
fn parse_endpoint(text: &str) -> Result<Option<Address>, String> {
    if text == NOBODY {
        return Ok(None);
    }
    let wrong = || format!("{text:?} is not a host with a port, such as broker.example:9092");
    let bare = text.strip_prefix("PLAINTEXT://").unwrap_or(text);
    let (host, port) = bare.rsplit_once(':').ok_or_else(wrong)?;
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = inner.unwrap_or(host);
    let stray =
        |c: char| c.is_whitespace() || matches!(c, '/' | ',' | '[' | ']') || (c == ':' && inner.is_none());
    match port.parse::<u16>() {
        Ok(port) if port > 0 && !host.is_empty() && !host.contains(stray) => {
            Ok(Some(Address { host: host.to_owned(), port }))
        }
        _ => Err(wrong()),
    }
}

fn parse_names(text: &str) -> Result<Vec<String>, String> {
    let mut names: Vec<String> =
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() > NAMES {
        return Err(format!("{} names are more than {NAMES}", names.len()));
    }
    match names.iter().find(|name| name.len() > NAME_BYTES) {
        Some(long) => Err(format!("a name of {} bytes is longer than {NAME_BYTES}", long.len())),
        None => Ok(names),
    }
}

/// Digits with a sign and a unit. `None` when it is anything else, or too large for the type.
fn parse_number(text: &str, units: &[(&str, i64)]) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let end = text.len() - digits.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = (text[..end].parse::<i64>().ok()?, text[end..].trim_start());
    if unit.is_empty() {
        return Some(number);
    }
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(*factor)
}

/// A decimal fraction in millionths; further places do not count. `None` when it is anything else, or more than 1.
fn parse_ratio(text: &str) -> Option<i64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, "0"));
    if !(whole.bytes().chain(places.bytes())).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millionths = format!("{places:0<6.6}").parse::<i64>().ok()?;
    let whole = whole.parse::<i64>().ok()?.checked_mul(WHOLE)?;
    whole.checked_add(millionths).filter(|ratio| *ratio <= WHOLE)
}

fn show_ratio(millionths: i64) -> String {
    let places = format!("{}.{:06}", millionths / WHOLE, millionths % WHOLE);
    places.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// With the largest unit that divides the number; single bytes are a bare number.
fn show_number(n: i64, bounds: Bounds, units: &[(&str, i64)]) -> String {
    if let Some((word, _)) = bounds.word.filter(|(_, number)| *number == n) {
        return word.to_owned();
    }
    match units.iter().find(|(name, factor)| n > 0 && *name != "B" && n % factor == 0) {
        Some((name, factor)) => format!("{}{name}", n / factor),
        None => n.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Kind = Kind::Bytes(Bounds::new(-1, i64::MAX).or("unlimited", -1));
    const TIME: Kind = Kind::Millis(Bounds::new(0, i64::MAX).or("never", i64::MAX));

    fn number(kind: Kind, text: &str) -> Option<i64> {
        match kind.parse(text) {
            Ok(Value::Number(n)) => Some(n),
            _ => None,
        }
    }

    #[test]
    fn sizes_and_times_are_read_with_and_without_units() {
        for (text, n) in
            [("0", 0), ("17", 17), ("1KiB", 1024), ("16MiB", 16 << 20), ("1 gib", 1 << 30), ("-1", -1)]
        {
            assert_eq!(number(SIZE, text), Some(n), "{text}");
        }
        for (text, n) in
            [("5", 5), ("5ms", 5), ("2s", 2000), ("3m", 180_000), ("1h", 3_600_000), ("7d", 604_800_000)]
        {
            assert_eq!(number(TIME, text), Some(n), "{text}");
        }
        assert_eq!((number(SIZE, "unlimited"), number(TIME, "never")), (Some(-1), Some(i64::MAX)));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in [
            "",
            "-",
            "1.5MiB",
            "KiB",
            "1KB",
            "0x10",
            "1 2",
            "9223372036854775808",
            "9007199254740992TiB",
            "1h",
        ] {
            assert!(SIZE.parse(text).is_err(), "{text}");
        }
        assert!(SIZE.parse("x").unwrap_err().contains("KiB"));
        assert!(TIME.parse("1KiB").unwrap_err().contains("ms, s, m, h or d"));
    }

    #[test]
    fn numbers_are_bounded_on_both_sides() {
        let kind = Kind::Bytes(Bounds::new(1024, 4096));
        let allowed: Vec<i64> = (0..10_000).filter(|n| kind.parse(&n.to_string()).is_ok()).collect();
        assert_eq!((allowed[0], allowed.len(), allowed[allowed.len() - 1]), (1024, 3073, 4096));
        assert_eq!(kind.parse("5KiB").unwrap_err(), "5KiB is out of bounds: it must be 1KiB to 4KiB");
        assert_eq!(SIZE.bounds(), "0 or more, or unlimited (-1)");
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let samples = [-1, 0, 1, 1000, 1023, 1024, 1025, 60_000, 90_000, 604_800_000, 1 << 30, i64::MAX];
        for (kind, n) in [SIZE, TIME].into_iter().flat_map(|kind| samples.map(|n| (kind, n))) {
            let shown = kind.show(&Value::Number(n));
            assert!(number(kind, &shown) == Some(n) || (n == -1 && kind.parse(&shown).is_err()), "{shown}");
        }
        assert_eq!(SIZE.show(&Value::Number(16 << 20)), "16MiB");
        assert_eq!(
            (TIME.show(&Value::Number(90_000)), TIME.show(&Value::Number(1))),
            ("90s".into(), "1ms".into())
        );
        assert_eq!(SIZE.plain(&Value::Number(16 << 20)), "16777216");
    }

    #[test]
    fn a_ratio_is_a_decimal_fraction() {
        let read = |text: &str| number(Kind::Ratio, text);
        for (text, n) in [("0.5", 500_000), ("1", 1_000_000), ("0", 0), ("0.000001", 1), ("1.0", 1_000_000)] {
            assert_eq!(read(text), Some(n), "{text}");
            assert_eq!(read(&Kind::Ratio.show(&Value::Number(n))), Some(n), "{text}");
        }
        assert_eq!((read("0.1234567"), read("00.50")), (Some(123_456), Some(500_000)));
        for text in
            ["", ".", ".5", "1.1", "2", "-0.5", "+0.5", "0.5.5", "5e-1", "NaN", "99999999999999999999", "0,5"]
        {
            assert!(Kind::Ratio.parse(text).is_err(), "{text}");
        }
        assert_eq!(Kind::Ratio.show(&Value::Number(500_000)), "0.5");
        assert_eq!(Kind::Ratio.show(&Value::Number(0)), "0");
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        for (text, host) in [
            ("a.example:9092", "a.example"),
            ("PLAINTEXT://10.0.0.7:9092", "10.0.0.7"),
            ("[::1]:9092", "::1"),
        ] {
            let Ok(Value::Endpoint(Some(address))) = Kind::Endpoint.parse(text) else { panic!("{text}") };
            assert_eq!((address.host.as_str(), address.port), (host, 9092));
            let plain = Kind::Endpoint.plain(&Value::Endpoint(Some(address)));
            assert_eq!(plain, text.trim_start_matches("PLAINTEXT://"));
        }
        assert_eq!(Kind::Endpoint.parse("none"), Ok(Value::Endpoint(None)));
        for wrong in ["", "a", "a:", "a:0", "a:65536", ":1", "::1:9092", "SSL://a:1", "a:1,b:2", "a b:1"] {
            assert!(Kind::Endpoint.parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_flags_and_words_are_read() {
        let Ok(Value::Addresses(two)) = Kind::Addresses.parse("127.0.0.1:0, [::1]:9092") else {
            panic!("two addresses")
        };
        assert_eq!(Kind::Addresses.plain(&Value::Addresses(two)), "127.0.0.1:0,[::1]:9092");
        assert!(Kind::Addresses.parse("127.0.0.1").is_err() && Kind::Addresses.parse("").is_err());
        assert_eq!(Kind::Flag.parse("Yes"), Ok(Value::Flag(true)));
        assert!(Kind::Flag.parse("maybe").is_err());
        let choice = Kind::Choice(&["exit", "offline"]);
        assert_eq!(choice.parse("offline"), Ok(Value::Number(1)));
        assert_eq!(choice.plain(&Value::Number(1)), "offline");
        assert!(choice.parse("ignore").unwrap_err().ends_with("one of exit, offline"));
    }
    #[test]
    fn names_are_sorted_and_bounded() {
        let names = |text: &str| Kind::Names.parse(text).map(|value| Kind::Names.plain(&value));
        assert_eq!(names(" b, a,,b"), Ok("a,b".into()));
        assert_eq!(names(""), Ok(String::new()));
        let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
        assert!(names(&many.join(",")).is_err() && names(&"x".repeat(256)).is_err());
        assert!(names(&many[1..].join(",")).is_ok() && names(&"x".repeat(255)).is_ok());
    }
}
