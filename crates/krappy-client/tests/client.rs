//! The connection: replies out of order, strangers, malformed replies, reconnecting.

mod fake;

use fake::{Fake, Peer, script};
use krappy_client::{Client, Error, ErrorCode};
use krappy_wire::native::{Head, Reply, Request};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

fn ping(peer: &mut Peer) -> Head {
    peer.request(|head, request| {
        assert_eq!(request, Request::Ping);
        head
    })
}

#[test]
fn replies_that_overtake_one_another_reach_whoever_asked() {
    let fake = Fake::new(vec![script(|peer| {
        let heads: Vec<(Head, bool)> =
            (0..2).map(|_| peer.request(|head, r| (head, matches!(r, Request::Ping)))).collect();
        for &(head, is_ping) in heads.iter().rev() {
            let topics = Reply::Topics { topics: Vec::new() };
            peer.reply(head, if is_ping { &Reply::Pong } else { &topics });
        }
        // A reply that nobody asked for is nobody's trouble.
        peer.reply(Head { stream: 0, correlation: 999 }, &Reply::Pong);
        let head = ping(peer);
        peer.reply(head, &Reply::Pong);
    })]);
    let client = fake.client();
    let other = client.clone();
    let listing = std::thread::spawn(move || other.admin().list_topics());
    client.admin().ping().unwrap();
    assert_eq!(listing.join().unwrap(), Ok(Vec::new()));
    client.admin().ping().unwrap();
    fake.join();
}

#[test]
fn a_refusal_brings_code_message_and_hint() {
    let fake = Fake::new(vec![script(|peer| {
        let head = peer.request(|head, _| head);
        peer.refuse(head, ErrorCode::UnknownTopicOrPartition);
    })]);
    let error = fake.client().admin().describe_topic("none").unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
    assert!(matches!(error, Error::Refused { message, hint, .. } if message == "scripted" && hint == "none"));
    fake.join();
}

#[test]
fn a_broken_connection_fails_what_waits_and_the_next_call_reconnects() {
    let fake = Fake::new(vec![
        script(|peer| {
            ping(peer);
        }),
        script(|peer| {
            let head = ping(peer);
            peer.reply(head, &Reply::Pong);
        }),
    ]);
    let client = fake.client();
    assert!(matches!(client.admin().ping(), Err(Error::Disconnected(_))));
    client.admin().ping().unwrap();
    fake.join();
}

#[test]
fn after_go_away_what_was_asked_is_answered_and_new_requests_go_elsewhere() {
    let fake = Fake::new(vec![
        script(|peer| {
            let head = ping(peer);
            peer.reply(Head { stream: 0, correlation: 0 }, &Reply::GoAway { message: "stopping" });
            peer.reply(head, &Reply::Pong);
        }),
        script(|peer| {
            let head = ping(peer);
            peer.reply(head, &Reply::Pong);
        }),
    ]);
    let client = fake.client();
    client.admin().ping().unwrap();
    client.admin().ping().unwrap();
    fake.join();
}

#[test]
fn malformed_replies_end_the_connection_and_not_the_client() {
    let wrong_kind = |peer: &mut Peer| {
        let head = ping(peer);
        peer.reply(head, &Reply::Ack);
    };
    let unknown_code = |peer: &mut Peer| {
        let head = ping(peer);
        krappy_frame(peer, 0x99, head);
    };
    let noise = |peer: &mut Peer| {
        ping(peer);
        peer.raw(&[0xff; 64]);
    };
    let cut = |peer: &mut Peer| {
        let head = ping(peer);
        let mut out = Vec::new();
        Reply::Pong.encode(head, &mut out);
        peer.raw(&out[..out.len() - 1]);
    };
    let good = |peer: &mut Peer| {
        let head = ping(peer);
        peer.reply(head, &Reply::Pong);
    };
    let fake =
        Fake::new(vec![script(wrong_kind), script(unknown_code), script(noise), script(cut), script(good)]);
    let client = fake.client();
    for _ in 0..3 {
        assert!(matches!(client.admin().ping(), Err(Error::Malformed(_))));
    }
    assert!(matches!(client.admin().ping(), Err(Error::Disconnected(_))));
    client.admin().ping().unwrap();
    fake.join();
}

fn krappy_frame(peer: &mut Peer, code: u16, head: Head) {
    let mut out = Vec::new();
    krappy_wire::frame::write(&mut out, code, |out| {
        out.extend_from_slice(&head.stream.to_be_bytes());
        out.extend_from_slice(&head.correlation.to_be_bytes());
    });
    peer.raw(&out);
}

#[test]
fn a_stranger_on_the_port_is_named() {
    let stranger = |answer: &'static [u8]| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 12]).unwrap();
            stream.write_all(answer).unwrap();
        });
        let error = Client::connect(address).err().unwrap();
        thread.join().unwrap();
        error
    };
    let http = stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert!(http.to_string().contains("speaks HTTP"), "{http}");
    assert!(matches!(stranger(b""), Error::NotKrappy { .. } | Error::Disconnected(_)));
    assert!(matches!(stranger(b"SSH-2.0-OpenSSH\r\n"), Error::NotKrappy { .. } | Error::Disconnected(_)));
}

#[test]
fn a_closed_client_says_so_and_wakes_who_waits() {
    let (arrived, wait) = mpsc::channel();
    let fake = Fake::new(vec![script(move |peer| {
        ping(peer);
        arrived.send(()).unwrap();
        assert!(peer.try_request(|_, _| ()).is_none());
    })]);
    let client = fake.client();
    let waiting = client.clone();
    let asked = std::thread::spawn(move || waiting.admin().ping());
    wait.recv().unwrap();
    client.close();
    assert!(matches!(asked.join().unwrap(), Err(Error::Closed | Error::Disconnected(_))));
    assert_eq!(client.admin().ping(), Err(Error::Closed));
    fake.join();
}
