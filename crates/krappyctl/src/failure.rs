//! How a command ends badly: an exit code, one line that says what, and one that says what to do.

use krappy_client::{Error, ErrorCode};
use std::process::ExitCode;

/// Why the command did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    /// Empty when there is nothing to say, as after a broken pipe.
    pub message: String,
    pub hint: String,
}

/// The broker said no, or data was bad.
pub const REFUSED: u8 = 1;
pub const USAGE: u8 = 2;
pub const NOT_FOUND: u8 = 3;
pub const NO_CONNECTION: u8 = 4;
pub const UNHEALTHY: u8 = 10;
pub const INTERRUPTED: u8 = 130;

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: String::new() }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Ends with `code` and says nothing.
    pub fn quiet(code: u8) -> Self {
        Self::new(code, "")
    }

    /// Tells the user and gives the exit code to the system.
    pub fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            // There is nowhere to say that stderr is gone.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), self.text().as_bytes());
        }
        ExitCode::from(self.code)
    }

    fn text(&self) -> String {
        if self.hint.is_empty() {
            format!("krappyctl: {}   (exit {})\n", self.message, self.code)
        } else {
            format!("krappyctl: {}\n  {}   (exit {})\n", self.message, self.hint, self.code)
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Connect { .. } | Error::NotKrappy { .. } | Error::Disconnected(_) | Error::TimedOut(_) => {
                NO_CONNECTION
            }
            _ => match error.code() {
                Some(
                    ErrorCode::UnknownTopicOrPartition
                    | ErrorCode::OffsetOutOfRange
                    | ErrorCode::OffsetTooOld,
                ) => NOT_FOUND,
                Some(ErrorCode::RequestTimedOut) => NO_CONNECTION,
                _ => REFUSED,
            },
        };
        let hint = match &error {
            Error::Connect { kind: std::io::ErrorKind::ConnectionRefused, .. } => {
                "is krappy running? start it with: krappy".into()
            }
            Error::Connect { .. } => "check --broker or KRAPPY_BROKER".into(),
            Error::NotKrappy { .. } => {
                "give the address of a krappy broker with --broker or KRAPPY_BROKER".into()
            }
            Error::Refused { hint, .. } => match error.code() {
                // The broker does not know how this program spells it.
                Some(ErrorCode::NotCompacted) => "create it with -c cleanup.policy=compact".into(),
                Some(ErrorCode::ViewNotReady) if hint.is_empty() => "try again soon".into(),
                _ => hint.clone(),
            },
            Error::Unreadable { log_start, .. } => format!("begin at {log_start} with: -o {log_start}"),
            Error::Compressed { next_offset, .. } => format!("go on behind it with: -o {next_offset}"),
            _ => String::new(),
        };
        Failure::new(code, error.to_string()).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_takes_two_lines() {
        let error = Error::Connect {
            address: "127.0.0.1:9092".into(),
            kind: std::io::ErrorKind::ConnectionRefused,
            reason: "connection refused".into(),
        };
        let text = Failure::from(error).text();
        assert_eq!(
            text,
            "krappyctl: cannot connect to 127.0.0.1:9092: connection refused\n  \
             is krappy running? start it with: krappy   (exit 4)\n"
        );
    }

    #[test]
    fn the_brokers_hint_is_passed_on() {
        let error =
            Error::Refused { number: 37, message: "0 partitions".into(), hint: "give at least 1".into() };
        let failure = Failure::from(error);
        assert_eq!((failure.code, failure.hint.as_str()), (REFUSED, "give at least 1"));
    }

    #[test]
    fn a_topic_that_is_not_compacted_comes_with_the_way_to_make_one() {
        let refused = |code: ErrorCode| {
            let (message, hint) = ("no".into(), String::new());
            Failure::from(Error::Refused { number: code.number(), message, hint })
        };
        let failure = refused(ErrorCode::NotCompacted);
        assert_eq!(
            (failure.code, failure.hint.as_str()),
            (REFUSED, "create it with -c cleanup.policy=compact")
        );
        assert_eq!(refused(ErrorCode::ViewNotReady).hint, "try again soon");
        assert_eq!(refused(ErrorCode::OffsetTooOld).code, NOT_FOUND);
    }
}
