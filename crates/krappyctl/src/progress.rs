//! One line on stderr, redrawn five times a second: how far, how fast, how long still.

use crate::units::{bytes, duration};
use std::io::Write;
use std::time::{Duration, Instant};

const REDRAW: Duration = Duration::from_millis(200);
const BAR: usize = 20;

pub struct Progress {
    label: String,
    /// Bytes in all, if known.
    total: Option<u64>,
    started: Instant,
    drawn: Option<Instant>,
    enabled: bool,
}

impl Progress {
    pub fn new(label: &str, total: Option<u64>, enabled: bool) -> Self {
        Self { label: label.into(), total, started: Instant::now(), drawn: None, enabled }
    }

    pub fn at(&mut self, done: u64) {
        if !self.enabled || self.drawn.is_some_and(|d| d.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let line = line(&self.label, self.total, done, self.started.elapsed());
        // Progress is not worth failing for.
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
    }

    /// Wipes the line.
    pub fn end(&mut self) {
        if self.drawn.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(label: &str, total: Option<u64>, done: u64, elapsed: Duration) -> String {
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-9);
    let Some(total) = total.filter(|&t| t > 0) else {
        return format!("{label}  {}  {}/s", bytes(done), bytes(rate as u64));
    };
    let share = (done as f64 / total as f64).min(1.0);
    let filled = (share * BAR as f64) as usize;
    let bar = format!("{:<BAR$}", "=".repeat(filled.saturating_sub(1)) + if filled > 0 { ">" } else { "" });
    let left = Duration::from_secs_f64((total.saturating_sub(done)) as f64 / rate.max(1.0));
    let (done, total, rate) = (bytes(done), bytes(total), bytes(rate as u64));
    format!("{label}  {:.0}% [{bar}]  {done}/{total}  {rate}/s  {} left", share * 100.0, duration(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_how_far_and_how_long() {
        let half = line("orders", Some(2_000_000), 1_000_000, Duration::from_secs(1));
        assert_eq!(half, "orders  50% [=========>          ]  1.0 MB/2.0 MB  1.0 MB/s  1.0 s left");
        assert_eq!(line("t", None, 500, Duration::from_secs(1)), "t  500 B  500 B/s");
        assert!(line("t", Some(10), 0, Duration::ZERO).contains("0% ["));
    }
}
