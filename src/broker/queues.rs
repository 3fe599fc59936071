//! Queues: the windows of [`crate::groups::queue`] joined to the log, to the internal topic that keeps them, and to the
//! dead letters.
//!
//! `lanes` is the windows that there are, `takers` who takes, `take` gives records out, `settle` ends deliveries and
//! writes windows down, `letters` says what a dead letter looks like, `bury` makes them and `redrive` puts them back,
//! `load` is what a start does. All of them read and write as a client would: the broker fetches from itself and
//! publishes to itself, and an [`Errand`] says what a reply is for.
//!
//! Invariants: nobody is given a record before the windows are loaded; an acknowledgement and a rejection are answered
//! when a write that began after them is durable; one write of a window is under way at a time, and whatever happens
//! meanwhile shares the next one.

mod bury;
mod lanes;
mod letters;
mod load;
mod redrive;
mod settle;
mod take;
mod takers;
mod walk;

use std::collections::BTreeSet;

use super::acks::OURSELVES;
use super::internal::{Hold, Loading};
use super::parked::{ParkId, Parking};
use super::{Broker, Taken};
use crate::api::queue::{QueueReply, QueueRequest, TakenWriter};
use crate::api::{ConnId, ErrorCode, QUEUES_TOPIC, Refusal, Reply, ReplyTo, TopicKey, TopicRef};
use crate::groups::MOST_NAME;
use crate::ordered::Numbered;
use crate::time::{Now, Time};
use crate::timers::Timers;
use lanes::{LaneId, Lanes};
use redrive::{Redrive, RedriveId};
use settle::{Settlement, SettlementId};
use take::Take;
use takers::Takers;

/// Slots of [`OURSELVES`] from this one on are about queues.
pub const FIRST_SLOT: u64 = 1 << 63;
/// Partitions of the internal topic: with one, all queues share each sync.
const STATE_PARTITIONS: u32 = 1;
/// Longest delivery and longest delay that can be asked for, milliseconds.
const LONGEST_MS: u32 = 3_600_000;
/// What is added to the name of a topic for its dead letters.
const DEAD_LETTERS: &str = ".dlq";
/// Longest name of a topic.
const MOST_TOPIC: usize = 249;

/// All queues.
#[derive(Debug)]
pub struct Queues {
    state: Loading,
    lanes: Lanes,
    takers: Takers,
    takes: Parking<Take>,
    /// Takes that may find something now; those that came first are first.
    woken: BTreeSet<ParkId>,
    /// Windows to be written at the end of the turn.
    unsaved: BTreeSet<LaneId>,
    settlements: Numbered<Settlement>,
    /// Windows with dying records whose copying can begin.
    dying: BTreeSet<LaneId>,
    /// Windows whose dying records are tried again then.
    burials: Timers<LaneId>,
    redrives: Numbered<Redrive>,
    errands: Numbered<Errand>,
    /// The last number given to anything here.
    last: u64,
    /// The partition that the next take begins with, so that a busy one does not starve the others.
    turn: usize,
}

/// What a reply to the broker itself is for.
#[derive(Debug)]
enum Errand {
    /// A page of windows.
    Load,
    /// The internal topic was made.
    MakeState,
    /// A topic of dead letters was made for this window.
    MakeLetters(LaneId),
    /// Records for a take.
    Read(ParkId),
    /// A window was written; these wait for it.
    Write(LaneId, Vec<SettlementId>),
    /// Dying records were read.
    Exhume(LaneId),
    /// Dead letters were published.
    Bury(LaneId, Vec<i64>),
    /// A step of putting dead letters back has come so far.
    Redrive(RedriveId),
    /// Nobody waits.
    Nothing,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            state: Loading::Done,
            lanes: Lanes::default(),
            takers: Takers::default(),
            takes: Parking::default(),
            woken: BTreeSet::new(),
            unsaved: BTreeSet::new(),
            settlements: Numbered::default(),
            dying: BTreeSet::new(),
            burials: Timers::default(),
            redrives: Numbered::default(),
            errands: Numbered::default(),
            last: 0,
            turn: 0,
        }
    }
}

impl Queues {
    /// When [`Broker::tick_queues`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        let all =
            [self.state.again(), self.takes.next_deadline(), self.lanes.next_deadline(), self.burials.next()];
        all.into_iter().flatten().min()
    }

    /// Whether nobody waits for records.
    pub fn is_idle(&self) -> bool {
        self.takes.is_empty() && self.settlements.is_empty()
    }

    /// Checks what must hold between turns; for tests and the simulator.
    pub fn invariants(&self) {
        self.takes.invariants();
        self.lanes.invariants();
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Where the reply to something that the broker asks itself goes.
    fn errand(&mut self, errand: Errand) -> ReplyTo {
        let slot = FIRST_SLOT | self.next();
        self.errands.insert(slot, errand);
        ReplyTo { conn: OURSELVES, slot }
    }
}

impl Broker {
    /// Takes a request about queues, or leaves it for later.
    pub(super) fn queue(&mut self, to: ReplyTo, request: QueueRequest<'_>, now: Now) -> Taken {
        let result = match request {
            QueueRequest::Take(take) => {
                self.queue_take(to, &take, now);
                return Taken::Yes;
            }
            QueueRequest::Leave { stream } => {
                self.leave_queue(to.conn, stream, now);
                self.answer_queue(to, QueueReply::Left);
                return Taken::Yes;
            }
            QueueRequest::Settle(settle) => self.queue_settle(to, &settle, now),
            QueueRequest::Describe { group, topic } => self.describe_queue(to, group, topic, now),
            QueueRequest::Redrive { group, topic, most } => self.begin_redrive(to, group, topic, most, now),
        };
        match result {
            Ok(()) => Taken::Yes,
            Err(Stop::Later) => Taken::Later,
            Err(Stop::Refused(refusal)) => self.refuse(to, refusal),
        }
    }

    fn answer_queue(&mut self, to: ReplyTo, reply: QueueReply) {
        self.acks.reply(to, Reply::Queue(reply));
    }

    fn answer_take(&mut self, to: ReplyTo, records: TakenWriter) {
        self.metrics.queue_deliveries += u64::from(records.records().count());
        self.answer_queue(to, QueueReply::Taken(records));
    }

    /// Checks the names that every request about a queue has. The topic, if it can be a queue.
    fn check_queue(&self, group: &str, topic: &str) -> Result<TopicKey, Refusal> {
        if group.is_empty() || group.len() > MOST_NAME {
            let message = format!("the name of a group has 1 to {MOST_NAME} bytes");
            return Err(Refusal::new(ErrorCode::InvalidGroupId, message));
        }
        self.refuse_internal(TopicRef::Name(topic))?;
        let key = self.live_topic_or_why(TopicRef::Name(topic))?;
        if topic.len() + DEAD_LETTERS.len() > MOST_TOPIC {
            let message = format!(
                "the name of topic {topic:?} is too long for a queue: its dead letters need one, too"
            );
            return Err(Refusal::new(ErrorCode::InvalidTopic, message));
        }
        Ok(key)
    }

    /// The internal topic, made if need be.
    fn queues_topic(&mut self) -> Result<TopicKey, Hold> {
        if let Ok(key) = self.live_topic(TopicRef::Name(QUEUES_TOPIC)) {
            return Ok(key);
        }
        let is_new = self.catalog.find(QUEUES_TOPIC).is_none();
        let slot = if is_new { self.queues.errand(Errand::MakeState).slot } else { FIRST_SLOT };
        let made = self.internal_topic(QUEUES_TOPIC, STATE_PARTITIONS, slot);
        if self.catalog.find(QUEUES_TOPIC).is_none() {
            self.queues.errands.remove(slot);
        }
        made
    }

    /// Takes a reply to what the broker has asked itself about queues.
    pub(super) fn told_queues(&mut self, slot: u64, reply: Reply, now: Now) {
        let errand = self.queues.errands.remove(slot).expect("an errand is answered once");
        match errand {
            Errand::Load => self.loaded_queues(reply, now),
            Errand::MakeState | Errand::Nothing => {
                if let Reply::Refused(refusal) = reply {
                    log::error!("{QUEUES_TOPIC}: {}", refusal.message);
                }
            }
            Errand::MakeLetters(lane) => self.letters_made(lane, reply, now),
            Errand::Read(take) => self.read_for_take(take, reply, now),
            Errand::Write(lane, waiting) => self.window_written(lane, waiting, reply),
            Errand::Exhume(lane) => self.exhumed(lane, reply, now),
            Errand::Bury(lane, offsets) => self.buried(lane, &offsets, reply, now),
            Errand::Redrive(id) => self.redrive_on(id, reply, now),
        }
    }

    /// Does one thing that has become possible. `false`: there is none.
    pub(super) fn work_on_queues(&mut self, now: Now) -> bool {
        if let Some(id) = self.queues.woken.pop_first() {
            self.retry_take(id, now);
            return true;
        }
        if let Some(lane) = self.queues.dying.pop_first() {
            self.begin_burial(lane, now);
            return true;
        }
        false
    }

    /// Time has passed.
    pub(super) fn tick_queues(&mut self, now: Now) {
        if self.queues.state.again().is_some_and(|at| at <= now.time) {
            self.load_queues(now);
        }
        self.tick_lanes(now);
        while let Some(lane) = self.queues.burials.take_due(now.time) {
            self.queues.dying.insert(lane);
        }
        while let Some(parked) = self.queues.takes.take_due(now.time) {
            self.try_take(parked, now);
        }
    }

    /// A connection is gone, and with it the takers on it.
    pub(super) fn forget_takers(&mut self, conn: ConnId, now: Now) {
        self.queues.takes.forget(conn);
        for stream in self.queues.takers.streams_of(conn) {
            self.leave_queue(conn, stream, now);
        }
    }

    /// The broker stops: nobody is given anything any more.
    pub(super) fn send_takers_away(&mut self, now: Now) {
        self.queues.woken.extend(self.queues.takes.all_idle());
        self.hear_ourselves(now);
    }
}

/// Why a request about a queue is not answered now.
enum Stop {
    Later,
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<Hold> for Stop {
    fn from(hold: Hold) -> Self {
        match hold {
            Hold::Later => Stop::Later,
            Hold::Refused(code) => {
                Stop::Refused(Refusal::new(code, "what queues have done cannot be read or written now"))
            }
        }
    }
}
