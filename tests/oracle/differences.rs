//! Where krappy is meant to answer otherwise than Apache Kafka 4.1.1, and why. `docs/KAFKA.md` tells the reasons; a
//! test holds the two together.
//!
//! Invariant: every row is true. A difference without a row fails, and so does a row without a difference.

/// Why some answers differ, in the words of the manual.
#[derive(Debug)]
pub struct Reason {
    pub why: &'static str,
    pub rows: &'static [Row],
}

/// Fields that differ: `*` stands for anything, `(absent)` for a field that is not there, `(there)` for an entry or an
/// answer that only one of them has.
#[derive(Debug)]
pub struct Row {
    /// `API: name of the step`.
    pub step: &'static str,
    /// The path of the field.
    pub field: &'static str,
    /// Kafka's value.
    pub kafka: &'static str,
    /// Ours.
    pub krappy: &'static str,
}

/// A row of the table below: step, field, Kafka's value, ours.
const fn row(step: &'static str, field: &'static str, kafka: &'static str, krappy: &'static str) -> Row {
    Row { step, field, kafka, krappy }
}

/// All of them.
pub const INTENDED: &[Reason] = &[
    Reason {
        why: "An error comes with a text that says what is wrong, also where Kafka leaves the text null or empty.",
        rows: &[
            row("*", "*error_message", "null", "<text>"),
            row("DescribeConfigs: a topic that is not there*", "*error_message", "\"\"", "<text>"),
        ],
    },
    Reason {
        why: "Where nothing is wrong no text says so.",
        rows: &[row("FindCoordinator: *", "error_message", "<text>", "null")],
    },
    Reason {
        why: "A group is there while it has members or offsets: it begins with the first of them, and not with somebody \
              who was refused, and ends with the last.",
        rows: &[
            row("ListGroups: all groups", "groups[begun]*", "(there)", "(absent)"),
            row(
                "ListGroups: a group of both kinds of members",
                "groups[static-readers]*",
                "(there)",
                "(absent)",
            ),
            row("ListGroups: a group that has changed back", "groups[begun]*", "(there)", "(absent)"),
            row(
                "ConsumerGroupDescribe: a group whose instance was sent away",
                "*error_code",
                "0",
                "69 GroupIdNotFound",
            ),
        ],
    },
    Reason {
        why: "Members of consumer groups are in memory, so one whose group is not there may have been forgotten with a \
              start of the broker: it is told that it is not known, and joins again.",
        rows: &[
            row(
                "ConsumerGroupHeartbeat: a member of a group that is not there",
                "error_code",
                "69 GroupIdNotFound",
                "25 UnknownMemberId",
            ),
            row(
                "ConsumerGroupHeartbeat: a member of a classic group",
                "error_code",
                "69 GroupIdNotFound",
                "25 UnknownMemberId",
            ),
        ],
    },
    Reason {
        why: "A classic group changes over to the newer protocol when it has shared out: until then nobody knows who \
              reads what.",
        rows: &[
            row(
                "ConsumerGroupHeartbeat: a classic group that is sharing out",
                "error_code",
                "0",
                "14 CoordinatorLoadInProgress",
            ),
            row("ListGroups: a group of both kinds of members", "groups[sharing]*", "(there)", "(absent)"),
            row("ListGroups: a group that has changed back", "groups[sharing]*", "(absent)", "(there)"),
        ],
    },
    Reason {
        why: "A consumer group plans at once, also when its last member leaves.",
        rows: &[row(
            "ConsumerGroupDescribe: a consumer group that everybody has left",
            "*assignment_epoch",
            "5",
            "6",
        )],
    },
    Reason {
        why: "A member of a consumer group that joins again goes on where it was, as in later versions of Kafka.",
        rows: &[row("ConsumerGroupHeartbeat: it joins again", "error_code", "110 FencedMemberEpoch", "0")],
    },
    Reason {
        why: "`__consumer_offsets` belongs to the broker, which makes it when a group commits.",
        rows: &[row(
            "CreateTopics: the name of Kafka's own topic",
            "*error_code",
            "0",
            "17 InvalidTopicException",
        )],
    },
    Reason {
        why: "There are no transactions yet: no coordinator is found for them, and what belongs to one is refused.",
        rows: &[
            row("FindCoordinator: a transactional id", "*error_code", "0", "15 CoordinatorNotAvailable"),
            row(
                "InitProducerId: a transaction that*",
                "error_code",
                "50 InvalidTransactionTimeout",
                "42 InvalidRequest",
            ),
            row("Produce: a transactional id*", "*error_code", "0", "42 InvalidRequest"),
            row(
                "Produce: a transactional batch*",
                "*error_code",
                "53 TransactionalIdAuthorizationFailed",
                "87 InvalidRecord",
            ),
        ],
    },
    Reason {
        why: "ApiVersions tells what krappy has, and of the features `group.version` alone. In a version of the future \
              it tells the whole table, where Kafka tells only of ApiVersions itself.",
        rows: &[
            row("ApiVersions: *", "api_keys[*]", "(there)", "(absent)"),
            row("ApiVersions: *", "api_keys[1].max_version", "18", "17"),
            row("ApiVersions: *", "*_features[*]", "(there)", "(absent)"),
            row("ApiVersions: a version of the future", "api_keys[*]", "(absent)", "(there)"),
            row("ApiVersions: a negative version", "api_keys[*]", "(absent)", "(there)"),
            row("ApiVersions: the last version*", "api_keys[*]", "(absent)", "(there)"),
        ],
    },
    Reason {
        why: "A topic has the settings that mean something here. Others, about replicas, tiers and files, are unknown, \
              and so are groups and client metrics. `flush.messages` is 1. \
              Two are krappy's own: `retention.wait.groups` and `retention.wait.bytes`.",
        rows: &[
            row("DescribeConfigs: *settings of a topic", "*.configs[*]", "(there)", "(absent)"),
            row(
                "DescribeConfigs: *settings of a topic",
                "*.configs[retention.wait.*]",
                "(absent)",
                "(there)",
            ),
            row(
                "DescribeConfigs: *settings of a topic",
                "*[flush.messages].value",
                "\"9223372036854775807\"",
                "\"1\"",
            ),
            // Kafka 4.1 sets it for the whole cluster when it is formatted.
            row("DescribeConfigs: *settings of a topic", "*[min.insync.replicas].config_source", "3", "5"),
            row("CreateTopics: *", "*.configs[min.insync.replicas]", "(there)", "(absent)"),
            row(
                "CreateTopics: the setting min.insync.replicas=\"2\"",
                "*.error_code",
                "0",
                "40 InvalidConfig",
            ),
            row("CreateTopics: the setting preallocate*", "*.error_code", "0", "40 InvalidConfig"),
            row("CreateTopics: the setting unclean.*", "*.error_code", "0", "40 InvalidConfig"),
            row("DescribeConfigs: a resource of type 16", "*.error_code", "0", "42 InvalidRequest"),
            row("DescribeConfigs: a resource of type 32", "*.error_code", "0", "42 InvalidRequest"),
            row(
                "IncrementalAlterConfigs: *delete a setting that is none",
                "*.error_code",
                "0",
                "40 InvalidConfig",
            ),
        ],
    },
    Reason {
        why: "A value of a setting is told as it is understood, without blanks. A list cannot be empty. Its default is \
              among its synonyms.",
        rows: &[
            row("CreateTopics: the setting retention*", "*.value", "\" 5 \"", "\"5\""),
            row(
                "CreateTopics: the setting cleanup.policy=*",
                "*.value",
                "\"delete, compact\"",
                "\"compact,delete\"",
            ),
            row("CreateTopics: the setting cleanup.policy=\"\"", "*.error_code", "0", "40 InvalidConfig"),
            row("IncrementalAlterConfigs: *subtract all", "*.error_code", "0", "40 InvalidConfig"),
            row("DescribeConfigs: *", "*.synonyms[1].name", "\"log.cleanup.policy\"", "\"cleanup.policy\""),
            row("DescribeConfigs: *", "*[retention.ms].synonyms[1]", "(absent)", "(there)"),
        ],
    },
    Reason {
        why: "Settings of the broker are given at its start. They can be described and not changed.",
        rows: &[
            row("AlterConfigs: a resource of type 4*", "*.error_code", "0", "40 InvalidConfig"),
            row("IncrementalAlterConfigs: a resource of type 4*", "*.error_code", "0", "40 InvalidConfig"),
            row("DescribeConfigs: settings of all brokers", "*.configs[*]", "(absent)", "(there)"),
            row("DescribeConfigs: some settings of the broker", "*.read_only", "false", "true"),
            row(
                "DescribeConfigs: some settings of the broker",
                "*[log.retention.ms].value",
                "null",
                "\"604800000\"",
            ),
            row("DescribeConfigs: some settings of the broker", "*[num.partitions].config_source", "4", "5"),
        ],
    },
    Reason {
        why: "Fetch sends whole batches: none that is cut off, and the first of each partition however small the limit \
              of the partition is.",
        rows: &[
            row("Fetch: *batch and a half", "*.records[1]", "* bytes of a batch", "(absent)"),
            row("Fetch: a limit of a batch and a half", "*[1].records[0]", "(absent)", "offsets 0 to 3*"),
            row("Fetch: a partition limit of *", "*[1].records[0]", "(absent)", "offsets 0 to 3*"),
        ],
    },
    Reason {
        why: "There are no fetch sessions.",
        rows: &[row("Fetch: a new session*", "session_id", "<a session>", "0")],
    },
    Reason {
        why: "Fetch does not look at the last epoch that was read, which consumers do not send: they ask \
              OffsetForLeaderEpoch.",
        rows: &[
            row("Fetch: an epoch that never was", "*.error_code", "1 OffsetOutOfRange", "0"),
            row("Fetch: the last epoch read, behind*", "*.error_code", "0", "1 OffsetOutOfRange"),
        ],
    },
    Reason {
        why: "Something that is named twice in one request is refused or answered twice, where Kafka takes one of the \
              two.",
        rows: &[
            row("DeleteRecords: a partition twice", "*.partitions[1]", "(absent)", "(there)"),
            row("DeleteTopics: a name, and its id*", "responses[0].error_code", "42 InvalidRequest", "0"),
            row("DeleteTopics: a name, and its id*", "responses[1]", "(absent)", "(there)"),
            row("Fetch: a partition twice", "error_code", "0", "42 InvalidRequest"),
            row("Fetch: a partition twice", "responses[0]", "(there)", "(absent)"),
            row("ListOffsets: a partition twice", "*.partitions[1]", "(absent)", "(there)"),
            row("ListOffsets: a topic twice", "topics[*", "*", "*"),
            row("Metadata: a topic twice", "topics[1]", "(absent)", "(there)"),
            row("Produce: a partition twice", "*.error_code", "0", "42 InvalidRequest"),
            row("Produce: a partition twice", "*.partition_responses[1]", "(absent)", "(there)"),
            row("Produce: a topic twice*", "*.error_code", "*", "42 InvalidRequest"),
            row("Produce: a topic twice*", "responses[2]", "(absent)", "(there)"),
            row("Produce: a topic twice*", "responses[1].name", "\"nowhere\"", "\"crossed\""),
        ],
    },
    Reason {
        why: "What Kafka stumbles over with UNKNOWN_SERVER_ERROR is told what it is, or taken as the nearest thing that \
              makes sense.",
        rows: &[
            row("*", "*error_code", "-1 UnknownServerError", "*"),
            row("Fetch: a negative limit", "*[1].records[0]", "offsets 0 to 3*", "(absent)"),
        ],
    },
    Reason {
        why: "Batches are checked more strictly: attributes that mean nothing, bytes behind a batch, offsets of records \
              and negative epochs are INVALID_RECORD.",
        rows: &[
            row("Produce: a byte behind the batch", "*.error_code", "0", "87 InvalidRecord"),
            row("Produce: a producer with a negative epoch", "*.error_code", "0", "87 InvalidRecord"),
            row("Produce: an offset delta that is not 0", "*.error_code", "0", "87 InvalidRecord"),
            row("Produce: an unknown attribute", "*.error_code", "0", "87 InvalidRecord"),
            row("Produce: the bit of a delete horizon", "*.error_code", "0", "87 InvalidRecord"),
            row("Produce: the bit of log append time", "*.error_code", "0", "32 InvalidTimestamp"),
        ],
    },
    Reason {
        why: "A batch that is not whole is CORRUPT_MESSAGE, one of another magic INVALID_RECORD; Kafka has it the other \
              way round.",
        rows: &[
            row("Produce: *", "*.error_code", "87 InvalidRecord", "2 CorruptMessage"),
            row("Produce: magic *", "*.error_code", "2 CorruptMessage", "87 InvalidRecord"),
        ],
    },
    Reason {
        why: "What a compressed batch holds is not looked at where nothing depends on it, and zstd is taken in every \
              version of Produce.",
        rows: &[
            row("Produce: zstd that is none", "*.error_code", "76 UnsupportedCompressionType", "0"),
            row(
                "Produce: packed with zstd, early versions",
                "*.error_code",
                "76 UnsupportedCompressionType",
                "0",
            ),
        ],
    },
    Reason {
        why: "A batch that was refused is answered without a log start offset, one that is there already without a log \
              append time.",
        rows: &[
            row("Produce: *", "*.log_start_offset", "0", "-1"),
            row("Produce: *", "*.log_append_time_ms", "1700000000000", "-1"),
        ],
    },
    Reason {
        why: "Where more than one thing is wrong, another one may be told.",
        rows: &[
            row("CreateTopics: 0 partitions and *", "*.error_code", "*", "*"),
            row("Produce: acks *", "*.error_code", "3 UnknownTopicOrPartition", "21 InvalidRequiredAcks"),
        ],
    },
    Reason {
        why: "A topic that was only validated has no id.",
        rows: &[row("CreateTopics: *", "*.topic_id", "<an id>", "00000000-0000-0000-0000-000000000000")],
    },
    Reason {
        why: "CreatePartitions does not count the places that are named for new partitions, of which each is broker 1.",
        rows: &[row("CreatePartitions: placed *", "*.error_code", "39 InvalidReplicaAssignment", "0")],
    },
    Reason {
        why: "How large the disk is and how much of it is free is not told.",
        rows: &[
            row("DescribeLogDirs: *", "*able_bytes", "<bytes>", "-1"),
            row("DescribeLogDirs: *", "*.total_bytes", "<bytes>", "-1"),
        ],
    },
    Reason {
        why: "A replica that asks and a negative count other than -1 end the connection.",
        rows: &[
            row("Fetch: as a replica", "connection", "(there)", "closed"),
            row("Metadata: a count of -2", "connection", "(there)", "closed"),
        ],
    },
];
