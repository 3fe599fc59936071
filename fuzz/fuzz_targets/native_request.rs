//! A request is refused, or is exactly what its bytes say: encoding it again gives the same bytes.
#![no_main]

use krappy_fuzz::memory;
use krappy_wire::frame::HEAD;
use krappy_wire::native::{Body, Head, Request, Start, code};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The low byte of the code is enough to reach every message.
    let Some((&code, body)) = input.split_first() else { return };
    let decoded = memory::bounded(body.len(), || Request::decode(u16::from(code), body));
    let Ok(Some(request)) = decoded else { return };

    let mut frame = Vec::new();
    request.encode(Head { stream: 1, correlation: 2 }, &mut frame);
    let again = &frame[HEAD + 8..];
    assert_eq!(Request::decode(request.code(), again), Ok(Some(request.clone())));
    match &request {
        // The value of a start that needs none is ignored, so its bytes may differ.
        Request::RegisterConsumer { start: Start::Earliest | Start::Latest | Start::Committed, .. } => {}
        _ => assert_eq!(again, body),
    }
    if let Request::Publish { body: Body::Plain(records), .. } = &request {
        let headers: usize = records.iter().map(|r| r.headers().count()).sum();
        assert!(records.count() as usize * 18 + headers * 6 <= records.size());
    }
    if let Request::Get(get) = &request {
        let bytes: usize = get.keys.iter().map(|key| 4 + key.len()).sum();
        assert!(get.keys.iter().count() as u32 == get.keys.count() && bytes < body.len());
    }
    if code != code::PUBLISH as u8 {
        let longer = [body, b"x"].concat();
        assert!(Request::decode(request.code(), &longer).is_err(), "a byte too many was taken");
    }
});
