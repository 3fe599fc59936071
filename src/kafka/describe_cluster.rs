//! DescribeCluster, key 60, versions 0 to 2, always flexible: the brokers, and which of them is the controller.

use super::NODE;
use super::errors::KafkaError;
use super::message::message;
use super::plan::{Context, ON_CLUSTER, Plan, allowed};
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

/// Endpoint types: all brokers, all controllers.
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// This broker, which is its own controller; clients that look for controllers alone do not find any.
pub fn ask<'a>(request: &DescribeClusterRequest, context: &Context<'_>) -> Plan<'a> {
    let cluster_id = Text::Owned(context.greeting.cluster_id.clone());
    let endpoint_type = request.endpoint_type;
    if endpoint_type != BROKERS {
        let error = match endpoint_type {
            CONTROLLERS => KafkaError::MismatchedEndpointType,
            _ => KafkaError::UnsupportedEndpointType,
        };
        return Plan::answer(DescribeClusterResponse {
            error_code: error.into(),
            error_message: Some(Text::Borrowed("only brokers can be asked for, endpoint type 1")),
            ..Default::default()
        });
    }
    let broker = DescribeClusterBroker {
        broker_id: NODE,
        host: Text::Owned(context.address.host.clone()),
        port: context.address.port.into(),
        ..Default::default()
    };
    let brokers = vec![broker];
    let cluster_authorized_operations = allowed(request.include_cluster_authorized_operations, ON_CLUSTER);
    Plan::answer(DescribeClusterResponse {
        cluster_id,
        controller_id: NODE,
        brokers,
        cluster_authorized_operations,
        ..Default::default()
    })
}
