//! DescribeCluster, key 60, versions 0 to 2, always flexible: the brokers, and which of them is the controller.

use super::message::message;
use super::wire::Text;

message! {
    /// Asks who is there. Endpoint type 1 means brokers, 2 controllers.
    DescribeClusterRequest {
        include_cluster_authorized_operations: bool;
        [only 1..] endpoint_type: i8 = 1;
        [only 2..] include_fenced_brokers: bool;
    }

    /// Who is there.
    DescribeClusterResponse<'a> {
        throttle_time_ms: i32;
        error_code: i16;
        error_message: Option<Text<'a>>;
        [only 1..] endpoint_type: i8 = 1;
        cluster_id: Text<'a>;
        controller_id: i32 = -1;
        brokers: Vec<DescribeClusterBroker<'a>>;
        cluster_authorized_operations: i32 = i32::MIN;
    }

    /// A broker.
    DescribeClusterBroker<'a> {
        broker_id: i32;
        host: Text<'a>;
        port: i32;
        rack: Option<Text<'a>>;
        [only 2..] is_fenced: bool;
    }
}
