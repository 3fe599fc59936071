//! Topics and the broker's own state, asked for and answered one at a time.

use crate::client::Client;
use crate::error::Error;
use crate::queue::{self, QueuePartition};
use krappy_wire::native::{Change, Op, PartitionInfo, Reply, Request};
use std::time::{Duration, Instant};

/// A topic in a list.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// let records: u64 = client.admin().list_topics()?.iter().map(|t| t.records).sum();
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSummary {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: u32,
    /// Offsets between log start and high watermark, all partitions.
    pub records: u64,
    /// Bytes in segment files, all partitions.
    pub bytes: u64,
}

/// A setting of a topic.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// for setting in client.admin().describe_topic("orders")?.settings {
///     println!("{}={}", setting.name, setting.value);
/// }
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Kafka's name for it.
    pub name: String,
    /// As the broker writes it.
    pub value: String,
    /// `topic` when it was set for this topic, else `default`.
    pub source: String,
}

/// A topic in full.
///
/// ```no_run
/// # let client = krappy_client::Client::connect("127.0.0.1:9092")?;
/// let end = client.admin().describe_topic("orders")?.partitions[0].high_watermark;
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its id, as in Kafka.
    pub id: [u8; 16],
    /// In order of partition number.
    pub partitions: Vec<PartitionInfo>,
    /// In the broker's order.
    pub settings: Vec<Setting>,
}

impl TopicInfo {
    fn from_wire(topic: &krappy_wire::native::TopicInfo<'_>) -> Self {
        let setting = |&(name, value, source): &(&str, &str, &str)| Setting {
            name: name.into(),
            value: value.into(),
            source: source.into(),
        };
        Self {
            name: topic.name.into(),
            id: topic.id,
            partitions: topic.partitions.clone(),
            settings: topic.settings.iter().map(setting).collect(),
        }
    }
}

/// Administration over a [`Client`].
///
/// ```no_run
/// use krappy_client::Client;
///
/// let admin = Client::connect("127.0.0.1:9092")?.admin();
/// admin.create_topic("orders", Some(3), &[("retention.ms", "3600000")])?;
/// admin.alter_topic("orders", &[("retention.ms", None), ("retention.bytes", Some("1GiB"))])?;
/// admin.add_partitions("orders", 6)?;
/// admin.delete_records("orders", 0, Some(100))?;
/// admin.delete_topic("orders")?;
/// # Ok::<(), krappy_client::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Admin {
    pub(crate) client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a topic with settings under Kafka's names. `None` is the broker's default number of partitions.
    pub fn create_topic(
        &self,
        topic: &str,
        partitions: Option<i32>,
        settings: &[(&str, &str)],
    ) -> Result<TopicInfo, Error> {
        checked(topic)?;
        if let Some((name, _)) = settings.iter().find(|(n, v)| n.len().max(v.len()) > 65_535) {
            return Err(Error::Invalid(format!("the setting {name:.40} is too long")));
        }
        let request =
            Request::CreateTopic { topic, partitions: partitions.unwrap_or(-1), settings: settings.to_vec() };
        self.client.call(&request, topic_info)
    }

    /// Every topic, sorted by name.
    pub fn list_topics(&self) -> Result<Vec<TopicSummary>, Error> {
        self.client.call(&Request::ListTopics, |reply| match reply {
            Reply::Topics { topics } => Ok(topics.iter().map(summary).collect()),
            _ => Err(Error::unexpected("ListTopics")),
        })
    }

    /// One topic: partitions, offsets, settings.
    pub fn describe_topic(&self, topic: &str) -> Result<TopicInfo, Error> {
        checked(topic)?;
        self.client.call(&Request::DescribeTopic { topic }, topic_info)
    }

    /// Deletes a topic and its data.
    pub fn delete_topic(&self, topic: &str) -> Result<(), Error> {
        checked(topic)?;
        self.client.call(&Request::DeleteTopic { topic }, acknowledged)
    }

    /// Changes settings of a topic under Kafka's names, all of them or none. `None` gives a setting back to the broker.
    pub fn alter_topic<'a>(
        &self,
        topic: &'a str,
        settings: &[(&'a str, Option<&'a str>)],
    ) -> Result<(), Error> {
        checked(topic)?;
        let too_long =
            |(name, value): &&(&str, Option<&str>)| name.len().max(value.map_or(0, str::len)) > 65_535;
        if let Some((name, _)) = settings.iter().find(too_long) {
            return Err(Error::Invalid(format!("the setting {name:.40} is too long")));
        }
        let op = |value: Option<&'a str>| value.map_or(Op::Unset, Op::Set);
        let changes = settings.iter().map(|&(key, value)| Change { key, op: op(value) }).collect();
        self.client.call(&Request::AlterTopic { topic, changes }, acknowledged)
    }

    /// Adds partitions to a topic, so that it has `count`.
    pub fn add_partitions(&self, topic: &str, count: i32) -> Result<(), Error> {
        checked(topic)?;
        self.client.call(&Request::AddPartitions { topic, count }, acknowledged)
    }

    /// Makes what is below `offset` deletable and returns the log start offset now. `None` is the high watermark.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: Option<i64>) -> Result<i64, Error> {
        checked(topic)?;
        let request = Request::DeleteRecords { topic, partition, offset: offset.unwrap_or(-1) };
        self.client.call(&request, |reply| match reply {
            Reply::Trimmed { log_start } => Ok(log_start),
            _ => Err(Error::unexpected("DeleteRecords")),
        })
    }

    /// How a queue stands: one entry for each partition of the topic, in order.
    pub fn describe_queue(&self, topic: &str, group: &str) -> Result<Vec<QueuePartition>, Error> {
        queue::describe(&self.client, topic, group)
    }

    /// Publishes at most so many dead letters of a group again, to the topic and the partitions that they came from;
    /// how many there were. They are durable when this returns.
    pub fn redrive(&self, topic: &str, group: &str, most: u32) -> Result<u32, Error> {
        queue::redrive(&self.client, topic, group, most)
    }

    /// The broker's counters and gauges, by name.
    pub fn status(&self) -> Result<Vec<(String, i64)>, Error> {
        self.client.call(&Request::Status, |reply| match reply {
            Reply::StatusIs { values } => Ok(values.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect()),
            _ => Err(Error::unexpected("Status")),
        })
    }

    /// Asks for a sign of life and returns how long it took.
    pub fn ping(&self) -> Result<Duration, Error> {
        let asked = Instant::now();
        self.client.call(&Request::Ping, |reply| match reply {
            Reply::Pong => Ok(asked.elapsed()),
            _ => Err(Error::unexpected("Ping")),
        })
    }
}

/// A protocol string holds 65,535 bytes; anything else about a name is the broker's to judge.
pub(crate) fn checked(topic: &str) -> Result<(), Error> {
    match topic.len() {
        1..=65_535 => Ok(()),
        n => Err(Error::Invalid(format!("a topic name of {n} bytes"))),
    }
}

fn topic_info(reply: Reply<'_>) -> Result<TopicInfo, Error> {
    match reply {
        Reply::Topic(topic) => Ok(TopicInfo::from_wire(&topic)),
        _ => Err(Error::unexpected("a topic request")),
    }
}

fn acknowledged(reply: Reply<'_>) -> Result<(), Error> {
    match reply {
        Reply::Ack => Ok(()),
        _ => Err(Error::unexpected("a change of a topic")),
    }
}

fn summary(topic: &krappy_wire::native::TopicSummary<'_>) -> TopicSummary {
    TopicSummary {
        name: topic.name.into(),
        partitions: topic.partitions,
        records: topic.records,
        bytes: topic.bytes,
    }
}
