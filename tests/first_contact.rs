//! What a stranger does with nothing but `docs/PROTOCOL.md`, against the real binary: sends the worked example as it is
//! printed there, and runs the Python client that was written from that page alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use krappy_wire::batch::Records;
use krappy_wire::frame::{Split, split};
use krappy_wire::native::{Head, Reply};

const PAGE: &str = include_str!("../docs/PROTOCOL.md");

#[test]
fn the_worked_example_is_answered_as_the_page_says() {
    let broker = Broker::start();
    let blocks = hex_blocks();
    let mut socket = TcpStream::connect(&broker.address).expect("the broker listens");
    socket.write_all(&blocks[..4].concat()).expect("the broker reads");

    let mut answers: Vec<Vec<u8>> = (0..4).map(|_| read_frame(&mut socket)).collect();
    // They may come in any order; the page lists them in the order of their requests.
    answers.sort_by_key(|frame| decode(frame).0.correlation);
    for (answer, printed) in answers.iter().zip(&blocks[4..7]) {
        assert_eq!(decode(answer), decode(printed));
    }
    // The batch holds the time of day, the rest is as printed.
    let (head, Reply::Records { mut parts }) = decode(&answers[3]) else { panic!("{answers:02x?}") };
    let (printed_head, Reply::Records { parts: printed }) = decode(&blocks[7]) else { panic!("the page") };
    let values =
        |batch| Records::new(batch).unwrap().map(|r| r.unwrap().value.unwrap().to_vec()).collect::<Vec<_>>();
    assert_eq!(values(parts[0].batches), values(printed[0].batches));
    assert_eq!(parts[0].batches.len(), printed[0].batches.len());
    parts[0].batches = printed[0].batches;
    assert_eq!((head, parts), (printed_head, printed));
}

#[test]
fn eighty_lines_of_python_publish_a_record_and_read_it_back() {
    let broker = Broker::start();
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/client.py");
    let text = std::fs::read_to_string(client).expect("the example is there");
    assert!(text.lines().count() <= 80, "it says that it has at most eighty lines");
    for (offset, message) in ["hello", "héllo again", ""].into_iter().enumerate() {
        let output = Command::new("python3")
            .args([client, &broker.address, "greetings", message])
            .output()
            .expect("python3 is installed: scripts/install-test-deps.sh");
        let printed = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(printed, format!("greetings/0@{offset}: {message}\n"), "{complaint}");
    }
    let refused = Command::new("python3")
        .args([client, &broker.address, "not a name", "x"])
        .output()
        .expect("python3 is installed");
    assert!(!refused.status.success() && refused.stderr.starts_with(b"refused: "), "{refused:?}");
}

/// A broker on a free port and a temporary folder, stopped with the value.
struct Broker {
    process: Child,
    address: String,
}

impl Broker {
    fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_krappy"))
            .arg("--ephemeral")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the broker starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let address = line.strip_prefix("READY ").unwrap_or_else(|| panic!("{line:?}")).trim().to_owned();
        Self { process, address }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // A polite end, so that the temporary folder goes too.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

fn read_frame(socket: &mut TcpStream) -> Vec<u8> {
    let mut frame = vec![0; 4];
    socket.read_exact(&mut frame).expect("a reply");
    let size = u32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
    let mut rest = Vec::new();
    socket.take(u64::from(size)).read_to_end(&mut rest).expect("a whole reply");
    [frame, rest].concat()
}

fn decode(frame: &[u8]) -> (Head, Reply<'_>) {
    let Ok(Split::Whole { code, payload, .. }) = split(frame, 1 << 20) else { panic!("{frame:02x?}") };
    let (head, body) = Head::read(payload).expect("checked by split");
    (head, Reply::decode(code, body).expect("well formed").expect("a reply"))
}

fn hex_blocks() -> Vec<Vec<u8>> {
    let fenced = PAGE.split("```hex\n").skip(1).map(|b| b.split_once("```").expect("a block ends").0);
    fenced
        .map(|block| {
            let digits = block.lines().flat_map(|l| l.split(';').next().unwrap_or("").split_whitespace());
            digits.map(|d| u8::from_str_radix(d, 16).expect("a byte")).collect()
        })
        .collect()
}
