//! `health` and `status`.

use crate::args::Global;
use crate::failure::{Failure, UNHEALTHY};
use crate::out::Out;
use crate::session::Session;
use crate::table::{Kind, Table};
use crate::units::duration;
use serde_json::json;

/// One line, and exit 0 or 10. A broker with a fenced partition answers, but does not keep what it is given.
pub fn health(global: &Global, out: &mut Out) -> Result<(), Failure> {
    let verdict = Session::connect(global).and_then(|session| {
        let took = session.admin().ping()?;
        let fenced: i64 = session
            .admin()
            .status()?
            .iter()
            .filter(|(name, _)| name.contains("fenced"))
            .map(|(_, v)| v)
            .sum();
        Ok((session.client.broker().software, took, fenced))
    });
    let (healthy, text) = match verdict {
        Ok((software, took, 0)) => {
            (true, format!("healthy: {software} at {} answered in {}", global.broker, duration(took)))
        }
        Ok((_, _, fenced)) => (false, format!("unhealthy: {fenced} partitions do not take writes")),
        Err(failure) => (false, format!("unhealthy: {}", failure.message)),
    };
    match global.format() {
        crate::args::Format::Table => out.line(&text)?,
        _ => out.line(&json!({ "healthy": healthy, "message": text }).to_string())?,
    }
    out.flush()?;
    if healthy { Ok(()) } else { Err(Failure::quiet(UNHEALTHY)) }
}

pub fn status(session: &Session, out: &mut Out) -> Result<(), Failure> {
    let mut table = Table::new(&[("name", Kind::Text), ("value", Kind::Number)]);
    for (name, value) in session.admin().status()? {
        table.row(vec![json!(name), json!(value)]);
    }
    table.print(session.format, out)
}
