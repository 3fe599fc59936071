//! The program as a shell sees it, against a real broker: exit codes, what goes to stdout and what to stderr, pipes.

mod real;

use real::{Broker, CTL, text};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder that is removed when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("krappyctl-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Bytes of every kind, in lines of very different length, ended by a line end.
fn awkward_lines() -> Vec<u8> {
    let mut bytes = b"\n\n\r\nplain\n\xff\xfe\n\0\0\n".to_vec();
    let mut state = 7u32;
    for length in [0, 1, 10, 1000, 100_000, 3, 0, 500_000, 20] {
        for _ in 0..length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = (state >> 24) as u8;
            bytes.push(if byte == b'\n' { b'x' } else { byte });
        }
        bytes.push(b'\n');
    }
    bytes
}

#[test]
fn every_help_is_on_stdout_and_ends_with_examples() {
    let commands: [&[&str]; 21] = [
        &[],
        &["topic"],
        &["topic", "create"],
        &["topic", "delete"],
        &["produce"],
        &["consume"],
        &["tail"],
        &["show"],
        &["get"],
        &["put"],
        &["del"],
        &["scan"],
        &["watch"],
        &["find"],
        &["health"],
        &["status"],
        &["bench"],
        &["bench", "produce"],
        &["bench", "report"],
        &["bench", "keyed"],
        &["completions"],
    ];
    for command in commands {
        let output = Command::new(CTL).args(command).arg("--help").output().unwrap();
        let help = text(&output.stdout);
        assert!(output.status.success() && output.stderr.is_empty(), "{command:?}");
        let examples = help.split_once("Examples:").expect("a help has examples").1;
        assert!(examples.matches("krappyctl ").count() >= 2, "{command:?}");
        assert!(!help.contains('\x1b'), "{command:?} is coloured without a terminal");
    }
    let bash = Command::new(CTL).args(["completions", "bash"]).output().unwrap();
    assert!(text(&bash.stdout).contains("krappyctl"));
}

#[test]
fn wrong_usage_exits_2_and_says_so_on_stderr() {
    for args in [
        &["nonsense"][..],
        &["consume"],
        &["show", "orders"],
        &["consume", "t", "-o", "x"],
        &["topic", "create", "t", "-c", "x"],
        &["get", "t"],
        &["get", "t", "k", "--as-of", "-1"],
        &["put", "t", "k", "v", "--if-absent", "--if-offset", "1"],
        &["scan", "t", "--prefix", "a", "--from", "b"],
        &["watch", "t", "--no-snapshot", "--until-current"],
    ] {
        let output = Command::new(CTL).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn without_a_broker_it_fails_at_once_and_says_how_to_start_one() {
    let output = Command::new(CTL).args(["topic", "list", "--broker", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stdout.is_empty());
    let lines: Vec<String> = text(&output.stderr).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], "krappyctl: cannot connect to 127.0.0.1:1: connection refused");
    assert!(lines[1].contains("start it with: krappy"));
    let health = Command::new(CTL).args(["health", "--broker", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(health.status.code(), Some(10));
    assert_eq!(text(&health.stdout).lines().count(), 1);
}

#[test]
fn a_stranger_and_a_silent_listener_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let web = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 12]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        // Held open until the second has connected and given up.
        let _silent = listener.accept().unwrap().0.read(&mut [0; 64]);
        listener.accept().unwrap();
    });
    let output = Command::new(CTL).args(["topic", "list", "--broker", &address]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output.stderr).contains("that port speaks HTTP"));
    let args = ["topic", "list", "--timeout", "200ms", "--broker", &address];
    let output = Command::new(CTL).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", text(&output.stderr));
    drop(std::net::TcpStream::connect(&address));
    web.join().unwrap();
}

#[test]
fn topics_are_created_listed_described_trimmed_altered_and_deleted() {
    let broker = Broker::ephemeral();
    broker.out(&["topic", "create", "orders", "payments", "-p", "3", "-c", "retention.ms=3600000"]);
    let again = broker.ctl(&["topic", "create", "orders"]);
    assert_eq!(again.status.code(), Some(1));
    let table = text(&broker.out(&["topic", "list"]));
    assert_eq!(table.lines().next(), Some("TOPIC     PARTITIONS  RECORDS  BYTES"));
    let csv = text(&broker.out(&["topic", "list", "--format", "csv"]));
    assert_eq!(csv, "topic,partitions,records,bytes\norders,3,0,0\npayments,3,0,0\n");
    let json: serde_json::Value =
        serde_json::from_slice(&broker.out(&["topic", "describe", "orders", "--json"])).unwrap();
    assert_eq!(json[0]["partitions"].as_array().unwrap().len(), 3);
    let settings = json[0]["settings"].as_array().unwrap();
    assert!(
        settings
            .iter()
            .any(|s| s["name"] == "retention.ms" && s["value"] == "3600000" && s["from"] == "topic")
    );
    assert_eq!(broker.out(&["topic", "list", "--jsonl"]).iter().filter(|&&b| b == b'\n').count(), 2);

    broker.produce(&["orders", "-p", "0"], b"a\nb\nc\n");
    broker.out(&["topic", "trim", "orders", "-p", "0", "--before", "2", "--yes"]);
    assert_eq!(broker.out(&["consume", "orders/0", "-o", "start", "-e"]), b"c\n");

    broker.out(&["topic", "add-partitions", "orders", "4"]);
    let fewer = broker.ctl(&["topic", "add-partitions", "orders", "2"]);
    assert_eq!(fewer.status.code(), Some(1));
    let changed = broker.out(&[
        "topic",
        "alter",
        "orders",
        "segment.bytes=4MiB",
        "--unset",
        "retention.ms",
        "--format",
        "csv",
    ]);
    let expected = "topic,setting,value,from\norders,retention.ms,604800000,default\norders,segment.bytes,4194304,topic\n";
    assert_eq!(text(&changed), expected);

    let asked = broker.ctl(&["topic", "delete", "orders"]);
    assert_eq!(asked.status.code(), Some(2), "nobody can answer a question here");
    assert!(text(&asked.stderr).contains("--yes"));
    broker.out(&["topic", "delete", "orders", "--yes"]);
    assert!(!text(&broker.out(&["topic", "list"])).contains("orders"));
}

#[test]
fn an_unknown_topic_exits_3_and_names_the_nearest() {
    let broker = Broker::ephemeral();
    broker.out(&["topic", "create", "orders"]);
    for args in [
        &["consume", "order", "-e"][..],
        &["topic", "describe", "order"],
        &["show", "order/0@1"],
        &["tail", "order"],
        &["topic", "delete", "order", "--yes"],
    ] {
        let output = broker.ctl(args);
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        assert!(
            text(&output.stderr).contains("did you mean \"orders\"?"),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
    assert_eq!(broker.ctl(&["consume", "orders/7", "-e"]).status.code(), Some(3));
}

#[test]
fn bytes_in_are_bytes_out() {
    let broker = Broker::ephemeral();
    let (folder, lines) = (Folder::new(), awkward_lines());
    std::fs::write(folder.path("in"), &lines).unwrap();
    broker.produce(&["from-stdin"], &lines);
    broker.produce(&["from-file", &folder.path("in")], b"");
    for topic in ["from-stdin", "from-file"] {
        assert!(broker.out(&["consume", topic, "-o", "start", "-e"]) == lines, "{topic} differs");
    }
    let last = broker.out(&["consume", "from-stdin", "-o", "-1", "-e"]);
    assert_eq!(last.len(), 21);
}

#[test]
fn envelopes_copy_records_exactly() {
    let broker = Broker::ephemeral();
    broker.produce(&["a", "-K", "=", "-H", "h=v"], b"k=v\n=\nx=\xff\xfe\ny=a=b\n");
    broker.produce(&["a", "-k", "gone", "-Z"], b"\n");
    broker.produce(&["a"], &awkward_lines());
    let envelopes = broker.out(&["consume", "a", "-o", "start", "-e", "--jsonl"]);
    broker.produce(&["b", "--jsonl"], &envelopes);
    let everything =
        |topic| broker.out(&["consume", topic, "-o", "start", "-e", "-Z", "-f", "%k{hex} %v{hex} %h %T\\n"]);
    assert!(everything("a") == everything("b"), "the copy differs");
    assert!(text(&everything("a")).contains("676f6e65 NULL "), "a tombstone stays one");
}

#[test]
fn a_reader_that_leaves_early_is_success_and_a_full_disk_is_not() {
    let broker = Broker::ephemeral();
    let lines: Vec<u8> = (0..200_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
    broker.produce(&["t"], &lines);
    let script = "{ \"$CTL\" consume t -o start; echo \"exit $?\" >&2; } | head -n 1";
    let output = broker.shell(script);
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("line 0\n".into(), "exit 0\n".into()));
    let output = broker.shell("\"$CTL\" consume t -o start -e > /dev/full");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot write to standard output"));
    let output = broker.shell("\"$CTL\" topic list > /dev/full");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_wrong_line_is_named_and_what_came_before_it_is_kept() {
    let broker = Broker::ephemeral();
    let output =
        broker.with_input(&["produce", "t", "--jsonl"], b"{\"value\":\"a\"}\n{\"value\":\"b\"}\nnonsense\n");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("line 3: not JSON") && said.contains(": nonsense"), "{said}");
    assert!(said.contains("2 records were written"), "{said}");
    assert_eq!(broker.out(&["consume", "t", "-o", "start", "-e"]), b"a\nb\n");
    let output = broker.with_input(&["produce", "t", "-K", ":"], b"no delimiter here\n");
    assert!(text(&output.stderr).contains("line 1: no key delimiter"));
    let output = broker.with_input(&["produce", "t"], &vec![b'x'; 10 << 20]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("above the limit"), "{}", text(&output.stderr));
}

#[test]
fn the_summary_is_talk_and_says_what_was_reached() {
    let broker = Broker::ephemeral();
    for (acks, words) in [("disk", "durable (disk)"), ("none", "unconfirmed (none)")] {
        let output = broker.with_input(&["produce", "t", "--acks", acks], b"a\nb\n");
        assert!(output.status.success() && output.stdout.is_empty());
        let said = text(&output.stderr);
        assert!(said.starts_with("t: 2 records  4 B  ") && said.contains(words), "{said}");
        assert!(!said.contains('\x1b') && !said.contains('\r'));
    }
    let quiet = broker.with_input(&["produce", "t", "-q"], b"a\n");
    assert!(quiet.stderr.is_empty());
}

#[test]
fn consume_begins_and_ends_where_it_is_told() {
    let broker = Broker::ephemeral();
    broker.produce(&["t"], b"a\nb\nc\nd\n");
    let consume = |args: &[&str]| text(&broker.out(&[&["consume", "t"], args].concat()));
    assert_eq!(consume(&["-o", "2", "-e"]), "c\nd\n");
    assert_eq!(consume(&["-o", "-1", "-e"]), "d\n");
    assert_eq!(consume(&["-o", "start", "-n", "2"]), "a\nb\n");
    assert_eq!(consume(&["-o", "@-1h", "-e", "-f", "%o:%v,"]), "0:a,1:b,2:c,3:d,");
    assert_eq!(consume(&["-o", "end", "-e"]), "");
    assert_eq!(consume(&["-o", "4", "-e"]), "");
}

#[test]
fn find_prints_the_records_that_contain_a_text_and_fails_when_none_does() {
    let broker = Broker::ephemeral();
    broker.out(&["topic", "create", "orders", "-p", "2"]);
    broker.produce(&["orders", "-K", ":"], b"order-7:paid\norder-8:sent\norder-9:paid\n\xff7:\xfe\n");
    let by_value = broker.ctl(&["find", "orders", "paid", "-f", "%k\\n"]);
    let mut keys: Vec<&str> = std::str::from_utf8(&by_value.stdout).unwrap().lines().collect();
    keys.sort_unstable();
    assert_eq!(keys, ["order-7", "order-9"]);
    assert_eq!(text(&by_value.stderr), "orders: 2 of 4 records contain \"paid\"\n");
    assert_eq!(broker.out(&["find", "orders", "r-8"]), b"order-8\tsent\n");
    assert_eq!(broker.out(&["find", "orders", "order", "-n", "1", "-q"]).split(|&b| b == b'\n').count(), 2);
    let binary = broker.out(&["find", "orders", "7", "--jsonl"]);
    assert!(text(&binary).contains("\"key_b64\":\"/zc=\",\"value_b64\":\"/g==\""), "{}", text(&binary));

    let none = broker.ctl(&["find", "orders", "lost"]);
    assert_eq!((none.status.code(), none.stdout.len()), (Some(1), 0));
    assert!(text(&none.stderr).contains("none of 4 records contain \"lost\""), "{}", text(&none.stderr));
    let late = broker.ctl(&["find", "orders", "paid", "--from", "end"]);
    assert_eq!(late.status.code(), Some(1));
}

#[test]
fn a_compacted_topic_is_written_read_scanned_and_watched_by_key() {
    let broker = Broker::ephemeral();
    broker.out(&["topic", "create", "users", "-p", "3", "-c", "cleanup.policy=compact"]);
    broker.out(&["put", "users", "u1", "ann"]);
    let stdin = broker.with_input(&["put", "users", "u2", "-", "--if-absent"], b"\xff\n");
    assert!(stdin.status.success(), "{}", text(&stdin.stderr));
    let late = broker.ctl(&["put", "users", "u2", "bob", "--if-absent"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(text(&late.stderr).contains("at offset 0: nothing was written"), "{}", text(&late.stderr));
    broker.out(&["put", "users", "u3", "-7", "--if-absent", "-H", "by=test"]);

    assert_eq!(broker.out(&["get", "users", "u2"]), b"\xff\n\n");
    assert_eq!(broker.out(&["scan", "users", "-q"]), b"u1\tann\nu2\t\xff\n\nu3\t-7\n");
    assert_eq!(broker.out(&["scan", "users", "--from", "u2", "--reverse", "--keys-only", "-q"]), b"u3\nu2\n");
    broker.out(&["del", "users", "u1"]);
    let gone = broker.ctl(&["get", "users", "u1"]);
    assert_eq!((gone.status.code(), gone.stdout.len()), (Some(3), 0));
    assert_eq!(broker.out(&["get", "users", "u1", "--as-of", "0"]), b"ann\n");
    let current = broker.out(&["watch", "users", "--until-current", "--prefix", "u3", "--jsonl"]);
    let current = text(&current);
    assert_eq!(current.matches("snapshot_end").count(), 3);
    assert!(current.contains(r#""key":"u3","value":"-7","headers":[["by","test"]]"#), "{current}");
}

#[test]
fn groups_are_committed_listed_explained_moved_and_deleted() {
    let broker = Broker::ephemeral();
    broker.out(&["topic", "create", "orders", "-p", "2"]);
    broker.produce(&["orders", "-p", "0"], b"a\nb\nc\nd\n");
    assert!(text(&broker.ctl(&["group", "list"]).stderr).contains("no groups"));
    broker.out(&["group", "commit", "billing", "orders/0@1"]);

    let line = |args: &[&str]| text(&broker.out(args)).lines().last().unwrap_or_default().to_owned();
    let listed = line(&["group", "list", "--format", "csv"]);
    assert!(listed.starts_with("billing,Empty,classic,0,1,3,0,20"), "{listed}");
    let described = text(&broker.out(&["group", "describe", "billing", "--format", "csv"]));
    let told: Vec<&str> = described.lines().skip(1).collect();
    assert!(told[0].starts_with("billing,orders,0,1,0,4,3,"), "{described}");
    // What was never committed is neither 0 nor N/A.
    assert_eq!(told[1], "billing,orders,1,,0,0,,,,,,", "{described}");
    let why = text(&broker.out(&["group", "why", "billing"]));
    assert!(why.starts_with("billing: Empty (lag 3)") && why.contains("nobody is connected"), "{why}");

    let moved = |to: &str| line(&["group", "reset", "billing", "--to", to, "--format", "csv", "--execute"]);
    let dry = broker.ctl(&["group", "reset", "billing", "--to", "end", "--format", "csv"]);
    assert_eq!(text(&dry.stdout).lines().last(), Some("billing,orders,0,1,4,3"));
    assert!(text(&dry.stderr).contains("dry run: skips 3 records, replays 0"), "{}", text(&dry.stderr));
    assert_eq!(moved("+1"), "billing,orders,0,1,2,1");
    assert_eq!(moved("-5"), "billing,orders,0,2,0,-2");
    assert_eq!(moved("99"), "billing,orders,0,0,4,4");
    assert_eq!(moved("@2020-01-01T00:00"), "billing,orders,0,4,0,-4");
    assert_eq!(moved("@2090-01-01T00:00"), "billing,orders,0,0,4,4");
    let other = line(&[
        "group",
        "reset",
        "billing",
        "--topic",
        "orders/1",
        "--to",
        "start",
        "--format",
        "csv",
        "--execute",
    ]);
    assert_eq!(other, "billing,orders,1,,0,");

    assert_eq!(
        broker.ctl(&["group", "delete", "billing"]).status.code(),
        Some(2),
        "it asks, and nobody answers"
    );
    broker.out(&["group", "delete", "billing", "--yes"]);
    let gone = broker.ctl(&["group", "describe", "billing"]);
    assert_eq!(gone.status.code(), Some(3));
    broker.out(&["group", "commit", "audit", "orders/0@0"]);
    let near = broker.ctl(&["group", "why", "audot"]);
    assert!(text(&near.stderr).contains("did you mean \"audit\"?"), "{}", text(&near.stderr));
    let unknown = broker.ctl(&["group", "commit", "audit", "nowhere/0@0"]);
    assert_eq!(unknown.status.code(), Some(3), "{}", text(&unknown.stderr));
}

#[test]
fn one_record_is_shown_with_everything_about_it() {
    let broker = Broker::ephemeral();
    broker.produce(&["t", "-k", "key", "-H", "h=v"], b"{\"a\": [1]}\n");
    let shown = text(&broker.out(&["show", "t/0@0"]));
    assert!(
        shown.starts_with("t/0@0\n") && shown.contains("header   h = v") && shown.contains("\"a\": ["),
        "{shown}"
    );
    let json: serde_json::Value = serde_json::from_slice(&broker.out(&["show", "t/0@0", "--json"])).unwrap();
    assert_eq!((&json["key"], &json["offset"]), (&"key".into(), &0.into()));
    let none = broker.ctl(&["show", "t/0@1"]);
    assert_eq!(none.status.code(), Some(3));
    assert!(text(&none.stderr).contains("it holds 0 to 0"));
}

#[test]
fn tail_prints_the_last_records_and_then_new_ones_until_it_is_interrupted() {
    let broker = Broker::ephemeral();
    broker.produce(&["t"], b"a\nb\nc\n");
    let mut child = broker
        .command(&["tail", "t", "-n", "2"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!([lines.next(), lines.next()], [Some("b".into()), Some("c".into())]);
    broker.produce(&["t"], b"d\n");
    assert_eq!(lines.next(), Some("d".into()));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.starts_with("t: caught up at "), "{said}");
}

#[test]
fn a_healthy_broker_is_one_line_and_its_status_is_a_table() {
    let broker = Broker::ephemeral();
    let line = text(&broker.out(&["health"]));
    assert!(line.starts_with("healthy: ") && line.lines().count() == 1, "{line}");
    let status: serde_json::Value = serde_json::from_slice(&broker.out(&["status", "--json"])).unwrap();
    assert!(status.as_array().unwrap().iter().any(|row| row["name"] == "connections"));
}

#[test]
fn a_broker_killed_while_lines_are_sent_and_read_loses_none_and_doubles_none() {
    let folder = Folder::new();
    let data = folder.path("data");
    let mut broker = Broker::start(&["--data-dir", &data, "--listen", "127.0.0.1:0"]);
    let address = broker.address.clone();
    broker.out(&["topic", "create", "t"]);
    let reader = broker
        .command(&["consume", "t", "-o", "start", "-n", "60000"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let reading = std::thread::spawn(move || reader.wait_with_output().unwrap());
    let mut child = broker
        .command(&["produce", "t", "--linger", "0ms", "--batch-bytes", "2KiB"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: Vec<u8> = (0..60_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
    for (i, piece) in lines.chunks(lines.len() / 30).enumerate() {
        stdin.write_all(piece).unwrap();
        if matches!(i, 7 | 15 | 23) {
            broker.child.kill().unwrap();
            broker.child.wait().unwrap();
            broker = Broker::start(&["--data-dir", &data, "--listen", &address]);
        }
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(broker.out(&["consume", "t", "-o", "start", "-e"]) == lines, "what came back differs");
    assert!(reading.join().unwrap().stdout == lines, "what was read meanwhile differs");
}

#[test]
fn an_interrupted_benchmark_deletes_its_topic() {
    let broker = Broker::ephemeral();
    let mut child = broker.command(&["bench", "latency", "--duration", "60s"]).spawn().unwrap();
    while broker.out(&["topic", "list", "--jsonl"]).is_empty() {
        assert!(matches!(child.try_wait(), Ok(None)), "it ended early");
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(broker.out(&["topic", "list", "--jsonl"]).is_empty());
}

#[test]
fn each_benchmark_prints_json_and_leaves_no_topic_behind() {
    let broker = Broker::ephemeral();
    let pid = broker.child.id().to_string();
    let (folder, short) = (Folder::new(), "50ms");
    let runs: [&[&str]; 9] = [
        &["produce", "--duration", short, "--clients", "2", "--partitions", "2", "--acks", "memory"],
        &["produce", "--plain", "--msgs", "500"],
        &["produce", "--acks", "none", "--msgs", "500", "--size", "20KiB"],
        &["consume", "--bytes", "1MiB", "--verify", "--passes", "1"],
        &["latency", "--duration", short, "--acks", "memory", "--rate", "1000", "--clients", "2"],
        &["latency", "--duration", short, "--pin", "same", "--broker-pid", &pid],
        &["conns", "--idle", "50", "--duration", short, "--broker-pid", &pid],
        &["keyed", "--records", "5000", "--keys", "700", "--duration", short, "--broker-pid", &pid],
        &["keyed", "--records", "300", "--keys", "700", "--duration", short, "--partitions", "3"],
    ];
    for run in runs {
        let args = [&["bench"], run, &["--json"]].concat();
        let measures: serde_json::Value = serde_json::from_slice(&broker.out(&args)).unwrap();
        assert!(measures.as_array().unwrap().iter().all(|m| m["value"].as_f64().is_some()), "{run:?}");
    }
    let small = ["--bytes", "1MiB", "--duration", short, "--passes", "1", "--warm", "0"];
    let dir = folder.path("");
    for command in [&["bench", "limits", "--json"], &["bench", "report", "--json"]] {
        let args = [&command[..], &small, &["--dir", &dir]].concat();
        let rows: serde_json::Value = serde_json::from_slice(&broker.out(&args)).unwrap();
        assert!(rows.as_array().unwrap().len() >= 7);
    }
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 0, "files are left behind");
    assert_eq!(broker.out(&["topic", "list", "--json"]), b"[]\n");
}

#[test]
fn members_of_a_group_go_on_where_the_last_one_has_stopped() {
    let broker = Broker::ephemeral();
    broker.out(&["topic", "create", "jobs", "-p", "2"]);
    broker.produce(&["jobs", "-p", "0"], b"a\nb\nc\n");
    let read = |more: &[&str]| {
        let args = [&["consume", "jobs", "-g", "workers", "-o", "start", "-q"], more].concat();
        text(&broker.out(&args))
    };
    assert_eq!(read(&["-n", "2"]), "a\nb\n");
    assert_eq!(read(&["-e"]), "c\n");
    assert_eq!(read(&["-e"]), "");
    broker.produce(&["jobs", "-p", "1"], b"d\n");
    assert_eq!(read(&["-n", "1"]), "d\n");
    let listed = text(&broker.out(&["group", "list", "--format", "csv"]));
    assert!(listed.contains("workers,Empty,consumer,0,1,0,0,"), "{listed}");
    broker.out(&["topic", "trim", "jobs", "-p", "0", "--before", "end", "--yes"]);
    for args in [["-p", "1"], ["-o", "@-1h"], ["-o", "7"]] {
        let args = [&["consume", "jobs", "-g", "workers"], &args[..]].concat();
        assert_eq!(broker.ctl(&args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_member_that_is_busy_with_what_it_has_is_told_from_one_that_is_not_there() {
    let broker = Broker::ephemeral();
    broker.produce(&["jobs"], b"a\n");
    assert_eq!(
        text(&broker.out(&["consume", "jobs", "-g", "workers", "-o", "start", "-q", "-n", "1"])),
        "a\n"
    );
    // More than a pipe holds, and a member prefetches: nobody reads what it prints.
    let lines = "a line of work that is never done\n".repeat(400_000);
    broker.produce(&["jobs"], lines.as_bytes());
    let read = ["consume", "jobs", "-g", "workers", "-q"];
    let mut busy = broker.command(&read).stdout(Stdio::piped()).spawn().unwrap();
    let why = || text(&broker.out(&["group", "why", "workers", "--watch-for", "300ms"]));
    let mut said = why();
    for _ in 0..100 {
        if said.contains("alive but not fetching") {
            break;
        }
        said = why();
    }
    assert!(said.contains("alive but not fetching") && said.contains("of jobs/0 at "), "{said}");
    busy.kill().unwrap();
    busy.wait().unwrap();
    let gone = |said: &str| said.contains("nobody is connected");
    assert!((0..100).any(|_| gone(&why())), "{}", why());
}

#[test]
fn who_joins_a_group_does_not_keep_those_who_are_there_from_committing() {
    let broker = Broker::ephemeral();
    broker.produce(&["jobs"], b"a\nb\n");
    let read = ["consume", "jobs", "-g", "workers", "-o", "start", "-q"];
    let member = || broker.command(&read).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = member();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.by_ref().take(2).collect::<Vec<_>>(), ["a", "b"]);
    // There is one partition, and it stays where it is.
    let mut second = member();
    let joined = || {
        let listed = text(&broker.out(&["group", "list", "--format", "csv"]));
        listed.contains("workers,Stable,consumer,2,")
    };
    assert!((0..1_000).any(|_| joined()), "both are members");
    assert!(Command::new("kill").args(["-INT", &first.id().to_string()]).status().unwrap().success());
    let ended = first.wait_with_output().unwrap();
    assert_eq!((text(&ended.stderr), ended.status.code()), (String::new(), Some(130)));
    broker.produce(&["jobs"], b"c\n");
    let mut lines = BufReader::new(second.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "c", "what the first has read was committed");
    second.kill().unwrap();
    second.wait().unwrap();
}
