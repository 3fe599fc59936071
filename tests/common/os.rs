//! The few calls to the kernel that the tests need and the standard library does not offer.
#![allow(unsafe_code)]

use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: i32) {
    // SAFETY: `kill` takes two numbers; the process is a child that has not been waited for, so its id is still its
    // own.
    let result = unsafe { libc::kill(pid as libc::pid_t, signal) };
    assert_eq!(result, 0, "process {pid} can be signalled: {}", std::io::Error::last_os_error());
}

/// Raises the limit of open files of this process as far as it goes; the limit that holds now.
pub fn raise_open_files() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid structure to write to and to read from.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    limit.rlim_cur
}

/// Closes a connection with RST instead of FIN.
pub fn reset(stream: TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: pointer and length describe `linger`; the descriptor is open because `stream` is owned here.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "SO_LINGER can be set");
}

/// Unit of processor time in `/proc`.
pub fn ticks_per_second() -> u64 {
    // SAFETY: the call has no preconditions.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as u64 }
}
