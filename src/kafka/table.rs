//! What we speak: one row for each API, and from it the requests and the answers as enums.
//!
//! Invariant: this is the only list. The answer to ApiVersions, the dispatch, the tests and `docs/KAFKA.md` follow it.

use std::ops::RangeInclusive;

use super::header;
use super::wire::{Field, Layout, Malformed, Out, Reader};
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

/// The key of ApiVersions, whose header has an exception.
pub const API_VERSIONS: i16 = 18;

/// The first flexible version of an API that has none.
const NEVER: i16 = i16::MAX;

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Api {
    /// The number of the API in headers.
    pub key: i16,
    /// Its name.
    pub name: &'static str,
    /// The versions that we read and answer.
    pub versions: RangeInclusive<i16>,
    /// The versions that ApiVersions tells.
    pub claimed: RangeInclusive<i16>,
    /// The first flexible version.
    pub flexible: i16,
}

/// Why a request was not read. A connection does not survive it, except that ApiVersions in a version of the future is
/// answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No row has this key.
    Key,
    /// The row does not have this version.
    Version,
    /// The bytes are not such a request.
    Malformed(Malformed),
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Refused::Malformed(malformed)
    }
}

/// The row of an API.
pub fn find(key: i16) -> Option<&'static Api> {
    TABLE.iter().find(|api| api.key == key)
}

/// Whether this version of the API is flexible; also for versions that we do not know.
pub fn is_flexible(key: i16, version: i16) -> bool {
    find(key).is_some_and(|api| version >= api.flexible)
}

fn layout(key: i16, version: i16) -> Result<Layout, Refused> {
    let api = find(key).ok_or(Refused::Key)?;
    if !api.versions.contains(&version) {
        return Err(Refused::Version);
    }
    Ok(Layout { version, flexible: version >= api.flexible })
}

macro_rules! apis {
    ($(
        $key:literal $name:ident($request:ty) -> $answer:ty:
            $versions:expr $(, claimed $claimed:expr)?, flexible $flexible:expr;
    )*) => {
        /// Every API that we speak, by key.
        pub const TABLE: &[Api] = &[$(
            Api {
                key: $key,
                name: stringify!($name),
                versions: $versions,
                claimed: apis!(@last $versions $(, $claimed)?),
                flexible: $flexible,
            },
        )*];

        /// A request.
        #[derive(Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Call<'a> {
            $($name($request),)*
        }

        /// An answer.
        #[derive(Debug, PartialEq)]
        #[allow(missing_docs)]
        pub enum Answer<'a> {
            $($name($answer),)*
        }

        impl<'a> Call<'a> {
            /// Reads what follows the header. Like Kafka it does not mind bytes behind the last field: librdkafka
            /// leaves three there when it asks for all topics in a flexible version of Metadata.
            pub fn decode(key: i16, version: i16, body: &'a [u8]) -> Result<Self, Refused> {
                let layout = layout(key, version)?;
                let mut from = Reader::new(body);
                let call = match key {
                    $($key => Call::$name(Field::read(&mut from, layout)?),)*
                    _ => return Err(Refused::Key),
                };
                Ok(call)
            }

            /// The key of its API.
            pub fn key(&self) -> i16 {
                match self { $(Call::$name(_) => $key,)* }
            }

            /// Appends what follows the header. A version that is not in the table is a bug of the caller.
            pub fn write(self, version: i16, out: &mut Out) {
                let layout = layout(self.key(), version).expect("a version of the table");
                match self { $(Call::$name(request) => request.write(out, layout),)* }
            }
        }

        impl<'a> Answer<'a> {
            /// Reads what follows the header, all of it.
            pub fn decode(key: i16, version: i16, body: &'a [u8]) -> Result<Self, Refused> {
                let layout = layout(key, version)?;
                let mut from = Reader::new(body);
                let answer = match key {
                    $($key => Answer::$name(Field::read(&mut from, layout)?),)*
                    _ => return Err(Refused::Key),
                };
                from.end()?;
                Ok(answer)
            }

            /// The key of its API.
            pub fn key(&self) -> i16 {
                match self { $(Answer::$name(_) => $key,)* }
            }

            /// Appends what follows the header. A version that is not in the table is a bug of the caller.
            pub fn write(self, version: i16, out: &mut Out) {
                let layout = layout(self.key(), version).expect("a version of the table");
                match self { $(Answer::$name(answer) => answer.write(out, layout),)* }
            }
        }

        $(
            impl<'a> From<$request> for Call<'a> {
                fn from(request: $request) -> Self {
                    Call::$name(request)
                }
            }

            impl<'a> From<$answer> for Answer<'a> {
                fn from(answer: $answer) -> Self {
                    Answer::$name(answer)
                }
            }
        )*
    };

    (@last $versions:expr) => { $versions };
    (@last $versions:expr, $claimed:expr) => { $claimed };
}

// key, name, request, answer: the versions that we read, those that we claim where they are others, and the first
// flexible one.
apis! {
    0 Produce(produce::ProduceRequest<'a>) -> produce::ProduceResponse<'a>:
        3..=13, claimed 0..=13, flexible 9;
    1 Fetch(fetch::FetchRequest<'a>) -> fetch::FetchResponse<'a>:
        4..=17, flexible 12;
    2 ListOffsets(list_offsets::ListOffsetsRequest<'a>) -> list_offsets::ListOffsetsResponse<'a>:
        1..=10, flexible 6;
    3 Metadata(metadata::MetadataRequest<'a>) -> metadata::MetadataResponse<'a>:
        0..=13, flexible 9;
    8 OffsetCommit(offset_commit::OffsetCommitRequest<'a>) -> offset_commit::OffsetCommitResponse<'a>:
        2..=9, flexible 8;
    9 OffsetFetch(offset_fetch::OffsetFetchRequest<'a>) -> offset_fetch::OffsetFetchResponse<'a>:
        1..=9, flexible 6;
    10 FindCoordinator(find_coordinator::FindCoordinatorRequest<'a>) -> find_coordinator::FindCoordinatorResponse<'a>:
        0..=6, flexible 3;
    11 JoinGroup(join_group::JoinGroupRequest<'a>) -> join_group::JoinGroupResponse<'a>:
        0..=9, flexible 6;
    12 Heartbeat(heartbeat::HeartbeatRequest<'a>) -> heartbeat::HeartbeatResponse:
        0..=4, flexible 4;
    13 LeaveGroup(leave_group::LeaveGroupRequest<'a>) -> leave_group::LeaveGroupResponse<'a>:
        0..=5, flexible 4;
    14 SyncGroup(sync_group::SyncGroupRequest<'a>) -> sync_group::SyncGroupResponse<'a>:
        0..=5, flexible 4;
    15 DescribeGroups(describe_groups::DescribeGroupsRequest<'a>) -> describe_groups::DescribeGroupsResponse<'a>:
        0..=6, flexible 5;
    16 ListGroups(list_groups::ListGroupsRequest<'a>) -> list_groups::ListGroupsResponse<'a>:
        0..=5, flexible 3;
    17 SaslHandshake(sasl_handshake::SaslHandshakeRequest<'a>) -> sasl_handshake::SaslHandshakeResponse<'a>:
        0..=1, flexible NEVER;
    18 ApiVersions(api_versions::ApiVersionsRequest<'a>) -> api_versions::ApiVersionsResponse<'a>:
        0..=4, flexible 3;
    19 CreateTopics(create_topics::CreateTopicsRequest<'a>) -> create_topics::CreateTopicsResponse<'a>:
        2..=7, flexible 5;
    20 DeleteTopics(delete_topics::DeleteTopicsRequest<'a>) -> delete_topics::DeleteTopicsResponse<'a>:
        1..=6, flexible 4;
    21 DeleteRecords(delete_records::DeleteRecordsRequest<'a>) -> delete_records::DeleteRecordsResponse<'a>:
        0..=2, flexible 2;
    22 InitProducerId(init_producer_id::InitProducerIdRequest<'a>) -> init_producer_id::InitProducerIdResponse:
        0..=5, flexible 2;
    23 OffsetForLeaderEpoch(offset_for_leader_epoch::OffsetForLeaderEpochRequest<'a>)
        -> offset_for_leader_epoch::OffsetForLeaderEpochResponse<'a>:
        2..=4, flexible 4;
    29 DescribeAcls(acls::DescribeAclsRequest<'a>) -> acls::DescribeAclsResponse<'a>:
        1..=3, flexible 2;
    30 CreateAcls(acls::CreateAclsRequest<'a>) -> acls::CreateAclsResponse<'a>:
        1..=3, flexible 2;
    31 DeleteAcls(acls::DeleteAclsRequest<'a>) -> acls::DeleteAclsResponse<'a>:
        1..=3, flexible 2;
    32 DescribeConfigs(describe_configs::DescribeConfigsRequest<'a>) -> describe_configs::DescribeConfigsResponse<'a>:
        1..=4, flexible 4;
    33 AlterConfigs(alter_configs::AlterConfigsRequest<'a>) -> alter_configs::AlterConfigsResponse<'a>:
        0..=2, flexible 2;
    35 DescribeLogDirs(describe_log_dirs::DescribeLogDirsRequest<'a>) -> describe_log_dirs::DescribeLogDirsResponse<'a>:
        1..=4, flexible 2;
    37 CreatePartitions(create_partitions::CreatePartitionsRequest<'a>)
        -> create_partitions::CreatePartitionsResponse<'a>:
        0..=3, flexible 2;
    42 DeleteGroups(delete_groups::DeleteGroupsRequest<'a>) -> delete_groups::DeleteGroupsResponse<'a>:
        0..=2, flexible 2;
    43 ElectLeaders(elect_leaders::ElectLeadersRequest<'a>) -> elect_leaders::ElectLeadersResponse<'a>:
        0..=2, flexible 2;
    44 IncrementalAlterConfigs(incremental_alter_configs::IncrementalAlterConfigsRequest<'a>)
        -> incremental_alter_configs::IncrementalAlterConfigsResponse<'a>:
        0..=1, flexible 1;
    46 ListPartitionReassignments(list_partition_reassignments::ListPartitionReassignmentsRequest<'a>)
        -> list_partition_reassignments::ListPartitionReassignmentsResponse<'a>:
        0..=0, flexible 0;
    47 OffsetDelete(offset_delete::OffsetDeleteRequest<'a>) -> offset_delete::OffsetDeleteResponse<'a>:
        0..=0, flexible NEVER;
    60 DescribeCluster(describe_cluster::DescribeClusterRequest) -> describe_cluster::DescribeClusterResponse<'a>:
        0..=2, flexible 0;
    61 DescribeProducers(describe_producers::DescribeProducersRequest<'a>)
        -> describe_producers::DescribeProducersResponse<'a>:
        0..=0, flexible 0;
    68 ConsumerGroupHeartbeat(consumer_group_heartbeat::ConsumerGroupHeartbeatRequest<'a>)
        -> consumer_group_heartbeat::ConsumerGroupHeartbeatResponse<'a>:
        0..=1, flexible 0;
    69 ConsumerGroupDescribe(consumer_group_describe::ConsumerGroupDescribeRequest<'a>)
        -> consumer_group_describe::ConsumerGroupDescribeResponse<'a>:
        0..=1, flexible 0;
    75 DescribeTopicPartitions(describe_topic_partitions::DescribeTopicPartitionsRequest<'a>)
        -> describe_topic_partitions::DescribeTopicPartitionsResponse<'a>:
        0..=0, flexible 0;
}

impl Answer<'_> {
    /// The whole answer as it travels: its size, its header and itself.
    pub fn encode(self, version: i16, correlation_id: i32) -> Out {
        let mut out = Out::frame();
        header::write_response(self.key(), version, correlation_id, &mut out);
        self.write(version, &mut out);
        out.seal();
        out
    }
}

impl Call<'_> {
    /// The whole request as it travels: its size, its header and itself.
    pub fn encode(self, version: i16, correlation_id: i32, client_id: Option<&str>) -> Out {
        let mut out = Out::frame();
        header::RequestHeader { key: self.key(), version, correlation_id, client_id }.write(&mut out);
        self.write(version, &mut out);
        out.seal();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_order_and_claim_what_we_read() {
        assert!(TABLE.is_sorted_by(|a, b| a.key < b.key));
        for api in TABLE {
            assert!(api.versions.start() <= api.versions.end(), "{}", api.name);
            assert!(api.claimed.start() <= api.versions.start(), "{}", api.name);
            assert_eq!(api.claimed.end(), api.versions.end(), "{}", api.name);
        }
        let lies: Vec<_> =
            TABLE.iter().filter(|api| api.claimed != api.versions).map(|api| api.name).collect();
        assert_eq!(lies, ["Produce"]);
        assert_eq!(find(API_VERSIONS).map(|api| api.name), Some("ApiVersions"));
    }

    #[test]
    fn what_is_not_in_the_table_is_refused_whatever_its_bytes_say() {
        for key in [-1, 4, i16::MAX] {
            assert_eq!(Call::decode(key, 0, &[]), Err(Refused::Key));
        }
        for (key, version) in [(0, 2), (0, 14), (18, 5), (18, -1), (3, i16::MAX)] {
            assert_eq!(Call::decode(key, version, &[]), Err(Refused::Version));
            assert_eq!(Answer::decode(key, version, &[]), Err(Refused::Version));
        }
        assert!(is_flexible(18, 5) && !is_flexible(17, 1) && !is_flexible(4, 9));
    }

    #[test]
    fn the_page_lists_what_we_claim_and_nothing_else() {
        const PAGE: &str = include_str!("../../docs/KAFKA.md");
        let (_, section) = PAGE.split_once("## APIs and versions").expect("the section");
        let rows = section
            .lines()
            .skip_while(|line| !line.starts_with('|'))
            .take_while(|line| line.starts_with('|'));
        let cells =
            |row: &str| row.split('|').skip(1).take(3).map(|c| c.trim().to_owned()).collect::<Vec<_>>();
        let page: Vec<_> = rows.skip(2).map(cells).collect();
        let claims = |api: &Api| match (api.claimed.start(), api.claimed.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first} to {last}"),
        };
        let table: Vec<_> =
            TABLE.iter().map(|api| vec![api.key.to_string(), api.name.to_owned(), claims(api)]).collect();
        assert_eq!(page, table, "left: docs/KAFKA.md, right: TABLE");
    }
}
