//! Connections joined to the broker. Generic over the stream, so that the simulator runs this very code.
//!
//! A turn: the reactor notes who is ready ([`Server::ready`]) and what workers have answered ([`Server::complete`]),
//! then [`Server::turn`] lets each connection that has work read and ask, up to its budget; ends with one write per
//! partition; and sends what became ready.
//!
//! Invariant: a connection with work that it could do now is queued, or set aside for a reason whose end queues it
//! again (a completion, a released reservation), or an event for it is still to come.

use std::collections::VecDeque;
use std::io::{Read, Write};

use slab::Slab;

use crate::api::{ConnId, Reply, ReplyTo};
use crate::broker::{Broker, Taken};
use crate::chunk::Buffers;
use crate::config::Limits;
use crate::conn::Conn;
use crate::conn::input::Fill;
use crate::language::{Ends, Greeting, Step};
use crate::time::{Now, Time};
use crate::timers::Timers;
use crate::worker::{Done, Job};

/// Bytes of input buffers kept between turns.
const INPUT_BUFFERS: usize = 4 << 20;

/// What the server needs of a socket.
pub trait Stream: Read + Write {
    /// Who is on the other side, for logs.
    fn peer(&self) -> String;

    /// Both ends of it.
    fn ends(&self) -> Ends;
}

/// All connections and the broker behind them.
pub struct Server<S> {
    clients: Slab<Client<S>>,
    broker: Broker,
    limits: Limits,
    greeting: Greeting,
    generation: u32,
    /// Connections to be looked at in this turn or the next.
    queue: VecDeque<u32>,
    /// Connections whose request was not taken; a completion queues them.
    postponed: Vec<ConnId>,
    /// Connections that wait for a part of the input budget; a release queues the first.
    unreserved: VecDeque<ConnId>,
    /// Connections to be drained and settled at the end of the turn.
    touched: Vec<u32>,
    /// Input budget in use, bytes.
    reserved: usize,
    timers: Timers<ConnId>,
    input: Buffers,
    replies: Vec<(ReplyTo, Reply)>,
    draining: bool,
}

struct Client<S> {
    stream: S,
    conn: Conn,
    id: ConnId,
    queued: bool,
    touched: bool,
    /// Not to be looked at before something ends: see `postponed` and `unreserved`.
    set_aside: bool,
    /// The earliest deadline that stands in `timers` for this connection.
    timer: Time,
}

/// Why a connection ends, for the log and the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Finished,
    Broken,
    TimedOut,
}

impl<S: Stream> Server<S> {
    /// Puts a server around an open broker.
    pub fn new(broker: Broker) -> Self {
        let greeting = Greeting {
            software: concat!("krappy ", env!("CARGO_PKG_VERSION")).to_owned(),
            cluster_id: broker.identity().cluster_id.clone(),
            leader_epoch: broker.identity().boot_epoch as i32,
            data_dir: broker.config().data_dir.display().to_string(),
            advertised: broker.config().advertised.clone(),
        };
        Self {
            clients: Slab::new(),
            limits: broker.config().limits.clone(),
            broker,
            greeting,
            generation: 0,
            queue: VecDeque::new(),
            postponed: Vec::new(),
            unreserved: VecDeque::new(),
            touched: Vec::new(),
            reserved: 0,
            timers: Timers::default(),
            input: Buffers::new(INPUT_BUFFERS),
            replies: Vec::new(),
            draining: false,
        }
    }

    /// Whether another connection may be accepted.
    pub fn has_room(&self) -> bool {
        self.clients.len() < self.limits.max_connections && !self.draining
    }

    /// The key that the next accepted connection gets.
    pub fn next_key(&self) -> u32 {
        self.clients.vacant_key() as u32
    }

    /// Takes a connection.
    pub fn accept(&mut self, stream: S, now: Now) -> ConnId {
        self.generation = self.generation.wrapping_add(1);
        let id = ConnId { key: self.next_key(), generation: self.generation };
        let conn = Conn::new(stream.ends(), now);
        let client = Client {
            stream,
            conn,
            id,
            queued: false,
            touched: false,
            set_aside: false,
            timer: Time(u64::MAX),
        };
        self.clients.insert(client);
        self.broker.metrics.connections = self.clients.len() as u64;
        self.broker.metrics.connections_opened += 1;
        self.queue_up(id.key);
        self.touch(id.key);
        id
    }

    /// A connection was refused because there are too many.
    pub fn refused_connection(&mut self) {
        self.broker.metrics.connections_refused += 1;
    }

    /// Notes what the poll said about a socket.
    pub fn ready(&mut self, key: u32, readable: bool, writable: bool, hung_up: bool) {
        let Some(client) = self.clients.get_mut(key as usize) else { return };
        client.conn.readable |= readable || hung_up;
        client.conn.writable |= writable;
        client.conn.hung_up |= hung_up;
        self.touch(key);
        self.queue_up(key);
    }

    /// A worker has answered.
    pub fn complete(&mut self, done: Done, now: Now) {
        self.broker.complete(done, now);
        self.deliver(now);
        for id in std::mem::take(&mut self.postponed) {
            self.take_back(id);
        }
    }

    /// Lets everyone who has work do some of it, writes what came of it, and sends what is ready.
    pub fn turn(&mut self, now: Now) {
        for _ in 0..self.queue.len() {
            let key = self.queue.pop_front().expect("counted a moment ago");
            if let Some(client) = self.clients.get_mut(key as usize) {
                client.queued = false;
                self.pump(key, now);
                self.tidy(key);
            }
        }
        self.end_turn(now);
        // What a connection held that has ended only now is free: others are given it, or it has to be written.
        while self.broker.has_more_to_do() {
            self.end_turn(now);
        }
    }

    fn end_turn(&mut self, now: Now) {
        self.broker.flush(now);
        self.deliver(now);
        self.finish_touched(now);
    }

    /// Reads and asks, until there is nothing more to do or the budget of the turn is spent.
    fn pump(&mut self, key: u32, now: Now) {
        let mut budget = self.limits.turn_read;
        self.touch(key);
        loop {
            if !self.ask(key, now) {
                return;
            }
            let client = &mut self.clients[key as usize];
            if !client.conn.wants_read(&self.limits) {
                return;
            }
            if budget == 0 {
                return self.queue_up(key);
            }
            if !self.reserve(key) {
                return;
            }
            let client = &mut self.clients[key as usize];
            match client.conn.fill(&mut client.stream, &mut self.input) {
                Ok(Fill::Bytes { count, .. }) => {
                    budget = budget.saturating_sub(count);
                    self.broker.metrics.received_bytes += count as u64;
                }
                Ok(Fill::WouldBlock | Fill::End) => {}
                Err(error) => {
                    log::debug!("connection {} from {}: {error}", client.id.generation, client.stream.peer());
                    return self.close(key, Why::Broken, now);
                }
            }
        }
    }

    /// Gives a read buffer back to the pool as soon as its connection has no use for it, so that a turn with a thousand
    /// busy connections needs a handful of buffers. Few busy connections keep a half-read frame where it is.
    fn tidy(&mut self, key: u32) {
        const FEW: usize = 8;
        let few = self.queue.len() <= FEW;
        if let Some(client) = self.clients.get_mut(key as usize)
            && !(few && client.conn.is_half_read())
        {
            client.conn.settle_input(&mut self.input);
        }
    }

    /// Takes requests from what has arrived. `false`: the connection is set aside or gone.
    fn ask(&mut self, key: u32, now: Now) -> bool {
        loop {
            let client = &mut self.clients[key as usize];
            if !client.conn.wants_requests(&self.limits) {
                return true;
            }
            match client.conn.next_request(&self.limits, &self.greeting) {
                Ok(Step::Request { slot, request, consumed }) => {
                    let to = ReplyTo { conn: client.id, slot };
                    if self.broker.handle(to, request, now) == Taken::Later {
                        client.set_aside = true;
                        self.postponed.push(client.id);
                        return false;
                    }
                    client.conn.taken(slot, consumed, now);
                    if self.broker.has_replies() {
                        self.deliver(now);
                    }
                }
                Ok(Step::Requests { slot, requests, consumed }) => {
                    let (conn, all, mut count) = (client.id, requests.len(), 0);
                    for request in requests {
                        let to = ReplyTo { conn, slot: slot + count as u64 };
                        if self.broker.handle(to, request, now) == Taken::Later {
                            break;
                        }
                        count += 1;
                    }
                    client.conn.taken_some(slot, count, (count == all).then_some(consumed), now);
                    if count < all {
                        client.set_aside = true;
                        self.postponed.push(conn);
                    }
                    if self.broker.has_replies() {
                        self.deliver(now);
                    }
                    if count < all {
                        return false;
                    }
                }
                Ok(Step::Handled(consumed)) => client.conn.consumed(consumed, now),
                Ok(Step::Partial(need)) => {
                    client.conn.expect(need);
                    return true;
                }
                Ok(Step::Nothing) => return true,
                Err(violation) => {
                    let (number, peer) = (client.id.generation, client.stream.peer());
                    log::info!("connection {number} from {peer} is closed: {}", violation.0);
                    client.conn.end();
                    self.broker.metrics.closed_violation += 1;
                    return true;
                }
            }
        }
    }

    /// Makes sure that a large half-read frame has its size reserved. `false`: the connection is set aside until it
    /// has, behind those who wait already, so that a large frame is not overtaken for ever by small ones. What it still
    /// holds from the frame before is given up first, so that two cannot wait for each other, nor one for itself.
    fn reserve(&mut self, key: u32) -> bool {
        let client = &mut self.clients[key as usize];
        if client.conn.wants_reserved() == 0 {
            return true;
        }
        self.reserved -= client.conn.give_up();
        let need = client.conn.wants_reserved();
        if !self.unreserved.is_empty() || !self.has_budget(need) {
            let client = &mut self.clients[key as usize];
            client.set_aside = true;
            self.unreserved.push_back(client.id);
            // What was given up may be enough for those in front, and then even for this one.
            self.released(0);
            return self.clients[key as usize].conn.wants_reserved() == 0;
        }
        self.grant(key, need);
        true
    }

    /// A frame that is larger than the whole budget goes alone.
    fn has_budget(&self, need: usize) -> bool {
        self.reserved == 0 || self.reserved + need <= self.limits.input_budget
    }

    fn grant(&mut self, key: u32, need: usize) {
        self.clients[key as usize].conn.reserve(need);
        self.reserved += need;
    }

    /// Hands replies to their connections; the ones whose connection is gone are dropped.
    fn deliver(&mut self, now: Now) {
        let mut replies = std::mem::take(&mut self.replies);
        self.broker.take_replies(&mut replies);
        for (to, reply) in replies.drain(..) {
            match self.clients.get_mut(to.conn.key as usize) {
                Some(client) if client.id == to.conn => {
                    client.conn.reply(to.slot, reply, now);
                    self.touch(to.conn.key);
                }
                _ => self.drop_reply(reply),
            }
        }
        self.replies = replies;
    }

    fn drop_reply(&mut self, reply: Reply) {
        if let Reply::Fetched { parts } = reply {
            for chunk in parts.into_iter().filter_map(|part| part.chunk) {
                self.broker.buffers().give_chunk(chunk);
            }
        }
    }

    /// Ends the turn for every connection that something happened to.
    fn finish_touched(&mut self, now: Now) {
        let mut touched = std::mem::take(&mut self.touched);
        for key in touched.drain(..) {
            if let Some(client) = self.clients.get_mut(key as usize) {
                client.touched = false;
                self.finish(key, now);
            }
        }
        // What finishing one connection released may have touched another; it is queued, so it has its turn.
        touched.append(&mut self.touched);
        self.touched = touched;
    }

    fn finish(&mut self, key: u32, now: Now) {
        let client = &mut self.clients[key as usize];
        if client.conn.writable && client.conn.unsent() > 0 {
            let sent = &mut 0;
            let drained = client.conn.drain(&mut client.stream, self.broker.buffers(), sent, now);
            self.broker.metrics.sent_bytes += *sent;
            if let Err(error) = drained {
                log::debug!("connection {} from {}: {error}", client.id.generation, client.stream.peer());
                return self.close(key, Why::Broken, now);
            }
        }
        let released = client.conn.release();
        if client.conn.is_finished() {
            self.close(key, Why::Finished, now);
            return self.released(released);
        }
        if !client.queued && !client.set_aside {
            let wants = client.conn.wants_requests(&self.limits) && client.conn.has_work();
            if wants || client.conn.wants_read(&self.limits) {
                client.queued = true;
                self.queue.push_back(key);
            }
        }
        if !client.queued {
            client.conn.settle(&mut self.input, now);
        }
        let deadline = client.conn.deadline(&self.limits);
        if deadline < client.timer {
            // A later one that stayed would be kept until its time, however often the connection is quick to answer.
            self.timers.remove(client.timer, client.id);
            client.timer = deadline;
            self.timers.insert(deadline, client.id);
        }
        self.released(released);
    }

    /// A part of the input budget is free again, or somebody who waited for it is gone: everyone for whom there is room
    /// now goes on, in the order in which they came.
    fn released(&mut self, bytes: usize) {
        self.reserved -= bytes;
        while let Some(&id) = self.unreserved.front() {
            if let Some(client) = self.clients.get(id.key as usize)
                && client.id == id
            {
                let need = client.conn.wants_reserved();
                if !self.has_budget(need) {
                    break;
                }
                self.grant(id.key, need);
            }
            self.unreserved.pop_front();
            self.take_back(id);
        }
        self.broker.metrics.input_bytes = self.reserved as u64;
    }

    fn take_back(&mut self, id: ConnId) {
        if let Some(client) = self.clients.get_mut(id.key as usize)
            && client.id == id
        {
            client.set_aside = false;
            self.touch(id.key);
            self.queue_up(id.key);
        }
    }

    fn queue_up(&mut self, key: u32) {
        let client = &mut self.clients[key as usize];
        if !client.queued && !client.set_aside {
            client.queued = true;
            self.queue.push_back(key);
        }
    }

    fn touch(&mut self, key: u32) {
        let client = &mut self.clients[key as usize];
        if !client.touched {
            client.touched = true;
            self.touched.push(key);
        }
    }

    fn close(&mut self, key: u32, why: Why, now: Now) {
        let client = self.clients.remove(key as usize);
        self.timers.remove(client.timer, client.id);
        log::debug!("connection {} from {} is closed: {why:?}", client.id.generation, client.stream.peer());
        self.broker.metrics.connections = self.clients.len() as u64;
        self.broker.metrics.closed_timeout += u64::from(why == Why::TimedOut);
        self.broker.forget(client.id, now);
        let released = client.conn.dismantle(&mut self.input, self.broker.buffers());
        self.released(released);
    }

    /// Time has passed: the broker's deadlines and those of connections.
    pub fn tick(&mut self, now: Now) {
        if self.broker.next_deadline() <= now.time {
            self.broker.tick(now);
            self.deliver(now);
        }
        while let Some(id) = self.timers.take_due(now.time) {
            let Some(client) = self.clients.get_mut(id.key as usize) else { continue };
            if client.id != id {
                continue;
            }
            client.timer = Time(u64::MAX);
            let deadline = client.conn.deadline(&self.limits);
            if deadline <= now.time {
                let (number, peer) = (id.generation, client.stream.peer());
                log::info!("connection {number} from {peer} is closed: {}", client.conn.overdue());
                self.close(id.key, Why::TimedOut, now);
            } else if deadline < client.timer {
                client.timer = deadline;
                self.timers.insert(deadline, id);
            }
        }
    }

    /// Whether a turn would do something without any event.
    pub fn has_work(&self) -> bool {
        !self.queue.is_empty() || !self.touched.is_empty()
    }

    /// When [`Server::tick`] has something to do next.
    pub fn next_deadline(&self) -> Time {
        self.timers.next().map_or(self.broker.next_deadline(), |t| t.min(self.broker.next_deadline()))
    }

    /// Takes the jobs to be run.
    pub fn take_jobs(&mut self, into: &mut Vec<Job>) {
        self.broker.take_jobs(into);
    }

    /// Begins to stop: everyone is told, long polls return, nothing more is read; what was read is answered.
    pub fn drain(&mut self, now: Now) {
        self.draining = true;
        self.broker.drain(now);
        self.deliver(now);
        let keys: Vec<u32> = self.clients.iter().map(|(key, _)| key as u32).collect();
        for key in keys {
            let conn = &mut self.clients[key as usize].conn;
            conn.go_away("the broker is stopping");
            conn.ended = true;
            self.touch(key);
            self.queue_up(key);
        }
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.clients.len()
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The broker, to stop it.
    pub fn broker_mut(&mut self) -> &mut Broker {
        &mut self.broker
    }

    /// Checks what must hold between turns; for tests and the simulator.
    pub fn invariants(&self) {
        self.broker.invariants();
        let reserved: usize = self.clients.iter().map(|(_, client)| client.conn.reserved()).sum();
        assert_eq!(reserved, self.reserved, "what is reserved is reserved for somebody");
        assert!(reserved > 0 || self.unreserved.is_empty(), "nobody waits for a budget that is free");
        let timed = self.clients.iter().filter(|(_, client)| client.timer != Time(u64::MAX)).count();
        assert_eq!(
            timed,
            self.timers.len(),
            "there is one timer for each connection that has one, and no other"
        );
        for (key, client) in &self.clients {
            assert_eq!(key as u32, client.id.key);
            let could = client.conn.wants_requests(&self.limits) && client.conn.has_work()
                || client.conn.wants_read(&self.limits);
            assert!(!could || client.queued || client.set_aside, "a connection that could work is queued");
        }
    }
}
