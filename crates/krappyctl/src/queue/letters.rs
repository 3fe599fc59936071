//! `queue dlq`: the dead letters of a topic, each with where it comes from and why it is there.

use crate::args::Format;
use crate::consume::{POLL, open};
use crate::envelope;
use crate::failure::Failure;
use crate::out::Out;
use crate::place::Place;
use crate::session::Session;
use crate::signal;
use crate::table::{Kind, Table};
use krappy_client::{ConsumerRecord, ErrorCode};
use serde_json::{Value, json};

/// What is added to the name of a topic for its dead letters.
const DEAD_LETTERS: &str = ".dlq";
const COLUMNS: &[(&str, Kind)] = &[
    ("letter", Kind::Text),
    ("record", Kind::Text),
    ("group", Kind::Text),
    ("deliveries", Kind::Number),
    ("reason", Kind::Text),
];

pub fn run(session: &Session, topic: &str, group: Option<&str>, out: &mut Out) -> Result<(), Failure> {
    // A topic that is not there is a slip; one without dead letters is fine.
    session.describe(topic)?;
    let letters = topic.to_owned() + DEAD_LETTERS;
    let mut table = Table::new(COLUMNS);
    match session.admin().describe_topic(&letters) {
        Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {}
        Err(error) => return Err(error.into()),
        Ok(_) => {
            for mut source in open(session, &letters, None, Place::Start)? {
                while !source.at_end() && !signal::interrupted() {
                    for record in &source.consumer.poll(POLL)? {
                        let wanted =
                            group.is_none_or(|group| header(&record, "group").as_deref() == Some(group));
                        if wanted && !source.beyond_end(&record) {
                            told(session, &record, &mut table, out)?;
                        }
                    }
                }
            }
        }
    }
    // Lines of JSON were printed as they came.
    if session.format != Format::Jsonl {
        table.print(session.format, out)?;
    }
    out.flush()?;
    signal::check()
}

fn told(session: &Session, record: &ConsumerRecord, table: &mut Table, out: &mut Out) -> Result<(), Failure> {
    if session.format == Format::Jsonl {
        return out.line(&as_json(record).to_string());
    }
    let text = |name| header(record, name).map_or(Value::Null, Value::String);
    let count = header(record, "delivery.count").and_then(|n| n.parse::<u64>().ok());
    table.row(vec![
        format!("{}/{}@{}", record.topic, record.partition, record.offset).into(),
        origin(record).map_or(Value::Null, Value::String),
        text("group"),
        count.map_or(Value::Null, Value::from),
        text("message"),
    ]);
    Ok(())
}

/// The envelope of the letter, and what its headers say.
fn as_json(record: &ConsumerRecord) -> Value {
    let mut document = envelope::of(record);
    let said = [
        ("record", origin(record)),
        ("group", header(record, "group")),
        ("reason", header(record, "message")),
    ];
    for (name, value) in said {
        if let Some(value) = value {
            document[name] = json!(value);
        }
    }
    if let Some(count) = header(record, "delivery.count").and_then(|n| n.parse::<u64>().ok()) {
        document["deliveries"] = json!(count);
    }
    document
}

/// Where the record was, as TOPIC/PARTITION@OFFSET.
fn origin(record: &ConsumerRecord) -> Option<String> {
    let part = |name| header(record, name);
    Some(format!("{}/{}@{}", part("topic")?, part("partition")?, part("offset")?))
}

fn header(record: &ConsumerRecord, name: &str) -> Option<String> {
    let wanted = format!("__dlq.errors.{name}");
    let found = record.headers.iter().find(|(name, _)| **name == *wanted.as_bytes())?;
    String::from_utf8(found.1.as_deref()?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use krappy_client::Slice;

    #[test]
    fn a_letter_says_where_it_comes_from() {
        let slice = |text: &str| Slice::from(text.as_bytes().to_vec());
        let said =
            [("topic", "t"), ("partition", "1"), ("offset", "42"), ("group", "g"), ("delivery.count", "5")];
        let headers = said.map(|(name, value)| (slice(&format!("__dlq.errors.{name}")), Some(slice(value))));
        let letter = ConsumerRecord {
            topic: "t.dlq".into(),
            partition: 1,
            offset: 7,
            timestamp: 0,
            key: None,
            value: None,
            headers: headers.to_vec(),
        };
        assert_eq!(origin(&letter).as_deref(), Some("t/1@42"));
        let document = as_json(&letter);
        assert_eq!((&document["deliveries"], document.get("reason")), (&json!(5), None));
        assert_eq!(origin(&ConsumerRecord { headers: Vec::new(), ..letter }), None);
    }
}
