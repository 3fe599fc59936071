//! What a refusal is called. Numbers below 10,000 are Kafka's own
//! (`org.apache.kafka.common.protocol.Errors`); the few from 10,000 on exist in the native protocol only.

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal;)*) => {
        /// A well-formed request was refused, and this is why.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ErrorCode { $($(#[$doc])* $name = $number,)* }

        impl ErrorCode {
            /// Every code, in numeric order of definition.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The code with this number, if it is one of ours.
            pub fn from_number(number: i16) -> Option<Self> {
                match number { $($number => Some(ErrorCode::$name),)* _ => None }
            }

            /// The name as logs and tools print it.
            pub fn name(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// Something that has no better code; the message says more.
    Unknown = -1, "UNKNOWN_SERVER_ERROR";
    /// No error.
    None = 0, "NONE";
    /// The offset is below the log start offset or above the end.
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE";
    /// A batch fails its checksum, or lies in a quarantined range.
    CorruptMessage = 2, "CORRUPT_MESSAGE";
    /// No such topic, or no such partition of it.
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION";
    /// The request could not be answered in its own time limit.
    RequestTimedOut = 7, "REQUEST_TIMED_OUT";
    /// A batch is larger than `max.message.bytes`.
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE";
    /// The metadata of a committed offset is longer than the broker keeps.
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE";
    /// What is known of groups is still being read from disk; try again later.
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS";
    /// Groups cannot be served now; try again later.
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE";
    /// The topic name breaks Kafka's rules for names.
    InvalidTopic = 17, "INVALID_TOPIC_EXCEPTION";
    /// `acks` is not 0, 1 or all.
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS";
    /// The group is in another generation.
    IllegalGeneration = 22, "ILLEGAL_GENERATION";
    /// No protocol that the member knows is known to all others of the group, or the group does something else.
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL";
    /// The name of the group is empty or too long.
    InvalidGroupId = 24, "INVALID_GROUP_ID";
    /// The group has no member of this id.
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID";
    /// The session timeout is outside the bounds of the broker.
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT";
    /// The next generation is beginning: join again.
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS";
    /// A timestamp is outside the bounds of the topic.
    InvalidTimestamp = 32, "INVALID_TIMESTAMP";
    /// The version asked for is not offered.
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION";
    /// A topic of this name exists.
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS";
    /// A partition count that is not allowed.
    InvalidPartitions = 37, "INVALID_PARTITIONS";
    /// A setting is unknown, or its value is out of bounds.
    InvalidConfig = 40, "INVALID_CONFIG";
    /// The request contradicts itself.
    InvalidRequest = 42, "INVALID_REQUEST";
    /// A limit of the broker forbids it.
    PolicyViolation = 44, "POLICY_VIOLATION";
    /// An idempotent producer sent neither the next batch nor one of its last five.
    OutOfOrderSequence = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER";
    /// A newer incarnation of this producer exists.
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH";
    /// The disk failed; the partition is fenced until a restart recovers it.
    StorageError = 56, "KAFKA_STORAGE_ERROR";
    /// The producer id is not known to this partition.
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID";
    /// The group has members.
    NonEmptyGroup = 68, "NON_EMPTY_GROUP";
    /// There is no such group.
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND";
    /// The client knows an older leader epoch than the partition has.
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH";
    /// The client knows a newer leader epoch than the partition has.
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH";
    /// The batch names a codec that is not offered.
    UnsupportedCompression = 76, "UNSUPPORTED_COMPRESSION_TYPE";
    /// Not an error: join again with the id that comes with this.
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED";
    /// The group has as many members as it may have.
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED";
    /// The static member has been started elsewhere since.
    FencedInstanceId = 82, "FENCED_INSTANCE_ID";
    /// Members of the group read this topic, so its offsets stay.
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC";
    /// A record or batch is not well formed.
    InvalidRecord = 87, "INVALID_RECORD";
    /// No topic has this id.
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID";
    /// The member of the consumer group is in another epoch: it gives up its partitions and joins again.
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH";
    /// Another member is this instance, and has not left.
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID";
    /// The broker does not know this way to share out partitions.
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR";
    /// The member of the consumer group is in another epoch: it tries again with its newest.
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH";
    /// The record is not held by who wants to end its delivery: it was acknowledged, or its time is up.
    InvalidRecordState = 121, "INVALID_RECORD_STATE";
    /// A pattern of topics cannot be read.
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION";
    /// The stream number is not registered on this connection.
    UnknownStream = 10_000, "UNKNOWN_STREAM";
    /// The stream number is taken on this connection.
    StreamInUse = 10_001, "STREAM_IN_USE";
    /// The connection has as many streams as it may have.
    TooManyStreams = 10_002, "TOO_MANY_STREAMS";
    /// No request has this code.
    UnknownRequest = 10_003, "UNKNOWN_REQUEST";
    /// The broker is stopping; reconnect elsewhere or later.
    Draining = 10_004, "DRAINING";
    /// The request is reserved for a part of krappy that this version does not have.
    NotAvailable = 10_005, "NOT_AVAILABLE";
    /// The frame was whole, its content was not what its type says.
    Malformed = 10_006, "MALFORMED_REQUEST";
    /// A keyed request to a topic without `cleanup.policy=compact`.
    NotCompacted = 10_007, "NOT_COMPACTED";
    /// The view of the partition is being rebuilt from its log; try again later.
    ViewNotReady = 10_008, "VIEW_NOT_READY";
    /// An as-of offset that neither a pin nor the log allows any more.
    OffsetTooOld = 10_009, "OFFSET_TOO_OLD";
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl ErrorCode {
    /// The number that travels.
    pub fn number(self) -> i16 {
        self as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_agree() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
        }
        assert_eq!(ErrorCode::from_number(9_999), None);
    }
}
