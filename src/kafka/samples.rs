//! A few messages byte by byte, as they travel, each in a version of the older layout and in a flexible one.

use super::api_versions::{ApiVersion, ApiVersionsRequest, ApiVersionsResponse};
use super::fetch::{EpochEndOffset, FetchResponse, FetchableTopicResponse, PartitionData};
use super::header::{RequestHeader, read_response};
use super::metadata::{MetadataRequest, MetadataRequestTopic};
use super::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use super::table::{Answer, Call, Refused};
use super::wire::{Malformed, Reader, Records, Uuid};
use crate::chunk::Chunk;

/// The bytes of a drawing: what stands before the bar on each line, in hexadecimal; or between quotes, text.
fn bytes(drawing: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in drawing.lines().filter_map(|line| line.split('|').next()).flat_map(str::split_whitespace) {
        match word.strip_prefix('"') {
            Some(text) => bytes.extend_from_slice(text.trim_end_matches('"').as_bytes()),
            None => bytes.push(u8::from_str_radix(word, 16).expect("two hexadecimal digits")),
        }
    }
    bytes
}

/// The drawing is the request, in both directions.
#[track_caller]
fn is_request(drawing: &str, client_id: Option<&str>, make: impl Fn() -> Call<'static>) {
    let frame = bytes(drawing);
    let mut from = Reader::new(&frame[4..]);
    let header = RequestHeader::read(&mut from).expect("a header");
    assert_eq!((header.key, header.correlation_id, header.client_id), (make().key(), 7, client_id));
    assert_eq!(Call::decode(header.key, header.version, from.rest()), Ok(make()));
    assert_eq!(make().encode(header.version, 7, client_id).to_vec(), frame);
}

/// The drawing is the answer, in both directions.
#[track_caller]
fn is_answer(drawing: &str, version: i16, make: impl Fn() -> Answer<'static>) {
    let frame = bytes(drawing);
    let key = make().key();
    let mut from = Reader::new(&frame[4..]);
    assert_eq!(read_response(key, version, &mut from), Ok(7));
    assert_eq!(Answer::decode(key, version, from.rest()), Ok(make()));
    assert_eq!(make().encode(version, 7).to_vec(), frame);
}

#[test]
fn api_versions() {
    let old = "
        00 00 00 0e     | size: 14 bytes follow
        00 12           | key 18: ApiVersions
        00 00           | version 0
        00 00 00 07     | correlation id
        00 04 \"test\"  | client id, which ends the header; version 0 has no body";
    is_request(old, Some("test"), || ApiVersionsRequest::default().into());

    let flexible = "
        00 00 00 19     | size: 25 bytes follow
        00 12 00 03     | key 18, version 3: flexible
        00 00 00 07     | correlation id
        00 04 \"test\"  | client id, with the length of the older layout
        00              | no tagged fields in the header
        06 \"tests\"    | client software name: 5 bytes
        03 \"1.\"       | client software version: 2 bytes
        00              | no tagged fields in the body";
    let request = || ApiVersionsRequest { client_software_name: "tests", client_software_version: "1." };
    is_request(flexible, Some("test"), || request().into());

    let answer = "
        00 00 00 1d     | size: 29 bytes follow
        00 00 00 07     | correlation id; no tagged fields here, although the body is flexible
        00 00           | error code: none
        02              | 1 API
        00 12 00 00 00 04   | ApiVersions, 0 to 4
        00              | no tagged fields of this row
        00 00 00 00     | throttle time
        01              | 1 tagged field:
        01 08           | field 1, finalized features epoch, of 8 bytes
        00 00 00 00 00 00 00 05";
    is_answer(answer, 3, || {
        let api_keys = vec![ApiVersion { api_key: 18, min_version: 0, max_version: 4 }];
        ApiVersionsResponse { api_keys, finalized_features_epoch: 5, ..Default::default() }.into()
    });
}

#[test]
fn metadata() {
    let all = "
        00 00 00 0e     | size: 14 bytes follow
        00 03 00 01     | key 3: Metadata, version 1
        00 00 00 07     | correlation id
        ff ff           | client id: null
        ff ff ff ff     | topics: null, so all of them";
    is_request(all, None, || MetadataRequest::default().into());
    let null_in_version_0 = Call::decode(3, 0, &[0xff; 4]);
    assert_eq!(null_in_version_0, Err(Refused::Malformed(Malformed::Null)));

    let by_id = "
        00 00 00 21     | size: 33 bytes follow
        00 03 00 0c     | key 3, version 12: flexible
        00 00 00 07     | correlation id
        ff ff           | client id: null
        00              | no tagged fields in the header
        02              | 1 topic
        aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa     | its id
        00              | its name: null
        00              | no tagged fields of the topic
        00              | allow auto topic creation: no
        01              | include topic authorized operations: yes
        00              | no tagged fields in the body";
    is_request(by_id, None, || {
        let topics = Some(vec![MetadataRequestTopic { topic_id: Uuid([0xaa; 16]), name: None }]);
        let mut request = MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
        request.include_topic_authorized_operations = true;
        request.into()
    });
}

#[test]
fn produce() {
    let request = |transactional_id, name, topic_id| {
        let partition_data = vec![PartitionProduceData { index: 2, records: Records::Bytes(b"batch") }];
        let topic_data = vec![TopicProduceData { name, topic_id, partition_data }];
        Call::from(ProduceRequest { transactional_id, acks: -1, timeout_ms: 1_000, topic_data })
    };
    let by_name = "
        00 00 00 2d     | size: 45 bytes follow
        00 00 00 03     | key 0: Produce, version 3
        00 00 00 07     | correlation id
        ff ff           | client id: null
        ff ff           | transactional id: null
        ff ff           | acks: -1, all
        00 00 03 e8     | timeout: 1000 ms
        00 00 00 01     | 1 topic
        00 04 \"logs\"  | its name
        00 00 00 01     | 1 partition of it
        00 00 00 02     | its index
        00 00 00 05 \"batch\"   | records, 5 bytes";
    is_request(by_name, None, || request(None, "logs", Uuid::default()));

    let by_id = "
        00 00 00 32     | size: 50 bytes follow
        00 00 00 0d     | key 0, version 13: flexible, topics by id
        00 00 00 07     | correlation id
        ff ff           | client id: null
        00              | no tagged fields in the header
        02 \"t\"        | transactional id
        ff ff           | acks: -1, all
        00 00 03 e8     | timeout: 1000 ms
        02              | 1 topic
        bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb bb     | its id
        02              | 1 partition of it
        00 00 00 02     | its index
        06 \"batch\"    | records, 5 bytes
        00 00 00        | no tagged fields of the partition, of the topic, in the body";
    is_request(by_id, None, || request(Some("t"), "", Uuid([0xbb; 16])));
}

#[test]
fn fetch() {
    let answer = || {
        let records = Chunk::Owned { bytes: b"(batch)".to_vec(), from: 1, to: 6 };
        let data =
            PartitionData { high_watermark: 9, records: Records::Chunk(records), ..Default::default() };
        FetchableTopicResponse { topic: "logs".into(), partitions: vec![data], ..Default::default() }
    };
    let old = "
        00 00 00 39     | size: 57 bytes follow
        00 00 00 07     | correlation id
        00 00 00 00     | throttle time
        00 00 00 01     | 1 topic
        00 04 \"logs\"  | its name
        00 00 00 01     | 1 partition of it
        00 00 00 00     | its index
        00 00           | error code: none
        00 00 00 00 00 00 00 09     | high watermark
        ff ff ff ff ff ff ff ff     | last stable offset: unknown
        ff ff ff ff     | aborted transactions: null
        00 00 00 05 \"batch\"       | records, 5 bytes that lie elsewhere until they leave";
    is_answer(old, 4, || FetchResponse { responses: vec![answer()], ..Default::default() }.into());

    let flexible = "
        00 00 00 51     | size: 81 bytes follow
        00 00 00 07     | correlation id
        00              | no tagged fields in the header
        00 00 00 00     | throttle time
        00 00           | error code: none
        00 00 00 00     | session id: no session
        02              | 1 topic
        05 \"logs\"     | its name
        02              | 1 partition of it
        00 00 00 00     | its index
        00 00           | error code: none
        00 00 00 00 00 00 00 09     | high watermark
        ff ff ff ff ff ff ff ff     | last stable offset: unknown
        ff ff ff ff ff ff ff ff     | log start offset: unknown
        00              | aborted transactions: null
        ff ff ff ff     | preferred read replica: none
        06 \"batch\"    | records, 5 bytes
        01              | 1 tagged field of the partition:
        00 0d           | field 0, diverging epoch, of 13 bytes
        00 00 00 02     | epoch 2
        00 00 00 00 00 00 00 04     | ended at offset 4
        00              | no tagged fields of the diverging epoch
        00              | no tagged fields of the topic
        00              | no tagged fields in the body";
    is_answer(flexible, 12, || {
        let mut topic = answer();
        topic.partitions[0].diverging_epoch = EpochEndOffset { epoch: 2, end_offset: 4 };
        FetchResponse { responses: vec![topic], ..Default::default() }.into()
    });
}
