//! What the tests of the program against a real broker share.
//!
//! The broker is taken from `KRAPPY_BIN`, or from beside `krappyctl`, where `cargo build` and `cargo test --workspace`
//! put it.
#![allow(dead_code)] // Each test program uses its own part of this.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// The program under test.
pub const CTL: &str = env!("CARGO_BIN_EXE_krappyctl");

/// A running broker, killed when it is dropped.
pub struct Broker {
    /// The process.
    pub child: Child,
    /// Where it listens.
    pub address: String,
}

impl Broker {
    pub fn ephemeral() -> Self {
        Self::start(&["--ephemeral"])
    }

    pub fn start(args: &[&str]) -> Self {
        let binary = std::env::var_os("KRAPPY_BIN").map(PathBuf::from);
        let binary = binary.unwrap_or_else(|| Path::new(CTL).with_file_name("krappy"));
        assert!(binary.exists(), "{} is missing; build it with: cargo build", binary.display());
        let mut child = Command::new(binary)
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("READY ").expect("the broker says where it listens").to_owned();
        Self { child, address }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(CTL);
        command.args(args).env("KRAPPY_BROKER", &self.address).stdin(Stdio::null());
        command
    }

    pub fn ctl(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Must succeed; returns what it printed.
    pub fn out(&self, args: &[&str]) -> Vec<u8> {
        let output = self.ctl(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        output.stdout
    }

    pub fn with_input(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // It may stop reading before the end, which is what some tests want.
        let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        feeding.join().unwrap();
        output
    }

    pub fn produce(&self, args: &[&str], input: &[u8]) {
        let args = [&["produce"], args].concat();
        let output = self.with_input(&args, input);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty());
    }

    pub fn shell(&self, script: &str) -> Output {
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).env("CTL", CTL).env("KRAPPY_BROKER", &self.address).stdin(Stdio::null());
        shell.output().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // SIGTERM first, so that an ephemeral folder is removed.
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
