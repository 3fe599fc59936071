//! Loading a compacted topic with prepared batches, on one connection that is written and read in turns.

use super::super::driver::{ask, broken, read_frame, refuse_errors};
use super::super::target::{STREAM, Workplace, level, ping};
use super::records::{KEY, Records, VALUE};
use crate::args::Acks;
use crate::bench::args::Keyed;
use crate::failure::Failure;
use crate::signal;
use krappy_wire::batch::Builder;
use krappy_wire::codec::Writer;
use krappy_wire::frame;
use krappy_wire::native::{Head, Request, code};
use krappy_wire::partition::partition_for;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nobody is kept waiting for longer, whatever is being merged.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bounds what lengths and deltas add to a record.
const OVERHEAD: usize = 21;

/// Loads all the records and returns how long that took, to the last ack.
pub fn load(place: &Workplace, args: &Keyed, records: &Records) -> Result<Duration, Failure> {
    let mut stream = place.connect()?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(|e| broken(&e))?;
    let register = Request::RegisterProducer { topic: &place.topic, idempotent: false };
    ask(&mut stream, Head { stream: STREAM, correlation: 0 }, &register)?;
    let mut loader = Loader {
        stream,
        acks: args.acks,
        in_flight: args.in_flight.max(1),
        unanswered: 0,
        payload: Vec::new(),
        now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64),
    };
    let most = (args.batch_bytes as usize).max(KEY + VALUE + 100);
    let started = Instant::now();
    loader.send_all(args.records, records, place.partitions() as usize, most)?;
    Ok(started.elapsed())
}

struct Loader {
    stream: TcpStream,
    acks: Acks,
    in_flight: usize,
    unanswered: usize,
    payload: Vec<u8>,
    now: i64,
}

/// A batch that is being made: a whole Publish frame.
#[derive(Default)]
struct Open {
    frame: Vec<u8>,
    batch: Option<Builder>,
}

impl Loader {
    fn send_all(
        &mut self,
        count: u64,
        records: &Records,
        partitions: usize,
        most: usize,
    ) -> Result<(), Failure> {
        let mut open: Vec<Open> = (0..partitions).map(|_| Open::default()).collect();
        for number in 0..count {
            let key = records.key(number);
            let home = if partitions == 1 { 0 } else { partition_for(&key, partitions as u32) as usize };
            let Open { frame, batch } = &mut open[home];
            let builder = batch.get_or_insert_with(|| begin(frame, self.acks, home as i32, self.now));
            let value = records.value(number);
            builder.push(frame, self.now, Some(&key), Some(&value), std::iter::empty());
            if frame.len() + KEY + VALUE + OVERHEAD > most {
                self.send(&mut open[home])?;
            }
        }
        open.iter_mut().filter(|open| open.batch.is_some()).try_for_each(|open| self.send(open))?;
        while self.unanswered > 0 {
            self.take_answer()?;
        }
        // Without acks this is what says that the broker has read everything.
        ping(&mut self.stream)
    }

    fn send(&mut self, open: &mut Open) -> Result<(), Failure> {
        signal::check()?;
        open.batch.take().expect("only what was begun is sent").close(&mut open.frame, 0, -1, None);
        frame::finish(&mut open.frame, 0, 0);
        if self.acks != Acks::None {
            while self.unanswered >= self.in_flight {
                self.take_answer()?;
            }
            self.unanswered += 1;
        }
        self.stream.write_all(&open.frame).map_err(|e| broken(&e))?;
        open.frame.clear();
        Ok(())
    }

    fn take_answer(&mut self) -> Result<(), Failure> {
        let code = read_frame(&mut self.stream, &mut self.payload)?;
        refuse_errors(code, &self.payload)?;
        self.unanswered -= 1;
        Ok(())
    }
}

fn begin(out: &mut Vec<u8>, acks: Acks, partition: i32, now: i64) -> Builder {
    frame::begin(out, code::PUBLISH);
    out.put_u32(STREAM);
    out.put_u32(0);
    out.put_u8(level(acks).number());
    out.put_i32(partition);
    out.put_u8(1);
    Builder::open(out, now)
}
