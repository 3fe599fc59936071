//! A Kafka request or answer is refused, or is what its bytes say: written again it is the same message, and written
//! once more the same bytes. It can differ from the input once, because a flag may be any byte and unknown tagged
//! fields are dropped.
#![no_main]

use krappy::kafka::header::RequestHeader;
use krappy::kafka::table::{Answer, Call};
use krappy::kafka::wire::{Out, Reader};
use krappy_fuzz::memory;
use libfuzzer_sys::fuzz_target;

/// The item that is largest for its bytes is the topic of a Fetch or Produce answer: 64 bytes for the three of an empty
/// name, no partitions and no tagged fields. A vector may have room for twice what it holds, hence 128 for three. Of
/// requests it is 56 for three.
const FACTOR: usize = 43;

fuzz_target!(|input: &[u8]| {
    header(input);
    let [kind, version, body @ ..] = input else { return };
    let (key, version) = (i16::from(kind & 0x7f), i16::from(*version));
    if kind & 0x80 == 0 {
        let decoded = memory::bounded_by(FACTOR, body.len(), || Call::decode(key, version, body));
        let Ok(call) = decoded else { return };
        let again = written(|out| Call::decode(key, version, body).expect("as before").write(version, out));
        assert!(again.len() <= body.len());
        assert_eq!(Call::decode(key, version, &again).as_ref(), Ok(&call));
        // As in Kafka, bytes behind the last field do not matter.
        assert_eq!(Call::decode(key, version, &[body, b"x"].concat()).as_ref(), Ok(&call));
        assert_eq!(written(|out| call.write(version, out)), again);
    } else {
        let decoded = memory::bounded_by(FACTOR, body.len(), || Answer::decode(key, version, body));
        let Ok(answer) = decoded else { return };
        let again = written(|out| Answer::decode(key, version, body).expect("as before").write(version, out));
        assert!(again.len() <= body.len());
        assert_eq!(Answer::decode(key, version, &again).as_ref(), Ok(&answer));
        assert_eq!(written(|out| answer.write(version, out)), again);
        assert!(Answer::decode(key, version, &[body, b"x"].concat()).is_err(), "a byte too many was taken");
    }
});

fn written(write: impl FnOnce(&mut Out)) -> Vec<u8> {
    let mut out = Out::default();
    write(&mut out);
    out.to_vec()
}

fn header(input: &[u8]) {
    let Ok(header) = memory::bounded(input.len(), || RequestHeader::read(&mut Reader::new(input))) else {
        return;
    };
    let again = written(|out| header.write(out));
    let mut from = Reader::new(&again);
    assert_eq!((RequestHeader::read(&mut from), from.end()), (Ok(header), Ok(())));
}
