//! DescribeLogDirs, access control lists, FindCoordinator, and what asks for transactions. These come last, because
//! Kafka makes topics of its own when it is asked for a coordinator.

use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::{
    CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeLogDirsRequest,
    FindCoordinatorRequest, InitProducerIdRequest,
};

use super::{NOWHERE, Run, produce, some, text, topic_name};
use crate::common::eventually;
use crate::oracle::batch;

pub fn play(run: &mut Run) {
    sizes(run);
    access(run);
    coordinators(run);
}

fn sizes(run: &mut Run) {
    run.topic("sized", 3, &[]);
    let asked =
        produce::request(run, 9, -1, vec![("sized", 0, batch::counted(3)), ("sized", 1, batch::counted(1))]);
    run.get(9, asked);
    let of = |name: &str, numbers: &[i32]| {
        DescribableLogDirTopic::default().with_topic(topic_name(name)).with_partitions(numbers.to_vec())
    };
    let ask = |topics| DescribeLogDirsRequest::default().with_topics(Some(topics));
    run.each("two partitions, one that is not there, a topic that is not there", 1..=4, |_, _| {
        ask(vec![of("sized", &[1, 0, 7]), of(NOWHERE, &[0])])
    });
    run.each("no topics", [1, 4], |_, _| ask(vec![]));
    run.ask("no partitions", 4, ask(vec![of("sized", &[])]));
    run.ask("a partition twice", 4, ask(vec![of("sized", &[0, 0])]));
}

fn access(run: &mut Run) {
    run.each("all lists", 1..=3, |_, _| {
        DescribeAclsRequest::default()
            .with_resource_type_filter(1)
            .with_resource_name_filter(None)
            .with_principal_filter(None)
            .with_host_filter(None)
            .with_pattern_type_filter(3)
            .with_operation(1)
            .with_permission_type(1)
    });
    run.each("an entry", 1..=3, |_, _| CreateAclsRequest::default().with_creations(vec![entry(), entry()]));
    run.each("no entries", [1, 3], |_, _| CreateAclsRequest::default());
    run.each("a filter", 1..=3, |_, _| DeleteAclsRequest::default().with_filters(vec![filter(), filter()]));
    run.each("no filters", [1, 3], |_, _| DeleteAclsRequest::default());
}

fn entry() -> AclCreation {
    AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(text("sized"))
        .with_resource_pattern_type(3)
        .with_principal(text("User:one"))
        .with_host(text("*"))
        .with_operation(3)
        .with_permission_type(3)
}

fn filter() -> DeleteAclsFilter {
    DeleteAclsFilter::default()
        .with_resource_type_filter(2)
        .with_resource_name_filter(some("sized"))
        .with_pattern_type_filter(3)
        .with_principal_filter(None)
        .with_host_filter(None)
        .with_operation(1)
        .with_permission_type(1)
}

/// The keys of JoinGroup and AddPartitionsToTxn, and the kinds of coordinators that whoever speaks them has.
const COORDINATED: [(i16, i8); 2] = [(11, 0), (24, 1)];

fn coordinators(run: &mut Run) {
    for (key, kind) in COORDINATED {
        if run.speaks(key) {
            eventually("the coordinators are there", || run.get(1, find(1, kind, "group")).error_code == 0);
        }
    }
    run.each("a group", 0..=6, |_, version| find(version, 0, "group"));
    run.each("a transactional id", 1..=6, |_, version| find(version, 1, "transaction"));
    run.each("of a kind that is none", [1, 6], |_, version| find(version, 9, "group"));
    run.each("an empty name", [0, 6], |_, version| find(version, 0, ""));
    run.each("no names", [4, 6], |_, _| FindCoordinatorRequest::default());
    run.each("two names", [4, 6], |_, _| {
        FindCoordinatorRequest::default().with_coordinator_keys(vec![text("b"), text("a")])
    });
    run.each("a transaction that lasts longer than allowed", [0, 5], |_, _| {
        let id = Some(text("transaction").into());
        InitProducerIdRequest::default()
            .with_transactional_id(id)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    });
}

fn find(version: i16, kind: i8, name: &str) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default().with_key_type(kind);
    if version <= 3 { request.with_key(text(name)) } else { request.with_coordinator_keys(vec![text(name)]) }
}
