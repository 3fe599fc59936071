//! Kafka's error codes, by Kafka's names.
//!
//! The broker refuses with an [`ErrorCode`], which has Kafka's number wherever Kafka has one; what only the native
//! protocol can say is told here in the code that makes a Kafka client do the right thing.

use krappy_wire::error::ErrorCode;

macro_rules! errors {
    ($($name:ident = $number:literal;)*) => {
        /// A code that stands in the field `error_code` of an answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(i16)]
        #[allow(missing_docs)]
        pub enum KafkaError { $($name = $number,)* }
    };
}

errors! {
    UnknownServerError = -1;
    None = 0;
    OffsetOutOfRange = 1;
    CorruptMessage = 2;
    UnknownTopicOrPartition = 3;
    LeaderNotAvailable = 5;
    RequestTimedOut = 7;
    MessageTooLarge = 10;
    CoordinatorNotAvailable = 15;
    InvalidTopicException = 17;
    RecordListTooLarge = 18;
    InvalidRequiredAcks = 21;
    InvalidTimestamp = 32;
    UnsupportedSaslMechanism = 33;
    IllegalSaslState = 34;
    UnsupportedVersion = 35;
    TopicAlreadyExists = 36;
    InvalidPartitions = 37;
    InvalidReplicationFactor = 38;
    InvalidReplicaAssignment = 39;
    InvalidConfig = 40;
    InvalidRequest = 42;
    PolicyViolation = 44;
    OutOfOrderSequenceNumber = 45;
    DuplicateSequenceNumber = 46;
    InvalidProducerEpoch = 47;
    SecurityDisabled = 54;
    KafkaStorageError = 56;
    UnknownProducerId = 59;
    FetchSessionIdNotFound = 70;
    InvalidFetchSessionEpoch = 71;
    FencedLeaderEpoch = 74;
    UnknownLeaderEpoch = 75;
    UnsupportedCompressionType = 76;
    ElectionNotNeeded = 84;
    InvalidRecord = 87;
    UnknownTopicId = 100;
    MismatchedEndpointType = 114;
    UnsupportedEndpointType = 115;
}

impl From<KafkaError> for i16 {
    fn from(error: KafkaError) -> Self {
        error as i16
    }
}

/// The number of a refusal by the broker.
pub fn number(code: ErrorCode) -> i16 {
    match code {
        // The client looks for the leader again, and finds us when we are back.
        ErrorCode::Draining => KafkaError::LeaderNotAvailable.into(),
        ErrorCode::Malformed => KafkaError::InvalidRequest.into(),
        native if native.number() >= 10_000 => KafkaError::UnknownServerError.into(),
        kafka => kafka.number(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_number_that_kafka_has() {
        for &code in ErrorCode::ALL {
            assert!((-1..=133).contains(&number(code)), "{code}: {}", number(code));
        }
        assert_eq!(number(ErrorCode::UnknownTopicOrPartition), KafkaError::UnknownTopicOrPartition.into());
        assert_eq!(number(ErrorCode::Draining), 5);
    }
}
