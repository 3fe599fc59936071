//! How replies are written.
//!
//! Invariant: a frame's size is known before its first chunk of records goes out, and the chunks are not copied.

use krappy_wire::codec::Writer;
use krappy_wire::frame;
use krappy_wire::native::{self, Head, Newest, RecordsPart, Scanned};
use krappy_wire::tail::Tail;

use super::cursor;
use crate::api::{self, Cursor, FetchedPart, KeyState, Parts, Refusal, RowsWriter, SettingSource};
use crate::chunk::Chunk;
use crate::output::Output;

/// Rows of fewer bytes are copied: a piece of its own in a vectored write costs more.
const COPIED: usize = 16 << 10;

pub(super) fn put_published(head: Head, level: api::Level, parts: &Parts, out: &mut Vec<u8>) {
    let parts = match parts {
        Parts::One(part) => std::slice::from_ref(part),
        Parts::Many(parts) => parts,
    };
    // As `native::Reply::Published` encodes it, without the vector that it holds: this is the most frequent reply.
    frame::write(out, native::code::PUBLISHED, |out| {
        out.put_u32(head.stream);
        out.put_u32(head.correlation);
        out.put_u8(level.number());
        out.put_u32(parts.len() as u32);
        for part in parts {
            out.put_i32(part.partition);
            out.put_i64(part.base_offset);
            out.put_u32(part.count);
        }
    });
}

/// Writes a Records frame around its chunks: its size is known before the first chunk goes out.
pub(super) fn put_records(head: Head, parts: Vec<FetchedPart>, out: &mut Output) {
    let len = |part: &FetchedPart| part.chunk.as_ref().map_or(0, Chunk::len);
    let heads = native::RECORDS_PART_HEAD * parts.len();
    let batches: usize = parts.iter().map(len).sum();
    let gather = out.gather();
    let start = frame::begin(gather, native::code::RECORDS);
    gather.put_u32(head.stream);
    gather.put_u32(head.correlation);
    gather.put_u32(parts.len() as u32);
    frame::finish(gather, start, heads + batches);
    for part in parts {
        let size = len(&part);
        let head = RecordsPart {
            partition: part.number,
            error: part.error.number(),
            position: part.position,
            next: part.next,
            high_watermark: part.high_watermark,
            log_start: part.log_start,
            batches: &[],
        };
        head.put_head(out.gather(), size);
        if let Some(chunk) = part.chunk {
            out.push_chunk(chunk);
        }
    }
}

pub(super) fn put_topic(head: Head, topic: &api::TopicDescription, out: &mut Vec<u8>) {
    let settings = topic.settings.iter().map(|s| (s.name, s.value.as_str(), source(s.source))).collect();
    let info =
        native::TopicInfo { name: &topic.name, id: topic.id, partitions: topic.partitions.clone(), settings };
    native::Reply::Topic(info).encode(head, out);
}

/// What a topic has not set for itself is a default to this language, whoever has chosen it.
fn source(source: SettingSource) -> &'static str {
    match source {
        SettingSource::Topic => "topic",
        SettingSource::Broker | SettingSource::Default => "default",
    }
}

pub(super) fn put_topics(head: Head, lines: &[api::TopicLine], out: &mut Vec<u8>) {
    let topics = lines.iter().map(|line| native::TopicSummary {
        name: &line.name,
        partitions: line.partitions,
        records: line.records,
        bytes: line.bytes,
    });
    native::Reply::Topics { topics: topics.collect() }.encode(head, out);
}

pub(super) fn refuse(head: Head, refusal: &Refusal, out: &mut Vec<u8>) {
    native::Reply::error(refusal.code, &refusal.message, &refusal.hint).encode(head, out);
}

/// What is known of keys.
pub(super) fn put_values(head: Head, values: &[KeyState], explain: &[String], out: &mut Vec<u8>) {
    let state = |value: &'_ KeyState| native::KeyState {
        partition: value.partition,
        true_at: value.true_at,
        newest: Newest::Absent,
    };
    let mut states: Vec<native::KeyState<'_>> = values.iter().map(state).collect();
    for (state, value) in states.iter_mut().zip(values) {
        let Some(newest) = &value.newest else { continue };
        let (offset, timestamp) = (newest.offset, newest.timestamp);
        state.newest = if newest.deleted {
            Newest::Deleted { offset, timestamp }
        } else {
            let tail = Tail::read(&newest.tail).expect("it stands as in a batch that was checked");
            Newest::Present { offset, timestamp, tail }
        };
    }
    let explain = explain.iter().map(String::as_str).collect();
    native::Reply::Values { values: states, explain }.encode(head, out);
}

/// A page of a scan. Its rows leave from where they were collected.
pub(super) fn put_page(
    head: Head,
    true_at: Vec<(i32, i64)>,
    rows: RowsWriter,
    next: Option<&Cursor>,
    out: &mut Output,
) {
    let next = next.map(cursor::encode);
    let page = Scanned { true_at, rows: rows.rows(), next: next.as_deref() };
    if rows.size() < COPIED {
        return native::Reply::Scanned(page).encode(head, out.gather());
    }
    let mut behind = Vec::new();
    page.put_next(&mut behind);
    let gather = out.gather();
    let start = frame::begin(gather, native::code::SCANNED);
    gather.put_u32(head.stream);
    gather.put_u32(head.correlation);
    page.put_head(gather);
    frame::finish(gather, start, rows.size() + behind.len());
    let to = rows.size();
    out.push_chunk(Chunk::Owned { bytes: rows.into_bytes(), from: 0, to });
    out.gather().extend_from_slice(&behind);
}
