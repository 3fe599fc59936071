//! HTTP, as far as it goes: whoever opens the port in a browser is told what it is.
//!
//! Invariant: one answer, then the connection ends; nothing of the request but its method is looked at.

use crate::language::{Step, Violation};

/// Bytes of a request up to the blank line behind its headers.
const HEAD_MOST: usize = 16 << 10;

const PAGE: &str = "404: this port serves krappy clients and Kafka clients, and no pages.\n\n\
    Point a Kafka client at this address, or try:\n\
    \x20   krappyctl topic list\n";

/// One HTTP connection.
#[derive(Debug, Default)]
pub struct Session {
    /// It has been answered.
    pub closing: bool,
}

/// Whether a connection that begins like this speaks HTTP.
pub fn is_spoken(input: &[u8]) -> bool {
    const METHODS: [&[u8]; 7] = [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC"];
    METHODS.iter().any(|method| input.starts_with(method))
}

impl Session {
    /// Answers a request as soon as its headers are there.
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Step<'static>, Violation> {
        if !input.windows(4).any(|four| four == b"\r\n\r\n") {
            if input.len() > HEAD_MOST {
                return Err(Violation(format!("an HTTP request has more than {HEAD_MOST} bytes of headers")));
            }
            return Ok(Step::Partial(input.len() + 1));
        }
        let head = format!(
            "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            PAGE.len()
        );
        out.extend_from_slice(head.as_bytes());
        if !input.starts_with(b"HEAD") {
            out.extend_from_slice(PAGE.as_bytes());
        }
        self.closing = true;
        Ok(Step::Handled(input.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_when_its_headers_are_whole() {
        let request = b"GET /topics HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 4..request.len() {
            let (mut session, mut out) = (Session::default(), Vec::new());
            assert!(is_spoken(&request[..cut]));
            let step = session.step(&request[..cut], &mut out).unwrap();
            assert!(matches!(step, Step::Partial(need) if need == cut + 1) && out.is_empty());
        }
        let (mut session, mut out) = (Session::default(), Vec::new());
        assert!(matches!(session.step(request, &mut out), Ok(Step::Handled(n)) if n == request.len()));
        let text = String::from_utf8(out).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(" 404 ") && head.contains(&format!("Content-Length: {}", body.len())));
        assert!(session.closing);
    }

    #[test]
    fn a_head_gets_no_body_and_headers_without_end_are_refused() {
        let (mut session, mut out) = (Session::default(), Vec::new());
        session.step(b"HEAD / HTTP/1.0\r\n\r\n", &mut out).unwrap();
        assert!(out.ends_with(b"\r\n\r\n"));
        assert!(Session::default().step(&vec![b'a'; HEAD_MOST + 1], &mut out).is_err());
    }
}
