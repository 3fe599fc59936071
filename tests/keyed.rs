//! Compacted topics asked by key, on the running broker and through the client that others use: Get, Scan, Watch and
//! the conditional put, across flushes, merges, restarts and a view that was lost.
//!
//! Invariant: whatever the broker answers is compared with what was published, held in a map here.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Broker, TempDir, eventually};
use krappy_client::{
    Client, Error, ErrorCode, Expected, GetOptions, KeyRange, Newest, Producer, PutIf, Record, ScanOptions,
    WatchEvent, WatchOptions, Watcher,
};

const TOPIC: &str = "users";
/// A memtable this small makes a few thousand records fill several run files and levels.
const SMALL: &[&str] = &["--view-memtable-bytes", "64KiB", "--log-segment-bytes", "256KiB"];

/// The newest value of each key, and the offset of it.
type Model = BTreeMap<Vec<u8>, Option<(i64, Vec<u8>)>>;

struct Users {
    client: Client,
    producer: Producer,
    model: Model,
    /// A small generator; the sequence is the same in each run.
    random: u64,
}

impl Users {
    fn on(broker: &Broker, partitions: i32) -> Self {
        let client = Client::connect(broker.addr.to_string()).unwrap();
        client.admin().create_topic(TOPIC, Some(partitions), &[("cleanup.policy", "compact")]).unwrap();
        let producer = client.producer(TOPIC).build().unwrap();
        Self { client, producer, model: Model::new(), random: 7 }
    }

    /// After a restart.
    fn again(self, broker: &Broker) -> Self {
        let client = Client::connect(broker.addr.to_string()).unwrap();
        let producer = client.producer(TOPIC).build().unwrap();
        Self { client, producer, ..self }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    /// Puts and deletes at random, and waits until all of it is durable.
    fn churn(&mut self, records: usize, keys: u64) {
        let mut deliveries = Vec::new();
        for i in 0..records {
            let key = format!("user-{:05}", self.random(keys)).into_bytes();
            if self.random(10) == 0 {
                deliveries.push((key.clone(), None, self.producer.delete(key).unwrap()));
            } else {
                let value = format!("value {i} of {}", String::from_utf8_lossy(&key)).into_bytes();
                deliveries.push((key.clone(), Some(value.clone()), self.producer.put(key, value).unwrap()));
            }
            // Not all in one turn, or a memtable is filled once and not many times.
            if i % 500 == 499 {
                self.producer.flush().unwrap();
            }
        }
        self.producer.flush().unwrap();
        for (key, value, delivery) in deliveries {
            let at = delivery.wait().unwrap();
            self.model.insert(key, value.map(|value| (at.offset, value)));
        }
    }

    fn live(&self) -> Vec<(Vec<u8>, i64, Vec<u8>)> {
        let live = |(key, state): (&Vec<u8>, &Option<(i64, Vec<u8>)>)| {
            state.as_ref().map(|(offset, value)| (key.clone(), *offset, value.clone()))
        };
        self.model.iter().filter_map(live).collect()
    }

    fn scanned(&self, options: ScanOptions) -> Vec<(Vec<u8>, i64, Vec<u8>)> {
        let rows = self.client.scan(TOPIC, options).unwrap().map(|row| row.unwrap());
        rows.map(|r| (r.key.unwrap().to_vec(), r.offset, r.value.unwrap().to_vec())).collect()
    }

    /// Waits until the view is there again, if it has to be made.
    fn wait(&self) {
        eventually("the view is made again", || {
            match self.client.get(TOPIC, &["user-00001"], &GetOptions::default()) {
                Ok(_) => true,
                Err(e) if e.code() == Some(ErrorCode::ViewNotReady) => false,
                Err(e) => panic!("{e}"),
            }
        });
    }

    /// Compares gets and scans of all kinds with the model.
    fn check(&mut self) {
        self.wait();
        let live = self.live();
        assert_eq!(self.scanned(ScanOptions::default()), live);
        let reversed = ScanOptions { reverse: true, page_bytes: 3_000, ..ScanOptions::default() };
        assert_eq!(self.scanned(reversed), live.iter().rev().cloned().collect::<Vec<_>>());
        let range = KeyRange::prefix("user-001");
        let of_prefix = ScanOptions { range, limit: Some(20), ..ScanOptions::default() };
        let expected = live.iter().filter(|(key, ..)| key.starts_with(b"user-001")).take(20).cloned();
        assert_eq!(self.scanned(of_prefix), expected.collect::<Vec<_>>());

        let keys: Vec<Vec<u8>> = self.model.keys().cloned().chain([b"nobody".to_vec()]).collect();
        for keys in keys.chunks(500) {
            let got = self.client.get(TOPIC, keys, &GetOptions::default()).unwrap();
            for (key, state) in keys.iter().zip(got.keys) {
                let found = state.value().map(|value| (state.offset().unwrap(), value.to_vec()));
                assert_eq!(found, self.model.get(key).cloned().flatten(), "{}", String::from_utf8_lossy(key));
            }
        }
    }
}

/// Runs a watcher to the ends of the snapshots of all partitions.
fn snapshot(watcher: &mut Watcher, partitions: usize) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut rows, mut ends) = (BTreeMap::new(), 0);
    while ends < partitions {
        match watcher.poll(Duration::from_secs(20)).unwrap().expect("a snapshot has an end") {
            WatchEvent::Row(row) => {
                let new = rows.insert(row.key.unwrap().to_vec(), row.value.unwrap().to_vec()).is_none();
                assert!(new, "a key comes once in a snapshot");
            }
            WatchEvent::SnapshotEnd { .. } => ends += 1,
        }
    }
    rows
}

fn view_folders(data: &Path) -> Vec<PathBuf> {
    let topic = data.join("topics").join(TOPIC);
    let partitions = std::fs::read_dir(topic).unwrap().map(|entry| entry.unwrap().path());
    partitions.filter(|path| path.is_dir()).map(|path| path.join("view")).collect()
}

fn run_files(data: &Path) -> Vec<PathBuf> {
    let files = view_folders(data).into_iter().flat_map(|dir| std::fs::read_dir(dir).unwrap());
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "run"))
        .collect()
}

#[test]
fn what_was_put_is_found_through_flushes_merges_restarts_and_a_lost_view() {
    let data = TempDir::new("keyed");
    let mut broker = Broker::on(data.path(), SMALL);
    let mut users = Users::on(&broker, 3);
    let mut merges = 0;
    for round in 0..6 {
        users.churn(8_000, 3_000);
        users.check();
        merges += broker.client().count("view_merges");
        match round {
            1 => assert!(broker.stop().success()),
            2 => broker.kill(),
            3 => {
                broker.kill();
                view_folders(data.path()).into_iter().for_each(|dir| std::fs::remove_dir_all(dir).unwrap());
            }
            4 => {
                assert!(broker.stop().success());
                // A damaged run: the view is made again from the log, and nobody is told that a key is not there.
                let runs = run_files(data.path());
                assert!(!runs.is_empty());
                for run in runs {
                    let mut bytes = std::fs::read(&run).unwrap();
                    let last = bytes.len() - 1;
                    bytes[last] ^= 1;
                    std::fs::write(&run, bytes).unwrap();
                }
            }
            _ => continue,
        }
        broker = Broker::on(data.path(), SMALL);
        users = users.again(&broker);
        users.check();
    }
    assert!(merges > 5, "{merges} merges, the test is too small to be one");
}

#[test]
fn cleaning_removes_what_was_replaced_and_nothing_else() {
    const EAGER: &[&str] = &[
        "--view-memtable-bytes",
        "64KiB",
        "--log-segment-bytes",
        "32KiB",
        "--log-cleaner-backoff-ms",
        "20",
        "--log-cleaner-min-cleanable-ratio",
        "0",
        "--log-cleaner-delete-retention-ms",
        "0",
    ];
    let data = TempDir::new("keyed-clean");
    let mut broker = Broker::on(data.path(), EAGER);
    let mut users = Users::on(&broker, 2);
    for round in 0..4 {
        users.churn(12_000, 500);
        eventually("much was cleaned", || broker.client().count("cleaned_records") > 4_000);
        users.check();
        let sizes = users.client.admin().describe_topic(TOPIC).unwrap().partitions;
        assert!(sizes.iter().all(|p| p.log_start == 0), "offsets never change: {sizes:?}");
        // Whoever reads the log from its start ends with the same.
        let mut consumer =
            users.client.consumer(TOPIC).start(krappy_client::Start::Earliest).build().unwrap();
        let (mut state, mut seen, mut last) = (Model::new(), 0, [-1, -1]);
        let ends: i64 = sizes.iter().map(|p| p.high_watermark).sum();
        eventually("everything is read", || {
            for record in consumer.poll(Duration::from_millis(50)).unwrap().iter() {
                let at = &mut last[record.partition as usize];
                assert!(record.offset > *at, "in order");
                *at = record.offset;
                seen += 1;
                let value = record.value.as_ref().map(|value| (record.offset, value.to_vec()));
                state.insert(record.key.as_ref().unwrap().to_vec(), value);
            }
            last.iter().map(|at| at + 1).sum::<i64>() == ends
        });
        assert!(seen < ends, "{seen} of {ends} records are left");
        state.retain(|_, value| value.is_some());
        let mut live = users.model.clone();
        live.retain(|_, value| value.is_some());
        assert_eq!(state, live);
        match round {
            0 => assert!(broker.stop().success()),
            1 => broker.kill(),
            _ => continue,
        }
        broker = Broker::on(data.path(), EAGER);
        users = users.again(&broker);
    }
    assert!(broker.stop().success());
    let check = std::process::Command::new(common::KRAPPY)
        .args(["check", "--deep"])
        .arg(data.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(check.status.success() && said.contains("keys of the log compared with it"), "{said}");
}

#[test]
fn a_lost_view_of_a_long_log_is_made_again_while_publishing_goes_on() {
    let flags = [SMALL, &["--view-replay-bytes", "64KiB"]].concat();
    let data = TempDir::new("keyed-rebuild");
    let mut broker = Broker::on(data.path(), &flags);
    let mut users = Users::on(&broker, 1);
    users.churn(20_000, 2_000);
    broker.kill();
    view_folders(data.path()).into_iter().for_each(|dir| std::fs::remove_dir_all(dir).unwrap());
    // There is more log than that, so it is left to the workers.
    broker = Broker::on(data.path(), &flags);
    users = users.again(&broker);
    users.churn(5_000, 2_000);
    users.check();
    assert!(broker.stop().success());
    broker = Broker::on(data.path(), &flags);
    users.again(&broker).check();
}

#[test]
fn damage_found_while_serving_is_an_error_until_the_view_is_made_again() {
    let data = TempDir::new("keyed-damage");
    let mut broker = Broker::on(data.path(), SMALL);
    let mut users = Users::on(&broker, 1);
    users.churn(6_000, 2_000);
    assert!(broker.stop().success());
    for run in run_files(data.path()) {
        // In the first block: footer, index and filter are right, so the damage is seen when a key is asked for.
        let mut bytes = std::fs::read(&run).unwrap();
        bytes[100] ^= 1;
        std::fs::write(&run, bytes).unwrap();
    }
    broker = Broker::on(data.path(), SMALL);
    users = users.again(&broker);
    let smallest = users.live()[0].0.clone();
    let answer = users.client.get(TOPIC, &[&smallest], &GetOptions::default());
    assert!(matches!(&answer, Err(Error::Refused { .. })), "{answer:?}");
    users.check();
}

#[test]
fn a_watcher_sees_the_snapshot_then_every_change_once() {
    let broker = Broker::ephemeral(SMALL);
    let mut users = Users::on(&broker, 2);
    users.churn(3_000, 500);
    let mut watcher = users
        .client
        .watch(TOPIC, WatchOptions { buffer_bytes: 64 << 10, ..WatchOptions::default() })
        .unwrap();
    let first = watcher.poll(Duration::from_secs(20)).unwrap().expect("there is a first row");
    // What happens while the snapshot is on its way comes after its end.
    let before: BTreeMap<Vec<u8>, Vec<u8>> = users.live().into_iter().map(|(k, _, v)| (k, v)).collect();
    users.churn(1_000, 500);
    let mut rows = snapshot(&mut watcher, 2);
    let WatchEvent::Row(row) = first else { panic!("the topic is not empty") };
    rows.insert(row.key.unwrap().to_vec(), row.value.unwrap().to_vec());
    assert_eq!(rows, before);
    let mut state = rows;
    for _ in 0..1_000 {
        match watcher.poll(Duration::from_secs(20)).unwrap().expect("every change comes") {
            WatchEvent::Row(row) => {
                let key = row.key.unwrap().to_vec();
                match row.value {
                    Some(value) => state.insert(key, value.to_vec()),
                    None => state.remove(&key),
                };
            }
            end => panic!("{end:?} after the snapshots"),
        }
    }
    let now: BTreeMap<Vec<u8>, Vec<u8>> = users.live().into_iter().map(|(k, _, v)| (k, v)).collect();
    assert_eq!(state, now);
    assert!(watcher.poll(Duration::from_millis(50)).unwrap().is_none(), "and nothing comes twice");
}

#[test]
fn a_watcher_of_an_empty_range_is_told_the_end_at_once_and_only_its_keys_after() {
    let broker = Broker::ephemeral(&[]);
    let users = Users::on(&broker, 1);
    let options = WatchOptions { range: KeyRange::prefix("a"), ..WatchOptions::default() };
    let mut watcher = users.client.watch(TOPIC, options).unwrap();
    assert!(snapshot(&mut watcher, 1).is_empty());
    for key in ["b", "a1", "c", "a2"] {
        users.producer.put(key, "x").unwrap();
    }
    users.producer.flush().unwrap();
    let tail = WatchOptions { snapshot: false, ..WatchOptions::default() };
    let mut late = users.client.watch(TOPIC, tail).unwrap();
    assert!(snapshot(&mut late, 1).is_empty(), "without a snapshot its end comes at once");
    users.producer.put("a3", "x").unwrap().wait().unwrap();
    assert!(
        matches!(late.poll(Duration::from_secs(20)).unwrap(), Some(WatchEvent::Row(row)) if row.offset == 4)
    );
    for expected in ["a1", "a2", "a3"] {
        let Some(WatchEvent::Row(row)) = watcher.poll(Duration::from_secs(20)).unwrap() else {
            panic!("a row is due")
        };
        assert_eq!(row.key.as_deref(), Some(expected.as_bytes()));
    }
}

#[test]
fn of_two_conditional_puts_one_wins() {
    let broker = Broker::ephemeral(&[]);
    let users = Users::on(&broker, 4);
    let put = |value: &str, expected| users.producer.put_if(Record::new(value).key("k"), expected).unwrap();
    let PutIf::Stored(first) = put("a", Expected::Absent) else { panic!("the key was absent") };
    let conflict = put("b", Expected::Absent);
    assert!(
        matches!(conflict, PutIf::Conflict { offset, deleted: false, .. } if offset == Some(first.offset))
    );
    let PutIf::Stored(second) = put("c", Expected::Offset(first.offset)) else {
        panic!("it was as expected")
    };
    assert!(matches!(put("d", Expected::Offset(first.offset)), PutIf::Conflict { .. }));
    users.producer.delete("k").unwrap().wait().unwrap();
    let gone = put("e", Expected::Offset(second.offset));
    assert!(matches!(gone, PutIf::Conflict { deleted: true, .. }), "{gone:?}");
    assert!(matches!(put("f", Expected::Absent), PutIf::Stored(_)), "a deleted key counts as absent");
    let state = users.client.get(TOPIC, &["k"], &GetOptions::default()).unwrap().keys.remove(0);
    assert_eq!(state.value(), Some(&b"f"[..]));
}

#[test]
fn a_scan_sees_one_moment_however_long_it_takes_and_old_moments_are_refused_in_words() {
    let broker = Broker::ephemeral(SMALL);
    let mut users = Users::on(&broker, 1);
    users.churn(3_000, 400);
    let before = users.live();
    let slowly = ScanOptions { page_bytes: 500, ..ScanOptions::default() };
    let mut scan = users.client.scan(TOPIC, slowly).unwrap();
    let mut rows: Vec<_> = scan.by_ref().take(5).map(|row| row.unwrap()).collect();
    let moment = scan.true_at()[&0];
    // Enough to flush and merge everything several times.
    for _ in 0..6 {
        users.churn(3_000, 400);
    }
    rows.extend(scan.map(|row| row.unwrap()));
    let rows: Vec<_> =
        rows.into_iter().map(|r| (r.key.unwrap().to_vec(), r.offset, r.value.unwrap().to_vec())).collect();
    assert_eq!(rows, before);

    let as_of = |offset| GetOptions { as_of: Some(offset), ..GetOptions::default() };
    let key = &before[0].0;
    let then = users.client.get(TOPIC, &[key], &as_of(moment)).unwrap().keys.remove(0);
    assert_eq!((then.true_at, then.value()), (moment, Some(&before[0].2[..])), "the scan still pins it");
    let refused = users.client.get(TOPIC, &[key], &as_of(moment - 1)).unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::OffsetTooOld), "{refused}");
    let future = users.client.get(TOPIC, &[key], &as_of(1 << 40)).unwrap_err();
    assert_eq!(future.code(), Some(ErrorCode::OffsetOutOfRange), "{future}");
}

#[test]
fn a_get_waits_for_the_offset_that_it_must_include() {
    // Syncs are slow, so what was appended is not shown for a while.
    let broker = Broker::ephemeral(&["--debug-sync-delay-ms", "200"]);
    let users = Users::on(&broker, 1);
    let memory = users.client.producer(TOPIC).acks(krappy_client::Level::Appended).build().unwrap();
    let at = memory.put("k", "v").unwrap().wait().unwrap();
    let after = |max_wait| GetOptions { after: Some((0, at.offset)), max_wait, ..GetOptions::default() };
    let state = users.client.get(TOPIC, &["k"], &after(Duration::from_secs(20))).unwrap().keys.remove(0);
    assert_eq!((state.offset(), state.true_at), (Some(at.offset), at.offset));
    let options = GetOptions { after: Some((0, at.offset + 1)), ..GetOptions::default() };
    let early = users.client.get(TOPIC, &["k"], &options).unwrap_err();
    assert_eq!(early.code(), Some(ErrorCode::RequestTimedOut), "{early}");
}

#[test]
fn what_does_not_fit_a_compacted_topic_is_refused_in_words() {
    let broker = Broker::ephemeral(&[]);
    let users = Users::on(&broker, 1);
    let no_key = users.producer.send(Record::new("x")).unwrap().wait().unwrap_err().to_string();
    assert!(no_key.contains("has no key"), "{no_key}");
    let long = users.producer.put(vec![0; (64 << 10) + 1], "x").unwrap().wait().unwrap_err().to_string();
    assert!(long.contains("a compacted topic takes up to 65536"), "{long}");
    users.client.admin().create_topic("plain", None, &[]).unwrap();
    let hint = |topic| match users.client.get(topic, &["k"], &GetOptions::default()) {
        Err(Error::Refused { hint, .. }) => hint,
        other => panic!("{other:?}"),
    };
    assert_eq!(hint("plain"), "make a topic with cleanup.policy=compact, or read this one from its start");
    assert_eq!(hint("user"), "did you mean \"users\"?");
}

#[test]
fn the_memtables_of_all_partitions_together_are_bounded() {
    let broker = Broker::ephemeral(&["--view-memory-bytes", "256KiB"]);
    let mut users = Users::on(&broker, 8);
    for _ in 0..4 {
        users.churn(8_000, 5_000);
        let flushed = |broker: &Broker| broker.client().count("view_flushes");
        eventually("the largest memtables are written", || flushed(&broker) > 0);
    }
    eventually("little is left in memory", || broker.client().count("view_memtable_bytes") < 300_000);
    users.check();
}

#[test]
fn explain_says_which_part_answered() {
    let broker = Broker::ephemeral(SMALL);
    let mut users = Users::on(&broker, 1);
    users.churn(4_000, 1_000);
    users.producer.put("fresh", "x").unwrap().wait().unwrap();
    let explain = GetOptions { explain: true, ..GetOptions::default() };
    let of = |key: &str| users.client.get(TOPIC, &[key], &explain).unwrap();
    assert!(of("fresh").explain[0].starts_with("memtable: offset "), "{:?}", of("fresh").explain);
    eventually("a filter says no", || {
        let absent = of("user-00500-");
        assert_eq!(absent.keys[0].newest, Newest::Absent);
        absent.explain.iter().any(|line| line.contains("filter says no"))
    });
}
