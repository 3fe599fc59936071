//! Medians and how results are printed.

use super::driver::Outcome;
use crate::args::Format;
use crate::failure::Failure;
use crate::out::Out;
use crate::table::{Kind, Table};
use crate::units::grouped;
use serde_json::{Value, json};

/// One figure.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    /// What a reader has to know to believe it.
    pub note: String,
}

impl Measure {
    pub fn new(name: &str, value: f64, unit: &'static str, note: &str) -> Self {
        Self { name: name.into(), value, unit, note: note.into() }
    }
}

/// Bytes a second, shown in MB/s.
pub fn mb(name: &str, bytes_per_second: f64, note: &str) -> Measure {
    Measure::new(name, bytes_per_second / 1e6, "MB/s", note)
}

/// Rate and percentiles of a run of requests.
pub fn latencies(outcome: &Outcome) -> Vec<Measure> {
    let us = |p: f64| outcome.percentile(p).as_secs_f64() * 1e6;
    let named = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("max", 100.0)];
    named.iter().map(|(name, p)| Measure::new(name, us(*p), "us", "")).collect()
}

/// The middle of several results; of an even number, the lower middle.
pub fn median(values: impl Iterator<Item = Result<f64, Failure>>) -> Result<f64, Failure> {
    let mut values = values.collect::<Result<Vec<f64>, _>>()?;
    values.sort_by(f64::total_cmp);
    Ok(values[(values.len() - 1) / 2])
}

/// Three digits that matter, grouped when large.
pub fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => grouped(value.round() as i128),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

pub fn print(measures: &[Measure], format: Format, out: &mut Out) -> Result<(), Failure> {
    // Digits are put right for people here; programs get the number.
    let value = |m: &Measure| if format == Format::Table { json!(shown(m.value)) } else { json!(m.value) };
    let columns =
        [("measure", Kind::Text), ("value", Kind::Number), ("unit", Kind::Text), ("note", Kind::Text)];
    let mut table = Table::new(&columns);
    for m in measures {
        let note = if m.note.is_empty() && format != Format::Table { Value::Null } else { json!(m.note) };
        table.row(vec![json!(m.name), value(m), json!(m.unit), note]);
    }
    table.print(format, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_an_error_wins() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter().map(Ok)), Ok(2.0));
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter().map(Ok)), Ok(2.0));
        assert!(median([Ok(1.0), Err(Failure::new(1, "x"))].into_iter()).is_err());
    }

    #[test]
    fn figures_show_three_digits() {
        assert_eq!([1_234_567.8, 123.4, 12.34, 1.234].map(shown), ["1,234,568", "123", "12.3", "1.23"]);
    }
}
