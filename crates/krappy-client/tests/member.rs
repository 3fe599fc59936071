//! Members of a group against a scripted broker: what counts as done, giving partitions back, coming back, gaps.

mod fake;

use fake::{Fake, Peer, batch, script};
use krappy_client::{Error, ErrorCode, Member, Start};
use krappy_wire::native::{Assigned, Head, Reply, Request};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(10);

fn seen(member: &mut Member) -> Vec<(i32, i64)> {
    member.poll(LONG).unwrap().iter().map(|record| (record.partition, record.offset)).collect()
}

/// A member whose scripted broker it is, and the heads of its registration and its subscription.
fn join(peer: &mut Peer, name: &str, positions: &[(i32, i64)]) -> (Head, Head) {
    let head = peer.request(|head, request| match request {
        Request::RegisterConsumer { topic: "t", group: "g", partition: -1, start: Start::Earliest } => head,
        other => panic!("not a registration: {other:?}"),
    });
    peer.reply(head, &Reply::ConsumerRegistered { member: name, positions: Vec::new() });
    assign(peer, head, 1, false, positions);
    let subscription = peer.request(|head, request| match request {
        Request::Subscribe { credit } if credit > 0 => head,
        other => panic!("not a subscription: {other:?}"),
    });
    (head, subscription)
}

fn assign(peer: &mut Peer, registration: Head, number: u32, release: bool, positions: &[(i32, i64)]) {
    let assigned = Assigned { number, release, positions: positions.to_vec() };
    peer.reply(registration, &Reply::Assigned(assigned));
}

/// Answers a commit; partition and offset of each position in it.
fn commit(peer: &mut Peer, error: ErrorCode) -> Vec<(i32, i64)> {
    let (head, positions) = peer.request(|head, request| match request {
        Request::Commit(commit) => {
            assert_eq!(commit.group, "", "a member moves its own group");
            let at = commit.positions.iter().map(|at| (at.partition, at.offset)).collect::<Vec<_>>();
            (head, at)
        }
        other => panic!("not a commit: {other:?}"),
    });
    peer.reply(head, &Reply::Each { errors: vec![error.number(); positions.len()] });
    positions
}

fn credit(peer: &mut Peer) {
    peer.request(|_, request| assert!(matches!(request, Request::Credit { .. }), "{request:?}"));
}

fn close(peer: &mut Peer) {
    peer.request(|_, request| assert_eq!(request, Request::CloseStream));
}

#[test]
fn what_a_poll_handed_out_is_committed_before_its_partition_is_given_back() {
    let fake = Fake::new(vec![script(|peer| {
        let (registration, subscription) = join(peer, "g_1", &[(0, 5), (1, 0)]);
        peer.records(subscription, 0, 5, &batch(5, &["a", "b"]), 7);
        credit(peer);
        assign(peer, registration, 2, true, &[(1, 0)]);
        assert_eq!(commit(peer, ErrorCode::None), [(0, 7), (1, 0)]);
        peer.request(|_, request| assert_eq!(request, Request::Released { number: 2 }));
        peer.records(subscription, 1, 0, &batch(0, &["c"]), 1);
        credit(peer);
        assert_eq!(commit(peer, ErrorCode::None), [(1, 1)], "what is committed is not committed again");
        close(peer);
    })]);
    let client = fake.client();
    let mut member = client.consumer("t").group("g").build().unwrap();
    assert_eq!(member.name(), "g_1");
    assert_eq!(seen(&mut member), [(0, 5), (0, 6)]);
    assert_eq!(seen(&mut member), [(1, 0)]);
    assert_eq!(member.positions().iter().collect::<Vec<_>>(), [(&1, &1)]);
    member.close().unwrap();
    fake.join();
}

#[test]
fn a_member_that_commits_by_hand_gives_back_without_a_commit() {
    let fake = Fake::new(vec![script(|peer| {
        let (registration, subscription) = join(peer, "g_1", &[(0, 0)]);
        peer.records(subscription, 0, 0, &batch(0, &["a"]), 1);
        credit(peer);
        assign(peer, registration, 2, true, &[]);
        peer.request(|_, request| assert_eq!(request, Request::Released { number: 2 }));
        assign(peer, registration, 3, false, &[(0, 0)]);
        peer.records(subscription, 0, 0, &batch(0, &["a"]), 1);
        credit(peer);
        assert_eq!(commit(peer, ErrorCode::None), [(0, 1)]);
        close(peer);
    })]);
    let client = fake.client();
    let mut member = client.consumer("t").group("g").commit_every(None).build().unwrap();
    assert_eq!(seen(&mut member), [(0, 0)]);
    assert_eq!(seen(&mut member), [(0, 0)], "it was not committed, so it comes again");
    member.commit().unwrap();
    member.close().unwrap();
    fake.join();
}

#[test]
fn a_member_that_was_put_out_joins_again_and_goes_on_where_the_group_is() {
    let fake = Fake::new(vec![script(|peer| {
        let (registration, subscription) = join(peer, "g_1", &[(0, 0)]);
        peer.records(subscription, 0, 0, &batch(0, &["a"]), 1);
        credit(peer);
        peer.refuse(registration, ErrorCode::FencedMemberEpoch);
        close(peer);
        let (_, subscription) = join(peer, "g_4", &[(0, 0)]);
        peer.records(subscription, 0, 0, &batch(0, &["a"]), 1);
        credit(peer);
        assert_eq!(commit(peer, ErrorCode::None), [(0, 1)]);
        close(peer);
    })]);
    let client = fake.client();
    let mut member = client.consumer("t").group("g").build().unwrap();
    assert_eq!(seen(&mut member), [(0, 0)]);
    assert_eq!(seen(&mut member), [(0, 0)]);
    assert_eq!(member.name(), "g_4");
    drop(member);
    fake.join();
}

#[test]
fn a_broken_connection_is_made_again_and_the_group_joined_anew() {
    let fake = Fake::new(vec![
        script(|peer| {
            let (_, subscription) = join(peer, "g_1", &[(0, 0)]);
            peer.records(subscription, 0, 0, &batch(0, &["a"]), 1);
            credit(peer);
        }),
        script(|peer| {
            let (_, subscription) = join(peer, "g_1", &[(0, 1)]);
            peer.records(subscription, 0, 1, &batch(1, &["b"]), 2);
            while peer.try_request(|_, _| ()).is_some() {}
        }),
    ]);
    let client = fake.client();
    let mut member = client.consumer("t").group("g").commit_every(None).build().unwrap();
    assert_eq!(seen(&mut member), [(0, 0)]);
    assert_eq!(seen(&mut member), [(0, 1)]);
    drop(member);
    client.close();
    fake.join();
}

#[test]
fn a_gap_is_told_once_and_the_group_is_moved_behind_it() {
    let fake = Fake::new(vec![script(|peer| {
        let (_, subscription) = join(peer, "g_1", &[(0, 3)]);
        peer.out_of_range(subscription, 0, 3, 10);
        assert_eq!(commit(peer, ErrorCode::None), [(0, 10)]);
        close(peer);
        let (_, subscription) = join(peer, "g_1", &[(0, 10)]);
        peer.records(subscription, 0, 10, &batch(10, &["x"]), 11);
        while peer.try_request(|_, _| ()).is_some() {}
    })]);
    let client = fake.client();
    let mut member = client.consumer("t").group("g").commit_every(None).build().unwrap();
    let error = member.poll(LONG).unwrap_err();
    assert!(matches!(error, Error::Unreadable { position: 3, log_start: 10, .. }), "{error}");
    assert_eq!(seen(&mut member), [(0, 10)]);
    drop(member);
    client.close();
    fake.join();
}

#[test]
fn a_commit_that_is_refused_is_told_and_tried_again() {
    let fake = Fake::new(vec![script(|peer| {
        let (_, subscription) = join(peer, "g_1", &[(0, 0)]);
        peer.records(subscription, 0, 0, &batch(0, &["a"]), 1);
        credit(peer);
        assert_eq!(commit(peer, ErrorCode::CoordinatorNotAvailable), [(0, 1)]);
        assert_eq!(commit(peer, ErrorCode::None), [(0, 1)]);
        close(peer);
    })]);
    let client = fake.client();
    let mut member = client.consumer("t").group("g").commit_every(None).build().unwrap();
    assert_eq!(seen(&mut member), [(0, 0)]);
    assert_eq!(member.commit().unwrap_err().code(), Some(ErrorCode::CoordinatorNotAvailable));
    member.commit().unwrap();
    member.commit().unwrap();
    member.close().unwrap();
    fake.join();
}

#[test]
fn a_group_that_takes_nobody_is_told_when_it_is_joined() {
    let fake = Fake::new(vec![script(|peer| {
        let head = peer.request(|head, _| head);
        peer.refuse(head, ErrorCode::GroupMaxSizeReached);
        while peer.try_request(|_, _| ()).is_some() {}
    })]);
    let client = fake.client();
    let refused = client.consumer("t").group("g").build().unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::GroupMaxSizeReached));
    client.close();
    fake.join();
}
