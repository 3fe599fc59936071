//! From a request to the function that plans its answer.
//!
//! Invariant: every row of the table has its line here; the compiler checks it.

use super::plan::{Context, Plan};
use super::table::Call;
use super::{
    acls, alter_configs, api_versions, create_partitions, create_topics, delete_records, delete_topics,
};
use super::{consumer_group_describe, consumer_group_heartbeat};
use super::{delete_groups, describe_groups, heartbeat, join_group, leave_group, list_groups};
use super::{describe_cluster, describe_configs, describe_log_dirs, describe_producers};
use super::{describe_topic_partitions, elect_leaders, fetch, find_coordinator, incremental_alter_configs};
use super::{
    init_producer_id, list_offsets, list_partition_reassignments, metadata, offset_for_leader_epoch,
};
use super::{offset_commit, offset_delete, offset_fetch, sync_group};
use super::{produce, sasl_handshake};

/// Plans the answer to a request.
pub fn ask<'a>(call: Call<'a>, context: &Context<'a>) -> Plan<'a> {
    let version = context.version;
    match call {
        Call::Produce(request) => produce::ask(request),
        Call::Fetch(request) => fetch::ask(request, context),
        Call::ListOffsets(request) => list_offsets::ask(request, version),
        Call::Metadata(request) => metadata::ask(request, context),
        Call::OffsetCommit(request) => offset_commit::ask(request, version),
        Call::OffsetFetch(request) => offset_fetch::ask(request, version),
        Call::FindCoordinator(request) => find_coordinator::ask(request, context),
        Call::JoinGroup(request) => join_group::ask(request, context),
        Call::Heartbeat(request) => heartbeat::ask(request),
        Call::LeaveGroup(request) => leave_group::ask(request, version),
        Call::SyncGroup(request) => sync_group::ask(request, version),
        Call::DescribeGroups(request) => describe_groups::ask(request, version),
        Call::ListGroups(request) => list_groups::ask(request),
        Call::SaslHandshake(_) => sasl_handshake::ask(),
        Call::ApiVersions(request) => api_versions::ask(&request, version),
        Call::CreateTopics(request) => create_topics::ask(request, context),
        Call::DeleteTopics(request) => delete_topics::ask(request, context),
        Call::DeleteRecords(request) => delete_records::ask(request),
        Call::InitProducerId(request) => init_producer_id::ask(request),
        Call::DescribeAcls(_) => acls::describe(),
        Call::CreateAcls(request) => acls::create(&request),
        Call::DeleteAcls(request) => acls::delete(&request),
        Call::DescribeConfigs(request) => describe_configs::ask(request, context),
        Call::DescribeLogDirs(request) => describe_log_dirs::ask(request, context),
        Call::DeleteGroups(request) => delete_groups::ask(request),
        Call::ElectLeaders(request) => elect_leaders::ask(request, context),
        Call::ListPartitionReassignments(_) => list_partition_reassignments::ask(),
        Call::OffsetDelete(request) => offset_delete::ask(request),
        Call::ConsumerGroupHeartbeat(request) => consumer_group_heartbeat::ask(request, context),
        Call::ConsumerGroupDescribe(request) => consumer_group_describe::ask(request),
        Call::DescribeCluster(request) => describe_cluster::ask(&request, context),
        Call::DescribeTopicPartitions(request) => describe_topic_partitions::ask(request, context),
        Call::AlterConfigs(request) => alter_configs::ask(request),
        Call::CreatePartitions(request) => create_partitions::ask(request),
        Call::IncrementalAlterConfigs(request) => incremental_alter_configs::ask(request),
        Call::OffsetForLeaderEpoch(request) => offset_for_leader_epoch::ask(request),
        Call::DescribeProducers(request) => describe_producers::ask(request),
    }
}
