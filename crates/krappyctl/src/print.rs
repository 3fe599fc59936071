//! `-f FORMAT`: the tokens of kcat and rpk, parsed once and then applied to each record.

use crate::envelope::base64;
use crate::units::iso;
use krappy_client::ConsumerRecord;

/// A parsed format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Print {
    pieces: Vec<Piece>,
    null: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    Topic,
    Partition,
    Offset,
    Key(As),
    Value(As),
    KeySize,
    ValueSize,
    Headers,
    Time,
    TimeMs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Raw,
    Hex,
    Base64,
    Json,
}

impl Print {
    /// `null` stands for null keys and values.
    pub fn parse(format: &str, null: &'static str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = format;
        while let Some(first) = rest.chars().next() {
            let (piece, left) = match first {
                '%' => token(&rest[1..])?,
                '\\' => escape(&rest[1..])?,
                _ => {
                    let end = rest.find(['%', '\\']).unwrap_or(rest.len());
                    (Piece::Literal(rest[..end].into()), &rest[end..])
                }
            };
            pieces.push(piece);
            rest = left;
        }
        Ok(Self { pieces, null })
    }

    /// Value and line end, after key and delimiter if there is one.
    pub fn plain(key_delimiter: Option<&str>, null: &'static str) -> Self {
        let key = key_delimiter.map(|d| [Piece::Key(As::Raw), Piece::Literal(d.into())]);
        let pieces = key.into_iter().flatten().chain([Piece::Value(As::Raw), Piece::Literal(b"\n".to_vec())]);
        Self { pieces: pieces.collect(), null }
    }

    pub fn render(&self, record: &ConsumerRecord, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Topic => out.extend_from_slice(record.topic.as_bytes()),
                Piece::Partition => out.extend_from_slice(record.partition.to_string().as_bytes()),
                Piece::Offset => out.extend_from_slice(record.offset.to_string().as_bytes()),
                Piece::Key(how) => self.content(record.key.as_deref(), *how, out),
                Piece::Value(how) => self.content(record.value.as_deref(), *how, out),
                Piece::KeySize => size(record.key.as_deref(), out),
                Piece::ValueSize => size(record.value.as_deref(), out),
                Piece::Headers => headers(record, out),
                Piece::Time => out.extend_from_slice(iso(record.timestamp).as_bytes()),
                Piece::TimeMs => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
            }
        }
    }

    fn content(&self, bytes: Option<&[u8]>, how: As, out: &mut Vec<u8>) {
        match (bytes, how) {
            (None, As::Json) => out.extend_from_slice(b"null"),
            (None, _) => out.extend_from_slice(self.null.as_bytes()),
            (Some(bytes), As::Raw) => out.extend_from_slice(bytes),
            (Some(bytes), As::Hex) => out.extend_from_slice(hex(bytes).as_bytes()),
            (Some(bytes), As::Base64) => out.extend_from_slice(base64(bytes).as_bytes()),
            (Some(bytes), As::Json) => {
                let text = String::from_utf8_lossy(bytes);
                out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
            }
        }
    }
}

fn token(rest: &str) -> Result<(Piece, &str), String> {
    let mut letters = rest.chars();
    let letter = letters.next().ok_or("a single % at the end")?;
    let rest = letters.as_str();
    let (how, rest) = match rest.strip_prefix('{').and_then(|r| r.split_once('}')) {
        Some((how, rest)) if matches!(letter, 'k' | 'v' | 's' | 'd') => (Some(how), rest),
        _ => (None, rest),
    };
    let rendering = || match how {
        None => Ok(As::Raw),
        Some("hex") => Ok(As::Hex),
        Some("base64") => Ok(As::Base64),
        Some("json") => Ok(As::Json),
        Some(other) => Err(format!("%{letter}{{{other}}}: only hex, base64 and json are known")),
    };
    let piece = match letter {
        't' => Piece::Topic,
        'p' => Piece::Partition,
        'o' => Piece::Offset,
        'k' => Piece::Key(rendering()?),
        'v' | 's' => Piece::Value(rendering()?),
        'K' => Piece::KeySize,
        'V' | 'S' => Piece::ValueSize,
        'h' => Piece::Headers,
        'd' if how.is_none_or(|h| h == "iso") => Piece::Time,
        'T' => Piece::TimeMs,
        '%' => Piece::Literal(b"%".to_vec()),
        other => return Err(format!("%{other} is not a token")),
    };
    Ok((piece, rest))
}

fn escape(rest: &str) -> Result<(Piece, &str), String> {
    let mut letters = rest.chars();
    let byte = match letters.next() {
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('r') => b'\r',
        Some('\\') => b'\\',
        Some('x') => {
            let digits = letters.as_str().get(..2).ok_or("\\x takes two hex digits")?;
            let byte = u8::from_str_radix(digits, 16).map_err(|_| "\\x takes two hex digits")?;
            return Ok((Piece::Literal(vec![byte]), &letters.as_str()[2..]));
        }
        other => return Err(format!("\\{} is not an escape", other.map(String::from).unwrap_or_default())),
    };
    Ok((Piece::Literal(vec![byte]), letters.as_str()))
}

fn size(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    let size = bytes.map_or_else(|| "-1".to_owned(), |b| b.len().to_string());
    out.extend_from_slice(size.as_bytes());
}

/// kcat's way: `a=1,b=2`.
fn headers(record: &ConsumerRecord, out: &mut Vec<u8>) {
    for (i, (name, value)) in record.headers.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value.as_deref().unwrap_or(b"NULL"));
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use krappy_client::Slice;

    fn rendered(format: &str) -> Vec<u8> {
        let slice = |b: &[u8]| Slice::from(b.to_vec());
        let record = ConsumerRecord {
            topic: "t".into(),
            partition: 1,
            offset: 42,
            timestamp: 0,
            key: None,
            value: Some(slice(b"v\xff")),
            headers: vec![(slice(b"a"), Some(slice(b"1"))), (slice(b"b"), None)],
        };
        let mut out = Vec::new();
        Print::parse(format, "NULL").unwrap().render(&record, &mut out);
        out
    }

    #[test]
    fn tokens_print_what_they_stand_for() {
        assert_eq!(rendered("%t/%p@%o %K:%V %h%%\\n"), b"t/1@42 -1:2 a=1,b=NULL%\n");
        assert_eq!(rendered("%k|%v|%v{hex}|%v{base64}"), b"NULL|v\xff|76ff|dv8=");
        assert_eq!(
            rendered("%d %d{iso} %T\\x00\\t"),
            b"1970-01-01T00:00:00.000Z 1970-01-01T00:00:00.000Z 0\0\t"
        );
        assert_eq!(rendered("%k{json}"), b"null");
    }

    #[test]
    fn wrong_formats_are_refused() {
        for bad in ["%", "%z", "\\", "\\q", "\\x1", "\\xzz", "%v{yaml}"] {
            assert!(Print::parse(bad, "").is_err(), "{bad}");
        }
    }
}
