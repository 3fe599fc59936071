//! Reading a compacted topic: gets and puts as requests for the driver, a scan from end to end, a watch until it is
//! current.

use super::super::driver::{Template, broken, read_frame, refuse_errors};
use super::super::target::{STREAM, Workplace, level};
use super::records::{KEY, Records};
use crate::args::Acks;
use crate::failure::{Failure, REFUSED};
use crate::signal;
use krappy_wire::native::{
    self, After, Body, Get, Head, KeysWriter, Newest, PlainWriter, Reply, Request, Rows,
};
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Stands in a template where each request has its own key.
const HERE: [u8; KEY] = [0xa5; KEY];
/// Asked for with each page; the broker may have a lower limit.
const PAGE: u32 = 1 << 20;
/// What a watcher may have on its way.
const CREDIT: u32 = 4 << 20;

/// What a pass over all keys brought.
#[derive(Debug, Clone, Copy, Default)]
pub struct Pass {
    pub rows: u64,
    /// Of keys and values alone.
    pub bytes: u64,
    pub elapsed: Duration,
}

impl Pass {
    fn add(&mut self, rows: &Rows<'_>) {
        for row in rows.iter() {
            self.rows += 1;
            self.bytes += (row.key.len() + row.value().map_or(0, <[u8]>::len)) as u64;
        }
    }
}

/// A Get of some key that is there, of `loaded` records.
pub fn get_hit(topic: &str, records: Records, loaded: u64) -> Template {
    with_keys(get(topic), move |n| records.some_key(n, loaded)).expecting(is_present)
}

/// A Get of some key that is not there.
pub fn get_miss(topic: &str, records: Records) -> Template {
    with_keys(get(topic), move |n| records.missing_key(n)).expecting(is_absent)
}

/// A new value for some key that is there, on a producer's connection.
pub fn put(acks: Acks, records: Records, loaded: u64) -> Template {
    let mut writer = PlainWriter::default();
    writer.push(-1, Some(&HERE), Some(&records.value(loaded)), &[]);
    let body = Body::Plain(writer.records());
    let mut frame = Vec::new();
    Request::Publish { acks: level(acks), partition: -1, body }.encode(head(), &mut frame);
    with_keys(frame, move |n| records.some_key(n, loaded))
}

fn get(topic: &str) -> Vec<u8> {
    let mut keys = KeysWriter::default();
    keys.push(&HERE);
    let request =
        Get { topic, partition: -1, as_of: -1, after: After::NONE, explain: false, keys: keys.keys() };
    let mut frame = Vec::new();
    Request::Get(request).encode(head(), &mut frame);
    frame
}

fn with_keys(frame: Vec<u8>, key: impl Fn(u64) -> [u8; KEY] + 'static) -> Template {
    let at = frame.windows(KEY).position(|bytes| bytes == HERE).expect("the key stands in its request");
    Template::new(frame).varying(move |number, frame| frame[at..at + KEY].copy_from_slice(&key(number)))
}

fn is_present(code: u16, payload: &[u8]) -> bool {
    newest(code, payload, |newest| matches!(newest, Newest::Present { .. }))
}

fn is_absent(code: u16, payload: &[u8]) -> bool {
    newest(code, payload, |newest| matches!(newest, Newest::Absent))
}

fn newest(code: u16, payload: &[u8], wanted: fn(&Newest<'_>) -> bool) -> bool {
    let reply = Head::read(payload).and_then(|(_, body)| Reply::decode(code, body));
    matches!(reply, Ok(Some(Reply::Values { values, .. })) if values.iter().all(|v| wanted(&v.newest)))
}

fn head() -> Head {
    Head { stream: STREAM, correlation: 0 }
}

/// Reads all rows, page after page. The next page is asked for before the rows of the one that came are looked at.
pub fn scan(place: &Workplace) -> Result<Pass, Failure> {
    let mut stream = place.connect()?;
    let (mut pass, mut payload, mut more) = (Pass::default(), Vec::new(), true);
    let started = Instant::now();
    send(&mut stream, &page(&place.topic, b""))?;
    while more {
        signal::check()?;
        let code = read_frame(&mut stream, &mut payload)?;
        refuse_errors(code, &payload)?;
        let Reply::Scanned(scanned) = decoded(code, &payload)? else { return Err(unexpected("Scan")) };
        more = scanned.next.is_some();
        if let Some(cursor) = scanned.next {
            send(&mut stream, &page(&place.topic, cursor))?;
        }
        pass.add(&scanned.rows);
    }
    pass.elapsed = started.elapsed();
    Ok(pass)
}

/// Asks for all rows, from a cursor on.
fn page<'a>(topic: &'a str, cursor: &'a [u8]) -> Request<'a> {
    Request::Scan(native::Scan {
        topic,
        partition: -1,
        reverse: false,
        keys_only: false,
        from: b"",
        to: None,
        as_of: Vec::new(),
        after: After::NONE,
        limit: 0,
        max_bytes: PAGE,
        cursor,
    })
}

fn send(stream: &mut TcpStream, request: &Request<'_>) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    request.encode(head(), &mut bytes);
    stream.write_all(&bytes).map_err(|e| broken(&e))
}

/// Watches all keys until the snapshot of each partition has ended.
pub fn watch(place: &Workplace) -> Result<Pass, Failure> {
    let mut stream = place.connect()?;
    let (mut pass, mut payload) = (Pass::default(), Vec::new());
    let (mut left, mut owed) = (place.partitions(), 0);
    let started = Instant::now();
    let watch = native::Watch {
        topic: &place.topic,
        partition: -1,
        from: b"",
        to: None,
        credit: CREDIT,
        snapshot: true,
    };
    send(&mut stream, &Request::Watch(watch))?;
    while left > 0 {
        signal::check()?;
        let code = read_frame(&mut stream, &mut payload)?;
        refuse_errors(code, &payload)?;
        match decoded(code, &payload)? {
            Reply::Rows(rows) => {
                pass.add(&rows);
                owed += rows.size() as u32;
            }
            Reply::SnapshotEnd { .. } => left -= 1,
            Reply::Ack => {}
            _ => return Err(unexpected("Watch")),
        }
        if owed >= CREDIT / 4 {
            send(&mut stream, &Request::Credit { bytes: std::mem::take(&mut owed) })?;
        }
    }
    pass.elapsed = started.elapsed();
    Ok(pass)
}

fn decoded(code: u16, payload: &[u8]) -> Result<Reply<'_>, Failure> {
    let bad = |what: String| Failure::new(REFUSED, what);
    let (_, body) = Head::read(payload).map_err(|e| bad(e.to_string()))?;
    Reply::decode(code, body)
        .map_err(|e| bad(e.to_string()))?
        .ok_or_else(|| bad(format!("the broker answers with the unknown code {code:#x}")))
}

fn unexpected(request: &str) -> Failure {
    Failure::new(REFUSED, format!("the broker answers {request} with something else"))
}
