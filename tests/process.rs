//! The broker as a process: what it says, how it exits, what it leaves behind, and what a full disk does to it.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::Duration;

use common::client::{Got, batch_of, encode, prepared};
use common::{Broker, Client, KRAPPY, TempDir, eventually, os, serve, untouched};
use krappy_wire::batch::ProducerSequence;
use krappy_wire::error::ErrorCode;
use krappy_wire::native::{Level, Reply, Request, Start, code};

/// Runs `krappy` to its end; only for arguments with which it ends by itself.
fn run(args: &[&str]) -> Output {
    untouched(Command::new(KRAPPY).args(args)).output().expect("krappy can be started")
}

/// Exit status and standard error of a start that must fail.
fn refused(command: &mut Command) -> (i32, String) {
    match Broker::try_run(command) {
        Ok(_) => panic!("it started"),
        Err((status, said)) => (status.code().expect("not killed"), said),
    }
}

#[test]
fn standard_output_has_one_line_and_it_names_the_address() {
    let mut broker = Broker::ephemeral(&[]);
    assert_ne!(broker.addr.port(), 0);
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    client.publish(1, b"x");
    assert!(broker.stop().success());
    assert_eq!(broker.more_lines(), Vec::<String>::new());
}

#[test]
fn a_taken_port_is_status_69_with_the_address_and_a_way_out() {
    let broker = Broker::ephemeral(&[]);
    let data = TempDir::new("taken");
    let addr = broker.addr.to_string();
    let (status, said) =
        refused(Command::new(KRAPPY).arg("--data-dir").arg(data.path().join("d")).args(["--listen", &addr]));
    assert_eq!(status, 69, "{said}");
    assert!(said.contains(&addr) && said.contains("in use") && said.contains("--listen"), "{said}");
    assert!(!data.path().join("d").exists(), "nothing was made");
}

#[test]
fn a_second_broker_on_a_folder_is_status_65_and_names_the_first() {
    let data = TempDir::new("second");
    let broker = Broker::on(data.path(), &[]);
    let (status, said) = refused(&mut serve(data.path()));
    assert_eq!(status, 65, "{said}");
    assert!(said.contains(&broker.pid().to_string()) && said.contains("in use"), "{said}");
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    assert_eq!(client.publish(1, b"the first goes on"), 0);
}

#[test]
fn wrong_words_are_status_64_and_wrong_values_78() {
    for (args, status, hint) in [
        (&["--no-such-flag", "1"][..], 64, "--no-such-flag"),
        (&["--num-partition", "1"], 64, "--num-partitions"),
        (&["frobnicate"], 64, "frobnicate"),
        (&["--data-dir"], 64, "--data-dir"),
        (&["--num-partitions", "0"], 78, "num.partitions"),
        (&["--num-partitions", "many"], 78, "num.partitions"),
        (&["--fetch-max-wait-ms", "1parsec"], 78, "fetch.max.wait.ms"),
        (&["--config", "/no/such/file"], 78, "/no/such/file"),
        (&["--listen", "0.0.0.0:0"], 78, "allow.insecure"),
        (&["--listen", "127.0.0.1:0,[::]:0"], 78, "allow.insecure"),
        (&["--listen", "not an address"], 78, "listen"),
    ] {
        let output = run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
        assert!(said.contains(hint) || said.contains(&hint.replace('.', "-")), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_folder_that_cannot_be_understood_is_left_alone() {
    let data = TempDir::new("foreign");
    drop(Broker::on(data.path(), &[]));
    for (text, word) in [("format=99\ncluster.id=a\nboot.epoch=1\n", "99"), ("garbage", "format")] {
        std::fs::write(data.path().join("format"), text).unwrap();
        let (status, said) = refused(&mut serve(data.path()));
        assert_eq!(status, 65, "{said}");
        assert!(said.contains(word), "{said}");
        assert_eq!(std::fs::read_to_string(data.path().join("format")).unwrap(), text);
    }
}

#[test]
fn ephemeral_leaves_nothing_behind_and_listens_where_it_is_told() {
    let temp = TempDir::new("ephemeral");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    drop(taken);
    let mut command = Command::new(KRAPPY);
    command.env("TMPDIR", temp.path()).args(["--ephemeral", "--listen", &addr.to_string()]);
    let mut broker = Broker::run(&mut command);
    assert_eq!(broker.addr, addr, "a free port only unless listen is set");
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    client.publish(1, b"x");
    assert_eq!(entries(temp.path()).len(), 1, "the folder is there while it runs");
    assert!(broker.stop().success());
    assert_eq!(entries(temp.path()), Vec::<String>::new());
}

fn entries(dir: &Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn sigterm_drains_what_was_acknowledged_is_there_and_the_stop_is_clean() {
    let data = TempDir::new("drain");
    let mut broker = Broker::on(data.path(), &["--debug-sync-delay-ms=50"]);
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    client.consume_from(2, "t", Start::Latest);
    let waiting =
        client.send(2, &Request::Poll { max_wait_ms: 60_000, min_bytes: 1 << 20, max_bytes: 1 << 20 });
    let sent: Vec<u32> =
        (0..200).map(|i| client.send_plain(1, Level::Durable, format!("{i}").as_bytes())).collect();
    client.answer_to(sent[0]);
    assert!(broker.stop().success(), "{}", broker.said());
    let answers = client.read_to_end();
    let acked = 1 + answers.iter().filter(|a| a.code == code::PUBLISHED).count();
    assert!(answers.iter().any(|a| a.code == code::GO_AWAY), "it says goodbye");
    assert!(answers.iter().any(|a| a.head.correlation == waiting), "the long poll returns");
    assert!(data.path().join("clean").exists(), "the marker of a clean stop");

    let broker = Broker::on(data.path(), &[]);
    broker.says("clean stop");
    assert!(!data.path().join("clean").exists(), "the marker is gone while it runs");
    let records = broker.client().read_all(1, "t");
    println!("drained: {acked} acknowledged, {} there after the restart", records.len());
    assert!(records.len() >= acked);
    for (i, (offset, value)) in records.iter().enumerate() {
        assert_eq!((*offset, value), (i as i64, &format!("{i}").into_bytes()));
    }
}

#[test]
fn sigterm_ends_a_broker_with_idle_clients_of_every_kind() {
    let mut broker = Broker::ephemeral(&["--fetch-max-wait-ms=5m"]);
    let mut client = broker.client();
    client.create_topic("t", 3, vec![]);
    client.consume_from(1, "t", Start::Latest);
    client.consume_from(2, "t", Start::Latest);
    client.send(1, &Request::Subscribe { credit: 1 << 20 });
    client.send(2, &Request::Poll { max_wait_ms: 60_000, min_bytes: 1, max_bytes: 1 });
    client.ping();
    let mut half = broker.client();
    half.send_raw(&encode(0, 1, &Request::Ping)[..9]);
    let _idle = broker.client();
    assert!(broker.stop().success());
    let codes: Vec<u16> = client.read_to_end().iter().map(|a| a.code).collect();
    assert!(codes.contains(&code::GO_AWAY) && codes.contains(&code::RECORDS), "{codes:x?}");
}

#[test]
fn an_orderly_stop_waits_for_a_reader_only_so_long_and_a_second_signal_not_at_all() {
    for (drain, second, status) in [("300ms", false, Some(0)), ("1h", true, Some(130))] {
        let mut broker = Broker::ephemeral(&[&format!("--drain-ms={drain}"), "--write-stall-ms=1h"]);
        let mut stuck = owed_and_not_reading(&broker);
        os::signal(broker.pid(), libc::SIGTERM);
        if second {
            // The broker takes signals within a quarter of a second for one.
            sleep(Duration::from_millis(400));
            assert!(broker.is_running(), "it waits for the reader");
            os::signal(broker.pid(), libc::SIGTERM);
        }
        assert_eq!(broker.wait().code(), status, "{}", broker.said());
        stuck.read_to_end();
    }
}

/// A client that is owed more than the sockets hold and takes none of it.
fn owed_and_not_reading(broker: &Broker) -> Client {
    let mut other = broker.client();
    other.produce_to(1, "big", false);
    for _ in 0..16 {
        other.publish(1, &vec![7; 1_000_000]);
    }
    let mut stuck = broker.client();
    stuck.consume_from(1, "big", Start::Earliest);
    stuck.send(1, &Request::Subscribe { credit: u32::MAX });
    eventually("the broker owes more than the sockets take", || {
        let before = other.status();
        sleep(Duration::from_millis(50));
        let after = other.count("sent_bytes") - before["sent_bytes"];
        before["fetches"] > 0 && after < 4096
    });
    stuck
}

#[test]
fn after_kill_everything_acknowledged_is_there_and_the_start_says_what_happened() {
    let data = TempDir::new("killed");
    let mut broker = Broker::on(data.path(), &[]);
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    for i in 0..50 {
        assert_eq!(client.publish(1, format!("{i}").as_bytes()), i);
    }
    broker.kill();
    let broker = Broker::on(data.path(), &[]);
    broker.says("after a crash");
    let records = broker.client().read_all(1, "t");
    assert_eq!(records.len(), 50);
}

/// A small file system of its own; unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// Nothing if this process may not mount.
    fn mount(at: &Path, mib: u32) -> Option<Self> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "krappy-test"])
            .arg(at)
            .output()
            .ok()?;
        status.status.success().then(|| Self(at.to_path_buf()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Lets the disk really become full.
const WHOLE_DISK: &str = "--disk-min-free-bytes=0";

/// Publishes until the disk is full; the values that were acknowledged.
fn fill(client: &mut Client, acked: &mut Vec<Vec<u8>>) {
    for i in 0..10_000u32 {
        let mut value = vec![b'x'; 60_000];
        value[..4].copy_from_slice(&i.to_be_bytes());
        let correlation = client.send_plain(1, Level::Durable, &value);
        let answer = client.answer_to(correlation);
        match answer.error() {
            None => acked.push(value),
            Some(code) => return assert_eq!(code, ErrorCode::StorageError),
        }
    }
    panic!("the disk never filled up");
}

#[test]
fn on_a_full_disk_publishing_is_refused_reading_goes_on_and_room_ends_it() {
    let place = TempDir::new("full");
    let Some(_tmpfs) = Tmpfs::mount(place.path(), 8) else {
        println!("SKIPPED: a full disk needs the right to mount a tmpfs");
        return;
    };
    let ballast = place.path().join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    let data = place.path().join("data");
    let mut broker = Broker::on(&data, &["--log-segment-bytes=1MiB", WHOLE_DISK]);
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    let mut acked = Vec::new();
    fill(&mut client, &mut acked);
    let before = acked.len();
    // Small records may still fit; they must not once the last block is taken.
    std::fs::write(place.path().join("rest"), vec![0; 1 << 20]).unwrap_err();
    let reader = &mut broker.client();
    assert_eq!(values(reader.read_all(1, "t")), acked, "reading goes on");
    reader.ping();
    let create = Request::CreateTopic { topic: "another", partitions: 4, settings: vec![] };
    let refused = reader.call(0, &create).error();
    assert!(matches!(refused, Some(ErrorCode::StorageError) | None), "{refused:?}");

    std::fs::remove_file(&ballast).unwrap();
    std::fs::remove_file(place.path().join("rest")).unwrap();
    client.publish(1, b"room again");
    acked.push(b"room again".to_vec());
    fill(&mut client, &mut acked);
    println!("full disk: {before} records acknowledged, {} after there was room again", acked.len());
    broker.kill();
    // Recovery copies what is not proven to be on the disk, so it needs room too, and says so.
    if let Err((status, said)) = Broker::try_run(serve(&data).arg(WHOLE_DISK)) {
        println!("a start on the full disk is refused: {said}");
        assert!(status.code() == Some(74) && said.contains("free some room"), "{said}");
    }
    std::fs::remove_dir_all(place.path().join("data/topics/another")).unwrap_or_default();
    let status = Command::new("mount").args(["-o", "remount,size=16m"]).arg(place.path()).status();
    assert!(status.expect("mount can be run").success());
    let broker = Broker::on(&data, &[WHOLE_DISK]);
    assert_eq!(values(broker.client().read_all(1, "t")), acked, "nothing acknowledged is lost");
}

#[test]
fn publishing_is_refused_before_the_disk_is_full_and_goes_on_when_there_is_room() {
    let place = TempDir::new("nearly-full");
    let Some(_tmpfs) = Tmpfs::mount(place.path(), 32) else {
        println!("SKIPPED: a full disk needs the right to mount a tmpfs");
        return;
    };
    let broker = Broker::on(&place.path().join("data"), &["--disk-min-free-bytes=16MiB"]);
    let mut client = broker.client();
    client.produce_to(1, "t", false);
    client.publish(1, b"there is room");
    let ballast = place.path().join("ballast");
    std::fs::write(&ballast, vec![0; 20 << 20]).unwrap();
    let mut published = 1;
    let mut publish = |client: &mut Client, wanted: Option<ErrorCode>| {
        let correlation = client.send_plain(1, Level::Durable, b"x");
        let error = client.answer_to(correlation).error();
        published += usize::from(error.is_none());
        sleep(Duration::from_millis(20));
        error == wanted
    };
    eventually("publishing is refused", || publish(&mut client, Some(ErrorCode::StorageError)));
    assert!(!client.read_all(2, "t").is_empty(), "reading goes on");
    std::fs::remove_file(&ballast).unwrap();
    eventually("publishing goes on", || publish(&mut client, None));
    println!("nearly full disk: {published} records published around it");
    assert_eq!(client.read_all(2, "t").len(), published);
}

fn values(records: Vec<(i64, Vec<u8>)>) -> Vec<Vec<u8>> {
    records.into_iter().map(|(_, value)| value).collect()
}

#[test]
fn a_batch_and_its_repetition_are_both_refused_when_the_disk_is_full() {
    let place = TempDir::new("full-twice");
    let Some(_tmpfs) = Tmpfs::mount(place.path(), 4) else {
        println!("SKIPPED: a full disk needs the right to mount a tmpfs");
        return;
    };
    let broker = Broker::on(&place.path().join("data"), &[WHOLE_DISK]);
    let mut client = broker.client();
    let (producer_id, epoch) = client.produce_to(1, "t", true);
    let ballast = place.path().join("ballast");
    let _ = std::fs::write(&ballast, vec![0; 8 << 20]);
    // Large enough not to fit into the last block of the file.
    let value = vec![b'v'; 12 << 10];
    let batch =
        |base_sequence| batch_of(&[&value], Some(ProducerSequence { producer_id, epoch, base_sequence }));
    for acks in [Level::Appended, Level::Durable] {
        let (first, second) = (client.next(), client.next());
        let both = [prepared(1, first, acks, &batch(0)), prepared(1, second, acks, &batch(0))].concat();
        client.send_raw(&both);
        for correlation in [first, second] {
            let answer = client.answer_to(correlation);
            assert_eq!(answer.error(), Some(ErrorCode::StorageError), "{acks:?}: {:?}", answer.reply());
        }
    }
    std::fs::remove_file(&ballast).unwrap();
    let again = client.next();
    client.send_raw(&prepared(1, again, Level::Durable, &batch(0)));
    assert_eq!(client.answer_to(again).published(), 0, "the third time it fits");
    client.send_raw(&prepared(1, again + 1, Level::Durable, &batch(0)));
    assert_eq!(client.answer_to(again + 1).published(), 0, "and is known from then on");
    assert_eq!(broker.client().read_all(1, "t").len(), 1);
}

#[test]
fn a_broker_that_stops_takes_no_new_clients_and_says_so_to_the_old_ones() {
    let mut broker = Broker::ephemeral(&["--drain-ms=2s"]);
    let mut stuck = owed_and_not_reading(&broker);
    let mut client = broker.client();
    client.ping();
    os::signal(broker.pid(), libc::SIGTERM);
    match client.read() {
        Got::Answer(answer) => assert!(matches!(answer.reply(), Reply::GoAway { .. })),
        Got::Closed => panic!("closed without a word"),
    }
    assert!(matches!(client.read(), Got::Closed), "nothing was owed, so it is closed at once");
    assert!(Client::try_connect(broker.addr).is_err(), "nobody listens");
    assert!(stuck.read_to_end().iter().any(|a| a.code == code::GO_AWAY));
    assert!(broker.wait().success());
}
