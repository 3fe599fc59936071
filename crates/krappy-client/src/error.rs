//! What can go wrong, in words that say what to do next. Every error is `Clone`, because one broken connection may have
//! to be told to a thousand waiting deliveries.

use krappy_wire::error::ErrorCode;
use std::io;

/// Why a call did not succeed.
///
/// ```
/// use krappy_client::{Client, Error};
///
/// // Port 1 is refused at once, without retries.
/// let error = Client::connect("127.0.0.1:1").unwrap_err();
/// assert!(matches!(error, Error::Connect { .. }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No connection could be made.
    Connect {
        /// The address as it was given.
        address: String,
        /// What the system said.
        kind: io::ErrorKind,
        /// The same in words.
        reason: String,
    },
    /// Something answers at that address, but it is not krappy.
    NotKrappy {
        /// The address as it was given.
        address: String,
        /// What it seems to be.
        reason: String,
    },
    /// The connection broke before the answer came; whether the request was carried out is not known.
    Disconnected(String),
    /// The time limit passed; the text says of what.
    TimedOut(&'static str),
    /// The broker understood the request and refused it.
    Refused {
        /// Number of the code; [`Error::code`] names it.
        number: i16,
        /// What is wrong.
        message: String,
        /// What to do about it; may be empty.
        hint: String,
    },
    /// The broker sent something that the protocol does not allow. The connection is given up.
    Malformed(String),
    /// The producer's memory stayed full for longer than it was told to wait.
    BufferFull {
        /// The limit, bytes.
        limit: usize,
    },
    /// The record can never be sent: it is larger than the topic or the producer's memory takes.
    TooLarge {
        /// Bytes of the record.
        size: usize,
        /// The limit, bytes.
        limit: usize,
    },
    /// A stored batch is compressed and cannot be opened: its producer packed it wrongly, it would become larger than
    /// 64 MiB, or this client was built without `compression`. [`crate::Consumer::seek`] past it to go on.
    Compressed {
        /// 1 gzip, 2 snappy, 3 lz4, 4 zstd.
        codec: i16,
        /// The partition.
        partition: i32,
        /// The first offset of the batch.
        offset: i64,
        /// The offset after the batch.
        next_offset: i64,
    },
    /// The consumer's position does not exist, or cannot be read. [`crate::Consumer::seek`] elsewhere to go on.
    Unreadable {
        /// Number of the code; [`Error::code`] names it.
        number: i16,
        /// The partition.
        partition: i32,
        /// The position that was asked for.
        position: i64,
        /// The first offset that exists.
        log_start: i64,
        /// The end of what can be read.
        high_watermark: i64,
    },
    /// The client or producer was closed.
    Closed,
    /// The call contradicts itself; the text says how.
    Invalid(String),
}

impl Error {
    /// The broker's code, when the broker refused.
    ///
    /// ```
    /// use krappy_client::{Error, ErrorCode};
    ///
    /// let error = Error::Refused { number: 3, message: "no topic".into(), hint: String::new() };
    /// assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
    /// ```
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Refused { number, .. } | Error::Unreadable { number, .. } => {
                ErrorCode::from_number(*number)
            }
            _ => None,
        }
    }

    /// Whether trying the same again later can succeed.
    ///
    /// ```
    /// use krappy_client::Error;
    ///
    /// assert!(Error::Disconnected("reset".into()).is_retriable());
    /// assert!(!Error::Closed.is_retriable());
    /// ```
    pub fn is_retriable(&self) -> bool {
        match self {
            Error::Connect { .. } | Error::Disconnected(_) | Error::TimedOut(_) => true,
            Error::Refused { .. } => matches!(
                self.code(),
                Some(
                    ErrorCode::StorageError
                        | ErrorCode::Draining
                        | ErrorCode::RequestTimedOut
                        | ErrorCode::ViewNotReady
                )
            ),
            _ => false,
        }
    }

    pub(crate) fn malformed(what: impl std::fmt::Display) -> Self {
        Error::Malformed(what.to_string())
    }

    pub(crate) fn unexpected(what: &str) -> Self {
        Error::Malformed(format!("the reply to {what} is of another kind"))
    }

    pub(crate) fn broken(error: &io::Error) -> Self {
        Error::Disconnected(error.to_string())
    }
}

fn name(number: i16) -> String {
    ErrorCode::from_number(number).map_or_else(|| format!("error {number}"), |c| c.name().to_owned())
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Connect { address, reason, .. } => write!(f, "cannot connect to {address}: {reason}"),
            Error::NotKrappy { address, reason } => write!(f, "{address} is not krappy: {reason}"),
            Error::Disconnected(reason) => write!(f, "the connection broke: {reason}"),
            Error::TimedOut(what) => write!(f, "timed out: {what}"),
            Error::Refused { number, message, .. } if message.is_empty() => f.write_str(&name(*number)),
            Error::Refused { message, .. } => f.write_str(message),
            Error::Malformed(what) => write!(f, "the broker sent a malformed reply: {what}"),
            Error::BufferFull { limit } => write!(f, "the producer's {limit} bytes of memory stayed full"),
            Error::TooLarge { size, limit } => {
                write!(f, "a record of {size} bytes is above the limit of {limit} bytes")
            }
            Error::Compressed { codec, partition, offset, .. } => {
                let codec =
                    ["none", "gzip", "snappy", "lz4", "zstd"].get(*codec as usize).unwrap_or(&"unknown");
                write!(f, "partition {partition} offset {offset}: the batch is compressed with {codec} ")?;
                f.write_str("and cannot be opened")
            }
            Error::Unreadable { number, partition, position, log_start, high_watermark } => write!(
                f,
                "partition {partition} offset {position}: {} (it holds {log_start} to {high_watermark})",
                name(*number)
            ),
            Error::Closed => f.write_str("the client is closed"),
            Error::Invalid(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_shows_the_brokers_words_or_else_the_codes_name() {
        let refused =
            |number, message: &str| Error::Refused { number, message: message.into(), hint: String::new() };
        assert_eq!(refused(3, "no such topic").to_string(), "no such topic");
        assert_eq!(refused(3, "").to_string(), "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(refused(999, "").to_string(), "error 999");
        assert!(refused(56, "").is_retriable() && !refused(10, "").is_retriable());
    }
}
