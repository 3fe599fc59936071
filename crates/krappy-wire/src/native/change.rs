//! A change of one setting of a topic.

use super::request::MAX_SETTINGS;
use crate::codec::{Malformed, Reader, Writer};

/// A change of one setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// Kafka's name of the setting.
    pub key: &'a str,
    /// What becomes of it.
    pub op: Op<'a>,
}

/// What becomes of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// It has this value from now on (0).
    Set(&'a str),
    /// The broker's value holds again (1).
    Unset,
    /// These words, separated by commas, join its list (2).
    Append(&'a str),
    /// These words leave its list (3).
    Subtract(&'a str),
}

impl<'a> Change<'a> {
    pub(super) fn read_all(r: &mut Reader<'a>) -> Result<Vec<Self>, Malformed> {
        let count = r.u16()?;
        if count > MAX_SETTINGS {
            return Err(Malformed::BadValue);
        }
        let mut changes = Vec::new();
        for _ in 0..count {
            let (key, op, value) = (r.string()?, r.u8()?, r.string()?);
            let op = match op {
                0 => Op::Set(value),
                1 if value.is_empty() => Op::Unset,
                2 => Op::Append(value),
                3 => Op::Subtract(value),
                _ => return Err(Malformed::BadValue),
            };
            changes.push(Change { key, op });
        }
        Ok(changes)
    }

    pub(super) fn put_all(changes: &[Self], out: &mut Vec<u8>) {
        out.put_u16(u16::try_from(changes.len()).expect("at most 65,535 changes"));
        for Change { key, op } in changes {
            let (number, value) = match *op {
                Op::Set(value) => (0, value),
                Op::Unset => (1, ""),
                Op::Append(value) => (2, value),
                Op::Subtract(value) => (3, value),
            };
            out.put_string(key);
            out.put_u8(number);
            out.put_string(value);
        }
    }
}
