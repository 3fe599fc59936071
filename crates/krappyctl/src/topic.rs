//! `topic create | list | describe | alter | add-partitions | delete | trim`.

use crate::args::{Before, Format, TopicCommand};
use crate::failure::Failure;
use crate::out::Out;
use crate::session::{Session, confirm};
use crate::table::{Kind, Table};
use krappy_client::{PartitionInfo, TopicInfo};
use serde_json::{Value, json};

pub fn run(session: &Session, command: &TopicCommand, out: &mut Out) -> Result<(), Failure> {
    match command {
        TopicCommand::Create { topics, partitions, config } => {
            create(session, topics, *partitions, config, out)
        }
        TopicCommand::List => list(session, out),
        TopicCommand::Describe { topics } => describe(session, topics, out),
        TopicCommand::Alter { topic, config, unset } => alter(session, topic, config, unset, out),
        TopicCommand::AddPartitions { topic, count, yes } => {
            add_partitions(session, topic, *count, *yes, out)
        }
        TopicCommand::Delete { topics, yes } => delete(session, topics, *yes, out),
        TopicCommand::Trim { topic, partition, before, yes } => {
            trim(session, topic, *partition, *before, *yes, out)
        }
    }
}

fn create(
    session: &Session,
    topics: &[String],
    partitions: Option<i32>,
    config: &[(String, String)],
    out: &mut Out,
) -> Result<(), Failure> {
    let settings: Vec<(&str, &str)> = config.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let mut table =
        Table::new(&[("topic", Kind::Text), ("partitions", Kind::Number), ("status", Kind::Text)]);
    let mut first_failure = None;
    for topic in topics {
        match session.admin().create_topic(topic, partitions, &settings) {
            Ok(info) => table.row(vec![json!(topic), json!(info.partitions.len()), json!("created")]),
            Err(error) => {
                table.row(vec![json!(topic), Value::Null, json!("refused")]);
                first_failure.get_or_insert(Failure::from(error));
            }
        }
    }
    table.print(session.format, out)?;
    first_failure.map_or(Ok(()), Err)
}

fn list(session: &Session, out: &mut Out) -> Result<(), Failure> {
    let mut table = Table::new(&[
        ("topic", Kind::Text),
        ("partitions", Kind::Number),
        ("records", Kind::Number),
        ("bytes", Kind::Bytes),
    ]);
    let topics = session.admin().list_topics()?;
    for topic in &topics {
        table.row(vec![json!(topic.name), json!(topic.partitions), json!(topic.records), json!(topic.bytes)]);
    }
    if topics.is_empty() && session.format == Format::Table {
        session.talk("no topics; create one with: krappyctl topic create NAME");
        return Ok(());
    }
    table.print(session.format, out)
}

const PARTITION_COLUMNS: [(&str, Kind); 7] = [
    ("partition", Kind::Number),
    ("log_start", Kind::Number),
    ("high_watermark", Kind::Number),
    ("log_end", Kind::Number),
    ("bytes", Kind::Bytes),
    ("segments", Kind::Number),
    ("fenced", Kind::Text),
];

fn partition_row(number: usize, p: &PartitionInfo) -> Vec<Value> {
    vec![
        json!(number),
        json!(p.log_start),
        json!(p.high_watermark),
        json!(p.log_end),
        json!(p.bytes),
        json!(p.segments),
        json!(p.fenced),
    ]
}

fn describe(session: &Session, topics: &[String], out: &mut Out) -> Result<(), Failure> {
    let infos = topics.iter().map(|t| session.describe(t)).collect::<Result<Vec<_>, _>>()?;
    match session.format {
        Format::Json => out.line(&Value::Array(infos.iter().map(as_json).collect()).to_string())?,
        Format::Jsonl => infos.iter().try_for_each(|i| out.line(&as_json(i).to_string()))?,
        Format::Csv => describe_csv(&infos, out)?,
        Format::Table => {
            for (i, info) in infos.iter().enumerate() {
                if i > 0 {
                    out.line("")?;
                }
                describe_table(info, out)?;
            }
        }
    }
    out.flush()
}

fn partitions_of(info: &TopicInfo) -> Table {
    let mut table = Table::new(&PARTITION_COLUMNS);
    for (number, partition) in info.partitions.iter().enumerate() {
        table.row(partition_row(number, partition));
    }
    table
}

fn describe_table(info: &TopicInfo, out: &mut Out) -> Result<(), Failure> {
    out.line(&format!("{}  id {}", info.name, id_text(&info.id)))?;
    partitions_of(info).print(Format::Table, out)?;
    let mut settings = Table::new(&[("setting", Kind::Text), ("value", Kind::Text), ("from", Kind::Text)]);
    for setting in &info.settings {
        settings.row(vec![json!(setting.name), json!(setting.value), json!(setting.source)]);
    }
    out.line("")?;
    settings.print(Format::Table, out)
}

fn describe_csv(infos: &[TopicInfo], out: &mut Out) -> Result<(), Failure> {
    let columns: Vec<_> = std::iter::once(("topic", Kind::Text)).chain(PARTITION_COLUMNS).collect();
    let mut table = Table::new(&columns);
    for info in infos {
        for (number, partition) in info.partitions.iter().enumerate() {
            table.row([vec![json!(info.name)], partition_row(number, partition)].concat());
        }
    }
    table.print(Format::Csv, out)
}

fn as_json(info: &TopicInfo) -> Value {
    let settings = info.settings.iter();
    let settings = settings.map(|s| json!({ "name": s.name, "value": s.value, "from": s.source }));
    json!({
        "topic": info.name,
        "id": id_text(&info.id),
        "partitions": partitions_of(info).objects().collect::<Vec<_>>(),
        "settings": settings.collect::<Vec<_>>(),
    })
}

/// The id as a UUID is written.
fn id_text(id: &[u8; 16]) -> String {
    let hex = crate::print::hex(id);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Changes settings and shows what holds then.
fn alter(
    session: &Session,
    topic: &str,
    config: &[(String, String)],
    unset: &[String],
    out: &mut Out,
) -> Result<(), Failure> {
    let set = config.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())));
    let changes: Vec<_> = set.chain(unset.iter().map(|key| (key.as_str(), None))).collect();
    session.admin().alter_topic(topic, &changes).map_err(|e| session.about(topic, e))?;
    let info = session.describe(topic)?;
    let mut table = Table::new(&[
        ("topic", Kind::Text),
        ("setting", Kind::Text),
        ("value", Kind::Text),
        ("from", Kind::Text),
    ]);
    for setting in info.settings.iter().filter(|s| changes.iter().any(|(key, _)| *key == s.name)) {
        table.row(vec![json!(topic), json!(setting.name), json!(setting.value), json!(setting.source)]);
    }
    table.print(session.format, out)
}

fn add_partitions(
    session: &Session,
    topic: &str,
    count: i32,
    yes: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let info = session.describe(topic)?;
    let compacted = info.settings.iter().any(|s| s.name == "cleanup.policy" && s.value.contains("compact"));
    // What a key has there already stays where it is, and is not found by its key any more.
    if compacted && !yes {
        confirm(&format!("move keys of compacted {topic} to other partitions without their values"), topic)?;
    }
    session.admin().add_partitions(topic, count).map_err(|e| session.about(topic, e))?;
    let mut table = Table::new(&[("topic", Kind::Text), ("partitions", Kind::Number)]);
    table.row(vec![json!(topic), json!(count)]);
    table.print(session.format, out)
}

fn delete(session: &Session, topics: &[String], yes: bool, out: &mut Out) -> Result<(), Failure> {
    if !yes {
        for topic in topics {
            let info = session.describe(topic)?;
            let records: i64 = info.partitions.iter().map(|p| p.high_watermark - p.log_start).sum();
            let what = format!("delete {topic} and its {} records", crate::units::grouped(records.into()));
            confirm(&what, topic)?;
        }
    }
    let mut table = Table::new(&[("topic", Kind::Text), ("status", Kind::Text)]);
    let mut first_failure = None;
    for topic in topics {
        let result = session.admin().delete_topic(topic);
        table.row(vec![json!(topic), json!(if result.is_ok() { "deleted" } else { "refused" })]);
        if let Err(error) = result {
            first_failure.get_or_insert(session.about(topic, error));
        }
    }
    table.print(session.format, out)?;
    first_failure.map_or(Ok(()), Err)
}

fn trim(
    session: &Session,
    topic: &str,
    partition: Option<i32>,
    before: Before,
    yes: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let info = session.describe(topic)?;
    let partitions = match partition {
        Some(p) => vec![p],
        None => (0..info.partitions.len() as i32).collect(),
    };
    if !yes {
        let end = match before {
            Before::Offset(n) => format!("below offset {n}"),
            Before::End => "there are now".into(),
        };
        confirm(&format!("give up all records of {topic} {end} in {} partitions", partitions.len()), topic)?;
    }
    let offset = match before {
        Before::Offset(n) => Some(n),
        Before::End => None,
    };
    let mut table =
        Table::new(&[("topic", Kind::Text), ("partition", Kind::Number), ("log_start", Kind::Number)]);
    for p in partitions {
        let log_start =
            session.admin().delete_records(topic, p, offset).map_err(|e| session.about(topic, e))?;
        table.row(vec![json!(topic), json!(p), json!(log_start)]);
    }
    table.print(session.format, out)
}
