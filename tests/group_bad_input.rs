//! What a member of a group, or somebody who passes himself off as one, should not send, and the exact answer to each.
//! After every row another client still works, and at the limits something that ends makes room for something new.

mod common;

mod kafka {
    pub mod peer;
}

use common::{Broker, kib};
use kafka::peer::{Peer, decoded, frame, request};
use krappy::kafka::delete_groups::DeleteGroupsRequest;
use krappy::kafka::heartbeat::HeartbeatRequest;
use krappy::kafka::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use krappy::kafka::leave_group::{LeaveGroupRequest, MemberIdentity};
use krappy::kafka::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use krappy::kafka::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use krappy::kafka::table::Answer;

const TOPIC: &str = "orders";
/// The group of the rows, which has a leader and a static member.
const GROUP: &str = "billing";
const INSTANCE: &str = "one";
/// No generation and no member.
const OUTSIDE: (i32, &str) = (-1, "");

/// What must come back.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Want {
    /// Nothing but the end of the connection.
    Close,
    /// An answer with these errors, one for each partition or member that was named, and the connection stays open.
    Errors(Vec<i16>),
}

struct Row {
    what: String,
    bytes: Vec<u8>,
    want: Want,
}

fn row(what: impl Into<String>, bytes: Vec<u8>, error: i16) -> Row {
    Row { what: what.into(), bytes, want: Want::Errors(vec![error]) }
}

fn closes(what: impl Into<String>, bytes: Vec<u8>) -> Row {
    Row { what: what.into(), bytes, want: Want::Close }
}

/// JoinGroup in the version that is told an id first.
fn join<'a>(group_id: &'a str, change: impl FnOnce(&mut JoinGroupRequest<'a>)) -> Vec<u8> {
    let mut join = JoinGroupRequest {
        group_id,
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer",
        protocols: vec![JoinGroupRequestProtocol { name: "range", metadata: b"" }],
        ..Default::default()
    };
    change(&mut join);
    request(join, 5)
}

/// JoinGroup in the version that lets a member in at once.
fn join_at_once(group_id: &str, member_id: &str) -> Vec<u8> {
    let protocols = vec![JoinGroupRequestProtocol { name: "range", metadata: b"" }];
    let join = JoinGroupRequest {
        group_id,
        member_id,
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer",
        protocols,
        ..Default::default()
    };
    request(join, 3)
}

/// SyncGroup of a generation, with shares.
fn sync(group_id: &str, generation_id: i32, member_id: &str, shares: &[(&str, &[u8])]) -> Vec<u8> {
    let share = |&(member_id, assignment)| SyncGroupRequestAssignment { member_id, assignment };
    let assignments = shares.iter().map(share).collect();
    request(SyncGroupRequest { group_id, generation_id, member_id, assignments, ..Default::default() }, 3)
}

fn heartbeat(group_id: &str, generation_id: i32, member_id: &str) -> Vec<u8> {
    request(HeartbeatRequest { group_id, generation_id, member_id, ..Default::default() }, 3)
}

fn leave(group_id: &str, member_id: &str) -> Vec<u8> {
    let members = vec![MemberIdentity { member_id, ..Default::default() }];
    request(LeaveGroupRequest { group_id, members, ..Default::default() }, 3)
}

/// A commit of one position.
fn commit<'a>(
    group_id: &'a str,
    (generation, member_id): (i32, &'a str),
    change: impl FnOnce(&mut OffsetCommitRequest<'a>),
) -> Vec<u8> {
    let partition = OffsetCommitRequestPartition { committed_metadata: Some(""), ..Default::default() };
    let topics =
        vec![OffsetCommitRequestTopic { name: TOPIC, partitions: vec![partition], ..Default::default() }];
    let mut commit = OffsetCommitRequest {
        group_id,
        generation_id_or_member_epoch: generation,
        member_id,
        topics,
        ..Default::default()
    };
    change(&mut commit);
    request(commit, 8)
}

/// The version that a request was sent in, from its header.
fn key_and_version(bytes: &[u8]) -> (i16, i16) {
    (bytes[5].into(), bytes[7].into())
}

fn errors_of(answer: &Answer<'_>) -> Vec<i16> {
    match answer {
        Answer::JoinGroup(a) => vec![a.error_code],
        Answer::SyncGroup(a) => vec![a.error_code],
        Answer::Heartbeat(a) => vec![a.error_code],
        Answer::LeaveGroup(a) if a.error_code != 0 => vec![a.error_code],
        Answer::LeaveGroup(a) => a.members.iter().map(|m| m.error_code).collect(),
        Answer::OffsetCommit(a) => {
            a.topics.iter().flat_map(|t| &t.partitions).map(|p| p.error_code).collect()
        }
        Answer::DeleteGroups(a) => a.results.iter().map(|r| r.error_code).collect(),
        other => panic!("{other:?}"),
    }
}

/// The error, the generation and the member's id.
fn joined(answer: &Answer<'_>) -> (i16, i32, String) {
    match answer {
        Answer::JoinGroup(a) => (a.error_code, a.generation_id, a.member_id.clone().into_owned()),
        other => panic!("{other:?}"),
    }
}

fn share(answer: &Answer<'_>) -> (i16, Vec<u8>) {
    match answer {
        Answer::SyncGroup(a) => (a.error_code, a.assignment.to_vec()),
        other => panic!("{other:?}"),
    }
}

/// The answer to what was sent before.
fn hear<T>(peer: &mut Peer, bytes: &[u8], look: impl FnOnce(&Answer<'_>) -> T) -> T {
    let (key, version) = key_and_version(bytes);
    decoded(&peer.answer().expect("it is answered"), key, version, look)
}

fn ask<T>(peer: &mut Peer, bytes: &[u8], look: impl FnOnce(&Answer<'_>) -> T) -> T {
    peer.send(bytes);
    hear(peer, bytes, look)
}

/// Somebody alone in a group: the generation and the id.
fn alone(peer: &mut Peer, group: &str) -> (i32, String) {
    let (error, generation, id) = ask(peer, &join_at_once(group, ""), joined);
    assert_eq!(error, 0, "{group}");
    assert_eq!(ask(peer, &sync(group, generation, &id, &[]), share).0, 0);
    (generation, id)
}

/// A leader and a static follower who have joined and not synced yet.
struct Pair {
    generation: i32,
    leader: String,
    follower: String,
}

fn pair(leads: &mut Peer, follows: &mut Peer, group: &str) -> Pair {
    let (generation, leader) = alone(leads, group);
    let second = join(group, |j| j.group_instance_id = Some(INSTANCE));
    follows.send(&second);
    // REBALANCE_IN_PROGRESS.
    common::eventually("the second member has arrived", || {
        ask(leads, &heartbeat(group, generation, &leader), errors_of) == [27]
    });
    let (error, generation, _) = ask(leads, &join_at_once(group, &leader), joined);
    let (other_error, same, follower) = hear(follows, &second, joined);
    assert_eq!((error, other_error, same), (0, 0, generation));
    Pair { generation, leader, follower }
}

/// What is wrong whoever sends it.
fn from_anybody() -> Vec<Row> {
    let long = "x".repeat(256);
    let longest = "x".repeat(i16::MAX as usize);
    let mut rows = Vec::new();
    for (name, what) in [("", "empty"), (&long, "of 256 bytes"), (&longest, "of 32 KiB")] {
        rows.push(row(format!("C1 joining a name that is {what}"), join(name, |_| {}), 24));
        rows.push(row(format!("C1 syncing with a name that is {what}"), sync(name, 1, "m", &[]), 24));
        rows.push(row(format!("C1 a heartbeat for a name that is {what}"), heartbeat(name, 1, "m"), 24));
        rows.push(row(format!("C1 leaving a name that is {what}"), leave(name, "m"), 24));
    }
    rows.push(row("C1 a commit to a name of 256 bytes", commit(&long, OUTSIDE, |_| {}), 24));
    rows.push(row("C1 a name of control characters", join("a\nb\0\u{202e}", |_| {}), 79));
    for timeout in [0, -1, i32::MIN, i32::MAX, 5_999] {
        let bytes = join("new", |j| j.session_timeout_ms = timeout);
        rows.push(row(format!("C2 a session timeout of {timeout}"), bytes, 26));
    }
    let protocols = |count: usize| {
        join("new", |j| j.protocols = (0..count).map(|_| JoinGroupRequestProtocol::default()).collect())
    };
    let metadata = vec![0; 2 << 20];
    let heavy =
        join("new", |j| j.protocols = vec![JoinGroupRequestProtocol { name: "range", metadata: &metadata }]);
    rows.extend([
        row("C3 no protocols", protocols(0), 23),
        row("C3 33 protocols", protocols(33), 23),
        row("C3 10,000 protocols", protocols(10_000), 23),
        closes("C3 100,001 protocols", protocols(100_001)),
        row("C3 2 MiB of metadata", heavy, 44),
        row("C3 no type of protocol", join("new", |j| j.protocol_type = ""), 23),
        row("C4 an id that was never given out", join("new", |j| j.member_id = "mine"), 25),
    ]);
    rows
}

/// Commits that must not hold.
fn commits(pair: &Pair, fenced: &str) -> Vec<Row> {
    let leader = (pair.generation, pair.leader.as_str());
    let of = |change: fn(&mut OffsetCommitRequestPartition<'_>)| {
        commit(GROUP, leader, move |c| change(&mut c.topics[0].partitions[0]))
    };
    let long = "x".repeat(4097);
    let wordy = commit(GROUP, leader, |c| c.topics[0].partitions[0].committed_metadata = Some(&long));
    let full = "x".repeat(4096);
    let just = commit(GROUP, leader, |c| c.topics[0].partitions[0].committed_metadata = Some(&full));
    let many = (0..100_001).map(|_| OffsetCommitRequestPartition::default()).collect();
    vec![
        row("C7 a commit of an old generation", commit(GROUP, (pair.generation - 1, leader.1), |_| {}), 22),
        row("C7 a commit of a future generation", commit(GROUP, (pair.generation + 1, leader.1), |_| {}), 22),
        row("C7 a commit of an unknown member", commit(GROUP, (pair.generation, "nobody"), |_| {}), 25),
        row("C7 a commit from outside while there are members", commit(GROUP, OUTSIDE, |_| {}), 25),
        row(
            "C7 a commit of an instance that was replaced",
            commit(GROUP, (pair.generation, fenced), |c| c.group_instance_id = Some(INSTANCE)),
            82,
        ),
        row("C8 4097 bytes of metadata", wordy, 12),
        row("C8 4096 bytes of metadata", just, 0),
        row("C8 offset -1", of(|p| p.committed_offset = -1), 42),
        row("C8 offset -2", of(|p| p.committed_offset = -2), 42),
        row("C8 partition 1 of one", of(|p| p.partition_index = 1), 3),
        row("C8 partition -1", of(|p| p.partition_index = -1), 3),
        row("C8 a topic that is not there", commit(GROUP, leader, |c| c.topics[0].name = "nowhere"), 3),
        closes("C8 100,001 partitions", commit(GROUP, leader, |c| c.topics[0].partitions = many)),
        closes("C8 2^31-1 topics", frame(8, 2, &two_billion_topics())),
    ]
}

/// OffsetCommit version 2 of group "g" and no member, up to a count that is never made good.
fn two_billion_topics() -> Vec<u8> {
    let head = [0, 1, b'g', 0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    [&head[..], &i32::MAX.to_be_bytes()].concat()
}

/// Those who are not what they say.
fn strangers(pair: &Pair, fenced: &str) -> Vec<Row> {
    let generation = pair.generation;
    let as_instance = |member_id| {
        let group_instance_id = Some(INSTANCE);
        let beat =
            HeartbeatRequest { group_id: GROUP, generation_id: generation, member_id, group_instance_id };
        request(beat, 3)
    };
    vec![
        row("a heartbeat of an unknown member", heartbeat(GROUP, generation, "nobody"), 25),
        row("a heartbeat of an old generation", heartbeat(GROUP, generation - 1, &pair.leader), 22),
        row("a heartbeat of an instance that was replaced", as_instance(fenced), 82),
        row("C6 shares from an unknown member", sync(GROUP, generation, "nobody", &[("nobody", b"all")]), 25),
        row("C6 shares of an old generation", sync(GROUP, generation - 1, &pair.leader, &[]), 22),
        row("leaving as somebody unknown", leave(GROUP, "nobody"), 25),
        row(
            "C5 a third member of a group of two",
            join(GROUP, |j| j.group_instance_id = Some("another")),
            81,
        ),
        row("another type of protocol", join(GROUP, |j| j.protocol_type = "connect"), 23),
    ]
}

/// Sends a row; what is wrong with what came back, if anything.
fn wrong(broker: &Broker, row: &Row) -> Option<String> {
    let mut peer = Peer::connect(broker.addr);
    peer.send(&row.bytes);
    match &row.want {
        Want::Close => (!peer.is_closed()).then(|| format!("{}: it is not closed", row.what)),
        Want::Errors(codes) => {
            let Some(answer) = peer.answer() else { return Some(format!("{}: closed", row.what)) };
            let (key, version) = key_and_version(&row.bytes);
            let got = decoded(&answer, key, version, errors_of);
            let alive = peer.is_alive();
            (got != *codes || !alive)
                .then(|| format!("{}: errors {got:?} instead of {codes:?}, alive {alive}", row.what))
        }
    }
}

#[test]
fn every_bad_request_about_a_group_has_its_answer_and_leaves_the_group_as_it_was() {
    let mut broker = Broker::ephemeral(&["--group-max-size=2"]);
    let (mut leads, mut follows) = (Peer::connect(broker.addr), Peer::connect(broker.addr));
    leads.create(TOPIC, &[]);
    let mut pair = pair(&mut leads, &mut follows, GROUP);
    let shares = [(pair.leader.as_str(), &b"first"[..]), (pair.follower.as_str(), &b"second"[..])];
    assert_eq!(
        ask(&mut leads, &sync(GROUP, pair.generation, &pair.leader, &shares), share),
        (0, b"first".to_vec())
    );
    // The static member starts again, so its former id is another's.
    let again = join(GROUP, |j| j.group_instance_id = Some(INSTANCE));
    let (error, generation, id) = ask(&mut follows, &again, joined);
    assert_eq!((error, generation), (0, pair.generation));
    let fenced = std::mem::replace(&mut pair.follower, id);
    let rows: Vec<Row> =
        [from_anybody(), commits(&pair, &fenced), strangers(&pair, &fenced)].into_iter().flatten().collect();
    let mut bad = Vec::new();
    for row in &rows {
        bad.extend(wrong(&broker, row));
        assert!(Peer::connect(broker.addr).is_alive(), "after {}", row.what);
        for member in [&pair.leader, &pair.follower] {
            let beat = heartbeat(GROUP, pair.generation, member);
            assert_eq!(ask(&mut leads, &beat, errors_of), [0], "after {}", row.what);
        }
    }
    println!("{} rows, {} wrong, resident {} KiB", rows.len(), bad.len(), kib(broker.resident()));
    assert!(bad.is_empty(), "wrong answers:\n{}", bad.join("\n"));
    assert!(broker.is_running());
}

/// Row C6: only the leader shares out, and whoever asks twice is told the same twice.
#[test]
fn shares_that_a_follower_writes_and_shares_for_strangers_go_nowhere() {
    let broker = Broker::ephemeral(&[]);
    let (mut leads, mut follows) = (Peer::connect(broker.addr), Peer::connect(broker.addr));
    let pair = pair(&mut leads, &mut follows, GROUP);
    let greedy = sync(GROUP, pair.generation, &pair.follower, &[(&pair.follower, b"everything")]);
    follows.send(&greedy);
    let shares: [(&str, &[u8]); 2] = [("stranger", b"some"), (&pair.leader, b"the rest")];
    let leader = sync(GROUP, pair.generation, &pair.leader, &shares);
    assert_eq!(ask(&mut leads, &leader, share), (0, b"the rest".to_vec()));
    assert_eq!(hear(&mut follows, &greedy, share), (0, Vec::new()));
    let other = sync(GROUP, pair.generation, &pair.leader, &[(&pair.leader, b"more")]);
    assert_eq!(ask(&mut leads, &other, share), (0, b"the rest".to_vec()));
    assert_eq!(ask(&mut follows, &greedy, share), (0, Vec::new()));
}

/// Row C4: ids that are given out and never used cost no more than the limit of them.
#[test]
fn clients_that_never_come_back_with_their_id_are_forgotten() {
    const MANY: usize = 5_000;
    let broker = Broker::ephemeral(&[]);
    let mut peer = Peer::connect(broker.addr);
    let ask_for_id = join(GROUP, |_| {});
    let mut ids = Vec::new();
    let mut resident = 0;
    for round in 0..4 {
        peer.send(&ask_for_id.repeat(MANY / 4));
        for _ in 0..MANY / 4 {
            let (error, _, id) = hear(&mut peer, &ask_for_id, joined);
            assert_eq!(error, 79);
            ids.push(id);
        }
        if round == 0 {
            resident = broker.resident();
        }
    }
    let now = broker.resident();
    println!("resident {} -> {} KiB", kib(resident), kib(now));
    assert!(now < resident + (2 << 20), "{} KiB for ids that nobody uses", kib(now - resident));
    let (first, last) = (&ids[0], &ids[MANY - 1]);
    assert_eq!(ask(&mut peer, &join(GROUP, |j| j.member_id = first), joined).0, 25);
    assert_eq!(ask(&mut peer, &join(GROUP, |j| j.member_id = last), joined).0, 0);
}

/// Row C9: at the limit of groups nobody begins another, until one ends.
#[test]
fn at_the_limit_of_groups_one_that_ends_makes_room() {
    let broker = Broker::ephemeral(&["--max-groups=3"]);
    let mut peer = Peer::connect(broker.addr);
    peer.create(TOPIC, &[]);
    for name in ["first", "second"] {
        assert_eq!(ask(&mut peer, &commit(name, OUTSIDE, |_| {}), errors_of), [0]);
    }
    let (_, id) = alone(&mut peer, "third");
    for n in 0..1_000 {
        let name = format!("invented-{n}");
        assert_eq!(ask(&mut peer, &join(&name, |_| {}), errors_of), [44]);
        assert_eq!(ask(&mut peer, &commit(&name, OUTSIDE, |_| {}), errors_of), [44]);
    }
    // A group without offsets ends with its last member.
    assert_eq!(ask(&mut peer, &leave("third", &id), errors_of), [0]);
    alone(&mut peer, "fourth");
    assert_eq!(ask(&mut peer, &join("fifth", |_| {}), errors_of), [44]);
    // One with offsets stays until somebody deletes it.
    let delete = request(DeleteGroupsRequest { groups_names: vec!["first"] }, 1);
    assert_eq!(ask(&mut peer, &delete, errors_of), [0]);
    alone(&mut peer, "fifth");
    assert_eq!(ask(&mut peer, &commit("second", OUTSIDE, |_| {}), errors_of), [0]);
}

/// Row C10: whoever sends too many heartbeats waits for its own answers, and nobody else does.
#[test]
fn a_flood_of_heartbeats_is_answered_and_holds_up_nobody() {
    const FLOOD: usize = 5_000;
    let broker = Broker::ephemeral(&[]);
    let (mut flood, mut other) = (Peer::connect(broker.addr), Peer::connect(broker.addr));
    let (generation, id) = alone(&mut flood, GROUP);
    let (steady, steady_id) = alone(&mut other, "steady");
    let beat = heartbeat(GROUP, generation, &id);
    for _ in 0..4 {
        flood.send(&beat.repeat(FLOOD));
        for _ in 0..10 {
            assert_eq!(ask(&mut other, &heartbeat("steady", steady, &steady_id), errors_of), [0]);
        }
        for _ in 0..FLOOD {
            assert_eq!(hear(&mut flood, &beat, errors_of), [0]);
        }
    }
}
