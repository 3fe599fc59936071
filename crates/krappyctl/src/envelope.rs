//! A record as one line of JSON, exact in both directions: what is not UTF-8 travels as base64 under another name.

use crate::units::{iso, parse_iso};
use krappy_client::{ConsumerRecord, Record};
use serde_json::{Map, Value, json};

/// The envelope of a record that was read.
pub fn of(record: &ConsumerRecord) -> Value {
    let mut fields = Map::new();
    fields.insert("topic".into(), json!(&*record.topic));
    fields.insert("partition".into(), json!(record.partition));
    fields.insert("offset".into(), json!(record.offset));
    fields.insert("ts".into(), json!(iso(record.timestamp)));
    put(&mut fields, "key", record.key.as_deref());
    put(&mut fields, "value", record.value.as_deref());
    let part = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "b64": base64(bytes) }),
    };
    let header = |(name, value): &(krappy_client::Slice, Option<krappy_client::Slice>)| {
        json!([part(name), value.as_deref().map_or(Value::Null, part)])
    };
    fields.insert("headers".into(), record.headers.iter().map(header).collect());
    Value::Object(fields)
}

fn put(fields: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(|b| std::str::from_utf8(b).map_err(|_| b)) {
        None => fields.insert(name.into(), Value::Null),
        Some(Ok(text)) => fields.insert(name.into(), json!(text)),
        Some(Err(bytes)) => fields.insert(format!("{name}_b64"), json!(base64(bytes))),
    };
}

/// The record that an envelope describes. Topic, partition and offset are where it came from and are passed over.
pub fn record(line: &[u8]) -> Result<Record, String> {
    let value: Value = serde_json::from_slice(line).map_err(|e| format!("not JSON: {e}"))?;
    let fields = value.as_object().ok_or("not a JSON object")?;
    let mut record = Record { key: take(fields, "key")?, value: take(fields, "value")?, ..Record::default() };
    record.timestamp = match fields.get("ts") {
        None | Some(Value::Null) => None,
        Some(Value::Number(n)) => Some(n.as_i64().ok_or("ts is not a time")?),
        Some(other) => Some(other.as_str().and_then(parse_iso).ok_or("ts is not a time")?),
    };
    for header in fields.get("headers").and_then(Value::as_array).into_iter().flatten() {
        let pair = header.as_array().filter(|p| p.len() == 2).ok_or("a header is not a pair")?;
        let name = part(&pair[0])?.ok_or("a header has no name")?;
        let name = String::from_utf8(name).map_err(|_| "a header name is not UTF-8")?;
        record.headers.push((name, part(&pair[1])?));
    }
    Ok(record)
}

fn take(fields: &Map<String, Value>, name: &str) -> Result<Option<Vec<u8>>, String> {
    match (fields.get(name), fields.get(&format!("{name}_b64"))) {
        (None | Some(Value::Null), None) => Ok(None),
        (Some(Value::String(text)), None) => Ok(Some(text.clone().into_bytes())),
        (None, Some(Value::String(text))) => {
            unbase64(text).map(Some).ok_or_else(|| format!("{name}_b64 is not base64"))
        }
        _ => Err(format!("{name} is not a string or null")),
    }
}

fn part(value: &Value) -> Result<Option<Vec<u8>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone().into_bytes())),
        Value::Object(o) => {
            let bytes = o.get("b64").and_then(Value::as_str).and_then(unbase64);
            bytes.map(Some).ok_or_else(|| "a header is not base64".into())
        }
        _ => Err("a header is not a string".into()),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 with padding (RFC 4648 section 4).
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().enumerate().fold(0u32, |n, (i, &b)| n | u32::from(b) << (16 - 8 * i));
        for i in 0..4 {
            let sextet = (n >> (18 - 6 * i)) as usize & 63;
            out.push(if i <= chunk.len() { ALPHABET[sextet] as char } else { '=' });
        }
    }
    out
}

/// The reverse of [`base64`]; padding is required and nothing else is passed over.
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in body.as_bytes().chunks(4) {
        let mut n = 0u32;
        for (i, byte) in chunk.iter().enumerate() {
            n |= (ALPHABET.iter().position(|a| a == byte)? as u32) << (18 - 6 * i);
        }
        let whole = chunk.len() * 6 / 8;
        // Bits that belong to no byte must be zero, or two texts would mean the same.
        if n & (0xff_ffff >> (8 * whole)) != 0 {
            return None;
        }
        out.extend_from_slice(&n.to_be_bytes()[1..=whole]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use krappy_client::Slice;

    fn read(key: Option<&[u8]>, value: Option<&[u8]>) -> ConsumerRecord {
        let slice = |b: &[u8]| Slice::from(b.to_vec());
        ConsumerRecord {
            topic: "t".into(),
            partition: 1,
            offset: 42,
            timestamp: 1_788_220_800_123,
            key: key.map(slice),
            value: value.map(slice),
            headers: vec![(slice(b"h"), Some(slice(b"\xff"))), (slice(b"n"), None)],
        }
    }

    #[test]
    fn every_kind_of_content_survives_the_envelope() {
        let contents: [Option<&[u8]>; 4] =
            [None, Some(b""), Some(b"text \"\n\xc3\xa9"), Some(b"\x00\xff\xfe\n")];
        for key in contents {
            for value in contents {
                let line = of(&read(key, value)).to_string();
                assert!(!line.contains('\n'));
                let back = record(line.as_bytes()).unwrap();
                assert_eq!((back.key.as_deref(), back.value.as_deref()), (key, value), "{line}");
                assert_eq!(back.timestamp, Some(1_788_220_800_123));
                assert_eq!(back.headers, [("h".into(), Some(vec![0xff])), ("n".into(), None)]);
            }
        }
    }

    #[test]
    fn the_envelope_is_stable() {
        let line = of(&read(Some(b"k"), Some(b"v"))).to_string();
        assert_eq!(
            line,
            r#"{"topic":"t","partition":1,"offset":42,"ts":"2026-09-01T00:00:00.123Z","key":"k","value":"v","headers":[["h",{"b64":"/w=="}],["n",null]]}"#
        );
    }

    #[test]
    fn base64_agrees_with_the_rfcs_vectors() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in vectors {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(unbase64(coded).as_deref(), Some(plain.as_bytes()));
        }
        for bad in ["Zg=", "Zg", "Z===", "Zh==", "Zm9=", "Z g=", "===="] {
            assert_eq!(unbase64(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_not_an_envelope_is_refused_with_a_reason() {
        for bad in [
            "",
            "[]",
            "{\"value\":1}",
            "{\"value\":\"a\",\"value_b64\":\"YQ==\"}",
            "{\"ts\":\"x\"}",
            "{\"headers\":[1]}",
        ] {
            assert!(record(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
