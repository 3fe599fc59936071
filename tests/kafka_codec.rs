//! Kafka's messages as we write them, against the crate `kafka-protocol`, whose code is generated from Kafka's schemas;
//! and what becomes of bytes that are damaged.

mod kafka_codec {
    pub mod messages;
}

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_codec::messages::{Dice, Sample, pairs};
use kafka_protocol::messages::{self as theirs, ApiKey};
use kafka_protocol::protocol::{Decodable, Encodable, Message, StrBytes, VersionRange};
use krappy::kafka;
use krappy::kafka::header::{RequestHeader, read_response, write_response};
use krappy::kafka::table::{Answer, Call, Refused, TABLE};
use krappy::kafka::wire::{Malformed, Out, Reader};

/// Random values of each crate for each version of each message.
const VALUES: usize = 40;
/// Messages whose bytes are damaged bit by bit, for each version of each message.
const DAMAGED: usize = 3;
/// Versions of our table that the other crate does not know: message and version.
const UNCHECKED: &[(&str, i16)] = &[];
/// Messages in which null is allowed only from this version on; the other crate writes it earlier, too.
const NULL_FROM: &[(&str, i16)] =
    &[("MetadataRequest", 10), ("MetadataResponse", 12), ("DeleteTopicsResponse", 6)];
/// Fields of the other crate that belong to versions after our last.
const NEWER: &[(&str, &str)] = &[
    ("FetchPartition", "high_watermark"),
    ("InitProducerIdRequest", "enable_2_pc"),
    ("InitProducerIdRequest", "keep_prepared_txn"),
    ("InitProducerIdResponse", "ongoing_txn_producer_id"),
    ("InitProducerIdResponse", "ongoing_txn_producer_epoch"),
];

/// What was read, written again.
type Again = Result<Vec<u8>, Refused>;

/// One request or answer, in both crates.
struct Kind {
    key: i16,
    name: &'static str,
    /// The versions that the other crate knows.
    versions: VersionRange,
    /// A random value of ours, written.
    ours: fn(&mut Dice, i16) -> Vec<u8>,
    /// A random value of theirs, written.
    theirs: fn(&mut Dice, i16) -> Vec<u8>,
    /// Reads it and writes it again.
    read_by_us: fn(i16, i16, &[u8]) -> Again,
    /// Reads it and writes it again.
    read_by_them: fn(i16, &[u8]) -> Vec<u8>,
}

fn request_again(key: i16, version: i16, bytes: &[u8]) -> Again {
    let mut out = Out::default();
    Call::decode(key, version, bytes)?.write(version, &mut out);
    let again = out.to_vec();
    assert_eq!(Call::decode(key, version, &again), Call::decode(key, version, bytes));
    Ok(again)
}

fn answer_again(key: i16, version: i16, bytes: &[u8]) -> Again {
    let mut out = Out::default();
    Answer::decode(key, version, bytes)?.write(version, &mut out);
    let again = out.to_vec();
    assert_eq!(Answer::decode(key, version, &again), Answer::decode(key, version, bytes));
    Ok(again)
}

fn their_sample<T: Sample + Encodable>(dice: &mut Dice, version: i16) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    T::sample(dice, version).encode(&mut bytes, version).expect("a value that this version can carry");
    bytes.to_vec()
}

fn their_again<T: Decodable + Encodable + Debug>(version: i16, bytes: &[u8]) -> Vec<u8> {
    let mut left = Bytes::copy_from_slice(bytes);
    let value = T::decode(&mut left, version).unwrap_or_else(|e| panic!("version {version}: {e}: {bytes:?}"));
    assert!(left.is_empty(), "version {version}: {} bytes are left over of {bytes:?}", left.len());
    let printed = format!("{value:?}");
    assert_eq!(printed.matches("tagged_fields: {").count(), printed.matches("tagged_fields: {}").count());
    let mut again = BytesMut::new();
    value.encode(&mut again, version).expect("what was read can be written");
    again.to_vec()
}

macro_rules! kinds {
    ($($key:literal $module:ident $request:ident $answer:ident;)*) => {
        vec![$(
            kinds!(@one $key $module $request Call request_again),
            kinds!(@one $key $module $answer Answer answer_again),
        )*]
    };
    (@one $key:literal $module:ident $message:ident $side:ident $again:ident) => {
        Kind {
            key: $key,
            name: stringify!($message),
            versions: theirs::$message::VERSIONS,
            ours: |dice, version| {
                let mut out = Out::default();
                $side::from(kafka::$module::$message::sample(dice, version)).write(version, &mut out);
                assert_eq!(out.len(), out.to_vec().len());
                out.to_vec()
            },
            theirs: their_sample::<theirs::$message>,
            read_by_us: $again,
            read_by_them: their_again::<theirs::$message>,
        }
    };
}

fn kinds() -> Vec<Kind> {
    kinds! {
        0 produce ProduceRequest ProduceResponse;
        1 fetch FetchRequest FetchResponse;
        2 list_offsets ListOffsetsRequest ListOffsetsResponse;
        3 metadata MetadataRequest MetadataResponse;
        8 offset_commit OffsetCommitRequest OffsetCommitResponse;
        9 offset_fetch OffsetFetchRequest OffsetFetchResponse;
        10 find_coordinator FindCoordinatorRequest FindCoordinatorResponse;
        11 join_group JoinGroupRequest JoinGroupResponse;
        12 heartbeat HeartbeatRequest HeartbeatResponse;
        13 leave_group LeaveGroupRequest LeaveGroupResponse;
        14 sync_group SyncGroupRequest SyncGroupResponse;
        15 describe_groups DescribeGroupsRequest DescribeGroupsResponse;
        16 list_groups ListGroupsRequest ListGroupsResponse;
        17 sasl_handshake SaslHandshakeRequest SaslHandshakeResponse;
        18 api_versions ApiVersionsRequest ApiVersionsResponse;
        19 create_topics CreateTopicsRequest CreateTopicsResponse;
        20 delete_topics DeleteTopicsRequest DeleteTopicsResponse;
        21 delete_records DeleteRecordsRequest DeleteRecordsResponse;
        22 init_producer_id InitProducerIdRequest InitProducerIdResponse;
        23 offset_for_leader_epoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse;
        29 acls DescribeAclsRequest DescribeAclsResponse;
        30 acls CreateAclsRequest CreateAclsResponse;
        31 acls DeleteAclsRequest DeleteAclsResponse;
        32 describe_configs DescribeConfigsRequest DescribeConfigsResponse;
        33 alter_configs AlterConfigsRequest AlterConfigsResponse;
        35 describe_log_dirs DescribeLogDirsRequest DescribeLogDirsResponse;
        37 create_partitions CreatePartitionsRequest CreatePartitionsResponse;
        42 delete_groups DeleteGroupsRequest DeleteGroupsResponse;
        43 elect_leaders ElectLeadersRequest ElectLeadersResponse;
        44 incremental_alter_configs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse;
        46 list_partition_reassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
        47 offset_delete OffsetDeleteRequest OffsetDeleteResponse;
        60 describe_cluster DescribeClusterRequest DescribeClusterResponse;
        61 describe_producers DescribeProducersRequest DescribeProducersResponse;
        68 consumer_group_heartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse;
        69 consumer_group_describe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse;
        75 describe_topic_partitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse;
    }
}

/// Every version of every message of our table that the other crate knows.
fn each(mut visit: impl FnMut(&Kind, i16)) {
    let kinds = kinds();
    for api in TABLE {
        let both: Vec<&Kind> = kinds.iter().filter(|kind| kind.key == api.key).collect();
        assert_eq!(both.len(), 2, "{} is not in the list of this test", api.name);
        for (kind, version) in both.iter().flat_map(|kind| api.versions.clone().map(move |v| (kind, v))) {
            let known = kind.versions.min <= version && version <= kind.versions.max;
            assert_eq!(known, !UNCHECKED.contains(&(kind.name, version)), "{}, version {version}", kind.name);
            if known {
                visit(kind, version);
            }
        }
    }
}

#[test]
fn what_the_other_crate_writes_is_read_and_written_again_byte_by_byte() {
    let mut dice = Dice(1);
    let mut values = 0;
    each(|kind, version| {
        let null_is_new = NULL_FROM.iter().any(|&(name, from)| name == kind.name && version < from);
        let mut nulls = 0;
        for _ in 0..VALUES {
            let bytes = (kind.theirs)(&mut dice, version);
            let again = (kind.read_by_us)(kind.key, version, &bytes);
            if null_is_new && again == Err(Refused::Malformed(Malformed::Null)) {
                nulls += 1;
                continue;
            }
            assert_eq!(again.as_ref(), Ok(&bytes), "{}, version {version}", kind.name);
            values += 1;
        }
        assert_eq!(nulls > 0, null_is_new, "{}, version {version}", kind.name);
    });
    assert!(values > 5_000, "{values} values were compared");
}

#[test]
fn what_we_write_is_read_and_written_again_by_the_other_crate_byte_by_byte() {
    let mut dice = Dice(2);
    let mut values = 0;
    each(|kind, version| {
        for _ in 0..VALUES {
            let bytes = (kind.ours)(&mut dice, version);
            println!("{}, version {version}", kind.name);
            assert!((kind.read_by_them)(version, &bytes) == bytes, "{bytes:?} became another");
            let again = (kind.read_by_us)(kind.key, version, &bytes);
            assert_eq!(again, Ok(bytes), "{}, version {version}", kind.name);
            values += 1;
        }
    });
    assert!(values > 5_000, "{values} values were compared");
}

#[test]
fn every_struct_has_the_fields_that_the_other_crate_has() {
    for pair in pairs() {
        let ours: Vec<&str> = pair.ours.iter().map(|(name, _)| *name).collect();
        assert_eq!(ours, pair.listed, "{}", pair.name);
        let newer: Vec<&str> = NEWER.iter().filter(|(name, _)| *name == pair.name).map(|n| n.1).collect();
        let mut theirs = field_names(&pair.theirs);
        theirs.retain(|name| name != "unknown_tagged_fields" && !newer.contains(&name.as_str()));
        assert_eq!(ours, theirs, "{}", pair.name);
    }
}

/// The names of the fields of a struct, from what `{:?}` prints.
fn field_names(printed: &str) -> Vec<String> {
    let (mut names, mut word, mut depth) = (Vec::new(), String::new(), 0);
    for c in printed.chars() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ':' if depth == 1 => names.push(std::mem::take(&mut word)),
            _ if c.is_alphanumeric() || c == '_' => word.push(c),
            _ => word.clear(),
        }
    }
    names
}

#[test]
fn names_versions_and_headers_of_the_table_are_those_of_the_other_crate() {
    for api in TABLE {
        let key = ApiKey::try_from(api.key).unwrap_or_else(|()| panic!("{} has a wrong key", api.name));
        assert_eq!(format!("{key:?}"), api.name);
        for version in api.versions.clone() {
            headers_agree(key, version, &format!("{}, version {version}", api.name));
        }
    }
}

fn headers_agree(key: ApiKey, version: i16, what: &str) {
    for client_id in [None, Some(""), Some("client"), Some("Grüße")] {
        let ours = RequestHeader { key: key as i16, version, correlation_id: -7, client_id };
        let mut theirs = theirs::RequestHeader::default();
        theirs.request_api_key = ours.key;
        theirs.request_api_version = version;
        theirs.correlation_id = ours.correlation_id;
        theirs.client_id = client_id.map(StrBytes::from_static_str);
        let mut bytes = BytesMut::new();
        theirs.encode(&mut bytes, key.request_header_version(version)).expect("a header");

        let mut out = Out::default();
        ours.write(&mut out);
        assert_eq!(out.bytes, bytes, "{what}");
        let mut from = Reader::new(&bytes);
        assert_eq!((RequestHeader::read(&mut from), from.end()), (Ok(ours), Ok(())), "{what}");
    }
    let theirs = theirs::ResponseHeader::default().with_correlation_id(0x0102_0304);
    let mut bytes = BytesMut::new();
    theirs.encode(&mut bytes, key.response_header_version(version)).expect("a header");
    let mut out = Out::default();
    write_response(key as i16, version, 0x0102_0304, &mut out);
    assert_eq!(out.bytes, bytes, "{what}");
    let mut from = Reader::new(&bytes);
    assert_eq!(
        (read_response(key as i16, version, &mut from), from.end()),
        (Ok(0x0102_0304), Ok(())),
        "{what}"
    );
}

#[test]
fn a_message_that_is_cut_short_is_refused_and_so_is_an_answer_that_is_too_long() {
    let mut dice = Dice(3);
    each(|kind, version| {
        for _ in 0..DAMAGED {
            let mut bytes = (kind.ours)(&mut dice, version);
            for end in 0..bytes.len() {
                let cut = (kind.read_by_us)(kind.key, version, &bytes[..end]);
                assert!(cut.is_err(), "{}, version {version}: {end} of {bytes:?}", kind.name);
            }
            bytes.push(0);
            let longer = (kind.read_by_us)(kind.key, version, &bytes);
            if kind.name.ends_with("Request") {
                // librdkafka sends bytes behind the last field, and Kafka does not mind.
                bytes.pop();
                assert_eq!(longer.as_ref(), Ok(&bytes), "{}", kind.name);
            } else {
                assert_eq!(longer, Err(Refused::Malformed(Malformed::Trailing)), "{}", kind.name);
            }
        }
    });
}

/// A flipped bit can give a message that is written differently: a flag that is neither 0 nor 1, a tagged field that
/// is unknown now or has its default, a struct whose first byte is another way to say that it is there. Written again
/// it is still the same message, which [`request_again`] checks, and never longer.
#[test]
fn a_message_with_a_flipped_bit_is_refused_or_is_what_its_bytes_say() {
    let mut dice = Dice(4);
    let (mut refused, mut same, mut other) = (0, 0, 0);
    each(|kind, version| {
        for _ in 0..DAMAGED {
            let mut bytes = (kind.ours)(&mut dice, version);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                match (kind.read_by_us)(kind.key, version, &bytes) {
                    Err(_) => refused += 1,
                    Ok(again) if again == bytes => same += 1,
                    Ok(again) => {
                        assert!(again.len() <= bytes.len(), "{}, version {version}", kind.name);
                        assert_eq!((kind.read_by_us)(kind.key, version, &again), Ok(again), "{}", kind.name);
                        other += 1;
                    }
                }
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    });
    println!("{refused} refused, {same} the same, {other} the same in another form");
    assert!(refused > 10_000 && same > 10_000 && other < same / 20, "{refused}, {same}, {other}");
}
