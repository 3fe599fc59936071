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
    /// Where it is.
    pub state: State,
    /// Which of Kafka's kinds of groups it is: `classic`.
    pub kind: &'static str,
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
        Listed { group: &self.name, protocol_type: &self.protocol_type, state: self.state, kind: "classic" }
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
