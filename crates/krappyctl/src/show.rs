//! `show TOPIC/PARTITION@OFFSET`: one record with everything known about it.

use crate::args::{Format, Show};
use crate::envelope;
use crate::failure::{Failure, NO_CONNECTION, NOT_FOUND};
use crate::out::Out;
use crate::place::RecordAddress;
use crate::session::Session;
use crate::units::{bytes, grouped, iso};
use krappy_client::{ConsumerRecord, Start};
use std::time::{Duration, Instant};

pub fn run(session: &Session, show: &Show, limit: Duration, out: &mut Out) -> Result<(), Failure> {
    let record = find(session, &show.record, limit)?;
    match session.format {
        Format::Table => details(&record, out)?,
        _ => out.line(&envelope::of(&record).to_string())?,
    }
    out.flush()
}

fn find(session: &Session, at: &RecordAddress, limit: Duration) -> Result<ConsumerRecord, Failure> {
    let RecordAddress { topic, partition, offset } = at;
    let info = session.describe(topic)?;
    let known = usize::try_from(*partition).ok().and_then(|p| info.partitions.get(p)).ok_or_else(|| {
        let count = info.partitions.len();
        Failure::new(NOT_FOUND, format!("{topic} has no partition {partition}: it has {count}"))
    })?;
    if !(known.log_start..known.high_watermark).contains(offset) {
        let holds = match known.high_watermark - known.log_start {
            ..1 => "it is empty".into(),
            _ => format!("it holds {} to {}", number(known.log_start), number(known.high_watermark - 1)),
        };
        return Err(
            Failure::new(NOT_FOUND, format!("{topic}/{partition} has no offset {offset}")).hint(holds)
        );
    }
    let consumer =
        session.client.consumer(topic.as_str()).partition(*partition).start(Start::Offset(*offset));
    let mut consumer = consumer.buffer_bytes(1).build()?;
    let until = Instant::now() + limit;
    while Instant::now() < until {
        let records = consumer.poll(until.saturating_duration_since(Instant::now()))?;
        if let Some(record) = records.iter().next() {
            return if record.offset == *offset {
                Ok(record)
            } else {
                Err(Failure::new(NOT_FOUND, format!("{topic}/{partition}@{offset} was compacted away")))
            };
        }
    }
    Err(Failure::new(NO_CONNECTION, "the record did not come in time"))
}

fn number(offset: i64) -> String {
    grouped(offset.into())
}

fn details(record: &ConsumerRecord, out: &mut Out) -> Result<(), Failure> {
    out.line(&format!("{}/{}@{}", record.topic, record.partition, record.offset))?;
    out.line(&format!("time     {} ({})", iso(record.timestamp), record.timestamp))?;
    for (name, value) in &record.headers {
        let value = value.as_deref().map_or_else(|| "null".into(), text_or_hex);
        out.line(&format!("header   {} = {value}", text_or_hex(name)))?;
    }
    part("key", record.key.as_deref(), out)?;
    part("value", record.value.as_deref(), out)
}

fn part(name: &str, content: Option<&[u8]>, out: &mut Out) -> Result<(), Failure> {
    let Some(content) = content else { return out.line(&format!("{name:<8} null")) };
    let (kind, lines) = rendered(content);
    out.line(&format!("{name:<8} {}, {kind}", bytes(content.len() as u64)))?;
    lines.iter().try_for_each(|line| out.line(&format!("  {line}")))
}

/// How it is shown (JSON, text or hex) and its lines.
fn rendered(content: &[u8]) -> (&'static str, Vec<String>) {
    if let Ok(value @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) =
        serde_json::from_slice::<serde_json::Value>(content)
    {
        let pretty = serde_json::to_string_pretty(&value).expect("a value that was just read");
        return ("JSON", pretty.lines().map(str::to_owned).collect());
    }
    match printable(content) {
        Some(text) => ("text", text.lines().map(str::to_owned).collect()),
        None => ("binary", content.chunks(16).enumerate().map(|(i, row)| hex_row(i * 16, row)).collect()),
    }
}

fn printable(content: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(content).ok()?;
    text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')).then_some(text)
}

fn text_or_hex(content: &[u8]) -> String {
    printable(content).map_or_else(|| format!("0x{}", crate::print::hex(content)), str::to_owned)
}

/// As `hexdump -C` writes it.
fn hex_row(at: usize, row: &[u8]) -> String {
    let hex: Vec<String> = row.iter().map(|b| format!("{b:02x}")).collect();
    let text: String = row.iter().map(|&b| if (0x20..0x7f).contains(&b) { b as char } else { '.' }).collect();
    format!("{at:08x}  {:<47}  |{text}|", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_shown_as_what_it_is() {
        assert_eq!(rendered(br#"{"b":1,"a":[2]}"#).0, "JSON");
        assert_eq!(rendered(br#"{"b":1}"#).1, ["{", "  \"b\": 1", "}"]);
        assert_eq!(rendered(b"17 apples\n2"), ("text", vec!["17 apples".into(), "2".into()]));
        let (kind, lines) = rendered(b"\x00\xffabc");
        assert_eq!(kind, "binary");
        assert!(lines[0].starts_with("00000000  00 ff 61 62 63 ") && lines[0].ends_with("|..abc|"));
        // An escape sequence must not reach the terminal.
        assert_eq!(rendered(b"\x1b[2J").0, "binary");
    }
}
