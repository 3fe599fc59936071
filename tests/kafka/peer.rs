//! A Kafka client of few words: sends bytes, and takes answers as they come.
//!
//! Invariant: nothing waits longer than [`PATIENCE`].
#![allow(dead_code)] // Each test program uses its own part of this.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use krappy::kafka::api_versions::ApiVersionsRequest;
use krappy::kafka::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use krappy::kafka::header;
use krappy::kafka::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use krappy::kafka::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use krappy::kafka::table::{Answer, Call};
use krappy::kafka::wire::{Reader, Records};

use crate::common::PATIENCE;

/// A connection.
pub struct Peer {
    stream: TcpStream,
}

impl Peer {
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time can be set");
        stream.set_nodelay(true).expect("it is a TCP connection");
        Self { stream }
    }

    /// Sends bytes; a broker that has closed already does not want them.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next answer without its size, or none if the connection is closed.
    pub fn answer(&mut self) -> Option<Vec<u8>> {
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).ok()?;
        let mut frame = vec![0; u32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut frame).ok()?;
        Some(frame)
    }

    /// Everything until the broker closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.stream.read_to_end(&mut bytes);
        bytes
    }

    /// Whether the broker closes without a word.
    pub fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }

    /// Whether it is answered.
    pub fn is_alive(&mut self) -> bool {
        self.send(&api_versions());
        self.answer().is_some()
    }

    /// Whether nothing has come, the end included.
    pub fn is_alive_without_asking(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a time can be set");
        let waits = |e: std::io::Error| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        self.stream.read(&mut [0]).is_err_and(waits)
    }

    /// Makes a topic of one partition.
    pub fn create(&mut self, name: &str, settings: &[(&str, &str)]) {
        let configs =
            settings.iter().map(|(name, value)| CreatableTopicConfig { name, value: Some(value) }).collect();
        let topic =
            CreatableTopic { name, num_partitions: 1, replication_factor: 1, configs, ..Default::default() };
        self.send(&request(CreateTopicsRequest { topics: vec![topic], ..Default::default() }, 4));
        let frame = self.answer().expect("it is answered");
        let error = decoded(&frame, 19, 4, |answer| match answer {
            Answer::CreateTopics(answer) => answer.topics[0].error_code,
            other => panic!("{other:?}"),
        });
        assert_eq!(error, 0, "{name} is made");
    }
}

/// Reads an answer; what `look` makes of it.
pub fn decoded<T>(frame: &[u8], key: i16, version: i16, look: impl FnOnce(&Answer<'_>) -> T) -> T {
    let mut from = Reader::new(frame);
    // The answer to ApiVersions in a version of the future has the layout of version 0.
    header::read_response(key, version, &mut from).expect("a header");
    let answer = Answer::decode(key, version, from.rest());
    look(&answer.unwrap_or_else(|e| panic!("an answer to {key} in version {version}: {e:?}")))
}

/// A request as it travels.
pub fn request<'a>(call: impl Into<Call<'a>>, version: i16) -> Vec<u8> {
    call.into().encode(version, 7, Some("peer")).to_vec()
}

/// A request of any bytes behind a header; flexible versions of Metadata have tagged fields in theirs.
pub fn frame(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend([0, 0, 0, 7, 0xff, 0xff]);
    if key == 3 && version >= 9 {
        bytes.push(0);
    }
    bytes.extend(body);
    let size = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    bytes
}

/// Asks what the broker speaks.
pub fn api_versions() -> Vec<u8> {
    let who = ApiVersionsRequest { client_software_name: "peer", client_software_version: "1" };
    request(who, 3)
}

/// A batch for one partition.
pub fn produce(name: &str, index: i32, acks: i16, batch: &[u8]) -> Vec<u8> {
    let partition_data = vec![PartitionProduceData { index, records: Records::Bytes(batch) }];
    let topic_data = vec![TopicProduceData { name, partition_data, ..Default::default() }];
    request(ProduceRequest { acks, topic_data, ..Default::default() }, 8)
}

/// JoinGroup in the version that lets a member in at once.
pub fn join_group(group_id: &str, member_id: &str, metadata: &[u8]) -> Vec<u8> {
    let join = JoinGroupRequest {
        group_id,
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        member_id,
        protocol_type: "consumer",
        protocols: vec![JoinGroupRequestProtocol { name: "range", metadata }],
        ..Default::default()
    };
    request(join, 3)
}

/// A request of this API and version, about nothing in particular.
pub fn sample(key: i16, version: i16) -> Call<'static> {
    use krappy::kafka::*;
    let name = "all";
    match key {
        0 => produce::ProduceRequest { acks: -1, ..Default::default() }.into(),
        1 => fetch::FetchRequest { max_wait_ms: 0, ..Default::default() }.into(),
        2 => list_offsets::ListOffsetsRequest {
            topics: vec![list_offsets::ListOffsetsTopic {
                name,
                partitions: vec![list_offsets::ListOffsetsPartition { timestamp: -1, ..Default::default() }],
            }],
            ..Default::default()
        }
        .into(),
        3 => metadata::MetadataRequest {
            topics: Some(vec![metadata::MetadataRequestTopic { name: Some(name), ..Default::default() }]),
            ..Default::default()
        }
        .into(),
        10 if version <= 3 => {
            find_coordinator::FindCoordinatorRequest { key: name, ..Default::default() }.into()
        }
        10 => find_coordinator::FindCoordinatorRequest { coordinator_keys: vec![name], ..Default::default() }
            .into(),
        8 => offset_commit::OffsetCommitRequest {
            group_id: "g",
            topics: vec![offset_commit::OffsetCommitRequestTopic {
                name,
                partitions: vec![offset_commit::OffsetCommitRequestPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        9 if version <= 7 => {
            let topics =
                Some(vec![offset_fetch::OffsetFetchRequestTopic { name, partition_indexes: vec![0] }]);
            offset_fetch::OffsetFetchRequest { group_id: "g", topics, ..Default::default() }.into()
        }
        9 => offset_fetch::OffsetFetchRequest {
            groups: vec![offset_fetch::OffsetFetchRequestGroup { group_id: "g", ..Default::default() }],
            ..Default::default()
        }
        .into(),
        11 => join_group::JoinGroupRequest {
            group_id: "joined",
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: if version == 0 { -1 } else { 10_000 },
            protocol_type: "consumer",
            protocols: vec![join_group::JoinGroupRequestProtocol { name: "range", metadata: b"" }],
            ..Default::default()
        }
        .into(),
        12 => heartbeat::HeartbeatRequest { group_id: "g", member_id: "nobody", ..Default::default() }.into(),
        13 if version <= 2 => {
            leave_group::LeaveGroupRequest { group_id: "g", member_id: "nobody", ..Default::default() }.into()
        }
        13 => leave_group::LeaveGroupRequest {
            group_id: "g",
            members: vec![leave_group::MemberIdentity { member_id: "nobody", ..Default::default() }],
            ..Default::default()
        }
        .into(),
        14 => {
            sync_group::SyncGroupRequest { group_id: "g", member_id: "nobody", ..Default::default() }.into()
        }
        15 => describe_groups::DescribeGroupsRequest { groups: vec!["g"], ..Default::default() }.into(),
        16 => list_groups::ListGroupsRequest::default().into(),
        17 => sasl_handshake::SaslHandshakeRequest { mechanism: "PLAIN" }.into(),
        18 => api_versions::ApiVersionsRequest { client_software_name: "peer", client_software_version: "1" }
            .into(),
        19 => create_topics::CreateTopicsRequest {
            topics: vec![create_topics::CreatableTopic {
                name: "made",
                num_partitions: 2,
                replication_factor: 1,
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        20 if version <= 5 => {
            delete_topics::DeleteTopicsRequest { topic_names: vec!["none"], ..Default::default() }.into()
        }
        20 => delete_topics::DeleteTopicsRequest {
            topics: vec![delete_topics::DeleteTopicState { name: Some("none"), ..Default::default() }],
            ..Default::default()
        }
        .into(),
        21 => delete_records::DeleteRecordsRequest {
            topics: vec![delete_records::DeleteRecordsTopic {
                name,
                partitions: vec![delete_records::DeleteRecordsPartition { partition_index: 0, offset: 0 }],
            }],
            ..Default::default()
        }
        .into(),
        22 => init_producer_id::InitProducerIdRequest::default().into(),
        23 => offset_for_leader_epoch::OffsetForLeaderEpochRequest {
            topics: vec![offset_for_leader_epoch::OffsetForLeaderTopic {
                topic: name,
                partitions: vec![Default::default()],
            }],
            ..Default::default()
        }
        .into(),
        29 => acls::DescribeAclsRequest::default().into(),
        30 => acls::CreateAclsRequest { creations: vec![Default::default()] }.into(),
        31 => acls::DeleteAclsRequest { filters: vec![Default::default()] }.into(),
        32 => describe_configs::DescribeConfigsRequest {
            resources: vec![
                describe_configs::DescribeConfigsResource {
                    resource_type: 2,
                    resource_name: name,
                    ..Default::default()
                },
                describe_configs::DescribeConfigsResource {
                    resource_type: 4,
                    resource_name: "1",
                    ..Default::default()
                },
                describe_configs::DescribeConfigsResource { resource_type: 9, ..Default::default() },
            ],
            include_synonyms: true,
            ..Default::default()
        }
        .into(),
        33 => alter_configs::AlterConfigsRequest {
            resources: vec![alter_configs::AlterConfigsResource {
                resource_type: 2,
                resource_name: name,
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        35 => describe_log_dirs::DescribeLogDirsRequest::default().into(),
        37 => create_partitions::CreatePartitionsRequest {
            topics: vec![create_partitions::CreatePartitionsTopic { name, count: 1, ..Default::default() }],
            ..Default::default()
        }
        .into(),
        42 => delete_groups::DeleteGroupsRequest { groups_names: vec!["none"] }.into(),
        43 => elect_leaders::ElectLeadersRequest::default().into(),
        44 => incremental_alter_configs::IncrementalAlterConfigsRequest {
            resources: vec![incremental_alter_configs::AlterConfigsResource {
                resource_type: 2,
                resource_name: name,
                ..Default::default()
            }],
            ..Default::default()
        }
        .into(),
        46 => list_partition_reassignments::ListPartitionReassignmentsRequest::default().into(),
        47 => offset_delete::OffsetDeleteRequest { group_id: "g", ..Default::default() }.into(),
        60 => describe_cluster::DescribeClusterRequest::default().into(),
        61 => describe_producers::DescribeProducersRequest {
            topics: vec![describe_producers::TopicRequest { name, partition_indexes: vec![0, 7] }],
        }
        .into(),
        68 => consumer_group_heartbeat::ConsumerGroupHeartbeatRequest {
            group_id: "h",
            member_id: "nobody",
            member_epoch: 1,
            ..Default::default()
        }
        .into(),
        69 => consumer_group_describe::ConsumerGroupDescribeRequest {
            group_ids: vec!["h"],
            ..Default::default()
        }
        .into(),
        75 => describe_topic_partitions::DescribeTopicPartitionsRequest::default().into(),
        _ => panic!("API {key} has no sample"),
    }
}
