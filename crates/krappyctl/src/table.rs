//! Rows for people, JSON and CSV from the same values.

use crate::args::Format;
use crate::failure::Failure;
use crate::out::Out;
use crate::units;
use serde_json::{Map, Value};

/// How a column reads in a table. JSON and CSV carry plain values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Bytes,
}

/// A list of things with the same fields. Headers are the field names in capitals.
pub struct Table {
    columns: Vec<(&'static str, Kind)>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    pub fn new(columns: &[(&'static str, Kind)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// One value for each column; null is left out of JSON and shown as `-`.
    pub fn row(&mut self, values: Vec<Value>) {
        assert_eq!(values.len(), self.columns.len(), "a row has a value for each column");
        self.rows.push(values);
    }

    pub fn print(&self, format: Format, out: &mut Out) -> Result<(), Failure> {
        match format {
            Format::Table => self.print_table(out)?,
            Format::Csv => self.print_csv(out)?,
            Format::Json => out.line(&Value::Array(self.objects().collect()).to_string())?,
            Format::Jsonl => self.objects().try_for_each(|o| out.line(&o.to_string()))?,
        }
        out.flush()
    }

    pub fn objects(&self) -> impl Iterator<Item = Value> {
        self.rows.iter().map(|row| {
            let fields = self.columns.iter().zip(row).filter(|(_, v)| !v.is_null());
            Value::Object(fields.map(|((name, _), v)| ((*name).to_owned(), v.clone())).collect::<Map<_, _>>())
        })
    }

    fn print_csv(&self, out: &mut Out) -> Result<(), Failure> {
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        out.line(&names.join(","))?;
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(csv_cell).collect();
            out.line(&cells.join(","))?;
        }
        Ok(())
    }

    fn print_table(&self, out: &mut Out) -> Result<(), Failure> {
        let header: Vec<String> =
            self.columns.iter().map(|(name, _)| name.replace('_', " ").to_uppercase()).collect();
        let text = |row: &Vec<Value>| row.iter().zip(&self.columns).map(|(v, c)| cell(v, c.1)).collect();
        let lines: Vec<Vec<String>> = std::iter::once(header).chain(self.rows.iter().map(text)).collect();
        let width = |i: usize| lines.iter().map(|l| l[i].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        for line in &lines {
            let cells: Vec<String> = (0..line.len()).map(|i| self.pad(i, &line[i], widths[i])).collect();
            out.line(cells.join("  ").trim_end())?;
        }
        Ok(())
    }

    fn pad(&self, column: usize, text: &str, width: usize) -> String {
        match self.columns[column].1 {
            Kind::Text => format!("{text:<width$}"),
            Kind::Number | Kind::Bytes => format!("{text:>width$}"),
        }
    }
}

fn cell(value: &Value, kind: Kind) -> String {
    match (value, kind) {
        (Value::Null, _) => "-".into(),
        (Value::String(text), _) => text.clone(),
        (Value::Number(n), Kind::Bytes) => n.as_u64().map_or_else(|| n.to_string(), units::bytes),
        (Value::Number(n), Kind::Number) => {
            n.as_i64().map_or_else(|| n.to_string(), |n| units::grouped(n.into()))
        }
        (other, _) => other.to_string(),
    }
}

/// RFC 4180: quoted when it holds a comma, a quote or a line end.
fn csv_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn printed(format: Format) -> String {
        let mut table =
            Table::new(&[("name", Kind::Text), ("high_mark", Kind::Number), ("size", Kind::Bytes)]);
        table.row(vec!["a,b".into(), 12_345.into(), 1_500.into()]);
        table.row(vec!["c".into(), Value::Null, 0.into()]);
        let shared = Shared::default();
        table.print(format, &mut Out::to(Box::new(shared.clone()))).unwrap();
        String::from_utf8(shared.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn the_same_rows_are_printed_for_people_and_for_programs() {
        assert_eq!(
            printed(Format::Table),
            "NAME  HIGH MARK    SIZE\na,b      12,345  1.5 kB\nc             -     0 B\n"
        );
        assert_eq!(
            printed(Format::Json),
            "[{\"name\":\"a,b\",\"high_mark\":12345,\"size\":1500},{\"name\":\"c\",\"size\":0}]\n"
        );
        assert_eq!(printed(Format::Jsonl).lines().count(), 2);
        assert_eq!(printed(Format::Csv), "name,high_mark,size\n\"a,b\",12345,1500\nc,,0\n");
    }
}
