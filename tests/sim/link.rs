//! A client's end of a connection: requests go out, replies come in, and the connection may end at any moment.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use krappy::disk::sim::{Rng, SimDisk};
use krappy_wire::frame::{self, Split};
use krappy_wire::native::{Head, Level, Reply, Request};

use super::audit;
use super::content::Id;
use super::history::{History, Topic};
use super::net::{Shared, Wire};
use super::views::Logs;

/// What a client sees of the world while it acts.
pub struct Ctx<'a> {
    pub rng: &'a mut Rng,
    pub history: &'a mut History,
    /// Milliseconds since 1970.
    pub wall: i64,
    /// Nothing goes wrong any more, and nothing new is begun: finish what is open.
    pub quiet: bool,
}

/// What can be seen at the moment at which the server has written an answer.
pub struct Look<'a> {
    pub disk: &'a SimDisk,
    pub data: &'a Path,
    pub logs: &'a mut Logs,
    pub history: &'a mut History,
}

impl Look<'_> {
    /// A record is shown to somebody, or called appended or durable: it must be in the file, or on the device.
    pub fn is_there(&mut self, at: (&str, i32), topic: Topic, record: (i64, Id), durable: bool) {
        let cleaned = self.history.promise(topic).cleaned;
        if audit::is_there(self.disk, self.data, at, record, cleaned, durable) == Some(false) {
            let ((offset, id), wanted) = (record, if durable { "durable" } else { "appended" });
            self.history.bad(format!("{at:?}: {id:x} at {offset} is taken for {wanted} and is not there"));
        }
    }
}

/// A client's program. It is told of replies, and asked to act now and then. One that speaks another language than the
/// native one takes frames instead of replies.
pub trait Script {
    /// Does something on an open connection, or nothing.
    fn act(&mut self, link: &mut Link, ctx: &mut Ctx<'_>);
    /// Takes a reply.
    fn reply(&mut self, _head: Head, _reply: Reply<'_>, _link: &mut Link, _ctx: &mut Ctx<'_>) {}
    /// The connection has ended; a new one comes when the client acts again.
    fn lost(&mut self, ctx: &mut Ctx<'_>);
    /// The server has closed the connection; what it has written before may still be on its way.
    fn hung_up(&mut self, _history: &mut History) {}
    /// Whether it has done all that it wanted, and nothing is open.
    fn finished(&self) -> bool;
    /// Whether something of it is open that must come to an end once nothing goes wrong any more.
    fn must_finish(&self) -> bool {
        false
    }
    /// Whether it has to come to the end of what all others have written, and so is the last to finish.
    fn is_last(&self) -> bool {
        false
    }
    /// The topic that all publishes of its connections go to.
    fn topic(&self) -> Option<(&str, usize)> {
        None
    }
    /// The records of a publish that is not answered yet, for whoever looks at answers before they arrive.
    fn open_publish(&self, _head: Head) -> Option<&[(i32, Vec<u64>)]> {
        None
    }
    /// Looks at a reply as soon as the server has written it, beside the logs as they are at that moment.
    fn witness(&mut self, _head: Head, _reply: &Reply<'_>, _logs: &mut Logs, _history: &mut History) {}
    /// Looks at the logs when nothing goes wrong any more, to see whether something is still owed to it.
    fn look_at_logs(&mut self, _logs: &mut Logs) {}
    /// Whether it reads what it is sent.
    fn listens(&self) -> bool {
        true
    }
    /// What it is, for failure reports.
    fn describe(&self) -> String;

    /// Bytes of the frame at the front of what the server has written, if it is whole.
    fn split(&self, bytes: &[u8]) -> Result<Option<usize>, String> {
        match frame::split(bytes, u32::MAX).map_err(|e| e.to_string())? {
            Split::Partial { .. } => Ok(None),
            Split::Whole { consumed, .. } => Ok(Some(consumed)),
        }
    }

    /// Takes a whole frame.
    fn take(&mut self, frame: &[u8], link: &mut Link, ctx: &mut Ctx<'_>) {
        let (head, reply) = native_reply(frame);
        match reply {
            Ok(reply) => self.reply(head, reply, link, ctx),
            Err(why) => ctx.history.bad(format!("{}: {why}", self.describe())),
        }
    }

    /// Looks at a whole frame as soon as the server has written it: is what it calls durable on the device?
    fn look(&mut self, frame: &[u8], look: &mut Look<'_>) {
        let (head, Ok(reply)) = native_reply(frame) else { return };
        self.witness(head, &reply, look.logs, look.history);
        if let Reply::Published { level: Level::Durable, parts: told } = reply
            && let (Some((name, topic)), Some(sent)) = (self.topic(), self.open_publish(head))
        {
            for (part, (_, ids)) in told.iter().zip(sent) {
                let id = *ids.last().expect("a publish has records");
                let offset = part.base_offset + ids.len() as i64 - 1;
                look.is_there((name, part.partition), topic, (offset, id), true);
            }
        }
    }
}

fn native_reply(whole: &[u8]) -> (Head, Result<Reply<'_>, String>) {
    let Ok(Split::Whole { code, payload, .. }) = frame::split(whole, u32::MAX) else {
        unreachable!("a frame that was split off is whole")
    };
    let (head, body) = Head::read(payload).expect("a frame holds its head");
    let reply = match Reply::decode(code, body) {
        Ok(Some(reply)) => Ok(reply),
        other => Err(format!("{other:?}")),
    };
    (head, reply)
}

/// A client's connection, open or not.
#[derive(Default)]
pub struct Link {
    pub wire: Option<Shared>,
    out: Vec<u8>,
    input: Vec<u8>,
    correlation: u32,
    /// Counts the connections.
    pub serial: u32,
}

impl Link {
    /// Opens a new connection.
    pub fn connect(&mut self, seed: u64, capacity: usize) -> Shared {
        let wire = Rc::new(RefCell::new(Wire::new(seed, capacity)));
        self.wire = Some(Rc::clone(&wire));
        self.serial += 1;
        self.out.clear();
        self.input.clear();
        wire
    }

    pub fn is_open(&self) -> bool {
        self.wire.is_some()
    }

    /// Sends a request; its correlation.
    pub fn request(&mut self, stream: u32, request: &Request<'_>) -> u32 {
        self.correlation += 1;
        let head = Head { stream, correlation: self.correlation };
        request.encode(head, &mut self.out);
        self.correlation
    }

    /// Sends bytes that need not be a request.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Bytes that the connection has not taken yet.
    pub fn unsent(&self) -> usize {
        self.out.len()
    }

    /// Leaves; whatever is under way may be lost.
    pub fn leave(&mut self) {
        if let Some(wire) = self.wire.take() {
            wire.borrow_mut().client_leave();
        }
    }

    /// Moves bytes between here and the connection. `false`: it has ended.
    pub fn pump(&mut self, rng: &mut Rng, listens: bool) -> bool {
        let Some(wire) = &self.wire else { return true };
        let mut wire = wire.borrow_mut();
        let most = if rng.below(4) == 0 { rng.below(200) as usize } else { usize::MAX };
        let n = wire.client_write(&self.out[..self.out.len().min(most)]);
        self.out.drain(..n);
        if listens {
            wire.client_read(most, &mut self.input);
        }
        !wire.is_dry()
    }

    /// What has come in, from the front of which whole frames are taken.
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Takes a whole frame out of what has come in.
    pub fn take_frame(&mut self, size: usize) -> Vec<u8> {
        self.input.drain(..size).collect()
    }

    /// The connection has ended.
    pub fn close(&mut self) {
        self.wire = None;
    }
}
