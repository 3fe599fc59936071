//! `group list | describe | why | reset | delete | commit`.
//!
//! A lag of 0 is `0`; where nothing was committed there is no lag, and it is `-`.

pub mod args;
mod reset;
mod why;

use crate::args::Format;
use crate::failure::{Failure, NOT_FOUND};
use crate::out::Out;
use crate::place::RecordAddress;
use crate::session::{Session, confirm, nearest};
use crate::table::{Kind, Table};
use crate::units::{ago, iso};
use args::GroupCommand;
use krappy_client::{Error, ErrorCode, GroupInfo, GroupMember, GroupPosition, OffsetAt};
use serde_json::{Value, json};

pub fn run(session: &Session, command: &GroupCommand, out: &mut Out) -> Result<(), Failure> {
    match command {
        GroupCommand::List => list(session, out),
        GroupCommand::Describe { groups } => describe(session, groups, out),
        GroupCommand::Why(args) => why::run(session, args, out),
        GroupCommand::Reset(args) => reset::run(session, args, out),
        GroupCommand::Delete { groups, yes } => delete(session, groups, *yes, out),
        GroupCommand::Commit { group, offsets } => commit(session, group, offsets, out),
    }
}

fn list(session: &Session, out: &mut Out) -> Result<(), Failure> {
    let groups = session.admin().list_groups()?;
    if groups.is_empty() && session.format == Format::Table {
        session.talk("no groups; one begins with its first member or commit");
        return Ok(());
    }
    let mut table = Table::new(&[
        ("group", Kind::Text),
        ("state", Kind::Text),
        ("kind", Kind::Text),
        ("members", Kind::Number),
        ("topics", Kind::Number),
        ("lag", Kind::Number),
        ("lost", Kind::Number),
        ("last_commit", Kind::Text),
    ]);
    for group in groups {
        table.row(vec![
            json!(group.name),
            json!(group.state),
            json!(group.kind),
            json!(group.members),
            json!(group.topics),
            json!(group.lag),
            json!(group.lost),
            moment(session, group.last_commit),
        ]);
    }
    table.print(session.format, out)
}

/// How long ago for people, when for programs.
fn moment(session: &Session, at: Option<i64>) -> Value {
    match (at, session.format) {
        (None, _) => Value::Null,
        (Some(at), Format::Table) => json!(ago(at)),
        (Some(at), _) => json!(iso(at)),
    }
}

const POSITIONS: [(&str, Kind); 11] = [
    ("topic", Kind::Text),
    ("partition", Kind::Number),
    ("committed", Kind::Number),
    ("log_start", Kind::Number),
    ("end", Kind::Number),
    ("lag", Kind::Number),
    ("last_commit", Kind::Text),
    ("reads_at", Kind::Number),
    ("last_read", Kind::Text),
    ("member", Kind::Text),
    ("metadata", Kind::Text),
];

fn describe(session: &Session, groups: &[String], out: &mut Out) -> Result<(), Failure> {
    let infos = groups.iter().map(|group| find(session, group)).collect::<Result<Vec<_>, _>>()?;
    match session.format {
        Format::Json => {
            let all = infos.iter().map(|info| as_json(session, info)).collect();
            out.line(&Value::Array(all).to_string())?;
        }
        Format::Jsonl => infos.iter().try_for_each(|info| out.line(&as_json(session, info).to_string()))?,
        Format::Csv => {
            let columns: Vec<_> = std::iter::once(("group", Kind::Text)).chain(POSITIONS).collect();
            let mut table = Table::new(&columns);
            for info in &infos {
                for at in &info.positions {
                    let row = position_row(session, at, info);
                    table.row([vec![json!(info.summary.name)], row].concat());
                }
            }
            table.print(Format::Csv, out)?;
        }
        Format::Table => {
            for (i, info) in infos.iter().enumerate() {
                if i > 0 {
                    out.line("")?;
                }
                describe_table(session, info, out)?;
            }
        }
    }
    out.flush()
}

fn describe_table(session: &Session, info: &GroupInfo, out: &mut Out) -> Result<(), Failure> {
    let summary = &info.summary;
    let shares =
        if info.protocol.is_empty() { String::new() } else { format!("  shares by {}", info.protocol) };
    let lag = summary.lag.map_or_else(|| "-".into(), |lag| crate::units::grouped(lag.into()));
    out.line(&format!("{}  {}  {}  lag {lag}{shares}", summary.name, summary.state, summary.kind))?;
    if !info.positions.is_empty() {
        positions_of(session, info).print(Format::Table, out)?;
    }
    if !info.members.is_empty() {
        out.line("")?;
        members_of(info).print(Format::Table, out)?;
    }
    Ok(())
}

fn positions_of(session: &Session, info: &GroupInfo) -> Table {
    let mut table = Table::new(&POSITIONS);
    info.positions.iter().for_each(|at| table.row(position_row(session, at, info)));
    table
}

fn position_row(session: &Session, at: &GroupPosition, info: &GroupInfo) -> Vec<Value> {
    let owner = info.members.iter().find(|member| reads(member, at));
    vec![
        json!(at.topic),
        json!(at.partition),
        json!(at.offset),
        json!(at.log_start),
        json!(at.high_watermark),
        json!(at.lag()),
        moment(session, at.committed_at),
        json!(at.read.map(|read| read.offset)),
        moment(session, at.read.map(|read| read.at)),
        json!(owner.map(|member| member.id.as_str())),
        json!(Some(at.metadata.as_str()).filter(|text| !text.is_empty())),
    ]
}

fn reads(member: &GroupMember, at: &GroupPosition) -> bool {
    member.share.iter().any(|(topic, partition)| *topic == at.topic && *partition == at.partition)
}

fn members_of(info: &GroupInfo) -> Table {
    let mut table = Table::new(&[
        ("member", Kind::Text),
        ("instance", Kind::Text),
        ("client", Kind::Text),
        ("host", Kind::Text),
        ("partitions", Kind::Number),
    ]);
    for member in &info.members {
        table.row(vec![
            json!(member.id),
            json!(member.instance),
            json!(member.client),
            json!(member.host),
            json!(member.share.len()),
        ]);
    }
    table
}

fn as_json(session: &Session, info: &GroupInfo) -> Value {
    let share = |member: &GroupMember| -> Vec<String> {
        member.share.iter().map(|(topic, partition)| format!("{topic}/{partition}")).collect()
    };
    let members = info.members.iter().map(|member| {
        json!({ "id": member.id, "instance": member.instance, "client": member.client, "host": member.host,
                "partitions": share(member) })
    });
    json!({
        "group": info.summary.name,
        "state": info.summary.state,
        "kind": info.summary.kind,
        "protocol": info.protocol,
        "lag": info.summary.lag,
        "lost": info.summary.lost,
        "members": members.collect::<Vec<_>>(),
        "positions": positions_of(session, info).objects().collect::<Vec<_>>(),
    })
}

/// A group, or which one was meant.
fn find(session: &Session, group: &str) -> Result<GroupInfo, Failure> {
    session.admin().describe_group(group).map_err(|error| about(session, group, error))
}

/// The failure for an error about a group; an unknown one is compared with those that exist.
fn about(session: &Session, group: &str, error: Error) -> Failure {
    match error.code() {
        Some(ErrorCode::GroupIdNotFound) => {
            let groups = session.admin().list_groups().unwrap_or_default();
            let names: Vec<&str> = groups.iter().map(|g| g.name.as_str()).collect();
            let near =
                nearest(group, &names).map_or_else(String::new, |name| format!("; did you mean {name:?}?"));
            Failure::new(NOT_FOUND, format!("group {group:?} does not exist{near}"))
        }
        Some(ErrorCode::NonEmptyGroup) => match session.admin().describe_group(group) {
            Ok(info) if !info.members.is_empty() => occupied(&info),
            _ => error.into(),
        },
        _ => error.into(),
    }
}

/// Somebody is in the group, so it is left alone.
fn occupied(info: &GroupInfo) -> Failure {
    const NAMED: usize = 3;
    let names: Vec<&str> = info.members.iter().take(NAMED).map(|member| member.id.as_str()).collect();
    let more = if info.members.len() > NAMED { ", ..." } else { "" };
    let (group, count, names) = (&info.summary.name, info.members.len(), names.join(", "));
    let members = if count == 1 { "member" } else { "members" };
    Failure::new(
        crate::failure::REFUSED,
        format!("group {group:?} has {count} active {members} ({names}{more})"),
    )
    .hint("stop them, and try again when their sessions have ended")
}

fn delete(session: &Session, groups: &[String], yes: bool, out: &mut Out) -> Result<(), Failure> {
    let mut table = Table::new(&[("group", Kind::Text), ("status", Kind::Text)]);
    let mut first_failure = None;
    for group in groups {
        if !yes {
            confirm(&format!("forget group {group} and how far it has come"), group)?;
        }
        match session.admin().delete_group(group) {
            Ok(()) => table.row(vec![json!(group), json!("deleted")]),
            Err(error) => {
                table.row(vec![json!(group), json!("refused")]);
                first_failure.get_or_insert(about(session, group, error));
            }
        }
    }
    table.print(session.format, out)?;
    first_failure.map_or(Ok(()), Err)
}

fn commit(session: &Session, group: &str, offsets: &[RecordAddress], out: &mut Out) -> Result<(), Failure> {
    let positions: Vec<OffsetAt> = offsets
        .iter()
        .map(|at| OffsetAt { topic: at.topic.clone(), partition: at.partition, offset: at.offset })
        .collect();
    session.admin().commit_offsets(group, &positions).map_err(|error| about(session, group, error))?;
    let mut table = Table::new(&[
        ("group", Kind::Text),
        ("topic", Kind::Text),
        ("partition", Kind::Number),
        ("committed", Kind::Number),
    ]);
    for at in &positions {
        table.row(vec![json!(group), json!(at.topic), json!(at.partition), json!(at.offset)]);
    }
    table.print(session.format, out)
}
