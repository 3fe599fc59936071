//! `krappyctl queue` as a shell sees it, against a real broker: what it prints, how it exits, and what stays taken.

mod real;

use real::{Broker, text};
use serde_json::Value;

fn lines(output: &[u8]) -> Vec<String> {
    text(output).lines().map(str::to_owned).collect()
}

/// A broker with these records in a topic of one partition.
fn orders(values: &[u8]) -> Broker {
    let broker = Broker::ephemeral();
    broker.out(&["topic", "create", "orders", "-p", "1"]);
    broker.produce(&["orders"], values);
    broker
}

fn described(broker: &Broker) -> Value {
    let all = broker.out(&["queue", "describe", "orders", "-g", "g", "--json"]);
    serde_json::from_slice::<Vec<Value>>(&all).unwrap().remove(0)
}

#[test]
fn what_is_printed_is_acknowledged_and_comes_once() {
    let broker = orders(b"a\nb\nc\n");
    assert_eq!(lines(&broker.out(&["queue", "take", "orders", "-g", "g", "-n", "2"])), ["a", "b"]);
    let rest = broker.out(&["queue", "take", "orders", "-g", "g", "-e", "--jsonl"]);
    let record: Value = serde_json::from_slice(&rest).unwrap();
    assert_eq!(
        (&record["value"], &record["offset"], &record["deliveries"]),
        (&"c".into(), &2.into(), &1.into())
    );
    assert!(broker.out(&["queue", "take", "orders", "-g", "g", "-e"]).is_empty());
    assert_eq!((&described(&broker)["start"], &described(&broker)["lag"]), (&3.into(), &0.into()));
}

#[test]
fn what_nobody_has_read_is_given_to_somebody_else() {
    let broker = orders(&b"a long line that fills the pipe\n".repeat(20_000));
    let output = broker.shell("\"$CTL\" queue take orders -g g | head -n 1");
    assert_eq!(lines(&output.stdout).len(), 1);
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
    let rest = broker.out(&["queue", "take", "orders", "-g", "g", "-e"]);
    // A pipe holds 64 KiB, and what did not fit in it was not acknowledged.
    assert!(lines(&rest).len() > 10_000, "{}", lines(&rest).len());
}

#[test]
fn a_command_that_ends_well_acknowledges_and_one_that_does_not_makes_a_dead_letter() {
    let broker = orders(b"good\nbad\n");
    let work =
        "read value; test \"$value\" = good && echo \"$KRAPPY_TOPIC/$KRAPPY_PARTITION@$KRAPPY_OFFSET\"";
    let output = broker.ctl(&["queue", "take", "orders", "-g", "g", "-e", "--exec", work]);
    assert_eq!((output.status.code(), lines(&output.stdout)), (Some(1), vec!["orders/0@0".to_owned()]));
    assert!(text(&output.stderr).contains("the command failed 5 times"), "{}", text(&output.stderr));

    let mut letters = Vec::new();
    for _ in 0..200 {
        letters = lines(&broker.out(&["queue", "dlq", "orders", "-g", "g", "--jsonl"]));
        if !letters.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let letter: Value = serde_json::from_str(&letters[0]).unwrap();
    assert_eq!((&letter["value"], &letter["record"]), (&"bad".into(), &"orders/0@1".into()));
    assert_eq!((&letter["group"], &letter["deliveries"]), (&"g".into(), &5.into()));
    assert!(broker.out(&["queue", "dlq", "orders", "-g", "other", "--jsonl"]).is_empty());

    let moved = broker.out(&["queue", "redrive", "orders", "-g", "g", "--json"]);
    assert_eq!(text(&moved), "[{\"topic\":\"orders\",\"group\":\"g\",\"redriven\":1}]\n");
    assert_eq!(lines(&broker.out(&["queue", "take", "orders", "-g", "g", "-e"])), ["bad"]);
}

#[test]
fn what_a_name_has_taken_stays_taken_and_is_ended_by_another_process() {
    let broker = orders(b"a\nb\nc\n");
    let taken = broker.out(&["queue", "take", "orders", "-g", "g", "--as", "ann", "-n", "3"]);
    assert_eq!(lines(&taken), ["orders/0@0\ta", "orders/0@1\tb", "orders/0@2\tc"]);
    assert!(broker.out(&["queue", "take", "orders", "-g", "g", "-e"]).is_empty());
    let held = described(&broker);
    assert_eq!((&held["held"], &held["oldest_holder"]), (&3.into(), &"ann".into()));

    let ack = broker.ctl(&["queue", "ack", "orders/0@0", "-g", "g", "--as", "ann"]);
    assert_eq!((ack.status.code(), text(&ack.stderr)), (Some(0), "orders/0@0 acknowledged\n".to_owned()));
    assert!(ack.stdout.is_empty());
    let again = broker.ctl(&["queue", "ack", "orders/0@0", "orders/0@1", "-g", "g", "--as", "ann", "-q"]);
    assert_eq!(again.status.code(), Some(3));
    assert!(text(&again.stderr).contains("ann does not hold orders/0@0"), "{}", text(&again.stderr));
    broker.out(&["queue", "release", "orders/0@2", "-g", "g", "--as", "ann", "-q"]);
    assert_eq!(lines(&broker.out(&["queue", "take", "orders", "-g", "g", "-e"])), ["c"]);
}

#[test]
fn mistakes_are_named() {
    let broker = orders(b"a\n");
    let output = broker.ctl(&["queue", "take", "order", "-g", "g", "-e"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("did you mean \"orders\"?"), "{}", text(&output.stderr));
    for usage in [
        &["queue", "take", "orders"][..],
        &["queue", "take", "orders", "-g", "g", "--format", "csv"],
        &["queue", "ack", "orders/0@0", "payments/0@0", "-g", "g", "--as", "ann"],
    ] {
        assert_eq!(broker.ctl(usage).status.code(), Some(2), "{usage:?}");
    }
}
