//! What the broker counts. Plain numbers with one owner; [`Metrics::list`] is the table that the Status request answers
//! from, and `docs/` names the same.

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since start and gauges of this moment.
        #[derive(Debug, Clone, Default)]
        pub struct Metrics { $($(#[$doc])* pub $name: u64,)* }

        impl Metrics {
            /// Every name with its value, in order of definition.
            pub fn list(&self) -> Vec<(&'static str, i64)> {
                vec![$((stringify!($name), self.$name as i64)),*]
            }
        }
    };
}

metrics! {
    /// Milliseconds since the start.
    uptime_ms,
    /// Topics.
    topics,
    /// Partitions, all topics.
    partitions,
    /// Partitions that a disk fault has stopped.
    fenced_partitions,
    /// Open connections.
    connections,
    /// Connections accepted since start.
    connections_opened,
    /// Connections refused because `max.connections` was reached.
    connections_refused,
    /// Connections closed because the client broke the protocol.
    closed_violation,
    /// Connections closed because a deadline passed (receive, idle, write stall).
    closed_timeout,
    /// Requests taken.
    requests,
    /// Requests refused with an error code.
    refusals,
    /// Bytes read from sockets.
    received_bytes,
    /// Bytes written to sockets.
    sent_bytes,
    /// Records appended.
    appended_records,
    /// Batches appended.
    appended_batches,
    /// Bytes appended to segment files.
    appended_bytes,
    /// Appends that a duplicate sequence number made unnecessary.
    duplicate_batches,
    /// Fetches answered.
    fetches,
    /// Bytes of batches handed to fetches.
    fetched_bytes,
    /// Fetches that had to wait for the device.
    cold_reads,
    /// Syncs that returned.
    syncs,
    /// Records that those syncs made durable.
    synced_records,
    /// Appended bytes that are not durable yet, on topics that wait for the disk.
    unflushed_bytes,
    /// Fetches that are waiting for records.
    parked_fetches,
    /// Keys' newest records asked for, retries included.
    gets,
    /// Pages of scans, those of watchers and retries included.
    scan_pages,
    /// Keyed reads that had to wait for the device.
    view_cold_reads,
    /// Memtables of views written to run files.
    view_flushes,
    /// Merges of run files.
    view_merges,
    /// Flushes and merges of views that are under way.
    views_busy,
    /// Bytes of the run files of views.
    view_bytes,
    /// Run files of views.
    view_runs,
    /// Weight of the memtables of views, in bytes.
    view_memtable_bytes,
    /// Bytes of the runs that flushes have written since their views were opened.
    view_flushed_bytes,
    /// Bytes of the runs that merges have read, likewise.
    view_merged_in_bytes,
    /// Bytes of the runs that merges have written, likewise.
    view_merged_out_bytes,
    /// Looks into a run for one key, likewise; each reads one block.
    view_run_looks,
    /// Looks into a run that a filter has spared, likewise.
    view_filter_hits,
    /// Looks into a run that did not hold the key, though its filter said that it may, likewise.
    view_filter_misses,
    /// Views that could not be written or read.
    view_failures,
    /// Bytes that the cleaner has gone through.
    cleaned_bytes,
    /// Records that the cleaner has removed.
    cleaned_records,
    /// Records of queues given out.
    queue_deliveries,
    /// Records of queues acknowledged.
    queue_acknowledged,
    /// Records of queues copied to the dead letters.
    queue_dead_letters,
    /// Times that a publish was left in its input buffer because a limit was reached or its topic was being made.
    backpressure_pauses,
    /// Bytes reserved for half-read frames, all connections.
    input_bytes,
    /// Turns of the poll loop.
    turns,
    /// Longest turn of the poll loop, microseconds, waiting not counted.
    longest_turn_us,
    /// Resident memory of the process, bytes.
    resident_bytes,
}
