//! What a dead letter looks like: the record as it was, and headers that say where it comes from and why it is here.
//! Their names are those of Kafka's dead letters of share groups (KIP-1191); all values are text.
//!
//! Invariant: a record that is put back is the record as it was, but for its timestamp and one header that counts.

use krappy_wire::batch::{Builder, Record};
use krappy_wire::native::TakenRecord;

const TOPIC: &[u8] = b"__dlq.errors.topic";
const PARTITION: &[u8] = b"__dlq.errors.partition";
const OFFSET: &[u8] = b"__dlq.errors.offset";
const GROUP: &[u8] = b"__dlq.errors.group";
const DELIVERIES: &[u8] = b"__dlq.errors.delivery.count";
const MESSAGE: &[u8] = b"__dlq.errors.message";
const REDRIVES: &[u8] = b"__dlq.redrives";
/// The names of a letter's own headers begin with this.
const OWN: &[u8] = b"__dlq.errors.";

type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// Why a record died, and for whom.
pub struct Cause<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub partition: i32,
    pub deliveries: u32,
    pub message: &'a str,
}

/// A batch of records that is being made.
pub struct Batch {
    bytes: Vec<u8>,
    builder: Builder,
    now: i64,
}

impl Batch {
    /// An empty one, whose records have this time, milliseconds since 1970.
    pub fn new(now: i64) -> Batch {
        let mut bytes = Vec::new();
        let builder = Builder::open(&mut bytes, now);
        Batch { bytes, builder, now }
    }

    pub fn is_empty(&self) -> bool {
        self.builder.count() == 0
    }

    /// Bytes so far.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record as a dead letter.
    pub fn bury(&mut self, record: &Record<'_>, cause: &Cause<'_>) {
        let (partition, offset) = (cause.partition.to_string(), record.offset.to_string());
        let deliveries = cause.deliveries.to_string();
        let own: [Header<'_>; 6] = [
            (TOPIC, Some(cause.topic.as_bytes())),
            (PARTITION, Some(partition.as_bytes())),
            (OFFSET, Some(offset.as_bytes())),
            (GROUP, Some(cause.group.as_bytes())),
            (DELIVERIES, Some(deliveries.as_bytes())),
            (MESSAGE, Some(cause.message.as_bytes())),
        ];
        let theirs = record.headers().filter(|(name, _)| !name.starts_with(OWN));
        let headers: Vec<Header<'_>> = theirs.chain(own).collect();
        let Batch { bytes, builder, now } = self;
        builder.push(bytes, *now, record.key, record.value, headers.into_iter());
    }

    /// Adds a dead letter as the record that it was.
    pub fn put_back(&mut self, letter: &TakenRecord<'_>) {
        let own = |name: &[u8]| name.starts_with(OWN) || name == REDRIVES;
        let theirs = letter.tail.headers().filter(|(name, _)| !own(name));
        let redrives = (number(letter, REDRIVES).unwrap_or(0) + 1).to_string();
        let headers: Vec<Header<'_>> = theirs.chain([(REDRIVES, Some(redrives.as_bytes()))]).collect();
        let Batch { bytes, builder, now } = self;
        builder.push(bytes, *now, letter.key, letter.tail.value(), headers.into_iter());
    }

    /// The whole batch, ready to be published.
    pub fn finish(mut self) -> Vec<u8> {
        self.builder.close(&mut self.bytes, 0, 0, None);
        self.bytes
    }
}

/// The partition that a letter of this group comes from; `None` if it is no letter of this group.
pub fn origin(letter: &TakenRecord<'_>, group: &str) -> Option<i32> {
    let of_group = text(letter, GROUP)? == group;
    let partition = i32::try_from(number(letter, PARTITION)?).ok()?;
    (of_group && partition >= 0).then_some(partition)
}

fn text<'a>(letter: &TakenRecord<'a>, wanted: &[u8]) -> Option<&'a str> {
    let value = letter.tail.headers().find(|(name, _)| *name == wanted)?.1?;
    std::str::from_utf8(value).ok()
}

fn number(letter: &TakenRecord<'_>, wanted: &[u8]) -> Option<u64> {
    text(letter, wanted)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use krappy_wire::batch::Records;
    use krappy_wire::native::TakenWriter;

    fn taken(batch: &[u8]) -> TakenWriter {
        let mut taken = TakenWriter::default();
        for record in Records::new(batch).unwrap() {
            let record = record.unwrap();
            taken.push((0, record.offset), record.timestamp, 1, record.key, record.tail.bytes());
        }
        taken
    }

    fn headers(record: &TakenRecord<'_>) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        record.tail.headers().map(|(name, value)| (text(name), text(value.unwrap_or(b"null")))).collect()
    }

    #[test]
    fn a_letter_says_where_it_comes_from_and_is_the_record_again_when_it_is_put_back() {
        let mut original = Vec::new();
        let mut builder = Builder::open(&mut original, 5);
        let own: [Header<'_>; 2] = [(b"h", Some(b"x")), (b"\xff", None)];
        builder.push(&mut original, 5, Some(b"k"), Some(b"v"), own.into_iter());
        builder.close(&mut original, 41, 0, None);

        for redrives in 1..4 {
            let record = Records::new(&original).unwrap().next().unwrap().unwrap();
            let cause = Cause { group: "g", topic: "t", partition: 3, deliveries: 5, message: "why" };
            let mut letters = Batch::new(9);
            assert!(letters.is_empty());
            letters.bury(&record, &cause);
            let letters = taken(&letters.finish());
            let letter = letters.records().iter().next().unwrap();
            assert_eq!((origin(&letter, "g"), origin(&letter, "another")), (Some(3), None));
            let told = headers(&letter);
            for (name, value) in
                [("topic", "t"), ("offset", "41"), ("delivery.count", "5"), ("message", "why")]
            {
                let header = (format!("__dlq.errors.{name}"), value.to_owned());
                assert!(told.contains(&header) || redrives > 1 && name == "offset", "{header:?}: {told:?}");
            }

            let mut again = Batch::new(10);
            again.put_back(&letter);
            original = again.finish();
            let back = taken(&original);
            let back = back.records().iter().next().unwrap();
            assert_eq!((back.key, back.tail.value(), back.timestamp), (Some(&b"k"[..]), Some(&b"v"[..]), 10));
            let told: Vec<(String, String)> = headers(&back);
            let (last, theirs) = told.split_last().unwrap();
            assert_eq!(*last, ("__dlq.redrives".to_owned(), redrives.to_string()));
            assert_eq!(theirs.len(), 2);
        }
    }

    #[test]
    fn what_is_no_letter_has_no_origin() {
        let mut plain = Batch::new(0);
        plain.builder.push(&mut plain.bytes, 0, None, None, std::iter::empty());
        let plain = taken(&plain.finish());
        assert_eq!(origin(&plain.records().iter().next().unwrap(), "g"), None);
    }
}
