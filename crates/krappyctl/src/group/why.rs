//! `group why`: looks at a group twice and says what is the matter, on what grounds, and what can be done.
//!
//! Invariant: a finding rests on what was seen; where nothing was found that is said too.

use super::args::Why;
use super::{find, reads};
use crate::args::Format;
use crate::failure::Failure;
use crate::out::Out;
use crate::session::Session;
use crate::table::{Kind, Table};
use crate::units::{ago, duration, grouped};
use krappy_client::{GroupInfo, GroupPosition, LastRead};
use serde_json::json;
use std::time::{Duration, Instant};

/// What is the matter, what speaks for it, and what to do.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    cause: &'static str,
    evidence: String,
    next: String,
}

impl Finding {
    fn new(cause: &'static str, evidence: impl Into<String>, next: impl Into<String>) -> Self {
        Self { cause, evidence: evidence.into(), next: next.into() }
    }
}

pub fn run(session: &Session, args: &Why, out: &mut Out) -> Result<(), Failure> {
    let first = find(session, &args.group)?;
    let begun = Instant::now();
    // Only of a group that reads and is behind it matters whether it moves.
    let second = if first.members.is_empty() || first.summary.lag.unwrap_or(0) == 0 {
        first.clone()
    } else {
        std::thread::sleep(args.watch_for);
        find(session, &args.group)?
    };
    let findings = look(&first, &second, begun.elapsed());
    if session.format == Format::Table {
        return tell(&second, &findings, out);
    }
    let mut table = Table::new(&[
        ("group", Kind::Text),
        ("cause", Kind::Text),
        ("evidence", Kind::Text),
        ("next", Kind::Text),
    ]);
    for finding in &findings {
        table.row(vec![
            json!(args.group),
            json!(finding.cause),
            json!(finding.evidence),
            json!(finding.next),
        ]);
    }
    table.print(session.format, out)
}

fn tell(group: &GroupInfo, findings: &[Finding], out: &mut Out) -> Result<(), Failure> {
    let lag = group.summary.lag.map_or_else(|| "-".into(), |lag| grouped(lag.into()));
    out.line(&format!("{}: {} (lag {lag})", group.summary.name, group.summary.state))?;
    for finding in findings {
        out.line(&format!("  cause     {}", finding.cause))?;
        out.line(&format!("  evidence  {}", finding.evidence))?;
        out.line(&format!("  next      {}", finding.next))?;
    }
    out.flush()
}

/// Everything that is the matter, the gravest first.
fn look(first: &GroupInfo, now: &GroupInfo, apart: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(out_of_range(now));
    findings.extend(lost(now));
    findings.extend(absent(now));
    findings.extend(rebalancing(first, now, apart));
    findings.extend(unread(now));
    findings.extend(idle(now));
    findings.extend(stuck(now));
    findings.extend(movement(first, now, apart));
    if findings.is_empty() {
        findings.push(nothing(now));
    }
    findings
}

fn absent(group: &GroupInfo) -> Option<Finding> {
    if !group.members.is_empty() {
        return None;
    }
    let last = group
        .summary
        .last_commit
        .map_or_else(|| "nothing was ever committed".into(), |at| format!("the last commit was {}", ago(at)));
    Some(Finding::new("nobody is connected", format!("0 members; {last}"), "start a consumer of this group"))
}

fn rebalancing(first: &GroupInfo, now: &GroupInfo, apart: Duration) -> Option<Finding> {
    let waits = match now.summary.state.as_str() {
        "PreparingRebalance" => "waits for members to join again",
        "CompletingRebalance" => "waits for the leader to share out",
        "Assigning" | "Reconciling" => "waits for members to give partitions back",
        _ => return None,
    };
    let same = first.summary.state == now.summary.state && apart > Duration::ZERO;
    let since = if same { format!(" for {} at least", duration(apart)) } else { String::new() };
    let evidence = format!("state {}: {waits}{since}, {} members", now.summary.state, now.members.len());
    Some(Finding::new(
        "rebalancing",
        evidence,
        "wait; if it stays, a member does not answer: look at max.poll.interval.ms of the clients",
    ))
}

/// Records that it will never see, though it has gone on since.
fn lost(group: &GroupInfo) -> Option<Finding> {
    let count = group.summary.lost;
    let stands_before =
        group.positions.iter().any(|at| at.offset.is_some_and(|offset| offset < at.log_start));
    (count > 0 && !stands_before).then(|| {
        Finding::new(
            "it has missed records",
            format!(
                "{} were deleted before it had read them, since the broker was started",
                grouped(count.into())
            ),
            "keep records longer, or name the group in retention.wait.groups of the topic",
        )
    })
}

/// Positions where there are no records.
fn out_of_range(group: &GroupInfo) -> Vec<Finding> {
    let mut findings = Vec::new();
    for at in &group.positions {
        let Some(offset) = at.offset else { continue };
        let place = format!("{}/{}", at.topic, at.partition);
        let reset =
            |to| format!("krappyctl group reset {} --topic {place} --to {to} --execute", group.summary.name);
        if offset < at.log_start {
            let gone = grouped((at.log_start - offset).into());
            findings.push(Finding::new(
                "records were deleted before they were read",
                format!(
                    "{place}: committed {offset}, the first that exists is {}: {gone} are gone",
                    at.log_start
                ),
                reset("start"),
            ));
        } else if offset > at.high_watermark {
            findings.push(Finding::new(
                "it stands behind the end",
                format!("{place}: committed {offset}, the end is {}", at.high_watermark),
                reset("end"),
            ));
        }
    }
    findings
}

/// Partitions that are behind and belong to no member.
fn unread(group: &GroupInfo) -> Option<Finding> {
    let forgotten = |at: &&GroupPosition| {
        at.lag().unwrap_or(0) > 0 && !group.members.iter().any(|member| reads(member, at))
    };
    // While shares are not known, nobody can tell.
    if group.members.iter().all(|member| member.share.is_empty()) {
        return None;
    }
    let places: Vec<String> =
        group.positions.iter().filter(forgotten).map(|at| format!("{}/{}", at.topic, at.partition)).collect();
    (!places.is_empty()).then(|| {
        Finding::new(
            "partitions that no member reads",
            places.join(", "),
            "the members subscribe to other topics than those that were committed",
        )
    })
}

fn idle(group: &GroupInfo) -> Option<Finding> {
    let (all, idle) =
        (group.members.len(), group.members.iter().filter(|member| member.share.is_empty()).count());
    (idle > 0 && idle < all).then(|| {
        Finding::new(
            "more members than partitions",
            format!("{idle} of {all} members have nothing to read"),
            "add partitions, or stop members",
        )
    })
}

/// Goes back to one offset this many times: it is taken to be stuck there.
const RETURNS: u32 = 3;

/// Partitions in which it comes back to the same record again and again.
fn stuck(group: &GroupInfo) -> Vec<Finding> {
    let behind = behind(group).filter(|(_, read)| read.is_some_and(|read| read.returns >= RETURNS));
    let finding = |(at, read): (&GroupPosition, Option<LastRead>)| {
        let LastRead { returned_to, returns, at: last, .. } = read?;
        let place = format!("{}/{}", at.topic, at.partition);
        Some(Finding::new(
            "the same offset again and again",
            format!("{place}: back to offset {returned_to} {returns} times, last {}", ago(last)),
            format!(
                "one record may stop it: see it with krappyctl show {place}@{returned_to}, stop the members and \
                 skip it with krappyctl group reset {} --topic {place} --to {} --execute",
                group.summary.name,
                returned_to + 1
            ),
        ))
    };
    behind.filter_map(finding).collect()
}

/// Partitions with a lag that a member is to read, and where it was seen reading.
fn behind(group: &GroupInfo) -> impl Iterator<Item = (&GroupPosition, Option<LastRead>)> {
    let is_read = |at: &&GroupPosition| group.members.iter().any(|member| reads(member, at));
    group.positions.iter().filter(|at| at.lag().unwrap_or(0) > 0).filter(is_read).map(|at| (at, at.read))
}

/// Why a group that is behind commits nothing, as far as its fetches tell.
fn standing(first: &GroupInfo, now: &GroupInfo, watched: &str) -> Finding {
    let lag = grouped(now.summary.lag.unwrap_or(0).into());
    let last = now.summary.last_commit.map_or_else(|| "never".into(), ago);
    let since = |at: &GroupPosition| {
        let before = first.positions.iter().find(|b| (&b.topic, b.partition) == (&at.topic, at.partition));
        before.and_then(|before| before.read)
    };
    let place = |at: &GroupPosition| format!("{}/{}", at.topic, at.partition);
    // Whoever is behind is answered at once, so a member that works fetches more often than we look.
    let silent =
        |(at, read): &(&GroupPosition, Option<LastRead>)| read.map(|r| r.at) == since(at).map(|r| r.at);
    let of = |read: LastRead| if read.inferred { ", as its client's name and address tell" } else { "" };
    if let Some((at, read)) = behind(now).find(|seen| !silent(seen)) {
        let read = read.expect("a fetch was seen");
        let ahead = at.offset.is_some_and(|offset| read.offset > offset);
        if ahead {
            let evidence = format!(
                "{} is read at {}{}, but {} is committed, {last}; lag {lag}",
                place(at),
                read.offset,
                of(read),
                at.offset.unwrap_or(-1)
            );
            let next =
                "commit in the application, or set enable.auto.commit; a commit that fails is in its log";
            return Finding::new("it reads and does not commit", evidence, next);
        }
        return Finding::new(
            "it does not move",
            format!("no commit in {watched}, the last was {last}; lag {lag}"),
            "the application is busy or does not commit: look at its log",
        );
    }
    let seen = behind(now).filter_map(|(at, read)| Some((at, read?))).max_by_key(|(_, read)| read.at);
    let evidence = match seen {
        Some((at, read)) => {
            format!(
                "no fetch in {watched}, the last one {}, of {} at {}{}",
                ago(read.at),
                place(at),
                read.offset,
                of(read)
            )
        }
        None => format!("no fetch in {watched}, and none since the broker was started"),
    };
    Finding::new(
        "alive but not fetching",
        format!("{} members; {evidence}; lag {lag}, the last commit was {last}", now.members.len()),
        "the application is busy with what it has, paused, or cut off: look at its log; see max.poll.interval.ms",
    )
}

/// Whether a group that is behind comes nearer.
fn movement(first: &GroupInfo, now: &GroupInfo, apart: Duration) -> Option<Finding> {
    if now.members.is_empty() {
        return None;
    }
    let committed = |group: &GroupInfo| group.positions.iter().filter_map(|at| at.offset).sum::<i64>();
    let ends = |group: &GroupInfo| group.positions.iter().map(|at| at.high_watermark).sum::<i64>();
    let Some(lag) = now.summary.lag else {
        return Some(Finding::new(
            "it has never committed",
            format!("{} members, no committed offset", now.members.len()),
            "commit in the application, or set enable.auto.commit",
        ));
    };
    if lag == 0 {
        return None;
    }
    let seconds = apart.as_secs_f64().max(0.001);
    let read = (committed(now) - committed(first)) as f64 / seconds;
    let written = (ends(now) - ends(first)) as f64 / seconds;
    let watched = duration(apart);
    if read <= 0.0 {
        return Some(standing(first, now, &watched));
    }
    let rates = format!("reads {read:.0}/s, {written:.0}/s are written, over {watched}");
    if read <= written {
        return Some(Finding::new(
            "slower than its producers",
            rates,
            "add members, up to one for each partition, or make the work on a record cheaper",
        ));
    }
    let left = Duration::from_secs_f64(lag as f64 / (read - written));
    Some(Finding::new(
        "catching up",
        format!("{rates}; lag {}", grouped(lag.into())),
        format!("wait: at this rate it has caught up in {}", duration(left)),
    ))
}

fn nothing(group: &GroupInfo) -> Finding {
    let members = group.members.len();
    Finding::new("caught up", format!("lag 0, {members} members"), "nothing is wrong")
}

#[cfg(test)]
mod tests {
    use super::*;
    use krappy_client::{GroupMember, GroupSummary};

    fn at(partition: i32, offset: Option<i64>, end: i64) -> GroupPosition {
        GroupPosition {
            topic: "t".into(),
            partition,
            offset,
            metadata: String::new(),
            committed_at: None,
            log_start: 10,
            high_watermark: end,
            read: None,
        }
    }

    fn member(id: &str, share: &[i32]) -> GroupMember {
        GroupMember {
            id: id.into(),
            instance: None,
            client: "c".into(),
            host: "/127.0.0.1".into(),
            share: share.iter().map(|&number| ("t".into(), number)).collect(),
        }
    }

    fn group(state: &str, members: Vec<GroupMember>, positions: Vec<GroupPosition>) -> GroupInfo {
        let lags: Vec<i64> = positions.iter().filter_map(GroupPosition::lag).collect();
        let summary = GroupSummary {
            name: "g".into(),
            state: state.into(),
            kind: "classic".into(),
            members: members.len() as u32,
            topics: 1,
            lag: (!lags.is_empty()).then(|| lags.iter().sum()),
            last_commit: None,
            lost: 0,
        };
        GroupInfo { summary, protocol: String::new(), members, positions }
    }

    fn causes(first: &GroupInfo, now: &GroupInfo) -> Vec<&'static str> {
        look(first, now, Duration::from_secs(2)).iter().map(|finding| finding.cause).collect()
    }

    #[test]
    fn each_cause_is_told_by_what_speaks_for_it() {
        let one = || vec![member("a", &[0])];
        let still = |info: &GroupInfo| causes(info, info);
        assert_eq!(still(&group("Stable", one(), vec![at(0, Some(20), 20)])), ["caught up"]);
        assert_eq!(still(&group("Empty", vec![], vec![at(0, Some(12), 20)])), ["nobody is connected"]);
        assert_eq!(still(&group("Stable", one(), vec![at(0, Some(12), 20)])), ["alive but not fetching"]);
        assert_eq!(still(&group("Stable", one(), vec![at(0, None, 20)])), ["it has never committed"]);
        let lost = group("Stable", one(), vec![at(0, Some(3), 10)]);
        assert_eq!(still(&lost), ["records were deleted before they were read"]);
        let beyond = group("Stable", one(), vec![at(0, Some(30), 20)]);
        assert_eq!(still(&beyond), ["it stands behind the end"]);
        let mut missed = group("Stable", one(), vec![at(0, Some(20), 20)]);
        missed.summary.lost = 7;
        assert_eq!(still(&missed), ["it has missed records"]);
        let preparing = group("PreparingRebalance", vec![member("a", &[])], vec![at(0, Some(20), 20)]);
        assert_eq!(still(&preparing), ["rebalancing"]);
        let two = vec![member("a", &[0]), member("b", &[])];
        let crowded = group("Stable", two, vec![at(0, Some(20), 20)]);
        assert_eq!(still(&crowded), ["more members than partitions"]);
        let left_out = group("Stable", one(), vec![at(0, Some(20), 20), at(1, Some(12), 20)]);
        assert_eq!(still(&left_out), ["partitions that no member reads", "alive but not fetching"]);
    }

    #[test]
    fn a_group_that_stands_is_told_by_what_it_fetches() {
        let seen = |offset, at_ms, (returned_to, returns)| {
            let read = LastRead { offset, at: at_ms, returned_to, returns, inferred: true };
            group(
                "Stable",
                vec![member("a", &[0])],
                vec![GroupPosition { read: Some(read), ..at(0, Some(12), 20) }],
            )
        };
        let never = (-1, 0);
        let two = |first: &GroupInfo, now: &GroupInfo| {
            let findings = look(first, now, Duration::from_secs(2));
            assert_eq!(findings.len(), 1, "{findings:?}");
            (findings[0].cause, findings[0].evidence.clone(), findings[0].next.clone())
        };
        let (cause, evidence, _) = two(&seen(15, 1_000, never), &seen(15, 1_000, never));
        assert_eq!(cause, "alive but not fetching");
        assert!(
            evidence.contains("of t/0 at 15, as its client's name and address tell; lag 8"),
            "{evidence}"
        );
        let (cause, evidence, _) = two(&seen(15, 1_000, never), &seen(17, 2_000, never));
        assert_eq!(cause, "it reads and does not commit");
        assert!(
            evidence.starts_with("t/0 is read at 17, as its") && evidence.contains("but 12 is"),
            "{evidence}"
        );
        assert_eq!(two(&seen(12, 1_000, never), &seen(12, 2_000, never)).0, "it does not move");
        let findings = look(&seen(20, 1_000, (12, 2)), &seen(12, 2_000, (12, 3)), Duration::from_secs(2));
        assert_eq!(findings[0].cause, "the same offset again and again");
        assert!(findings[0].evidence.starts_with("t/0: back to offset 12 3 times"), "{findings:?}");
        assert!(findings[0].next.contains("group reset g --topic t/0 --to 13 --execute"), "{findings:?}");
    }

    #[test]
    fn a_group_that_moves_catches_up_or_falls_behind() {
        let seen = |offset, end| group("Stable", vec![member("a", &[0])], vec![at(0, Some(offset), end)]);
        assert_eq!(causes(&seen(20, 1_000), &seen(220, 1_100)), ["catching up"]);
        assert_eq!(causes(&seen(20, 1_000), &seen(120, 1_300)), ["slower than its producers"]);
        let findings = look(&seen(20, 1_000), &seen(220, 1_100), Duration::from_secs(2));
        assert!(findings[0].next.contains("17.6 s"), "{findings:?}");
    }
}
