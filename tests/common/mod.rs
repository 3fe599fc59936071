//! What the tests of the running broker share: a broker as a child process, a raw client, and figures from `/proc`.
//!
//! Invariant: a broker that a test started ends with the test, by its process id, whatever the test did; nothing here
//! waits without a bound.
#![allow(dead_code)] // Each test program uses its own part of this.

pub mod client;
pub mod os;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use client::Client;

/// The program under test.
pub const KRAPPY: &str = env!("CARGO_BIN_EXE_krappy");
/// How long anything may take before a test says that it hangs. Nothing is measured by it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A broker as a child process. Dropping it kills it.
pub struct Broker {
    child: Child,
    /// Where it listens.
    pub addr: SocketAddr,
    stdout: Receiver<String>,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    /// Where a broker keeps what is to go with it: one that is killed cannot remove it.
    _temporary: TempDir,
}

impl Broker {
    /// Starts one with a temporary data folder of its own.
    pub fn ephemeral(flags: &[&str]) -> Self {
        Self::run(Command::new(KRAPPY).arg("--ephemeral").args(flags))
    }

    /// Starts one on a data folder.
    pub fn on(data: &Path, flags: &[&str]) -> Self {
        Self::run(serve(data).args(flags))
    }

    /// Starts one that may have this many open files.
    pub fn with_few_files(files: u32, flags: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        // `exec` keeps the process id, so the guard kills the broker and not a shell in front of it.
        shell.args(["-c", &format!("ulimit -n {files}; exec \"$0\" --ephemeral \"$@\""), KRAPPY]);
        Self::run(shell.args(flags))
    }

    /// Starts a command that becomes a broker, and waits for its READY line.
    pub fn run(command: &mut Command) -> Self {
        Self::try_run(command)
            .unwrap_or_else(|(status, said)| panic!("the broker ended with {status}:\n{said}"))
    }

    /// The same, or exit status and standard error if it ends instead.
    pub fn try_run(command: &mut Command) -> Result<Self, (ExitStatus, String)> {
        let temporary = TempDir::new("broker");
        if command.get_envs().all(|(name, _)| name != "TMPDIR") {
            command.env("TMPDIR", temporary.path());
        }
        let mut child = untouched(command)
            .env("KRAPPY_LOG", std::env::var("KRAPPY_LOG").unwrap_or("info".into()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker can be started");
        let (stderr, reader) = collect(child.stderr.take().expect("piped"));
        let stdout = lines(child.stdout.take().expect("piped"));
        let addr = SocketAddr::from(([0; 4], 0));
        let mut broker = Self { child, addr, stdout, stderr, reader: Some(reader), _temporary: temporary };
        match broker.stdout.recv_timeout(PATIENCE) {
            Ok(line) => {
                let addr = line.strip_prefix("READY ").expect("the first line is READY host:port");
                broker.addr = addr.parse().expect("READY names an address");
                Ok(broker)
            }
            Err(_) => {
                let status = broker.wait();
                Err((status, broker.said()))
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        os::signal(self.pid(), libc::SIGTERM);
        self.wait()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.wait();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the broker ends", || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading a pipe does not fail");
        }
        status.expect("it has ended")
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// What it has written to standard error.
    pub fn said(&self) -> String {
        self.stderr.lock().expect("the reader does not panic").clone()
    }

    /// Lines on standard output after READY.
    pub fn more_lines(&self) -> Vec<String> {
        self.stdout.try_iter().collect()
    }

    /// Waits until it has written this to standard error.
    pub fn says(&self, text: &str) {
        eventually(&format!("the broker says {text:?}"), || self.said().contains(text));
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("a process has memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Open files.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// Processor time that it has used.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split(' ').collect();
        let ticks: u64 = fields[12..14].iter().map(|f| f.parse::<u64>().expect("ticks")).sum();
        Duration::from_millis(ticks * 1000 / os::ticks_per_second())
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("it runs")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the broker said:\n{}---", last_lines(&self.said(), 40));
        }
    }
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| format!("{line}\n")).collect()
}

fn collect(mut pipe: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&text);
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut bytes) {
            into.lock().expect("nobody panics with it").push_str(&String::from_utf8_lossy(&bytes[..n]));
        }
    });
    (text, reader)
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Without the settings that the environment of the tests may hold.
pub fn untouched(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KRAPPY_") {
            command.env_remove(name);
        }
    }
    command
}

/// `krappy` on a data folder and a free port.
pub fn serve(data: &Path) -> Command {
    let mut command = Command::new(KRAPPY);
    command.arg("--data-dir").arg(data).args(["--listen", "127.0.0.1:0"]);
    command
}

/// Waits until `is_so`; panics when it does not become so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "this did not happen: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number from the environment, for tests with a long form.
pub fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")),
        Err(_) => default,
    }
}

/// A folder that goes away with the value.
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new empty folder.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("krappy-test-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir(&path).expect("a folder can be made");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes as KiB, for the figures that tests print.
pub fn kib(bytes: u64) -> u64 {
    bytes / 1024
}
