//! What the standard library does not offer: the few calls to the kernel that krappy needs beyond it.
//!
//! Invariant: every function here is safe to call with any argument; the reasons stand at each `unsafe` block. Nothing
//! here knows about the log or the network.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Most parts that the kernel takes in one vectored call (`IOV_MAX` on Linux).
const MOST_PARTS: usize = 1024;

/// Writes the first parts at `at` in one call; the number of bytes written, which may be fewer than offered.
pub fn pwritev(file: &fs::File, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
    let count = parts.len().min(MOST_PARTS);
    // SAFETY: `IoSlice` has the layout of `iovec` (std promises it on Unix), `count` of them are readable for the
    // length of the call, and the descriptor is open because `file` is borrowed.
    let n = unsafe {
        libc::pwritev(file.as_raw_fd(), parts.as_ptr().cast(), count as libc::c_int, at as libc::off_t)
    };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Reads at `at` what is in memory already. `WouldBlock`: nothing of it is; a short count: only the front is, or the
/// file ends. `Unsupported`: this kernel or file system cannot tell.
pub fn pread_cached(file: &fs::File, buf: &mut [u8], at: u64) -> io::Result<usize> {
    let part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: `part` describes `buf`, which is writable and exclusively borrowed for the length of the call.
    let n = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, at as libc::off_t, libc::RWF_NOWAIT) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

/// Bytes on the file system of `path`: what an ordinary user may still write, and all of it.
pub fn file_system_space(path: &Path) -> io::Result<(u64, u64)> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `name` ends with a zero byte and `stat` has room for the answer.
    if unsafe { libc::statvfs(name.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has filled the whole structure.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// Raises the limit of open files of this process as far as it may without privileges; the limit that holds now.
pub fn raise_open_file_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid structure to read from and write to for both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 {
            return 0;
        }
        let before = limit.rlim_cur;
        limit.rlim_cur = limit.rlim_max;
        if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
            return before;
        }
    }
    limit.rlim_cur
}

/// Bytes of memory that this process occupies now; 0 where `/proc` is missing.
pub fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    // SAFETY: the call has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * u64::try_from(page).unwrap_or(0)
}

/// Sixteen bytes that nobody can guess, from the kernel.
pub fn random_bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    loop {
        // SAFETY: the pointer and length describe `bytes`.
        let n = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if n == bytes.len() as isize {
            return Ok(bytes);
        }
        let error = io::Error::last_os_error();
        if n < 0 && error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// SIGTERM and SIGINT as readiness of a stream, so that the poll loop hears of them like of everything else.
///
/// The first signal asks for an orderly stop. Another one, a quarter of a second later or more, ends the process at
/// once with status 130: the handler does it itself, because a loop that hangs could not. The quarter of a second is
/// for senders that signal the process and its group, as `timeout` does.
#[derive(Debug, Clone, Copy)]
pub struct Signals(());

static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);
static SIGNALS: AtomicU32 = AtomicU32::new(0);
static FIRST_SIGNAL_MS: AtomicU64 = AtomicU64::new(0);
const SAME_REQUEST_MS: u64 = 250;

impl Signals {
    /// Installs the handlers, once per process, and ignores SIGPIPE. The stream does not block and becomes readable at
    /// each signal, one byte per signal.
    pub fn install() -> io::Result<(UnixStream, Signals)> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        // The handler may run at any later time, so the descriptor stays open as long as the process.
        SIGNAL_PIPE.store(writer.into_raw_fd(), Ordering::SeqCst);
        let handler = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
        handle(libc::SIGTERM, handler)?;
        handle(libc::SIGINT, handler)?;
        handle(libc::SIGPIPE, libc::SIG_IGN)?;
        Ok((reader, Signals(())))
    }

    /// How many SIGTERM and SIGINT have arrived since the start.
    pub fn arrived(self) -> u32 {
        SIGNALS.load(Ordering::SeqCst)
    }
}

fn handle(signal: libc::c_int, handler: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: all zeros is a valid `sigaction` (no flags, empty mask); the handler is `on_signal`, which calls only
    // functions that are safe in a handler, or SIG_IGN.
    let result = unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

extern "C" fn on_signal(_signal: libc::c_int) {
    let now = monotonic_ms();
    if SIGNALS.fetch_add(1, Ordering::SeqCst) == 0 {
        FIRST_SIGNAL_MS.store(now, Ordering::SeqCst);
    } else if now.saturating_sub(FIRST_SIGNAL_MS.load(Ordering::SeqCst)) >= SAME_REQUEST_MS {
        // SAFETY: `_exit` may be called in a handler; it runs no destructors.
        unsafe { libc::_exit(130) }
    }
    // SAFETY: `write` may be called in a handler, the descriptor is never closed, and the interrupted code finds its
    // `errno` as it left it. A full pipe is fine: the stream is readable then.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        libc::write(SIGNAL_PIPE.load(Ordering::SeqCst), [1u8].as_ptr().cast(), 1);
        *errno = saved;
    }
}

fn monotonic_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` has room for the answer; the call may be made in a handler.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_signal_makes_the_stream_readable_and_is_counted() {
        let (mut reader, signals) = Signals::install().unwrap();
        assert_eq!(reader.read(&mut [0; 8]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // SAFETY: raising a signal that has a handler.
        unsafe { libc::raise(libc::SIGTERM) };
        assert_eq!((reader.read(&mut [0; 8]).unwrap(), signals.arrived()), (1, 1));
        handle(libc::SIGTERM, libc::SIG_DFL).unwrap();
        handle(libc::SIGINT, libc::SIG_DFL).unwrap();
    }

    #[test]
    fn random_bytes_differ_each_time() {
        assert_ne!(random_bytes().unwrap(), random_bytes().unwrap());
    }

    #[test]
    fn the_process_occupies_memory_and_may_open_files() {
        assert!(resident_bytes() > 100_000);
        assert!(raise_open_file_limit() >= 256);
        assert_eq!(raise_open_file_limit(), raise_open_file_limit());
    }

    #[test]
    fn a_file_system_has_room_and_a_missing_one_is_an_error() {
        let (free, total) = file_system_space(Path::new("/")).unwrap();
        assert!(total > 0 && free <= total);
        assert!(file_system_space(Path::new("/no/such/place")).is_err());
        assert!(file_system_space(Path::new("a\0b")).is_err());
    }
}
