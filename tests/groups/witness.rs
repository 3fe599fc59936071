//! Groups under observation: whoever calls them calls them here, and what they answer is held against what may be known
//! from the outside. What must not be is a panic.
//!
//! * Every client that waits is answered once, and one that has hung up never.
//! * The generations of a group grow, and all members of one are told the same of it.
//! * The leader is told what the members have said, and the members get what the leader has written.
//! * Commits are taken of the newest generation only.

use std::collections::{BTreeMap, BTreeSet};

use krappy::groups::assign::Partitions;
use krappy::groups::consumer::{Heard, Heartbeat, Push, Refused, Topics};
use krappy::groups::{Answer, Groups, Join, Joined, Leaver, Limits, State, Sync, Synced, Who};
use krappy::time::Time;
use krappy_wire::error::ErrorCode;

type Protocols = BTreeMap<String, Vec<u8>>;

/// What a client waits for.
enum Open {
    Join { group: String, member: String, instance: Option<String>, comes_back: bool, said: Protocols },
    Sync { group: String, member: String, generation: i32, shares: Protocols },
}

/// What is known of a group.
#[derive(Default)]
struct Facts {
    generation: i32,
    protocol: String,
    protocol_type: String,
    leader: String,
    /// Ids that were told that they are in this generation.
    joined: BTreeSet<String>,
    /// Ids that the leader was told of.
    listed: Vec<String>,
    /// What the leader has written.
    shares: Option<Protocols>,
    instances: BTreeMap<String, String>,
    /// Ids whose clients have hung up after they had joined, since this generation began and before it did; an empty
    /// one is an id that the client was never told.
    hung_up: BTreeSet<String>,
    excused: BTreeSet<String>,
    /// What members have said: when they joined last, and since.
    said: BTreeMap<String, Vec<Protocols>>,
}

/// Groups and their observer.
pub struct Witness {
    pub groups: Groups<u64>,
    pub now: Time,
    last: u64,
    calls: u64,
    open: BTreeMap<u64, Open>,
    facts: BTreeMap<String, Facts>,
    /// Streams of consumer groups, and what they were told to read.
    streams: BTreeMap<u64, Partitions>,
    /// Answers that their clients have not fetched.
    pub inbox: Vec<(u64, Answer)>,
    /// How many generations began.
    pub generations: u64,
    /// How many shares went out, and how many commits were taken.
    pub synced: u64,
    pub committed: u64,
}

fn owned(pairs: &[(&str, &[u8])]) -> Protocols {
    // Of a name that comes twice a group keeps the first, and a leader's last word holds; no caller here repeats names.
    pairs.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect()
}

impl Witness {
    pub fn new(limits: Limits, salt: u128) -> Witness {
        Witness {
            groups: Groups::new(limits, salt),
            now: Time(0),
            last: 0,
            calls: 0,
            open: BTreeMap::new(),
            facts: BTreeMap::new(),
            streams: BTreeMap::new(),
            inbox: Vec::new(),
            generations: 0,
            synced: 0,
            committed: 0,
        }
    }

    /// Sends a join; the number is that of the client that waits for it.
    pub fn join(&mut self, ask: &Join<'_>, topics: &dyn Topics) -> u64 {
        let comes_back = ask.member.is_empty() && ask.instance.is_some();
        let (group, instance) = (ask.group.to_owned(), ask.instance.map(str::to_owned));
        let said = owned(&ask.protocols);
        if let Some(said_before) = self.facts.get_mut(&group).and_then(|facts| facts.said.get_mut(ask.member))
        {
            // It holds even if the client hangs up before it is answered.
            said_before.push(said.clone());
        }
        self.last += 1;
        self.open.insert(
            self.last,
            Open::Join { group, member: ask.member.to_owned(), instance, comes_back, said },
        );
        self.groups.join(self.last, ask, topics, self.now);
        self.collect();
        self.last
    }

    /// The same for a sync.
    pub fn sync(&mut self, ask: &Sync<'_>, topics: &dyn Topics) -> u64 {
        let (group, member) = (ask.group.to_owned(), ask.who.member.to_owned());
        let (generation, shares) = (ask.who.generation, owned(&ask.assignments));
        self.last += 1;
        self.open.insert(self.last, Open::Sync { group, member, generation, shares });
        self.groups.sync(self.last, ask, topics, self.now);
        self.collect();
        self.last
    }

    pub fn heartbeat(&mut self, group: &str, who: Who<'_>) -> Result<(), ErrorCode> {
        let result = self.groups.heartbeat(group, who, self.now);
        let known = result.is_ok() || result == Err(ErrorCode::RebalanceInProgress);
        if known && !self.is_consumer(group) {
            self.is_of_the_newest(group, who);
        }
        self.collect();
        result
    }

    pub fn commit(&mut self, group: &str, who: Who<'_>) -> Result<(), ErrorCode> {
        let result = self.groups.may_commit(group, who, self.now);
        if result.is_ok() && !self.is_consumer(group) {
            if who.generation >= 0 {
                self.is_of_the_newest(group, who);
            } else {
                let state = self.groups.describe(group).state;
                assert!(matches!(state, State::Empty | State::Dead), "strangers commit to empty groups only");
            }
            self.committed += 1;
        }
        self.collect();
        result
    }

    /// Whether it is a group of the newer kind, in which there may be members that were here as classic ones.
    fn is_consumer(&self, group: &str) -> bool {
        self.groups.list(&[], &["consumer"]).iter().any(|listed| listed.group == group)
    }

    /// Whoever is let do something as a member was told that it is in the newest generation.
    fn is_of_the_newest(&self, group: &str, who: Who<'_>) {
        // A group that has just become a classic one has had no generation yet that we know of.
        let Some(facts) = self.facts.get(group) else { return };
        assert_eq!(who.generation, facts.generation, "only the newest generation counts");
        let known = facts.joined.iter().chain(&facts.listed).any(|id| id == who.member);
        assert!(known, "{} is a member of generation {}", who.member, who.generation);
    }

    pub fn leave(&mut self, group: &str, leavers: &[Leaver<'_>]) -> Vec<Result<(), ErrorCode>> {
        let results = self.groups.leave(group, leavers, self.now).unwrap_or_default();
        self.collect();
        results
    }

    /// The client is not there any more, and may not have waited at all.
    pub fn hang_up(&mut self, client: u64) {
        if let Some(Open::Join { group, member, .. }) = self.open.remove(&client) {
            self.facts.entry(group).or_default().hung_up.insert(member);
        }
        self.streams.remove(&client);
        self.inbox.retain(|(to, _)| *to != client);
        self.groups.gone(client..=client, self.now);
        self.collect();
    }

    /// Lets time pass up to this moment, doing what is due when it is.
    pub fn pass_to(&mut self, until: Time) {
        while let Some(at) = self.groups.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.groups.tick(self.now);
            assert!(self.groups.next_deadline().is_none_or(|next| next > self.now), "what is due is done");
            self.collect();
        }
        self.now = self.now.max(until);
    }

    /// A heartbeat in a consumer group.
    pub fn consume(&mut self, ask: &Heartbeat<'_>, topics: &dyn Topics) -> Result<Heard, Refused> {
        let heard = self.groups.consume(ask, topics, self.now);
        if let Ok(heard) = &heard {
            assert!(heard.epoch >= ask.epoch, "the epochs of members grow");
            assert!(ask.epoch != 0 || heard.assignment.is_some(), "whoever joins is told everything");
        }
        self.collect();
        heard
    }

    /// A stream joins a consumer group; its number, which is that of nobody if it is refused.
    pub fn join_stream(&mut self, group: &str, topic: &str, topics: &dyn Topics) -> u64 {
        self.last += 1;
        let joined = self.groups.join_stream(self.last, group, ("worker", topic), topics, self.now);
        if joined.is_ok() {
            self.streams.insert(self.last, Partitions::new());
        }
        self.collect();
        self.last
    }

    /// A stream says what it reads.
    pub fn owned(&mut self, stream: u64, partitions: &Partitions) {
        self.groups.owned(stream, partitions, self.now);
        self.collect();
    }

    /// Whether this is a stream that is a member.
    pub fn has_stream(&self, stream: u64) -> bool {
        self.streams.contains_key(&stream)
    }

    /// What a stream was told to read.
    pub fn told(&self, stream: u64) -> Partitions {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    fn take_pushes(&mut self) {
        for (to, push) in self.groups.take_pushes() {
            match push {
                Push::Assigned { partitions, .. } => {
                    let told = self.streams.get_mut(&to).expect("whoever is told is a member");
                    *told = partitions;
                }
                Push::Fenced => {
                    assert!(self.streams.remove(&to).is_some(), "a member is told once that it is none")
                }
            }
        }
    }

    /// How many clients wait.
    pub fn waiting(&self) -> usize {
        self.open.len()
    }

    /// Checks everything, and takes what was answered.
    pub fn collect(&mut self) {
        // In a crowd, checking everything each time would be most of the work.
        self.calls += 1;
        if self.groups.totals().members < 50 || self.calls.is_multiple_of(100) {
            self.groups.invariants();
        }
        let answers = self.groups.take_answers();
        // What everybody has said is in what the leader is told, and what the leader has written in what others get.
        for (to, answer) in &answers {
            self.note(*to, answer);
        }
        for (to, answer) in answers {
            let open = self.open.remove(&to).unwrap_or_else(|| panic!("{to} does not wait: {answer:?}"));
            match (&open, &answer) {
                // In a group of the newer kind nobody leads.
                (Open::Join { .. }, Answer::Joined(told)) if told.leader.is_empty() => {
                    assert!(told.members.is_empty() && told.generation >= 0);
                }
                (Open::Join { group, .. }, Answer::Joined(told)) => self.check_joined(group, told),
                (Open::Sync { group, .. }, Answer::Synced(_)) if self.is_consumer(group) => {}
                (Open::Sync { group, member, generation, .. }, Answer::Synced(got)) => {
                    self.check_synced(group, member, *generation, got);
                }
                (Open::Join { .. }, Answer::NotJoined { .. }) | (Open::Sync { .. }, Answer::NotSynced(_)) => {
                }
                _ => panic!("{to} is answered something else than it asked: {answer:?}"),
            }
            self.inbox.push((to, answer));
        }
        self.take_pushes();
        let waiting = self.open.len() + self.streams.len();
        assert_eq!(self.groups.totals().waiting, waiting, "all others still wait");
        // A group that is over has no memory, nor has one that has become one of the other kind.
        let classic: BTreeSet<String> =
            self.groups.list(&[], &["classic"]).iter().map(|listed| listed.group.to_owned()).collect();
        self.facts.retain(|group, _| classic.contains(group));
    }

    fn note(&mut self, to: u64, answer: &Answer) {
        match (self.open.get(&to), answer) {
            (_, Answer::Joined(told)) if told.leader.is_empty() => {}
            (Some(Open::Sync { group, .. }), _) if self.is_consumer(group) => {}
            (Some(Open::Join { group, instance, comes_back, said, .. }), Answer::Joined(told)) => {
                let facts = self.facts.entry(group.clone()).or_default();
                if told.generation > facts.generation {
                    self.generations += 1;
                    facts.begin(told);
                }
                let id = told.member.to_string();
                facts.joined.insert(id.clone());
                facts.said.insert(id.clone(), vec![said.clone()]);
                if let Some(instance) = instance {
                    let before = facts.instances.insert(instance.clone(), id.clone());
                    if let Some(before) = before.filter(|before| *comes_back && *before != id) {
                        facts.rename(&before, &id);
                    }
                }
                // Of a static member that came back and hung up before it was answered, only the leader is told.
                for member in &told.members {
                    if let Some(instance) = &member.instance {
                        facts.instances.insert(instance.to_string(), member.id.to_string());
                    }
                }
            }
            (Some(Open::Sync { group, member, shares, .. }), Answer::Synced(_)) => {
                let facts = self.facts.get_mut(group).expect("somebody has joined");
                if facts.leader == *member {
                    facts.shares.get_or_insert_with(|| shares.clone());
                }
            }
            _ => {}
        }
    }

    fn check_joined(&mut self, group: &str, told: &Joined) {
        let facts = self.facts.get_mut(group).expect("noted a moment ago");
        assert_eq!(told.generation, facts.generation, "generations grow");
        assert_eq!((&*told.protocol, &*told.protocol_type), (&*facts.protocol, &*facts.protocol_type));
        assert!(facts.said[&*told.member][0].contains_key(&*told.protocol), "everybody knows the protocol");
        if told.leader != told.member {
            assert!(told.members.is_empty(), "only the leader is told who is there");
            return;
        }
        assert_eq!(*told.leader, *facts.leader, "one leads");
        facts.listed = told.members.iter().map(|member| member.id.to_string()).collect();
        for member in &told.members {
            let joined = facts.excused.contains(&*member.id) || facts.excused.contains("");
            assert!(
                joined || member.instance.is_some() || facts.joined.contains(&*member.id),
                "{} has joined",
                member.id
            );
            if let Some(said) = facts.said.get(&*member.id) {
                let holds =
                    |said: &Protocols| said.get(&facts.protocol).is_some_and(|own| **own == *member.metadata);
                assert!(said.iter().any(holds), "the leader is told what {} has said", member.id);
            }
        }
    }

    fn check_synced(&mut self, group: &str, member: &str, generation: i32, got: &Synced) {
        let facts = self.facts.get(group).expect("somebody has joined");
        assert_eq!(generation, facts.generation, "shares are of the newest generation");
        assert_eq!((&*got.protocol, &*got.protocol_type), (&*facts.protocol, &*facts.protocol_type));
        let shares = facts.shares.as_ref().expect("nobody has a share before the leader has written it");
        let share = shares.get(member).map_or(&[][..], Vec::as_slice);
        assert_eq!(share, &*got.assignment, "shares are what the leader wrote");
        assert!(facts.listed.iter().any(|id| id == member), "the leader knows of {member}");
        self.synced += 1;
    }
}

impl Facts {
    fn begin(&mut self, told: &Joined) {
        self.generation = told.generation;
        self.protocol = told.protocol.to_string();
        self.protocol_type = told.protocol_type.to_string();
        self.leader = told.leader.to_string();
        self.excused = std::mem::take(&mut self.hung_up);
        self.joined.clear();
        self.listed.clear();
        self.shares = None;
    }

    /// A static member has restarted and keeps what it had.
    fn rename(&mut self, before: &str, after: &str) {
        if self.leader == before {
            self.leader = after.to_owned();
        }
        for id in &mut self.listed {
            if id == before {
                *id = after.to_owned();
            }
        }
        if let Some(shares) = &mut self.shares
            && let Some(share) = shares.remove(before)
        {
            shares.insert(after.to_owned(), share);
        }
    }
}
