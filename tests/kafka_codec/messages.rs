//! Random messages of both crates. One list names every struct with its fields: ours and the other crate's are filled
//! field by field from it.

use bytes::Bytes;
use kafka_protocol::messages as theirs;
use kafka_protocol::protocol::{Encodable, StrBytes};
use krappy::chunk::Chunk;
use krappy::kafka;
use krappy::kafka::message::{Message, Shape};
use krappy::kafka::wire::{Field, Records, Text, Uuid};

/// Where random values come from: SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }
}

/// A value that can be made at random, such that it can travel in this version.
pub trait Sample {
    /// Makes one.
    fn sample(dice: &mut Dice, version: i16) -> Self;
}

macro_rules! numbers {
    ($($kind:ty)*) => {$(
        impl Sample for $kind {
            fn sample(dice: &mut Dice, _: i16) -> Self {
                match dice.below(6) {
                    0 => <$kind>::MIN,
                    1 => <$kind>::MAX,
                    2 => 0,
                    3 => <$kind>::MAX - 1,
                    _ => dice.roll() as $kind,
                }
            }
        }
    )*};
}

numbers! { i8 i16 i32 i64 }

impl Sample for bool {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        dice.below(2) == 0
    }
}

/// Lengths around those at which a varint grows, and text that is not ASCII.
fn text(dice: &mut Dice) -> &'static str {
    const LONG: &str = {
        const BYTES: [u8; 300] = [b'x'; 300];
        match std::str::from_utf8(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("ASCII is UTF-8"),
        }
    };
    match dice.below(8) {
        0 => "",
        1 => "Grüße, 世界",
        2 => &LONG[..126 + dice.below(4) as usize],
        3 => LONG,
        _ => &"the quick brown fox"[..dice.below(20) as usize],
    }
}

impl Sample for &str {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        text(dice)
    }
}

impl Sample for Text<'_> {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        if dice.below(2) == 0 { text(dice).into() } else { text(dice).to_owned().into() }
    }
}

impl Sample for &[u8] {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        text(dice).as_bytes()
    }
}

impl Sample for std::borrow::Cow<'_, [u8]> {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        text(dice).as_bytes().into()
    }
}

impl Sample for Records<'_> {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        let bytes = text(dice).as_bytes();
        match dice.below(3) {
            0 => Records::Null,
            1 => Records::Bytes(bytes),
            _ => {
                let whole = [b"before", bytes, b"after"].concat();
                Records::Chunk(Chunk::Owned { bytes: whole, from: 6, to: 6 + bytes.len() })
            }
        }
    }
}

impl Sample for Uuid {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        let half = dice.below(3).min(1) * dice.roll();
        Uuid((u128::from(half) << 64 | u128::from(half)).to_be_bytes())
    }
}

impl Sample for uuid::Uuid {
    fn sample(dice: &mut Dice, version: i16) -> Self {
        uuid::Uuid::from_bytes(Uuid::sample(dice, version).0)
    }
}

impl Sample for StrBytes {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        StrBytes::from_static_str(text(dice))
    }
}

impl Sample for Bytes {
    fn sample(dice: &mut Dice, _: i16) -> Self {
        Bytes::from_static(text(dice).as_bytes())
    }
}

macro_rules! named {
    ($($name:ident)*) => {$(
        impl Sample for theirs::$name {
            fn sample(dice: &mut Dice, version: i16) -> Self {
                theirs::$name(Sample::sample(dice, version))
            }
        }
    )*};
}

named! { BrokerId GroupId ProducerId TopicName TransactionalId }

impl<T: Sample> Sample for Option<T> {
    fn sample(dice: &mut Dice, version: i16) -> Self {
        (dice.below(3) > 0).then(|| T::sample(dice, version))
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(dice: &mut Dice, version: i16) -> Self {
        (0..dice.below(4)).map(|_| T::sample(dice, version)).collect()
    }
}

/// One of our fields: random if that can travel, also where it is ignored, and sometimes left as it is.
fn fill<'a, F: Field<'a> + Sample>(field: &mut F, shape: Shape, dice: &mut Dice, version: i16) {
    let travels = shape.travels(version);
    let null_is_wrong = travels && !shape.may_be_null(version);
    let leave = dice.below(4) == 0 || (!travels && shape.only);
    if leave && !(field.is_null() && null_is_wrong) {
        return;
    }
    loop {
        *field = F::sample(dice, version);
        if !(field.is_null() && null_is_wrong) {
            return;
        }
    }
}

/// What the two crates say of one struct.
pub struct Pair {
    /// Its name.
    pub name: &'static str,
    /// The fields that the list below gives.
    pub listed: &'static [&'static str],
    /// Our fields.
    pub ours: &'static [(&'static str, Shape)],
    /// The other crate's struct, printed.
    pub theirs: String,
}

macro_rules! messages {
    ($($our_module:ident $their_module:ident {
        $($name:ident $(<$life:lifetime>)? { $($field:ident)* })*
    })*) => {
        $($(
            impl Sample for kafka::$our_module::$name $(<$life>)? {
                fn sample(dice: &mut Dice, version: i16) -> Self {
                    let mut value = Self::default();
                    $(
                        let shape = <Self as Message>::FIELDS.iter().find(|f| f.0 == stringify!($field));
                        fill(&mut value.$field, shape.expect("a field of the struct").1, dice, version);
                    )*
                    value
                }
            }

            their_message! { $their_module $name { $($field)* } }
        )*)*

        /// Every struct of the list.
        pub fn pairs() -> Vec<Pair> {
            vec![$($(Pair {
                name: stringify!($name),
                listed: &[$(stringify!($field)),*],
                ours: <kafka::$our_module::$name as Message>::FIELDS,
                theirs: format!("{:?}", theirs::$their_module::$name::default()),
            },)*)*]
        }
    };
}

macro_rules! their_message {
    ($module:ident $name:ident { $($field:ident)* }) => {
        impl Sample for theirs::$module::$name {
            fn sample(dice: &mut Dice, version: i16) -> Self {
                let mut value = Self::default();
                $(
                    value.$field = Sample::sample(dice, version);
                    // The other crate says what this version cannot carry.
                    if value.compute_size(version).is_err() {
                        value.$field = Self::default().$field;
                    }
                )*
                value
            }
        }
    };
}

// We have one struct for the cursor in both directions, and for partitions in a heartbeat.
their_message! { consumer_group_heartbeat_response TopicPartitions { topic_id partitions } }
their_message! { describe_topic_partitions_response Cursor { topic_name partition_index } }
their_message! { offset_fetch_request OffsetFetchRequestTopics { name partition_indexes } }
their_message! { offset_fetch_response OffsetFetchResponseTopics { name partitions } }
their_message! {
    offset_fetch_response OffsetFetchResponsePartitions {
        partition_index committed_offset committed_leader_epoch metadata error_code
    }
}

messages! {
    produce produce_request {
        ProduceRequest<'_> { transactional_id acks timeout_ms topic_data }
        TopicProduceData<'_> { name topic_id partition_data }
        PartitionProduceData<'_> { index records }
    }
    produce produce_response {
        ProduceResponse<'_> { responses throttle_time_ms node_endpoints }
        TopicProduceResponse<'_> { name topic_id partition_responses }
        PartitionProduceResponse<'_> {
            index error_code base_offset log_append_time_ms log_start_offset record_errors
            error_message current_leader
        }
        BatchIndexAndErrorMessage<'_> { batch_index batch_index_error_message }
        LeaderIdAndEpoch { leader_id leader_epoch }
        NodeEndpoint<'_> { node_id host port rack }
    }
    fetch fetch_request {
        FetchRequest<'_> {
            cluster_id replica_id replica_state max_wait_ms min_bytes max_bytes isolation_level
            session_id session_epoch topics forgotten_topics_data rack_id
        }
        ReplicaState { replica_id replica_epoch }
        FetchTopic<'_> { topic topic_id partitions }
        FetchPartition {
            partition current_leader_epoch fetch_offset last_fetched_epoch log_start_offset
            partition_max_bytes replica_directory_id
        }
        ForgottenTopic<'_> { topic topic_id partitions }
    }
    fetch fetch_response {
        FetchResponse<'_> { throttle_time_ms error_code session_id responses node_endpoints }
        FetchableTopicResponse<'_> { topic topic_id partitions }
        PartitionData<'_> {
            partition_index error_code high_watermark last_stable_offset log_start_offset
            diverging_epoch current_leader snapshot_id aborted_transactions preferred_read_replica
            records
        }
        EpochEndOffset { epoch end_offset }
        LeaderIdAndEpoch { leader_id leader_epoch }
        SnapshotId { end_offset epoch }
        AbortedTransaction { producer_id first_offset }
        NodeEndpoint<'_> { node_id host port rack }
    }
    list_offsets list_offsets_request {
        ListOffsetsRequest<'_> { replica_id isolation_level topics timeout_ms }
        ListOffsetsTopic<'_> { name partitions }
        ListOffsetsPartition { partition_index current_leader_epoch timestamp }
    }
    list_offsets list_offsets_response {
        ListOffsetsResponse<'_> { throttle_time_ms topics }
        ListOffsetsTopicResponse<'_> { name partitions }
        ListOffsetsPartitionResponse { partition_index error_code timestamp offset leader_epoch }
    }
    metadata metadata_request {
        MetadataRequest<'_> {
            topics allow_auto_topic_creation include_cluster_authorized_operations
            include_topic_authorized_operations
        }
        MetadataRequestTopic<'_> { topic_id name }
    }
    metadata metadata_response {
        MetadataResponse<'_> {
            throttle_time_ms brokers cluster_id controller_id topics cluster_authorized_operations
            error_code
        }
        MetadataResponseBroker<'_> { node_id host port rack }
        MetadataResponseTopic<'_> { error_code name topic_id is_internal partitions topic_authorized_operations }
        MetadataResponsePartition {
            error_code partition_index leader_id leader_epoch replica_nodes isr_nodes
            offline_replicas
        }
    }
    find_coordinator find_coordinator_request {
        FindCoordinatorRequest<'_> { key key_type coordinator_keys }
    }
    find_coordinator find_coordinator_response {
        FindCoordinatorResponse<'_> { throttle_time_ms error_code error_message node_id host port coordinators }
        Coordinator<'_> { key node_id host port error_code error_message }
    }
    offset_commit offset_commit_request {
        OffsetCommitRequest<'_> {
            group_id generation_id_or_member_epoch member_id group_instance_id retention_time_ms topics
        }
        OffsetCommitRequestTopic<'_> { name topic_id partitions }
        OffsetCommitRequestPartition<'_> {
            partition_index committed_offset committed_leader_epoch committed_metadata
        }
    }
    offset_commit offset_commit_response {
        OffsetCommitResponse<'_> { throttle_time_ms topics }
        OffsetCommitResponseTopic<'_> { name topic_id partitions }
        OffsetCommitResponsePartition { partition_index error_code }
    }
    offset_fetch offset_fetch_request {
        OffsetFetchRequest<'_> { group_id topics groups require_stable }
        OffsetFetchRequestTopic<'_> { name partition_indexes }
        OffsetFetchRequestGroup<'_> { group_id member_id member_epoch topics }
    }
    offset_fetch offset_fetch_response {
        OffsetFetchResponse<'_> { throttle_time_ms topics error_code groups }
        OffsetFetchResponseTopic<'_> { name partitions }
        OffsetFetchResponsePartition<'_> {
            partition_index committed_offset committed_leader_epoch metadata error_code
        }
        OffsetFetchResponseGroup<'_> { group_id topics error_code }
    }
    join_group join_group_request {
        JoinGroupRequest<'_> {
            group_id session_timeout_ms rebalance_timeout_ms member_id group_instance_id protocol_type protocols
            reason
        }
        JoinGroupRequestProtocol<'_> { name metadata }
    }
    join_group join_group_response {
        JoinGroupResponse<'_> {
            throttle_time_ms error_code generation_id protocol_type protocol_name leader skip_assignment
            member_id members
        }
        JoinGroupResponseMember<'_> { member_id group_instance_id metadata }
    }
    heartbeat heartbeat_request {
        HeartbeatRequest<'_> { group_id generation_id member_id group_instance_id }
    }
    heartbeat heartbeat_response {
        HeartbeatResponse { throttle_time_ms error_code }
    }
    leave_group leave_group_request {
        LeaveGroupRequest<'_> { group_id member_id members }
        MemberIdentity<'_> { member_id group_instance_id reason }
    }
    leave_group leave_group_response {
        LeaveGroupResponse<'_> { throttle_time_ms error_code members }
        MemberResponse<'_> { member_id group_instance_id error_code }
    }
    sync_group sync_group_request {
        SyncGroupRequest<'_> {
            group_id generation_id member_id group_instance_id protocol_type protocol_name assignments
        }
        SyncGroupRequestAssignment<'_> { member_id assignment }
    }
    sync_group sync_group_response {
        SyncGroupResponse<'_> { throttle_time_ms error_code protocol_type protocol_name assignment }
    }
    describe_groups describe_groups_request {
        DescribeGroupsRequest<'_> { groups include_authorized_operations }
    }
    describe_groups describe_groups_response {
        DescribeGroupsResponse<'_> { throttle_time_ms groups }
        DescribedGroup<'_> {
            error_code error_message group_id group_state protocol_type protocol_data members
            authorized_operations
        }
        DescribedGroupMember<'_> {
            member_id group_instance_id client_id client_host member_metadata member_assignment
        }
    }
    list_groups list_groups_request {
        ListGroupsRequest<'_> { states_filter types_filter }
    }
    list_groups list_groups_response {
        ListGroupsResponse<'_> { throttle_time_ms error_code groups }
        ListedGroup<'_> { group_id protocol_type group_state group_type }
    }
    delete_groups delete_groups_request {
        DeleteGroupsRequest<'_> { groups_names }
    }
    delete_groups delete_groups_response {
        DeleteGroupsResponse<'_> { throttle_time_ms results }
        DeletableGroupResult<'_> { group_id error_code }
    }
    offset_delete offset_delete_request {
        OffsetDeleteRequest<'_> { group_id topics }
        OffsetDeleteRequestTopic<'_> { name partitions }
        OffsetDeleteRequestPartition { partition_index }
    }
    offset_delete offset_delete_response {
        OffsetDeleteResponse<'_> { error_code throttle_time_ms topics }
        OffsetDeleteResponseTopic<'_> { name partitions }
        OffsetDeleteResponsePartition { partition_index error_code }
    }
    consumer_group_heartbeat consumer_group_heartbeat_request {
        ConsumerGroupHeartbeatRequest<'_> {
            group_id member_id member_epoch instance_id rack_id rebalance_timeout_ms
            subscribed_topic_names subscribed_topic_regex server_assignor topic_partitions
        }
        TopicPartitions { topic_id partitions }
    }
    consumer_group_heartbeat consumer_group_heartbeat_response {
        ConsumerGroupHeartbeatResponse<'_> {
            throttle_time_ms error_code error_message member_id member_epoch heartbeat_interval_ms
            assignment
        }
        Assignment { topic_partitions }
    }
    consumer_group_describe consumer_group_describe_request {
        ConsumerGroupDescribeRequest<'_> { group_ids include_authorized_operations }
    }
    consumer_group_describe consumer_group_describe_response {
        ConsumerGroupDescribeResponse<'_> { throttle_time_ms groups }
        DescribedGroup<'_> {
            error_code error_message group_id group_state group_epoch assignment_epoch assignor_name
            members authorized_operations
        }
        Member<'_> {
            member_id instance_id rack_id member_epoch client_id client_host subscribed_topic_names
            subscribed_topic_regex assignment target_assignment member_type
        }
        Assignment<'_> { topic_partitions }
        TopicPartitions<'_> { topic_id topic_name partitions }
    }
    sasl_handshake sasl_handshake_request {
        SaslHandshakeRequest<'_> { mechanism }
    }
    sasl_handshake sasl_handshake_response {
        SaslHandshakeResponse<'_> { error_code mechanisms }
    }
    api_versions api_versions_request {
        ApiVersionsRequest<'_> { client_software_name client_software_version }
    }
    api_versions api_versions_response {
        ApiVersionsResponse<'_> {
            error_code api_keys throttle_time_ms supported_features finalized_features_epoch
            finalized_features zk_migration_ready
        }
        ApiVersion { api_key min_version max_version }
        SupportedFeatureKey<'_> { name min_version max_version }
        FinalizedFeatureKey<'_> { name max_version_level min_version_level }
    }
    create_topics create_topics_request {
        CreateTopicsRequest<'_> { topics timeout_ms validate_only }
        CreatableTopic<'_> { name num_partitions replication_factor assignments configs }
        CreatableReplicaAssignment { partition_index broker_ids }
        CreatableTopicConfig<'_> { name value }
    }
    create_topics create_topics_response {
        CreateTopicsResponse<'_> { throttle_time_ms topics }
        CreatableTopicResult<'_> {
            name topic_id error_code error_message topic_config_error_code num_partitions
            replication_factor configs
        }
        CreatableTopicConfigs<'_> { name value read_only config_source is_sensitive }
    }
    delete_topics delete_topics_request {
        DeleteTopicsRequest<'_> { topics topic_names timeout_ms }
        DeleteTopicState<'_> { name topic_id }
    }
    delete_topics delete_topics_response {
        DeleteTopicsResponse<'_> { throttle_time_ms responses }
        DeletableTopicResult<'_> { name topic_id error_code error_message }
    }
    delete_records delete_records_request {
        DeleteRecordsRequest<'_> { topics timeout_ms }
        DeleteRecordsTopic<'_> { name partitions }
        DeleteRecordsPartition { partition_index offset }
    }
    delete_records delete_records_response {
        DeleteRecordsResponse<'_> { throttle_time_ms topics }
        DeleteRecordsTopicResult<'_> { name partitions }
        DeleteRecordsPartitionResult { partition_index low_watermark error_code }
    }
    init_producer_id init_producer_id_request {
        InitProducerIdRequest<'_> { transactional_id transaction_timeout_ms producer_id producer_epoch }
    }
    init_producer_id init_producer_id_response {
        InitProducerIdResponse { throttle_time_ms error_code producer_id producer_epoch }
    }
    offset_for_leader_epoch offset_for_leader_epoch_request {
        OffsetForLeaderEpochRequest<'_> { replica_id topics }
        OffsetForLeaderTopic<'_> { topic partitions }
        OffsetForLeaderPartition { partition current_leader_epoch leader_epoch }
    }
    offset_for_leader_epoch offset_for_leader_epoch_response {
        OffsetForLeaderEpochResponse<'_> { throttle_time_ms topics }
        OffsetForLeaderTopicResult<'_> { topic partitions }
        EpochEndOffset { error_code partition leader_epoch end_offset }
    }
    acls describe_acls_request {
        DescribeAclsRequest<'_> {
            resource_type_filter resource_name_filter pattern_type_filter principal_filter
            host_filter operation permission_type
        }
    }
    acls describe_acls_response {
        DescribeAclsResponse<'_> { throttle_time_ms error_code error_message resources }
        DescribeAclsResource<'_> { resource_type resource_name pattern_type acls }
        AclDescription<'_> { principal host operation permission_type }
    }
    acls create_acls_request {
        CreateAclsRequest<'_> { creations }
        AclCreation<'_> {
            resource_type resource_name resource_pattern_type principal host operation
            permission_type
        }
    }
    acls create_acls_response {
        CreateAclsResponse<'_> { throttle_time_ms results }
        AclCreationResult<'_> { error_code error_message }
    }
    acls delete_acls_request {
        DeleteAclsRequest<'_> { filters }
        DeleteAclsFilter<'_> {
            resource_type_filter resource_name_filter pattern_type_filter principal_filter
            host_filter operation permission_type
        }
    }
    acls delete_acls_response {
        DeleteAclsResponse<'_> { throttle_time_ms filter_results }
        DeleteAclsFilterResult<'_> { error_code error_message matching_acls }
        DeleteAclsMatchingAcl<'_> {
            error_code error_message resource_type resource_name pattern_type principal host
            operation permission_type
        }
    }
    describe_configs describe_configs_request {
        DescribeConfigsRequest<'_> { resources include_synonyms include_documentation }
        DescribeConfigsResource<'_> { resource_type resource_name configuration_keys }
    }
    describe_configs describe_configs_response {
        DescribeConfigsResponse<'_> { throttle_time_ms results }
        DescribeConfigsResult<'_> { error_code error_message resource_type resource_name configs }
        DescribeConfigsResourceResult<'_> {
            name value read_only config_source is_sensitive synonyms config_type documentation
        }
        DescribeConfigsSynonym<'_> { name value source }
    }
    alter_configs alter_configs_request {
        AlterConfigsRequest<'_> { resources validate_only }
        AlterConfigsResource<'_> { resource_type resource_name configs }
        AlterableConfig<'_> { name value }
    }
    alter_configs alter_configs_response {
        AlterConfigsResponse<'_> { throttle_time_ms responses }
        AlterConfigsResourceResponse<'_> { error_code error_message resource_type resource_name }
    }
    describe_log_dirs describe_log_dirs_request {
        DescribeLogDirsRequest<'_> { topics }
        DescribableLogDirTopic<'_> { topic partitions }
    }
    describe_log_dirs describe_log_dirs_response {
        DescribeLogDirsResponse<'_> { throttle_time_ms error_code results }
        DescribeLogDirsResult<'_> { error_code log_dir topics total_bytes usable_bytes }
        DescribeLogDirsTopic<'_> { name partitions }
        DescribeLogDirsPartition { partition_index partition_size offset_lag is_future_key }
    }
    create_partitions create_partitions_request {
        CreatePartitionsRequest<'_> { topics timeout_ms validate_only }
        CreatePartitionsTopic<'_> { name count assignments }
        CreatePartitionsAssignment { broker_ids }
    }
    create_partitions create_partitions_response {
        CreatePartitionsResponse<'_> { throttle_time_ms results }
        CreatePartitionsTopicResult<'_> { name error_code error_message }
    }
    elect_leaders elect_leaders_request {
        ElectLeadersRequest<'_> { election_type topic_partitions timeout_ms }
        TopicPartitions<'_> { topic partitions }
    }
    elect_leaders elect_leaders_response {
        ElectLeadersResponse<'_> { throttle_time_ms error_code replica_election_results }
        ReplicaElectionResult<'_> { topic partition_result }
        PartitionResult<'_> { partition_id error_code error_message }
    }
    incremental_alter_configs incremental_alter_configs_request {
        IncrementalAlterConfigsRequest<'_> { resources validate_only }
        AlterConfigsResource<'_> { resource_type resource_name configs }
        AlterableConfig<'_> { name config_operation value }
    }
    incremental_alter_configs incremental_alter_configs_response {
        IncrementalAlterConfigsResponse<'_> { throttle_time_ms responses }
        AlterConfigsResourceResponse<'_> { error_code error_message resource_type resource_name }
    }
    list_partition_reassignments list_partition_reassignments_request {
        ListPartitionReassignmentsRequest<'_> { timeout_ms topics }
        ListPartitionReassignmentsTopics<'_> { name partition_indexes }
    }
    list_partition_reassignments list_partition_reassignments_response {
        ListPartitionReassignmentsResponse<'_> { throttle_time_ms error_code error_message topics }
        OngoingTopicReassignment<'_> { name partitions }
        OngoingPartitionReassignment { partition_index replicas adding_replicas removing_replicas }
    }
    describe_cluster describe_cluster_request {
        DescribeClusterRequest { include_cluster_authorized_operations endpoint_type include_fenced_brokers }
    }
    describe_cluster describe_cluster_response {
        DescribeClusterResponse<'_> {
            throttle_time_ms error_code error_message endpoint_type cluster_id controller_id brokers
            cluster_authorized_operations
        }
        DescribeClusterBroker<'_> { broker_id host port rack is_fenced }
    }
    describe_producers describe_producers_request {
        DescribeProducersRequest<'_> { topics }
        TopicRequest<'_> { name partition_indexes }
    }
    describe_producers describe_producers_response {
        DescribeProducersResponse<'_> { throttle_time_ms topics }
        TopicResponse<'_> { name partitions }
        PartitionResponse<'_> { partition_index error_code error_message active_producers }
        ProducerState {
            producer_id producer_epoch last_sequence last_timestamp coordinator_epoch
            current_txn_start_offset
        }
    }
    describe_topic_partitions describe_topic_partitions_request {
        DescribeTopicPartitionsRequest<'_> { topics response_partition_limit cursor }
        TopicRequest<'_> { name }
        Cursor<'_> { topic_name partition_index }
    }
    describe_topic_partitions describe_topic_partitions_response {
        DescribeTopicPartitionsResponse<'_> { throttle_time_ms topics next_cursor }
        DescribeTopicPartitionsResponseTopic<'_> {
            error_code name topic_id is_internal partitions topic_authorized_operations
        }
        DescribeTopicPartitionsResponsePartition {
            error_code partition_index leader_id leader_epoch replica_nodes isr_nodes
            eligible_leader_replicas last_known_elr offline_replicas
        }
    }
}
