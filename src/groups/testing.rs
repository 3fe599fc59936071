//! What the tests of this module share: groups, a clock, and clients that are numbers.

use std::collections::BTreeMap;

use super::*;

/// A join of a plain dynamic consumer.
pub(crate) fn join<'a>(group: &'a str, member: &'a str) -> Join<'a> {
    Join {
        group,
        member,
        instance: None,
        client_id: "app",
        client_host: "/127.0.0.1",
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer",
        protocols: vec![("range", b"")],
        reason: None,
        takes_id_first: true,
        skips_assignment: true,
    }
}

/// Who somebody is, without an instance id.
pub(crate) fn who(member: &str, generation: i32) -> Who<'_> {
    Who { member, instance: None, generation, knows_epochs: true }
}

/// What groups of the classic protocol need of topics.
pub(crate) fn no_topics() -> BTreeMap<String, (assign::TopicId, i32)> {
    BTreeMap::new()
}

/// Groups whose first rebalance waits for nobody, and a clock.
pub(crate) struct Room {
    pub groups: Groups<u32>,
    pub now: Time,
    clients: u32,
    told: BTreeMap<u32, Answer>,
}

impl Room {
    pub fn new() -> Room {
        Room::with(Limits { initial_rebalance_delay_ms: 0, ..Limits::default() })
    }

    pub fn with(limits: Limits) -> Room {
        Room { groups: Groups::new(limits, 1), now: Time(0), clients: 0, told: BTreeMap::new() }
    }

    /// Sends a join and says who waits for it.
    pub fn join(&mut self, ask: Join<'_>) -> u32 {
        self.clients += 1;
        self.groups.join(self.clients, &ask, &no_topics(), self.now);
        self.collect();
        self.clients
    }

    /// The same for a sync of the group `g`.
    pub fn sync(&mut self, who: Who<'_>, assignments: &[(&str, &[u8])]) -> u32 {
        let assignments = assignments.to_vec();
        self.sync_as(Sync { group: "g", who, protocol_type: None, protocol: None, assignments })
    }

    pub fn sync_as(&mut self, ask: Sync<'_>) -> u32 {
        self.clients += 1;
        self.groups.sync(self.clients, &ask, &no_topics(), self.now);
        self.collect();
        self.clients
    }

    pub fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), ErrorCode> {
        self.groups.heartbeat("g", who(member, generation), self.now)
    }

    pub fn leave(&mut self, member: &str) -> Result<(), ErrorCode> {
        let leaver = Leaver { member, instance: None, reason: Some("tired") };
        let results = self.groups.leave("g", &[leaver], self.now).expect("the name is fine");
        self.collect();
        results[0]
    }

    /// Lets time pass, doing what is due when it is.
    pub fn pass(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while let Some(at) = self.groups.next_deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.groups.tick(self.now);
            self.collect();
        }
        self.now = until;
    }

    pub fn collect(&mut self) {
        self.groups.invariants();
        for (to, answer) in self.groups.take_answers() {
            assert!(self.told.insert(to, answer).is_none(), "{to} is answered once");
        }
    }

    pub fn waits(&self, client: u32) -> bool {
        !self.told.contains_key(&client)
    }

    pub fn joined(&mut self, client: u32) -> Joined {
        match self.told.remove(&client) {
            Some(Answer::Joined(joined)) => joined,
            other => panic!("{client} should have joined, not {other:?}"),
        }
    }

    pub fn not_joined(&mut self, client: u32) -> (ErrorCode, String) {
        match self.told.remove(&client) {
            Some(Answer::NotJoined { code, member }) => (code, member.to_string()),
            other => panic!("{client} should not have joined, not {other:?}"),
        }
    }

    pub fn share(&mut self, client: u32) -> Vec<u8> {
        match self.told.remove(&client) {
            Some(Answer::Synced(synced)) => synced.assignment.to_vec(),
            other => panic!("{client} should have a share, not {other:?}"),
        }
    }

    pub fn not_synced(&mut self, client: u32) -> ErrorCode {
        match self.told.remove(&client) {
            Some(Answer::NotSynced(code)) => code,
            other => panic!("{client} should have no share, not {other:?}"),
        }
    }

    pub fn state(&self) -> State {
        self.groups.describe("g").state
    }

    /// An id in the group `g`, not used yet.
    pub fn id(&mut self) -> String {
        let client = self.join(join("g", ""));
        let (code, id) = self.not_joined(client);
        assert_eq!(code, ErrorCode::MemberIdRequired);
        id
    }

    /// The group `g` with this many members, while its first leader shares out: their ids, the leader first.
    pub fn completing(&mut self, members: usize) -> Vec<String> {
        let ids: Vec<String> = (0..members).map(|_| self.id()).collect();
        let clients: Vec<u32> = ids.iter().map(|id| self.join(join("g", id))).collect();
        self.pass(0);
        for client in clients {
            assert_eq!(&*self.joined(client).leader, ids[0]);
        }
        assert_eq!(self.state(), State::Completing);
        ids
    }

    /// The group `g` with this many members, all of which have their share, `share of N`.
    pub fn stable(&mut self, members: usize) -> Vec<String> {
        let ids = self.completing(members);
        let shares: Vec<String> = (0..members).map(|n| format!("share of {n}")).collect();
        let shares: Vec<(&str, &[u8])> =
            ids.iter().zip(&shares).map(|(id, share)| (id.as_str(), share.as_bytes())).collect();
        let followers: Vec<u32> = ids[1..].iter().map(|id| self.sync(who(id, 1), &[])).collect();
        let leader = self.sync(who(&ids[0], 1), &shares);
        for (client, (_, share)) in std::iter::once(leader).chain(followers).zip(&shares) {
            assert_eq!(self.share(client), *share);
        }
        assert_eq!(self.state(), State::Stable);
        ids
    }
}
