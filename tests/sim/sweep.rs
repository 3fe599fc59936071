//! The exhaustive part: one workload, crashed at every call that changes something, in every way; and the recovery that
//! follows, crashed at every call too.

use krappy::api::{Body, ConnId, Level, Publish, Reply, ReplyTo, Request, TopicRef};
use krappy::disk::Disk;
use krappy::disk::sim::{Crash, Fault};
use krappy::worker::Job;
use krappy_wire::batch::ProducerSequence;

use super::bench::{Bench, Crashed, DURABLE, LAZY, NOW, config};
use super::content;
use super::history::{After, Expects, Sent};
use super::producer::prepared;

/// The workload: create, publish to two topics until segments roll, delete records, delete a topic, stop, start.
fn script(bench: &mut Bench) -> Result<(), Crashed> {
    bench.open()?;
    bench.create(DURABLE, 1)?;
    bench.create(LAZY, 2)?;
    bench.work()?;
    for n in 0..9 {
        bench.publish(DURABLE, 0, if n % 4 == 3 { Level::Appended } else { Level::Durable })?;
        bench.publish(LAZY, n % 2, Level::Durable)?;
        if n % 3 == 2 {
            bench.work()?;
        }
    }
    bench.trim(DURABLE, 7)?;
    bench.publish(DURABLE, 0, Level::Durable)?;
    bench.work()?;
    bench.stop()?;
    bench.open()?;
    bench.publish(DURABLE, 0, Level::Durable)?;
    bench.publish(LAZY, 1, Level::Durable)?;
    bench.work()?;
    bench.delete(LAZY)?;
    bench.publish(DURABLE, 0, Level::Durable)?;
    bench.work()?;
    bench.stop()
}

/// Starts again after a crash, checks, goes on a little, and loses power for a last time.
fn go_on(bench: &mut Bench, after: After) -> Result<(), Crashed> {
    bench.open()?;
    bench.audit(after);
    // A topic that is there can be used, also if nobody was told that it was made.
    if bench.broker.is_none() || !bench.has(DURABLE) {
        return Ok(());
    }
    bench.sequence = 0;
    let fresh = bench.next as i32 + 1;
    // A producer of its own, because the old one may have lost what it was not told to be there.
    publish_by(bench, 1_000 + i64::from(fresh))?;
    bench.work()?;
    bench.crash(Crash::LoseAll);
    bench.open()?;
    bench.audit(After::Power);
    Ok(())
}

fn publish_by(bench: &mut Bench, producer_id: i64) -> Result<(), Crashed> {
    let id = content::id(2, 10, bench.next as u32);
    let number = bench.next as u32;
    let (session, timestamp, expects) = (99, 0, Expects::Anything);
    let sent =
        Sent { topic: 0, partition: 0, session, number, gapless: false, repeats: false, timestamp, expects };
    bench.history.sent(id, sent);
    bench.send_one(id, ProducerSequence { producer_id, epoch: 0, base_sequence: 0 })
}

/// A broker with a topic in which segments have been rolled, and the jobs that this has caused, not run.
fn with_chores() -> (Bench, Vec<Job>) {
    let mut bench = Bench::new(1);
    let mut prepare = || {
        bench.open()?;
        bench.create(DURABLE, 1)?;
        bench.work()?;
        let mut chores = Vec::new();
        for _ in 0..6 {
            bench.publish(DURABLE, 0, Level::Durable)?;
            chores.append(&mut bench.hold_back_chores());
            bench.work()?;
        }
        bench.trim(DURABLE, 5)?;
        chores.append(&mut bench.hold_back_chores());
        Ok::<_, Crashed>(chores)
    };
    let Ok(chores) = prepare() else { unreachable!("no crash is planned") };
    assert!(chores.len() > 1);
    (bench, chores)
}

/// A job names its files by path, so a topic's folder stays until the last one has come back.
pub fn a_folder_is_removed_after_the_jobs_that_write_to_it() -> Vec<String> {
    let (mut bench, chores) = with_chores();
    let check = || {
        bench.delete(DURABLE)?;
        let removed = bench.jobs.iter().any(|job| matches!(job, Job::DeleteTopic { .. }));
        if removed {
            bench.history.bad("the folder is removed while jobs that write to it are under way");
        }
        bench.jobs.extend(chores);
        bench.work()?;
        if !bench.deleted.contains(&DURABLE) {
            bench.history.bad("the topic is not removed when they are done");
        }
        Ok::<_, Crashed>(())
    };
    assert!(check().is_ok(), "no crash is planned");
    bench.history.violations
}

/// What is written when a broker stops is the last word.
pub fn a_broker_is_busy_while_jobs_are_under_way() -> bool {
    let (mut bench, chores) = with_chores();
    let is_idle = |bench: &Bench| bench.broker.as_ref().expect("open").is_idle();
    let busy = !is_idle(&bench);
    bench.jobs.extend(chores);
    assert!(bench.work().is_ok(), "no crash is planned");
    busy && is_idle(&bench)
}

/// A batch that is sent again before the original is written: if that fails, both are refused.
pub fn a_batch_sent_twice_has_one_fate() -> Vec<String> {
    let mut bench = Bench::new(1);
    let ready = bench.open().is_ok() && bench.create(DURABLE, 1).is_ok() && bench.work().is_ok();
    assert!(ready, "no crash is planned");
    let by = ProducerSequence { producer_id: 77, epoch: 0, base_sequence: 0 };
    let bytes = prepared(&[content::id(3, 10, 1)], NOW.wall, Some(by));
    let broker = bench.broker.as_mut().expect("open");
    bench.disk.fail_after(1, Fault::NoSpace);
    for (slot, acks) in [(1, Level::Durable), (2, Level::Durable), (3, Level::Appended)] {
        let (topic, body) = (TopicRef::Name(DURABLE), Body::Batch(&bytes));
        let publish = Publish { topic, partition: Some(0), acks, body };
        let to = ReplyTo { conn: ConnId { key: 0, generation: 1 }, slot };
        broker.handle(to, Request::Publish(publish), NOW);
    }
    broker.flush(NOW);
    let mut replies = Vec::new();
    broker.take_replies(&mut replies);
    assert_eq!(replies.len(), 3, "every request is answered");
    let refused = |reply: &Reply| matches!(reply, Reply::Refused(_));
    replies.iter().filter(|(_, reply)| !refused(reply)).map(|(_, reply)| format!("{reply:?}")).collect()
}

/// A producers file may cover records that a power cut takes back. Once others have taken their offsets, it must not be
/// believed for them.
pub fn a_producers_file_of_lost_records_is_forgotten() -> Vec<String> {
    let mut bench = Bench::new(1);
    let id = |n| content::id(3, 10, n);
    let by = |n| ProducerSequence { producer_id: 77, epoch: 0, base_sequence: n };
    let mut check = || {
        bench.open()?;
        bench.create(DURABLE, 1)?;
        bench.work()?;
        for _ in 0..3 {
            bench.publish(DURABLE, 0, Level::Durable)?;
        }
        bench.jobs.retain(|job| matches!(job, Job::Snapshot(..)));
        bench.work()?;
        // The file system may write the names of a folder before anybody asks for it.
        let synced = bench.disk.sync_dir(&config().data_dir.join("topics").join(DURABLE).join("0"));
        assert!(synced.is_ok(), "no fault is planned");
        bench.crash(Crash::LoseAll);
        bench.open()?;
        bench.audit(After::Power);
        for n in 0..8 {
            let number = n as u32;
            let (session, timestamp, expects) = (98, 0, Expects::Anything);
            let sent = Sent {
                topic: 0,
                partition: 0,
                session,
                number,
                gapless: true,
                repeats: false,
                timestamp,
                expects,
            };
            bench.history.sent(id(number), sent);
            bench.send_one(id(number), by(n))?;
        }
        bench.work()?;
        bench.crash(Crash::KeepAll);
        bench.open()?;
        bench.audit(After::Process);
        bench.send_one(id(3), by(3))?;
        bench.work()
    };
    assert!(check().is_ok(), "no crash is planned");
    bench.history.violations
}

/// What a start follows.
pub fn after(how: Crash) -> After {
    if how == Crash::KeepAll { After::Process } else { After::Power }
}

/// What the sweep went through, and what it found.
#[derive(Debug, Default)]
pub struct Swept {
    pub calls: u64,
    pub crashes: u64,
    pub second_crashes: u64,
    /// Views that broke.
    pub broken: u64,
    /// Flushes, merges, cleaned records and switched manifests of the whole workload.
    pub background: [u64; 4],
    pub found: Vec<String>,
}

/// What is crashed, and what follows.
#[derive(Clone, Copy)]
pub struct Workload {
    /// From the first start to a clean stop.
    pub script: fn(&mut Bench) -> Result<(), Crashed>,
    /// A start after a crash, the checks, and a little more.
    pub go_on: fn(&mut Bench, After) -> Result<(), Crashed>,
}

/// The workload of topics without keys.
pub const PLAIN: Workload = Workload { script, go_on };

/// Crashes a workload at every call in every way of `ways`, and the recovery of every `sample`-th of them too.
pub fn sweep(workload: Workload, ways: &[Crash], sample: u64) -> Swept {
    let mut swept = Swept::default();
    let mut whole = Bench::new(0);
    assert!((workload.script)(&mut whole).is_ok(), "nothing goes wrong without a crash");
    swept.found.append(&mut whole.history.violations);
    swept.calls = whole.disk.calls();
    swept.background = [whole.flushes, whole.merges, whole.cleaned, whole.switches];
    for n in 1..=swept.calls {
        for (w, &how) in ways.iter().enumerate() {
            let mut bench = Bench::new(n * 100 + w as u64);
            bench.disk.crash_at(n);
            assert!((workload.script)(&mut bench).is_err(), "call {n} is made");
            bench.crash(how);
            swept.crashes += 1;
            if (n + w as u64).is_multiple_of(sample) {
                swept.second_crashes += crash_again(workload, &bench, how, ways, &mut swept.found);
            }
            let _ = (workload.go_on)(&mut bench, after(how));
            let label = |what: String| format!("crash at call {n}, {how:?}: {what}");
            swept.found.extend(bench.history.violations.drain(..).map(label));
        }
    }
    swept
}

/// Crashes the recovery at each of its calls, and lets a third start find what is left.
fn crash_again(
    workload: Workload,
    bench: &Bench,
    first: Crash,
    ways: &[Crash],
    found: &mut Vec<String>,
) -> u64 {
    for m in 1.. {
        let how = ways[m as usize % ways.len()];
        let mut again = bench.fork();
        again.disk.crash_at(m);
        if again.open().is_ok() {
            return m - 1;
        }
        again.crash(how);
        let worst = if after(first) == After::Power { After::Power } else { after(how) };
        let _ = (workload.go_on)(&mut again, worst);
        let label = |what: String| format!("crash {first:?}, then at call {m} of the start, {how:?}: {what}");
        found.extend(again.history.violations.drain(..).map(label));
    }
    unreachable!("a start makes a finite number of calls")
}
