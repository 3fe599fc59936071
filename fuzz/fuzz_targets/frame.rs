//! Frames out of a byte stream: the same frames, and the same end, however the stream is cut into pieces.
#![no_main]

use krappy_fuzz::memory;
use krappy_wire::frame::{self, FrameError, SIZE, Split, split};
use libfuzzer_sys::{Corpus, fuzz_target};

/// Small, so that inputs reach it from both sides.
const LIMIT: u32 = 64;
/// A longer input shows nothing new, and takes its time squared.
const LONGEST: usize = 256;

fuzz_target!(|input: &[u8]| -> Corpus {
    if input.len() > LONGEST {
        return Corpus::Reject;
    }
    let mut whole = Stream::default();
    memory::bounded(input.len(), || whole.feed(input));
    whole.check(input);

    let mut bytewise = Stream::default();
    input.chunks(1).for_each(|byte| bytewise.feed(byte));
    assert_eq!(whole, bytewise);

    for cut in 0..=input.len() {
        let mut two = Stream::default();
        two.feed(&input[..cut]);
        two.feed(&input[cut..]);
        assert_eq!(whole, two, "cut at {cut}");
    }
    Corpus::Keep
});

/// What a connection does: keep what is not consumed, and stop at the first error.
#[derive(Debug, Default, PartialEq)]
struct Stream {
    input: Vec<u8>,
    consumed: usize,
    frames: Vec<(u16, usize)>,
    error: Option<FrameError>,
}

impl Stream {
    fn feed(&mut self, piece: &[u8]) {
        self.input.extend_from_slice(piece);
        while self.error.is_none() {
            match split(&self.input[self.consumed..], LIMIT) {
                Ok(Split::Whole { code, payload, consumed }) => {
                    self.frames.push((code, payload.len()));
                    self.consumed += consumed;
                }
                Ok(Split::Partial { need }) => {
                    let have = self.input.len() - self.consumed;
                    assert!(need > have, "{need} bytes are asked for and {have} are there");
                    assert!(need <= SIZE + LIMIT as usize);
                    break;
                }
                Err(e) => self.error = Some(e),
            }
        }
    }

    /// Writing the frames again gives the bytes that were consumed.
    fn check(&self, input: &[u8]) {
        let mut again = Vec::new();
        let mut rest = input;
        for &(code, len) in &self.frames {
            let payload = &rest[frame::HEAD..frame::HEAD + len];
            frame::write(&mut again, code, |out| out.extend_from_slice(payload));
            rest = &rest[frame::HEAD + len..];
        }
        assert_eq!(again, input[..self.consumed]);
    }
}
