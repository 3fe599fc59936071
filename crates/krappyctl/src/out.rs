//! stdout is data: buffered, checked, and quiet when the reader has gone.

use crate::failure::{Failure, REFUSED};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;

/// Standard output. Nothing else in this program writes to it.
pub struct Out {
    to: BufWriter<Box<dyn Write>>,
}

impl Out {
    pub fn stdout() -> Result<Self, Failure> {
        let copy = io::stdout().as_fd().try_clone_to_owned().map_err(|e| failed(&e))?;
        Ok(Self::to(Box::new(File::from(copy))))
    }

    pub fn to(to: Box<dyn Write>) -> Self {
        Self { to: BufWriter::with_capacity(64 << 10, to) }
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.to.write_all(bytes).map_err(|e| failed(&e))
    }

    pub fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.bytes(line.as_bytes())?;
        self.bytes(b"\n")
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.to.flush().map_err(|e| failed(&e))
    }
}

/// A reader that has gone, as `head` does, has what it wanted: that is success.
fn failed(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::quiet(0),
        _ => Failure::new(REFUSED, format!("cannot write to standard output: {error}")),
    }
}

/// Writes a line to stderr. That it cannot be written is nobody's loss.
pub fn talk(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Refusing(io::ErrorKind);

    impl Write for Refusing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_broken_pipe_is_quiet_success_and_a_full_disk_is_not() {
        let end = |kind| {
            let mut out = Out::to(Box::new(Refusing(kind)));
            out.line("x").and_then(|()| out.flush()).unwrap_err()
        };
        assert_eq!(end(io::ErrorKind::BrokenPipe), Failure::quiet(0));
        let full = end(io::ErrorKind::StorageFull);
        assert_eq!(full.code, REFUSED);
        assert!(full.message.contains("standard output"));
    }
}
