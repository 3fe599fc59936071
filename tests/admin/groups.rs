//! Commits that are under way while the group is deleted.

use krappy::api::group::{CommitPosition, GroupReply, GroupRequest, Who};
use krappy::api::{ErrorCode, Reply, Request};

use super::desk::Desk;

const OUTSIDE: Who<'static> = Who { member: "", instance: None, generation: -1, knows_epochs: false };

fn commit(partition: i32) -> Request<'static> {
    let position = CommitPosition { topic: "orders", partition, offset: 7, leader_epoch: -1, metadata: "" };
    Request::Group(GroupRequest::Commit { group: "billing", who: OUTSIDE, positions: vec![position] })
}

/// The partitions in which the group has a position.
fn committed(desk: &mut Desk) -> Vec<i32> {
    let offsets = GroupRequest::Offsets { group: "billing", member: None, epoch: -1, partitions: None };
    match desk.ask(Request::Group(offsets)) {
        Reply::Group(GroupReply::Offsets(Ok(offsets))) => offsets.iter().map(|at| at.partition).collect(),
        other => panic!("answered by {other:?}"),
    }
}

/// A broker with a group that has a position in partition 0, and a commit for partition 1 that is not durable yet.
fn busy() -> Desk {
    let mut desk = Desk::new(|_| {});
    desk.create("orders", 2, &[]);
    // The first one makes the internal topic, and is not taken before that is there.
    assert!(desk.offer(commit(0)).is_none());
    desk.work();
    desk.ask(commit(0));
    let slot = desk.offer(commit(1)).expect("it is taken");
    assert!(desk.reply(slot).is_none(), "it waits for the disk");
    desk
}

#[test]
fn a_group_that_was_deleted_does_not_come_back_with_a_commit_that_was_under_way() {
    let mut desk = busy();
    let deleted = desk.ask(Request::Group(GroupRequest::Delete("billing")));
    assert!(matches!(deleted, Reply::Group(GroupReply::Result(Ok(())))), "{deleted:?}");
    for _ in 0..2 {
        assert_eq!(committed(&mut desk), []);
        match desk.ask(Request::Group(GroupRequest::Delete("billing"))) {
            Reply::Group(GroupReply::Result(Err(code))) => assert_eq!(code, ErrorCode::GroupIdNotFound),
            other => panic!("answered by {other:?}"),
        }
        desk.restart();
    }
}

#[test]
fn an_offset_that_was_deleted_does_not_come_back_with_a_commit_that_was_under_way() {
    let mut desk = busy();
    let delete = GroupRequest::DeleteOffsets { group: "billing", partitions: vec![("orders", 1)] };
    let deleted = desk.ask(Request::Group(delete));
    assert!(matches!(deleted, Reply::Group(GroupReply::Each(Ok(_)))), "{deleted:?}");
    for _ in 0..2 {
        assert_eq!(committed(&mut desk), [0]);
        desk.restart();
    }
}
