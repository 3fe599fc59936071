//! ApiVersions, SaslHandshake, and requests that end a connection.

use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeClusterRequest, FetchRequest, MetadataRequest, OffsetForLeaderEpochRequest,
    ProduceRequest, SaslHandshakeRequest,
};

use super::{Run, text};

pub fn play(run: &mut Run) {
    let who = |name: &str, version: &str| {
        ApiVersionsRequest::default()
            .with_client_software_name(text(name))
            .with_client_software_version(text(version))
    };
    run.each("the table", 0..=2, |_, _| ApiVersionsRequest::default());
    run.each("the table", 3..=4, |_, _| who("oracle", "4.1.1"));
    for (what, name, version) in [
        ("no name", "", "1"),
        ("no version", "oracle", ""),
        ("a name with a blank", "or acle", "1"),
        ("a name that ends in a dot", "oracle.", "1"),
        ("a version with dots and hyphens", "o", "1.2.3-rc.4"),
    ] {
        run.ask(what, 4, who(name, version));
    }
    // The answer to a version of the future has the layout of version 0.
    run.ask_bytes::<ApiVersionsRequest>("a version of the future", (5, 0), &[2, b'o', 2, b'1', 0]);
    run.ask_bytes::<ApiVersionsRequest>("the last version there could be", (i16::MAX, 0), &[]);
    run.ask_bytes::<ApiVersionsRequest>("a negative version", (-1, 0), &[]);

    run.each("a mechanism that is not switched on", 0..=1, |_, _| {
        SaslHandshakeRequest::default().with_mechanism(text("PLAIN"))
    });
    run.ask("no mechanism", 1, SaslHandshakeRequest::default());
    endings(run);
    cluster(run);
}

/// What cannot be read.
fn endings(run: &mut Run) {
    run.ask_bytes::<ProduceRequest>("a version that is claimed and not spoken", (2, 3), &[0; 10]);
    run.ask_bytes::<ProduceRequest>("a version of the future", (99, 13), &[0; 10]);
    run.ask_bytes::<FetchRequest>("a version of the past", (3, 4), &[0; 32]);
    run.ask_bytes::<MetadataRequest>("a body that ends too early", (4, 4), &[0, 0, 0, 1]);
    run.ask_bytes::<MetadataRequest>("a count of 2^31-1", (4, 4), &[0x7f, 0xff, 0xff, 0xff, 1]);
    run.ask_bytes::<MetadataRequest>("a count of -2", (4, 4), &[0xff, 0xff, 0xff, 0xfe, 1]);
    run.ask_bytes::<MetadataRequest>("bytes behind the last field", (4, 4), &[0, 0, 0, 0, 1, 9, 9, 9]);
    run.ask_bytes::<MetadataRequest>("an unknown tagged field", (12, 12), &[1, 1, 0, 1, 77, 2, 1, 2]);
    run.ask_bytes::<OffsetForLeaderEpochRequest>("a version of the past", (1, 2), &[0; 8]);
    run.ask_bytes::<DescribeClusterRequest>("an empty body", (0, 0), &[]);
}

fn cluster(run: &mut Run) {
    run.each("brokers", 0..=2, |_, version| {
        DescribeClusterRequest::default().with_include_cluster_authorized_operations(version == 0)
    });
    run.each("brokers and what may be done", 1..=2, |_, _| {
        DescribeClusterRequest::default().with_include_cluster_authorized_operations(true)
    });
    for endpoints in [0, 2, 3] {
        let request = DescribeClusterRequest::default().with_endpoint_type(endpoints);
        run.ask(&format!("endpoints of type {endpoints}"), 1, request);
    }
    run.ask("fenced brokers, too", 2, DescribeClusterRequest::default().with_include_fenced_brokers(true));
}
