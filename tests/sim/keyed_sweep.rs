//! The exhaustive part for compacted topics: a workload in which memtables are flushed, runs merged, manifests switched
//! and segments cleaned, crashed at every call that changes something; and the same one with every such call failing.
//!
//! Invariant: after each start, and as soon as a failure is over and some time has passed, the view says what the log
//! says, now and as of every earlier offset that it answers for.

use krappy::api::{
    After as Wait, ErrorCode, Get, KeyState, Level, Publish, PublishIf, Reply, Request, Scan, TopicRef,
};
use krappy::disk::remove_tree;
use krappy::disk::sim::{Crash, Fault};
use krappy::worker::Job;
use krappy_wire::native::{Body, KeysWriter, Newest, PlainWriter};
use krappy_wire::tail::Tail;

use super::audit;
use super::bench::{Asked, Bench, Crashed, KEYED, KEYED_LAZY, config, plan};
use super::content::{self, Id, LONG};
use super::history::{After, Expects, Sent};
use super::plan::TopicPlan;
use super::producer::push_plain;
use super::sabotage::Lie;
use super::sweep::{Swept, Workload, after};
use super::views::{Page, Range, Row, Wanted};

/// The workload of compacted topics.
pub const COMPACTED: Workload = Workload { script, go_on };
/// A key from this number on has one record only.
const ONCE: u8 = 100;
/// Keys that the workload uses, and one that it does not.
const KEYS: [u8; 18] = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    ONCE,
    ONCE + 2,
    ONCE + 5,
    ONCE + 8,
    ONCE + 11,
    ONCE + 14,
    ONCE + 17,
    ONCE + 20,
    LONG,
    LONG + 1,
    LONG + 2,
];
/// A broken view is back by then, milliseconds.
const SOME_TIME: u64 = 31_000;

fn script(bench: &mut Bench) -> Result<(), Crashed> {
    bench.open()?;
    first_part(bench)?;
    bench.switches +=
        audit::manifest(&bench.disk, &audit::dir(&config().data_dir, KEYED, 0)).unwrap_or(1) - 1;
    bench.stop()?;
    bench.open()?;
    for round in 20..24 {
        put(bench, KEYED, round, Level::Durable)?;
    }
    bench.work()?;
    clean(bench)?;
    bench.stop()
}

/// Lets the cleaner do a few of its steps.
fn clean(bench: &mut Bench) -> Result<(), Crashed> {
    for _ in 0..3 {
        bench.pass_time(20)?;
    }
    Ok(())
}

/// From the creation of the topic until its view has a few levels of history behind it.
fn first_part(bench: &mut Bench) -> Result<(), Crashed> {
    bench.create(KEYED, 1)?;
    bench.work()?;
    for round in 0..12 {
        if !bench.created.contains(&KEYED) || bench.is_over() {
            return Ok(());
        }
        put(bench, KEYED, round, if round % 4 == 3 { Level::Appended } else { Level::Durable })?;
        if matches!(round, 4 | 7) {
            swap(bench, (round % 7) as u8)?;
        }
        if round % 3 != 0 {
            bench.work()?;
        }
        if round % 4 == 2 {
            clean(bench)?;
        }
    }
    bench.work()
}

/// Publishes a few records: some replace, some delete, and some have long keys, which fill a manifest quickly.
fn put(bench: &mut Bench, name: &'static str, round: u32, acks: Level) -> Result<(), Crashed> {
    let key = |n: u32| match round % 3 {
        1 if n == 3 => LONG + (round % 2) as u8,
        0 if round == 0 && n == 0 => ONCE,
        2 if n == 0 => ONCE + round as u8,
        _ => ((round * 3 + n) % 7) as u8,
    };
    let ids: Vec<Id> =
        (0..4).map(|n| sent(bench, name, key(n), (round + n) % 5 == 4, Expects::Anything)).collect();
    let mut writer = PlainWriter::default();
    ids.iter().for_each(|id| push_plain(&mut writer, bench.now.wall, *id));
    let body = Body::Plain(writer.records());
    let publish = Publish { topic: TopicRef::Name(name), partition: Some(0), acks, body };
    bench.ask(Asked::Publish(name, 0, ids), Request::Publish(publish))
}

/// A new record that is about to be published.
fn sent(bench: &mut Bench, name: &'static str, key: u8, deletes: bool, expects: Expects) -> Id {
    bench.sequence += 1;
    let number = bench.sequence as u32;
    let id = content::keyed_id(5, 20, deletes, key, number);
    let (topic, timestamp) = (plan(name).topic, bench.now.wall);
    bench.history.sent(
        id,
        Sent { topic, partition: 0, session: 5, number, gapless: false, repeats: false, timestamp, expects },
    );
    id
}

/// Asks for a key and publishes a record that expects what was answered.
fn swap(bench: &mut Bench, key: u8) -> Result<(), Crashed> {
    let Reply::Values { values, .. } = get(bench, KEYED, &[key], None)? else { return Ok(()) };
    let newest = values[0].newest.as_ref().filter(|newest| !newest.deleted).map(|newest| newest.offset);
    let id = sent(bench, KEYED, key, false, newest.map_or(Expects::Nothing, Expects::Newest));
    let mut writer = PlainWriter::default();
    push_plain(&mut writer, bench.now.wall, id);
    let publish = PublishIf {
        topic: TopicRef::Name(KEYED),
        partition: None,
        acks: Level::Durable,
        expected: newest,
        record: writer.records(),
    };
    bench.ask(Asked::Swap(KEYED, id, newest), Request::PublishIf(publish))
}

fn get(bench: &mut Bench, name: &str, keys: &[u8], as_of: Option<i64>) -> Result<Reply, Crashed> {
    let mut writer = KeysWriter::default();
    keys.iter().for_each(|key| writer.push(&content::key_of(*key)));
    let keys = writer.keys();
    let get = Get { topic: name, partition: None, as_of, after: Wait::NONE, explain: false, keys };
    bench.question(Request::Get(get))
}

fn go_on(bench: &mut Bench, after: After) -> Result<(), Crashed> {
    bench.open()?;
    bench.audit(after);
    if bench.broker.is_none() || !bench.has(KEYED) {
        return Ok(());
    }
    check_view(bench, KEYED)?;
    for round in 40..43 {
        put(bench, KEYED, round, Level::Durable)?;
        bench.work()?;
    }
    swap(bench, 2)?;
    bench.work()?;
    clean(bench)?;
    check_now(bench, KEYED)?;
    bench.crash(Crash::LoseAll);
    bench.open()?;
    bench.audit(After::Power);
    check_now(bench, KEYED).map(drop)
}

/// Compares a view with the log: a scan in both directions, and every key as of every offset.
pub fn check_view(bench: &mut Bench, name: &'static str) -> Result<(), Crashed> {
    let wanted = check_now(bench, name)?;
    check_earlier(bench, &plan(name), &wanted)
}

/// A scan in both directions; what may be wanted of more questions.
fn check_now(bench: &mut Bench, name: &'static str) -> Result<Wanted, Crashed> {
    let plan = plan(name);
    let floor = bench.history.floor(plan.topic, 0);
    let wanted = Wanted { floors: [(0, floor)].into(), exists: true, ..Wanted::default() };
    for reverse in [false, true] {
        if let Err(why) = check_scan(bench, &plan, &wanted, reverse)? {
            bench.history.bad(format!("scan, reverse {reverse}: {why}"));
        }
    }
    Ok(wanted)
}

/// Every key, now and as of each offset before, as far back as the view answers.
fn check_earlier(bench: &mut Bench, plan: &TopicPlan, wanted: &Wanted) -> Result<(), Crashed> {
    let mut as_of = None;
    loop {
        let wanted = Wanted { as_of: as_of.map(|at| (0, at)).into_iter().collect(), ..wanted.clone() };
        let at = match get(bench, plan.name, &KEYS, as_of)? {
            Reply::Values { values, .. } => {
                check_values(bench, plan, &values, &wanted);
                values[0].true_at
            }
            Reply::Refused(refusal) if refusal.code == ErrorCode::OffsetTooOld && as_of.is_some() => break,
            other => {
                bench.history.bad(format!("get as of {as_of:?}: {other:?}"));
                break;
            }
        };
        if at < 0 {
            break;
        }
        as_of = Some(at - i64::from(as_of.is_some())).filter(|at| *at >= 0);
        if as_of.is_none() {
            break;
        }
    }
    Ok(())
}

fn check_values(bench: &mut Bench, plan: &TopicPlan, values: &[KeyState], wanted: &Wanted) {
    for (key, state) in KEYS.iter().zip(values) {
        let newest = match &state.newest {
            None => Newest::Absent,
            Some(n) if n.deleted => Newest::Deleted { offset: n.offset, timestamp: n.timestamp },
            Some(n) => match Tail::read(&n.tail) {
                Ok(tail) => Newest::Present { offset: n.offset, timestamp: n.timestamp, tail },
                Err(e) => return bench.history.bad(format!("the tail at {}: {e}", n.offset)),
            },
        };
        let (partition, true_at) = (state.partition, state.true_at);
        let state = krappy_wire::native::KeyState { partition, true_at, newest };
        let key = content::key_of(*key);
        if let Err(why) = bench.logs.check_key(plan, &key, &state, wanted, &mut bench.history) {
            bench.history.bad(format!("get of {:?}: {why}", &key[..key.len().min(12)]));
        }
    }
}

/// A whole scan by small pages, or why it is wrong.
fn check_scan(
    bench: &mut Bench,
    plan: &TopicPlan,
    wanted: &Wanted,
    reverse: bool,
) -> Result<Result<(), String>, Crashed> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    let true_at = loop {
        let scan = Scan {
            topic: TopicRef::Name(plan.name),
            partition: None,
            reverse,
            keys_only: false,
            from: &[],
            to: None,
            as_of: Vec::new(),
            after: Wait::NONE,
            limit: 3,
            max_bytes: 100_000,
            cursor,
        };
        match bench.question(Request::Scan(scan))? {
            Reply::Scanned { true_at, rows: page, next } => {
                for row in page.rows().iter() {
                    match Row::of(&row) {
                        Ok(row) => rows.push(row),
                        Err(why) => return Ok(Err(why)),
                    }
                }
                if next.is_none() {
                    break true_at;
                }
                cursor = next;
            }
            other => return Ok(Err(format!("answered by {other:?}"))),
        }
    };
    let range = Range::default();
    let page = Page { true_at: &true_at, range: &range, reverse, behind: None, rows: &rows, is_last: true };
    Ok(bench.logs.check_page(plan, &page, wanted, &mut bench.history))
}

/// Lets every call of the workload fail once. Whatever a view says in the meantime is right, and it comes back by
/// itself, unless the broker gives up because of its log.
pub fn fail_at_every_call() -> Swept {
    let mut swept = Swept::default();
    let mut whole = Bench::new(0);
    assert!(whole.open().is_ok() && first_part(&mut whole).is_ok(), "nothing goes wrong");
    let opened = {
        let mut bench = Bench::new(0);
        assert!(bench.open().is_ok(), "nothing goes wrong");
        bench.disk.calls()
    };
    swept.calls = whole.disk.calls() - opened;
    for n in 1..=swept.calls {
        for fault in [Fault::Io, Fault::NoSpace] {
            let mut bench = Bench::new(n);
            assert!(bench.open().is_ok(), "nothing goes wrong yet");
            bench.faulty = true;
            bench.disk.fail_after(n, fault);
            let how = [Crash::KeepAll, Crash::LoseAll, Crash::Random(n)][n as usize % 3];
            assert!(survive(&mut bench, how).is_ok(), "nobody crashes it");
            swept.crashes += 1;
            swept.broken += bench.broken;
            let label = |what: String| format!("call {n} fails with {fault:?}, then {how:?}: {what}");
            swept.found.extend(bench.history.violations.drain(..).map(label));
        }
    }
    swept
}

fn survive(bench: &mut Bench, how: Crash) -> Result<(), Crashed> {
    first_part(bench)?;
    for _ in 0..3 {
        if !bench.is_over() {
            bench.pass_time(SOME_TIME)?;
        }
    }
    bench.count();
    if !bench.is_over() && bench.created.contains(&KEYED) {
        check_view(bench, KEYED)?;
    }
    bench.crash(how);
    go_on(bench, after(how))
}

/// A disk says that a log is durable when it is not, so its view is flushed too early; then power fails.
pub fn a_flush_before_the_log_is_durable(lie: Option<Lie>) -> Vec<String> {
    let mut bench = Bench::new(1);
    bench.lie = lie;
    let mut run = || {
        bench.open()?;
        bench.create(KEYED_LAZY, 1)?;
        bench.work()?;
        for round in 0..6 {
            put(&mut bench, KEYED_LAZY, round, Level::Appended)?;
            bench.work()?;
        }
        bench.crash(Crash::LoseAll);
        bench.lie = None;
        bench.open()?;
        bench.audit(After::Power);
        check_view(&mut bench, KEYED_LAZY)
    };
    assert!(run().is_ok(), "no crash is planned");
    bench.history.violations
}

/// A view is lost, and made again from a log that was cleaned: what it does not know any more, it says so.
pub fn a_view_made_again_from_a_cleaned_log() -> Vec<String> {
    let mut bench = Bench::new(1);
    let mut run = || {
        bench.open()?;
        first_part(&mut bench)?;
        check_view(&mut bench, KEYED)?;
        bench.stop()?;
        let view = audit::dir(&config().data_dir, KEYED, 0).join("view");
        assert!(remove_tree(&bench.disk, &view).is_ok(), "no fault is planned");
        bench.open()?;
        bench.audit_partition(KEYED, 0, After::Process);
        check_view(&mut bench, KEYED)
    };
    assert!(run().is_ok(), "no crash is planned");
    assert!(bench.cleaned > 8, "{} records were cleaned away", bench.cleaned);
    bench.history.violations
}

/// A bench whose view is found to be damaged and is being made again, with the part of that work which is under way.
fn while_it_is_made_again() -> Result<(Bench, Vec<Job>), Crashed> {
    let mut bench = Bench::new(1);
    bench.open()?;
    bench.create(KEYED, 1)?;
    bench.work()?;
    for round in 0..16 {
        put(&mut bench, KEYED, round, Level::Durable)?;
        bench.work()?;
    }
    let view = audit::dir(&config().data_dir, KEYED, 0).join("view");
    for path in bench.disk.files().iter().filter(|path| path.starts_with(&view)) {
        if path.extension().is_some_and(|e| e == "run") {
            assert!(bench.disk.flip_bit(path, 100).is_ok(), "it was listed");
        }
    }
    bench.faulty = true;
    let refused = get(&mut bench, KEYED, &KEYS, None)?;
    assert!(matches!(refused, Reply::Refused(_)), "the damage is found: {refused:?}");
    bench.pass_jobs(1)?;
    // The first part of the log is read.
    let mut parts = 0;
    let held = bench.work_but(|job| {
        parts += i32::from(matches!(job, Job::Rebuild(..)));
        matches!(job, Job::Rebuild(..)) && parts > 1 || matches!(job, Job::Flush(..)) && parts > 0
    })?;
    assert!(parts > 1, "it is made again in several parts");
    Ok((bench, held))
}

/// The view fails again while a worker reads the log for it: what that has read is not taken for what another reads.
pub fn a_view_is_made_again_twice() -> Vec<String> {
    let run = || {
        let (mut bench, mut held) = while_it_is_made_again()?;
        let at = held.iter().position(|job| matches!(job, Job::Rebuild(..))).expect("one is under way");
        let rebuild = held.swap_remove(at);
        bench.disk.fail_after(1, Fault::NoSpace);
        bench.jobs.append(&mut held);
        bench.work()?;
        for _ in 0..2 {
            bench.pass_jobs(SOME_TIME)?;
            held.append(&mut bench.work_but(|job| matches!(job, Job::Rebuild(..)))?);
        }
        // The older one comes first.
        bench.jobs.push(rebuild);
        bench.work()?;
        bench.jobs.append(&mut held);
        bench.work()?;
        bench.pass_time(SOME_TIME)?;
        check_view(&mut bench, KEYED)?;
        Ok::<_, Crashed>(bench.history.violations)
    };
    run().unwrap_or_else(|_| unreachable!("no crash is planned"))
}
