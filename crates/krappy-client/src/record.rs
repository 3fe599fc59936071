//! A record on its way to the broker.

/// What a producer sends. Key, value and header values may be null; a null value is a tombstone on a compacted topic.
///
/// ```
/// use krappy_client::Record;
///
/// let record = Record::new("paid").key("order-7").header("source", Some("till"));
/// assert_eq!(record.key.as_deref(), Some(&b"order-7"[..]));
/// assert!(Record::tombstone("order-7").value.is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition, unless one is given.
    pub key: Option<Vec<u8>>,
    /// The content.
    pub value: Option<Vec<u8>>,
    /// Name and value, in order; names may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since 1970; `None` is the producer's clock.
    pub timestamp: Option<i64>,
    /// The partition; `None` lets the key decide, or the producer when there is no key.
    pub partition: Option<i32>,
}

impl Record {
    /// A record with a value and nothing else.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// A record with a key and a null value.
    pub fn tombstone(key: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// Sets the key.
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: Option<impl Into<Vec<u8>>>) -> Self {
        self.headers.push((name.into(), value.map(Into::into)));
        self
    }

    /// Sets the timestamp, milliseconds since 1970.
    pub fn timestamp(mut self, milliseconds: i64) -> Self {
        self.timestamp = Some(milliseconds);
        self
    }

    /// Sets the partition.
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Upper bound of the bytes this takes in a batch: content, and the most that lengths and varints can add.
    pub(crate) fn batched_size(&self) -> usize {
        let content = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len) + 5;
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + 5 + content(value)).sum();
        26 + content(&self.key) + content(&self.value) + headers
    }
}
