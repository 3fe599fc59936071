//! What every command shares: the global flags, a connection, and errors that name the nearest topic.

use crate::args::{Format, Global};
use crate::failure::{Failure, NOT_FOUND, REFUSED, USAGE};
use crate::out::talk;
use krappy_client::{Admin, Client, Error, ErrorCode, TopicInfo};
use std::io::{IsTerminal, Write};

/// One run of the program, connected.
pub struct Session {
    pub client: Client,
    pub format: Format,
    pub quiet: bool,
    progress: bool,
}

impl Session {
    pub fn connect(global: &Global) -> Result<Self, Failure> {
        let client = Client::builder()
            .name(concat!("krappyctl/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(global.timeout)
            .request_timeout(global.timeout)
            .connect(global.broker.clone())?;
        let progress = !global.quiet && !global.no_progress && std::io::stderr().is_terminal();
        Ok(Self { client, format: global.format(), quiet: global.quiet, progress })
    }

    pub fn admin(&self) -> Admin {
        self.client.admin()
    }

    /// Whether a progress line is wanted and can be drawn.
    pub fn shows_progress(&self) -> bool {
        self.progress
    }

    /// Tells the user something that is not data.
    pub fn talk(&self, line: &str) {
        if !self.quiet {
            talk(line);
        }
    }

    pub fn describe(&self, topic: &str) -> Result<TopicInfo, Failure> {
        self.admin().describe_topic(topic).map_err(|e| self.about(topic, e))
    }

    /// The failure for an error about a topic; an unknown one is compared with those that exist.
    pub fn about(&self, topic: &str, error: Error) -> Failure {
        if error.code() != Some(ErrorCode::UnknownTopicOrPartition) {
            return error.into();
        }
        let topics = self.admin().list_topics().unwrap_or_default();
        let names: Vec<&str> = topics.iter().map(|t| t.name.as_str()).collect();
        if names.contains(&topic) {
            return error.into();
        }
        Failure::new(NOT_FOUND, unknown_topic(topic, &names))
    }
}

fn unknown_topic(topic: &str, names: &[&str]) -> String {
    match nearest(topic, names) {
        Some(name) => format!("topic \"{topic}\" does not exist; did you mean \"{name}\"?"),
        None => format!("topic \"{topic}\" does not exist"),
    }
}

/// The name with the smallest edit distance, if it is near enough to be a slip.
pub fn nearest<'a>(wanted: &str, names: &[&'a str]) -> Option<&'a str> {
    let near = wanted.chars().count() / 3 + 1;
    names.iter().map(|n| (distance(wanted, n), *n)).filter(|(d, _)| *d <= near).min().map(|(_, n)| n)
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Has the user type a name. Never asks where nobody can answer.
pub fn confirm(what: &str, name: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(
            Failure::new(USAGE, format!("will not {what} without being asked twice")).hint("add --yes")
        );
    }
    // A prompt that cannot be written is answered by no one.
    let _ = write!(std::io::stderr(), "To {what}, type its name: ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    if read.is_ok() && answer.trim() == name {
        return Ok(());
    }
    Err(Failure::new(REFUSED, "nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_names_the_nearest_topic() {
        let names = ["orders", "payments", "audit"];
        assert_eq!(nearest("order", &names), Some("orders"));
        assert_eq!(nearest("paymnets", &names), Some("payments"));
        assert_eq!(nearest("zebra", &names), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(unknown_topic("x", &[]), "topic \"x\" does not exist");
    }
}
