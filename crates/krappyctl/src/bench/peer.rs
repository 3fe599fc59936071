//! The other end of a limit, in a process of its own, as a broker would be. It prints its port, serves connections one
//! after the other (the echo: all at once) and ends with its standard input.

use super::args::{Peer, Role};
use super::sys::{Cpus, Epoll};
use super::target::cannot;
use crate::failure::Failure;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running peer; it ends when this is dropped.
pub struct Running {
    child: Child,
    pub address: String,
}

impl Running {
    /// Starts this very program again in another role.
    pub fn start(args: &[&str]) -> Result<Self, Failure> {
        let failed = |e: io::Error| cannot("start the other process", &e);
        let program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(program)
            .args(["bench", "peer"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut port).map_err(failed)?;
        Ok(Self { child, address: format!("127.0.0.1:{}", port.trim()) })
    }

    pub fn connect(&self) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect(&self.address).map_err(|e| cannot("reach the other process", &e))?;
        stream.set_nodelay(true).map_err(|e| cannot("set up a socket", &e))?;
        Ok(stream)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It has ended or is about to.
        let _ = self.child.wait();
    }
}

/// The other process itself.
pub fn run(args: &Peer) -> Result<(), Failure> {
    let failed = |e: io::Error| cannot("serve", &e);
    if let Some(cpu) = args.cpu {
        Cpus::only(cpu).apply(0).map_err(failed)?;
    }
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let path = args.dir.join(format!("krappyctl-bench-{}.tmp", std::process::id()));
    let served = serve(args, &listener, port, &path);
    // Only the sink and the source have made it.
    let _ = std::fs::remove_file(&path);
    served.map_err(failed)
}

fn serve(args: &Peer, listener: &TcpListener, port: u16, path: &Path) -> io::Result<()> {
    match args.role {
        Role::Echo => {
            announce(port, None)?;
            echo(listener, args.chunk)
        }
        Role::Sink => {
            announce(port, Some(path.into()))?;
            let mut buffer = vec![0; args.chunk];
            loop {
                sink(listener.accept()?.0, &mut buffer, path)?;
            }
        }
        Role::Source => {
            let file = filled(path, args.bytes)?;
            announce(port, Some(path.into()))?;
            let mut buffer = vec![0; args.chunk];
            loop {
                source(listener.accept()?.0, &mut buffer, &file, args.bytes)?;
            }
        }
    }
}

/// Says where it listens, and ends the process with its standard input.
fn announce(port: u16, remove: Option<PathBuf>) -> io::Result<()> {
    writeln!(io::stdout(), "{port}")?;
    std::thread::spawn(move || {
        // Whatever comes, even an error: the parent has gone.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        if let Some(path) = remove {
            let _ = std::fs::remove_file(path);
        }
        std::process::exit(0);
    });
    Ok(())
}

/// Says that it is ready, reads to the end, with CRC-32C of every byte and pwrite to a file that grows, and answers
/// with the checksum. The file goes away afterwards: emptying one that is on its way to the disk would take time that
/// is not the sink's.
fn sink(mut stream: TcpStream, buffer: &mut [u8], path: &Path) -> io::Result<()> {
    let file = File::create(path)?;
    stream.write_all(&[1])?;
    let (mut at, mut crc) = (0u64, 0u32);
    loop {
        let n = stream.read(buffer)?;
        if n == 0 {
            stream.write_all(&crc.to_be_bytes())?;
            return std::fs::remove_file(path);
        }
        crc = crc32c::crc32c_append(crc, &buffer[..n]);
        file.write_all_at(&buffer[..n], at)?;
        at += n as u64;
    }
}

fn filled(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    let block = vec![0x5a; 1 << 20];
    for _ in 0..bytes.div_ceil(1 << 20) {
        file.write_all(&block)?;
    }
    Ok(file)
}

fn source(mut stream: TcpStream, buffer: &mut [u8], file: &File, bytes: u64) -> io::Result<()> {
    let mut at = 0;
    while at < bytes {
        let want = (bytes - at).min(buffer.len() as u64) as usize;
        let n = file.read_at(&mut buffer[..want], at)?;
        stream.write_all(&buffer[..n])?;
        at += n as u64;
    }
    Ok(())
}

/// One thread, edge-triggered epoll, read until the socket is empty, write back: what a mio echo does.
fn echo(listener: &TcpListener, chunk: usize) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(listener.as_raw_fd(), u64::MAX, false)?;
    let mut conns: HashMap<u64, (TcpStream, Vec<u8>)> = HashMap::new();
    let (mut tokens, mut buffer, mut next) = (Vec::new(), vec![0; chunk], 0);
    loop {
        epoll.wait(&mut tokens)?;
        for token in &tokens {
            if *token == u64::MAX {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                epoll.add(stream.as_raw_fd(), next, true)?;
                conns.insert(next, (stream, Vec::new()));
                next += 1;
            } else if let Some((stream, unsent)) = conns.get_mut(token)
                && echo_turn(stream, unsent, &mut buffer).is_err()
            {
                conns.remove(token);
            }
        }
    }
}

/// An error is the end of the connection.
fn echo_turn(stream: &mut TcpStream, unsent: &mut Vec<u8>, buffer: &mut [u8]) -> io::Result<()> {
    loop {
        if !unsent.is_empty() {
            match stream.write(unsent) {
                Ok(n) => drop(unsent.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => return Err(e),
            }
            continue;
        }
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => match stream.write(&buffer[..n]) {
                Ok(written) if written == n => {
                    if n < buffer.len() {
                        return Ok(());
                    }
                }
                Ok(written) => unsent.extend_from_slice(&buffer[written..n]),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => unsent.extend_from_slice(&buffer[..n]),
                Err(e) => return Err(e),
            },
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}
