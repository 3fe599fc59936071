//! Groups as tools see them.

use std::fmt::Debug;

use krappy_wire::error::ErrorCode;

use super::group::{ClassicGroup, State};
use super::subscription::{self, Subscribed};

/// A group in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its name.
    pub group: &'a str,
    /// What it does; empty: it was only ever used to keep offsets.
    pub protocol_type: &'a str,
    /// Where it is, by Kafka's name.
    pub state: &'static str,
    /// Which of Kafka's kinds of groups it is: `classic` or `consumer`.
    pub kind: &'static str,
    /// How many members it has.
    pub members: usize,
}

/// A group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description<'a> {
    /// Where it is; [`State::Dead`]: there is no such group.
    pub state: State,
    /// What it does; empty: it was only ever used to keep offsets.
    pub protocol_type: &'a str,
    /// How it shares out; empty unless it is stable.
    pub protocol: &'a str,
    /// Its members, the oldest first.
    pub members: Vec<MemberDescription<'a>>,
}

/// A member in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberDescription<'a> {
    /// Its id.
    pub member: &'a str,
    /// Its instance id, if it is a static member.
    pub instance: Option<&'a str>,
    /// `client.id`.
    pub client_id: &'a str,
    /// The address that it came from.
    pub client_host: &'a str,
    /// What it said for the chosen protocol; empty unless the group is stable.
    pub metadata: &'a [u8],
    /// Its share; empty unless the group is stable.
    pub assignment: &'a [u8],
}

impl Description<'_> {
    /// What is told of a name that is not known.
    pub const DEAD: Description<'static> =
        Description { state: State::Dead, protocol_type: "", protocol: "", members: Vec::new() };
}

impl<W: Copy + Ord + Debug> ClassicGroup<W> {
    /// It as a line.
    pub fn listed(&self) -> Listed<'_> {
        Listed {
            group: &self.name,
            protocol_type: &self.protocol_type,
            state: self.state.name(),
            kind: "classic",
            members: self.roster.len(),
        }
    }

    /// It in full.
    pub fn describe(&self) -> Description<'_> {
        let stable = self.state == State::Stable;
        let members = self.roster.members().map(|(_, member)| {
            let chosen = member.protocols.iter().find(|known| stable && known.name == self.protocol);
            MemberDescription {
                member: &member.id,
                instance: member.instance.as_deref(),
                client_id: &member.client_id,
                client_host: &member.client_host,
                metadata: chosen.map_or(&[], |known| &known.metadata),
                assignment: if stable { &member.assignment } else { &[] },
            }
        });
        Description {
            state: self.state,
            protocol_type: &self.protocol_type,
            protocol: if stable { &self.protocol } else { "" },
            members: members.collect(),
        }
    }

    /// Whose offsets must not be deleted because somebody is reading there. Of a group that does something else than
    /// consume, nobody can tell.
    pub fn subscribed(&self) -> Result<Subscribed<'_>, ErrorCode> {
        if self.roster.len() > 0 && &*self.protocol_type != subscription::PROTOCOL_TYPE {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let protocols = self.roster.members().flat_map(|(_, member)| &member.protocols);
        Ok(Subscribed::of(protocols.map(|protocol| &*protocol.metadata)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Room, join, who};
    use super::super::{Join, Limits};
    use super::*;

    #[test]
    fn a_stable_group_is_described_with_the_bytes_of_its_members() {
        let mut room = Room::new();
        let ask = Join { protocols: vec![("range", b"topics")], takes_id_first: false, ..join("g", "") };
        let client = room.join(Join { instance: Some("one"), ..ask });
        room.pass(0);
        let id = room.joined(client).member;
        let bare = MemberDescription {
            member: &id,
            instance: Some("one"),
            client_id: "app",
            client_host: "/127.0.0.1",
            metadata: b"",
            assignment: b"",
        };
        let completing = Description {
            state: State::Completing,
            protocol_type: "consumer",
            protocol: "",
            members: vec![bare.clone()],
        };
        assert_eq!(room.groups.describe("g"), completing);
        room.sync(who(&id, 1), &[(&id, b"share")]);
        let members = vec![MemberDescription { metadata: b"topics", assignment: b"share", ..bare }];
        let stable = Description { state: State::Stable, protocol: "range", members, ..completing };
        assert_eq!(room.groups.describe("g"), stable);
    }

    #[test]
    fn a_group_that_is_not_there_is_dead() {
        let room = Room::new();
        assert_eq!(room.groups.describe("g"), Description::DEAD);
        assert_eq!(State::Dead.name(), "Dead");
    }

    #[test]
    fn groups_are_listed_by_name_and_filtered_by_state_and_kind() {
        let mut room = Room::with(Limits { initial_rebalance_delay_ms: 0, ..Limits::default() });
        room.stable(1);
        room.groups.known("a", "");
        room.groups.known("z", "connect");
        let names = |states: &[&str], kinds: &[&str]| -> Vec<String> {
            room.groups.list(states, kinds).iter().map(|group| group.group.to_owned()).collect()
        };
        assert_eq!(names(&[], &[]), ["a", "g", "z"]);
        assert_eq!(names(&["stable"], &[]), ["g"]);
        assert_eq!(names(&[" Empty ", "DEAD"], &["Classic"]), ["a", "z"]);
        assert!(names(&["PreparingRebalance"], &[]).is_empty() && names(&[], &["consumer"]).is_empty());
        let listed = room.groups.list(&["Empty"], &[]);
        assert_eq!((listed[0].protocol_type, listed[1].protocol_type), ("", "connect"));
        assert_eq!((listed[1].state, listed[1].kind), ("Empty", "classic"));
    }

    #[test]
    fn groups_behind_a_name_come_in_order_and_without_it() {
        let mut room = Room::new();
        room.stable(2);
        room.groups.known("a", "");
        room.groups.known("z", "");
        let behind = |name| -> Vec<_> { room.groups.after(name).map(|g| (g.group, g.members)).collect() };
        assert_eq!(behind(""), [("a", 0), ("g", 2), ("z", 0)]);
        assert_eq!(behind("a"), [("g", 2), ("z", 0)]);
        assert_eq!((behind("b").len(), behind("z").len()), (2, 0));
        assert_eq!(room.groups.line("g").unwrap().members, 2);
        assert_eq!(room.groups.line("b"), Err(ErrorCode::GroupIdNotFound));
    }

    #[test]
    fn the_topics_that_members_read_are_known_of_consumers_only() {
        let mut room = Room::new();
        assert_eq!(room.groups.subscribed_topics("g"), Err(ErrorCode::GroupIdNotFound));
        room.groups.known("g", "connect");
        assert!(!room.groups.subscribed_topics("g").unwrap().contains("orders"));
        let subscription = b"\0\0\0\0\0\x01\0\x06orders";
        for (protocol_type, metadata) in [("consumer", &subscription[..]), ("connect", b"")] {
            let ask = Join { protocols: vec![("range", metadata)], takes_id_first: false, ..join("g", "") };
            let client = room.join(Join { protocol_type, ..ask });
            room.pass(0);
            let id = room.joined(client).member;
            match room.groups.subscribed_topics("g") {
                Ok(topics) => {
                    assert_eq!((topics.contains("orders"), topics.contains("other")), (true, false))
                }
                Err(code) => assert_eq!((protocol_type, code), ("connect", ErrorCode::NonEmptyGroup)),
            }
            room.leave(&id).unwrap();
        }
    }
}
