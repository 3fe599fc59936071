//! The whole simulation of one seed: the broker on its simulated disk, its clients, the network between them, time, and
//! what goes wrong.
//!
//! Invariant: everything that happens follows from the seed. A step lets a moment of virtual time pass, bytes arrive,
//! jobs run, clients act, and gives the server a turn only if the poll loop would have returned: an event, a
//! completion, a new connection, work left over, or a deadline.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::Arc;

use krappy::broker::Broker;
use krappy::disk::Disk;
use krappy::disk::sim::{Crash, Rng, SimDisk};
use krappy::server::Server;
use krappy::time::{Now, Time};

use super::admin::Admin;
use super::asker::Asker;
use super::churn::Churn;
use super::consumer::Consumer;
use super::follower::Follower;
use super::groups::book::Group;
use super::groups::member::{Club, Member};
use super::groups::overseer::Overseer;
use super::history::{After, History};
use super::kafka::{self, fetcher::Fetcher, idempotent::Idempotent, plain::Plain, prank::Prank};
use super::link::{Ctx, Link, Look, Script};
use super::net::{Event, Shared, SimStream};
use super::plan::{Plan, QueuePlan};
use super::producer::Producer;
use super::queues::book::Queue;
use super::queues::taker::Taker;
use super::rude::Rude;
use super::sabotage::{Lie, LyingDisk};
use super::swapper::Swapper;
use super::views::Logs;
use super::workers::Workers;

mod inspect;
mod trouble;

use trouble::End;

/// Where wall clocks begin: in 2026.
const EPOCH: i64 = 1_780_000_000_000;
/// A phase that takes longer than this has come to nothing.
const MAIN_STEPS: u32 = 4_000;
const QUIET_STEPS: u32 = 40_000;

/// What a run came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Of the disk, and of every reply in its order.
    pub hash: u64,
    pub replies: u64,
    pub steps: u64,
    pub records: u64,
    pub facts: u64,
    pub power_cuts: u64,
    pub kills: u64,
    pub clean_stops: u64,
    pub recovery_crashes: u64,
    pub disk_errors: u64,
    pub breaks: u64,
    /// Of the views of compacted topics.
    pub flushes: u64,
    pub merges: u64,
    pub view_failures: u64,
    pub not_ready: u64,
    pub cleaned: u64,
    pub rots: u64,
    /// Of consumer groups: what was confirmed to members, told to them to read, and delivered.
    pub commits: u64,
    pub rebalances: u64,
    /// Partitions of groups that were moved from outside, or forgotten with their group.
    pub moves: u64,
    pub deliveries: u64,
    /// Of queues: records that were given out, were confirmed to be done, and have died.
    pub taken: u64,
    pub acknowledged: u64,
    pub letters: u64,
}

/// A client with its connection.
struct Client {
    link: Link,
    script: Box<dyn Script>,
    /// Bytes that the server has written and that are not yet a whole frame, as seen on the way.
    tapped: Vec<u8>,
}

struct World {
    plan: Plan,
    rng: Rng,
    disk: SimDisk,
    lie: Option<Lie>,
    prank: Option<Prank>,
    now: Now,
    server: Option<Server<SimStream>>,
    workers: Workers,
    wires: Vec<(u32, Shared)>,
    incoming: Vec<Shared>,
    clients: Vec<Client>,
    history: History,
    logs: Logs,
    outcome: Outcome,
    hasher: DefaultHasher,
    boots: u32,
    quiet: bool,
    /// The steps until this start of the broker is ended from outside, and how.
    ends_in: Option<(u32, End)>,
    /// The steps until a bit of a view rots.
    rots_in: Option<u32>,
    /// One has.
    rotten: bool,
    /// A crash that has not come yet.
    planned: Option<Planned>,
    /// Calls that the disk had seen when the logs were looked at last.
    caught_up: u64,
}

/// Runs one seed. The error is everything that was found wrong.
pub fn run(seed: u64) -> Result<Outcome, Vec<String>> {
    run_with(seed, None, None)
}

/// Runs one seed with a planted bug: on a disk that lies, or with Kafka clients whose connections play a prank.
pub fn run_with(seed: u64, lie: Option<Lie>, prank: Option<Prank>) -> Result<Outcome, Vec<String>> {
    let mut world = World::new(seed, lie, prank);
    world.history.trace = std::env::var_os("KRAPPY_SIM_TRACE").is_some();
    world.boot(After::Process);
    world.main_phase();
    world.quiet_phase();
    world.last_restart();
    world.finish()
}

/// A crash that is planned beforehand, in a run in which nothing else goes wrong.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// At this storage call after the first start.
    pub call: u64,
    pub how: Crash,
    /// At this call of the start that follows, another one.
    pub again: Option<u64>,
}

/// Runs a seed with few operations and one planned crash. `None`: it makes fewer calls than that.
pub fn run_crashed(seed: u64, ops: u32, planned: Planned) -> Option<Result<Outcome, Vec<String>>> {
    let mut world = World::with(seed, None, None, |plan| {
        plan.ops = ops;
        plan.faults = false;
    });
    world.boot(After::Process);
    world.disk.crash_at(planned.call);
    world.planned = Some(planned);
    world.main_phase();
    world.planned.is_none().then(|| {
        world.quiet_phase();
        world.last_restart();
        world.finish()
    })
}

impl World {
    fn new(seed: u64, lie: Option<Lie>, prank: Option<Prank>) -> World {
        World::with(seed, lie, prank, |_| {})
    }

    /// With a plan that is changed before anybody acts on it.
    fn with(seed: u64, lie: Option<Lie>, prank: Option<Prank>, change: impl FnOnce(&mut Plan)) -> World {
        let mut history = History::default();
        let mut plan = Plan::new(seed, &mut history);
        change(&mut plan);
        let disk = SimDisk::new(seed);
        disk.cold(plan.cold);
        let mut world = World {
            rng: Rng::new(seed ^ 0x0077_6f72_6c64),
            lie,
            prank,
            now: Now { time: Time(0), wall: EPOCH },
            server: None,
            workers: Workers::new(seed, plan.workers, plan.slowest_job),
            wires: Vec::new(),
            incoming: Vec::new(),
            clients: Vec::new(),
            history,
            logs: Logs::new(&disk, plan.config.data_dir.clone()),
            outcome: Outcome::default(),
            hasher: DefaultHasher::new(),
            boots: 0,
            quiet: false,
            ends_in: None,
            rots_in: None,
            rotten: false,
            planned: None,
            caught_up: 0,
            plan,
            disk,
        };
        world.hire();
        world
    }

    /// Makes the clients of the plan.
    fn hire(&mut self) {
        let plan = &self.plan;
        let ctx =
            &mut Ctx { rng: &mut self.rng, history: &mut self.history, wall: self.now.wall, quiet: false };
        let mut scripts: Vec<Box<dyn Script>> = vec![Box::new(Admin::new(&plan.topics, plan.ops))];
        if ctx.rng.below(2) == 0 {
            scripts.push(Box::new(Churn::new(1, plan.compacts, 3, 3 * plan.ops)));
        }
        let any = |rng: &mut Rng| rng.below(plan.topics.len() as u64) as usize;
        for n in 0..plan.producers {
            let topic = &plan.topics[any(ctx.rng)];
            scripts.push(Box::new(Producer::new(10 + n, topic, plan.ops, ctx)));
        }
        for n in 0..plan.consumers {
            let topic = &plan.topics[any(ctx.rng)];
            scripts.push(Box::new(Consumer::new(n, topic, plan.ops, ctx)));
        }
        let compacted: Vec<_> = plan.topics.iter().filter(|topic| topic.compacted).collect();
        let one = |rng: &mut Rng| compacted[rng.below(compacted.len() as u64) as usize];
        for n in 0..plan.askers {
            scripts.push(Box::new(Asker::new(n, one(ctx.rng), 2 * plan.ops)));
        }
        for n in 0..plan.followers {
            scripts.push(Box::new(Follower::new(n, one(ctx.rng), plan.ops / 4)));
        }
        for n in 0..plan.swappers {
            scripts.push(Box::new(Swapper::new(40 + n, one(ctx.rng), plan.ops)));
        }
        for _ in 0..plan.rude {
            scripts.push(Box::new(Rude::new(ctx, plan.ops)));
        }
        // Each of them may send a batch to every partition at a time.
        let ops = plan.ops.div_ceil(2);
        for n in 0..plan.kafka.idempotent {
            let program = Idempotent::new(60 + n, &plan.topics[any(ctx.rng)], ops, ctx);
            scripts.push(Box::new(kafka::client::Client::new(program, self.prank)));
        }
        for n in 0..plan.kafka.plain {
            let program = Plain::new(70 + n, &plan.topics[any(ctx.rng)], ops, ctx);
            scripts.push(Box::new(kafka::client::Client::new(program, self.prank)));
        }
        for n in 0..plan.kafka.fetchers {
            let program = Fetcher::new(n, &plan.topics, ops, ctx);
            scripts.push(Box::new(kafka::client::Client::new(program, None)));
        }
        for _ in 0..plan.kafka.askers {
            let program = kafka::asker::Asker::new(&plan.topics, ops, ctx);
            scripts.push(Box::new(kafka::client::Client::new(program, None)));
        }
        for one in &plan.groups {
            let topic = &plan.topics[any(ctx.rng)];
            let group = Group { name: one.name, topic: topic.topic, partitions: topic.partitions };
            let club = Club { group, plan: topic.clone(), from_end: one.from_end };
            for n in 0..one.members {
                scripts.push(Box::new(Member::new(n, &club, self.lie, plan.ops, ctx)));
            }
            scripts.push(Box::new(Overseer::new(group, topic.name, plan.ops)));
        }
        let attempts = plan.config.queue.max_delivery_attempts;
        for QueuePlan { name, takers, keyed } in &plan.queues {
            let topic = &plan.topics[any(ctx.rng)];
            let (number, partitions) = (topic.topic, topic.partitions);
            let queue = Queue { name, topic: number, partitions, keyed: *keyed, attempts };
            for n in 0..*takers {
                scripts.push(Box::new(Taker::new(n, (queue, topic), self.lie, plan.ops, ctx)));
            }
        }
        let client = |script| Client { link: Link::default(), script, tapped: Vec::new() };
        self.clients = scripts.into_iter().map(client).collect();
    }

    fn disk_for_broker(&self) -> Arc<dyn Disk> {
        let within: Arc<dyn Disk> = Arc::new(self.disk.clone());
        match self.lie {
            Some(lie) => Arc::new(LyingDisk { within, lie }),
            None => within,
        }
    }

    // Starting and ending.

    /// Starts the broker, as often as it takes, and checks what it found.
    fn boot(&mut self, mut after: After) {
        self.boots += 1;
        loop {
            if self.faults_left() && self.boots > 1 && self.rng.below(3) == 0 {
                self.disk.crash_at(1 + self.rng.below(30));
            }
            let opened =
                Broker::open(self.plan.config.clone(), self.disk_for_broker(), self.rng.next_u64(), self.now);
            if self.disk.has_crashed() {
                self.outcome.recovery_crashes += 1;
                drop(opened);
                if self.crash() == After::Power {
                    after = After::Power;
                }
                continue;
            }
            match opened {
                Ok((broker, opened)) => {
                    self.history.note(|| format!("BOOT {} {opened:?}", self.boots));
                    for (dir, recovery) in &opened.recovered {
                        if !recovery.quarantined.is_empty() {
                            self.history.bad(format!("{dir}: a crash is no rot: {recovery}"));
                        }
                    }
                    self.server = Some(Server::new(broker));
                }
                Err(e) => self.history.bad(format!("the broker does not start: {e}")),
            }
            break;
        }
        self.audit(after);
        self.plan_trouble();
    }

    /// The machine or the process goes down, now.
    fn crash(&mut self) -> After {
        let how = match self.rng.below(3) {
            0 => Crash::KeepAll,
            1 => Crash::LoseAll,
            _ => Crash::Random(self.rng.next_u64()),
        };
        let planned = self.planned.take();
        let after = self.go_down(planned.map_or(how, |planned| planned.how));
        if let Some(call) = planned.and_then(|planned| planned.again) {
            self.disk.crash_at(call);
        }
        after
    }

    fn go_down(&mut self, how: Crash) -> After {
        self.count();
        self.history.note(|| format!("DOWN {how:?}\n{}", self.disk.trace().join("\n")));
        self.server = None;
        self.workers = Workers::new(self.rng.next_u64(), self.plan.workers, self.plan.slowest_job);
        self.wires.clear();
        for wire in std::mem::take(&mut self.incoming) {
            drop(SimStream::new(&wire, &self.disk));
        }
        self.hang_up_all();
        self.disk.crash(how);
        if how == Crash::KeepAll {
            self.outcome.kills += 1;
            return After::Process;
        }
        self.outcome.power_cuts += 1;
        After::Power
    }

    /// Adds up what the broker has counted since its start.
    fn count(&mut self) {
        let Some(server) = &self.server else { return };
        let metrics = &server.broker().metrics;
        self.outcome.flushes += metrics.view_flushes;
        self.outcome.merges += metrics.view_merges;
        self.outcome.view_failures += metrics.view_failures;
        self.outcome.cleaned += metrics.cleaned_records;
    }

    /// The server is gone: clients get what was on its way to them, or do not, and know that the connection has ended
    /// before anything else happens.
    fn hang_up_all(&mut self) {
        for n in 0..self.clients.len() {
            while self.clients[n].link.is_open() {
                if self.rng.below(6) == 0 || !self.clients[n].script.listens() {
                    self.clients[n].link.wire.as_ref().expect("open").borrow_mut().break_off();
                }
                self.let_listen(n);
            }
        }
    }

    fn restart(&mut self, how: Option<Crash>) {
        let after = match how {
            Some(how) => self.go_down(how),
            None => self.crash(),
        };
        self.boot(after);
    }

    /// Stops the broker as the poll loop does: drain, sync, close; workers finish what they were given.
    fn stop(&mut self, failed: bool) {
        self.history.note(|| format!("STOP failed {failed}"));
        self.history.stops = true;
        let now = self.now;
        let deadline = now.time.plus_ms(self.plan.config.limits.drain_ms);
        self.server.as_mut().expect("running").drain(now);
        for _ in 0..QUIET_STEPS {
            let drained = self.server().connections() == 0 || self.now.time >= deadline;
            if drained {
                let now = self.now;
                let broker = self.server.as_mut().expect("running").broker_mut();
                broker.flush(now);
                broker.sync_all();
                self.hand_out_jobs();
                if self.server().broker().is_idle() || failed {
                    break;
                }
            }
            self.pass(true);
            if self.disk.has_crashed() {
                return self.restart(None);
            }
        }
        if !failed && !self.server().broker().is_idle() {
            self.history.bad("a clean stop does not end");
        }
        let closed =
            if failed { Ok(()) } else { self.server.as_mut().expect("running").broker_mut().close() };
        let disk = self.disk_for_broker();
        while !self.workers.is_idle() {
            drop(self.workers.pass(&disk));
        }
        if self.disk.has_crashed() {
            return self.restart(None);
        }
        self.outcome.clean_stops += u64::from(closed.is_ok() && !failed);
        self.restart(Some(Crash::KeepAll));
        if closed.is_ok() && !failed && self.disk.raw(&self.plan.config.data_dir.join("clean")).is_ok() {
            self.history.bad("the marker of a clean stop outlives the next start");
        }
    }

    // Running.

    fn server(&self) -> &Server<SimStream> {
        self.server.as_ref().expect("the broker is running")
    }

    fn main_phase(&mut self) {
        for _ in 0..MAIN_STEPS {
            if !self.is_well() || self.clients.iter().all(|c| c.script.finished()) {
                return;
            }
            self.step();
        }
    }

    /// Nothing goes wrong any more: all that is open must come to an end.
    fn quiet_phase(&mut self) {
        self.quiet = true;
        self.ends_in = None;
        if !self.is_well() {
            return;
        }
        // A planned fault that has not come is called off by a restart, and so is a fenced partition.
        if self.plan.faults {
            self.restart(Some(Crash::KeepAll));
        }
        for _ in 0..QUIET_STEPS {
            if !self.is_well() {
                return;
            }
            if self.is_settled() {
                return self.check_settled();
            }
            self.step();
        }
        let waits = |c: &&Client| c.script.must_finish() && (c.script.is_last() || !c.script.finished());
        let open: Vec<_> = self.clients.iter().filter(waits).map(|c| c.script.describe()).collect();
        self.history.note(|| format!("{:?}\n{:?}", self.plan.config.limits, self.server().broker().metrics));
        self.history.note(|| format!("logs end at {:?}", self.history.ends));
        for (key, wire) in &self.wires {
            self.history.note(|| format!("connection {key}: {:?}", wire.borrow()));
        }
        let (connections, idle) = (self.server().connections(), self.server().broker().is_idle());
        self.history.bad(format!("no end: {open:?}, {connections} connections, idle {idle}"));
    }

    /// Whether clients have what they wait for. Those who wait for nothing leave.
    fn is_settled(&mut self) -> bool {
        let (mut settled, mut all_is_written) = (true, true);
        for n in 0..self.clients.len() {
            let Client { link, script, .. } = &mut self.clients[n];
            script.look_at_logs(&mut self.logs);
            let waits = script.must_finish() && (script.is_last() || !script.finished());
            if !waits && link.is_open() {
                link.leave();
                self.let_know(n);
            }
            let Client { link, script, .. } = &self.clients[n];
            settled &= !waits && !link.is_open();
            all_is_written &= script.is_last() || !waits && !link.is_open();
        }
        // What somebody has sent and left behind is written when his connection has ended.
        let open = self.clients.iter().filter(|client| client.link.is_open()).count();
        let all_is_read = self.incoming.is_empty() && self.server().connections() <= open;
        if all_is_written && all_is_read && self.history.ends.is_empty() {
            self.note_ends();
        }
        settled
            && self.server().connections() == 0
            && self.workers.is_idle()
            && self.server().broker().is_idle()
    }

    /// A client is told that it has left.
    fn let_know(&mut self, n: usize) {
        let ctx = &mut Ctx {
            rng: &mut self.rng,
            history: &mut self.history,
            wall: self.now.wall,
            quiet: self.quiet,
        };
        self.clients[n].script.lost(ctx);
    }

    /// Nobody is connected: nothing of anybody may be left.
    fn check_settled(&mut self) {
        let held = self.server().broker().metrics.input_bytes;
        if held > 0 {
            self.history.bad(format!("{held} bytes of the input budget are still reserved for nobody"));
        }
    }

    /// After the longest `flush.ms`, topics that have one lose nothing to a power cut; the others nothing to a clean
    /// stop.
    fn last_restart(&mut self) {
        if !self.is_well() {
            return;
        }
        for _ in 0..200 {
            self.now.time = self.now.time.plus_ms(1);
            self.now.wall += 1;
            self.pass(true);
        }
        if !self.is_well() {
            return;
        }
        for plan in &self.plan.topics {
            if plan.flush_ms.is_some() {
                self.history.is_all_durable(plan.topic);
            }
        }
        match self.rng.below(2) {
            0 => self.restart(Some(Crash::LoseAll)),
            _ => self.stop(false),
        }
    }

    fn is_well(&self) -> bool {
        self.history.violations.is_empty() && self.server.is_some()
    }

    fn step(&mut self) {
        self.outcome.steps += 1;
        let us = match self.rng.below(40) {
            // Half a minute, and sometimes more: what is tried again now and then is tried, and what is kept for a
            // while is let go.
            0 if self.plan.compacts && self.rng.below(10) == 0 => 31_000_000 << self.rng.below(2),
            0 => self.rng.below(400_000),
            1..10 => self.rng.below(10_000),
            _ => self.rng.below(500),
        };
        self.now.time = Time(self.now.time.0 + us);
        self.now.wall = EPOCH + (self.now.time.0 / 1_000) as i64;
        self.history.time = self.now.time.0;
        for n in 0..self.clients.len() {
            self.let_act(n);
        }
        self.pass(false);
        if self.disk.has_crashed() {
            return self.restart(None);
        }
        if self.server().broker().fatal().is_some() {
            return self.stop(true);
        }
        self.rot();
        self.come_to_an_end();
    }

    /// What the poll loop and the network do in one moment. `stopping`: nobody is let in.
    fn pass(&mut self, stopping: bool) {
        if stopping {
            self.now.time = Time(self.now.time.0 + 200);
            for n in 0..self.clients.len() {
                self.let_listen(n);
            }
        }
        self.history.time = self.now.time.0;
        let Some(mut server) = self.server.take() else { return };
        let now = self.now;
        let mut woken = false;
        self.wires.retain(|(_, wire)| !wire.borrow().server_gone());
        for (key, wire) in &self.wires {
            if let Some(Event { readable, writable, hung_up }) = wire.borrow_mut().pass() {
                server.ready(*key, readable, writable, hung_up);
                woken = true;
            }
        }
        let disk = self.disk_for_broker();
        let done = self.workers.pass(&disk);
        if !self.disk.has_crashed() {
            for done in done {
                server.complete(done, now);
                woken = true;
            }
            woken |= self.accept(&mut server, stopping);
            let due = server.next_deadline() <= now.time;
            if due {
                server.tick(now);
            }
            if woken || due || server.has_work() {
                server.turn(now);
                if !self.disk.has_crashed() {
                    server.invariants();
                }
            }
        }
        self.server = Some(server);
        self.hand_out_jobs();
        let calls = self.disk.calls();
        let changed = std::mem::replace(&mut self.caught_up, calls) != calls;
        for topic in self.plan.topics.iter().filter(|topic| topic.compacted && changed) {
            self.logs.catch_up(topic.name, topic.partitions);
        }
        for client in &mut self.clients {
            if client.link.wire.as_ref().is_some_and(|wire| wire.borrow().server_gone()) {
                client.script.hung_up(&mut self.history);
            }
        }
        for n in 0..self.clients.len() {
            self.look_at_answers(n);
        }
        if !self.history.stops
            && let Err(why) = self.history.groups.end_of_moment()
        {
            self.history.bad(why);
        }
    }

    fn hand_out_jobs(&mut self) {
        let mut jobs = Vec::new();
        self.server.as_mut().expect("running").take_jobs(&mut jobs);
        self.workers.give(jobs);
    }

    fn accept(&mut self, server: &mut Server<SimStream>, stopping: bool) -> bool {
        let incoming = std::mem::take(&mut self.incoming);
        let any = !incoming.is_empty();
        for wire in incoming {
            let stream = SimStream::new(&wire, &self.disk);
            if server.has_room() && !stopping {
                let id = server.accept(stream, self.now);
                self.wires.push((id.key, wire));
            }
        }
        any
    }

    fn let_act(&mut self, n: usize) {
        if self.rng.below(3) == 0 {
            return;
        }
        if !self.clients[n].link.is_open() {
            let wanted = !self.clients[n].script.finished() || self.quiet;
            if !wanted || self.rng.below(4) > 0 || (self.quiet && !self.clients[n].script.must_finish()) {
                return;
            }
            // Over a link that is too slow for `request.receive.ms`, a large request would never arrive.
            let least = if self.quiet { 20_000 } else { 100 };
            let capacity = least + self.rng.below(self.plan.pipe) as usize;
            let wire = self.clients[n].link.connect(self.rng.next_u64(), capacity);
            self.clients[n].tapped.clear();
            self.incoming.push(wire);
        }
        if self.plan.breaks > 0 && !self.quiet && self.rng.below(self.plan.breaks) == 0 {
            self.outcome.breaks += 1;
            let wire = self.clients[n].link.wire.as_ref().expect("open");
            wire.borrow_mut().break_off();
        }
        self.let_listen(n);
        let client = &mut self.clients[n];
        if client.link.is_open() {
            let ctx = &mut Ctx {
                rng: &mut self.rng,
                history: &mut self.history,
                wall: self.now.wall,
                quiet: self.quiet,
            };
            client.script.act(&mut client.link, ctx);
        }
    }

    /// Moves a client's bytes and lets it read its replies.
    fn let_listen(&mut self, n: usize) {
        let client = &mut self.clients[n];
        let ctx = &mut Ctx {
            rng: &mut self.rng,
            history: &mut self.history,
            wall: self.now.wall,
            quiet: self.quiet,
        };
        let alive = client.link.pump(ctx.rng, client.script.listens());
        while client.link.is_open() {
            let size = match client.script.split(client.link.input()) {
                Ok(Some(size)) => size,
                Ok(None) => break,
                Err(why) => return ctx.history.bad(format!("{}: {why}", client.script.describe())),
            };
            let frame = client.link.take_frame(size);
            self.hasher.write(&frame);
            self.outcome.replies += 1;
            client.script.take(&frame, &mut client.link, ctx);
        }
        if !alive && client.link.is_open() {
            client.link.close();
            client.script.lost(ctx);
        }
    }

    /// Looks at what the server has just written.
    fn look_at_answers(&mut self, n: usize) {
        let client = &mut self.clients[n];
        let Some(wire) = &client.link.wire else { return };
        client.tapped.extend(wire.borrow_mut().take_tap());
        let look = &mut Look {
            disk: &self.disk,
            data: &self.plan.config.data_dir,
            logs: &mut self.logs,
            history: &mut self.history,
        };
        while let Ok(Some(size)) = client.script.split(&client.tapped) {
            client.script.look(&client.tapped[..size], look);
            client.tapped.drain(..size);
        }
    }

    fn finish(mut self) -> Result<Outcome, Vec<String>> {
        self.hasher.write_u64(self.disk.state_hash());
        self.outcome.hash = self.hasher.finish();
        self.outcome.facts = self.history.facts;
        self.outcome.records = self.history.known() as u64;
        self.outcome.not_ready = self.history.not_ready;
        let groups = &self.history.groups;
        self.outcome.commits = groups.commits;
        self.outcome.rebalances = groups.rebalances;
        self.outcome.moves = groups.moves;
        self.outcome.deliveries = groups.deliveries;
        let queues = &self.history.queues;
        self.outcome.taken = queues.taken;
        self.outcome.acknowledged = queues.acknowledged;
        self.outcome.letters = queues.letters;
        let found = std::mem::take(&mut self.history.violations);
        if found.is_empty() { Ok(self.outcome) } else { Err(found) }
    }
}
