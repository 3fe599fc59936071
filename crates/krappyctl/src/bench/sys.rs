//! The few calls to the kernel that the standard library does not make: poll, epoll, CPU affinity, limits.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What to watch a descriptor for, and what was seen.
pub type PollFd = libc::pollfd;

pub fn poll_fd(fd: RawFd) -> PollFd {
    PollFd { fd, events: libc::POLLIN, revents: 0 }
}

/// Watches for room to write as well, or not.
pub fn watch_output(fd: &mut PollFd, on: bool) {
    fd.events = if on { libc::POLLIN | libc::POLLOUT } else { libc::POLLIN };
}

pub fn readable(fd: &PollFd) -> bool {
    fd.revents & !libc::POLLOUT != 0
}

/// Waits with nanosecond resolution; a signal ends the wait early.
pub fn poll(fds: &mut [PollFd], longest: Duration) -> io::Result<()> {
    let wait =
        libc::timespec { tv_sec: longest.as_secs() as libc::time_t, tv_nsec: longest.subsec_nanos().into() };
    // SAFETY: `fds` is a valid slice of pollfd for the length given, `wait` outlives the call, no mask is set.
    let n = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, &wait, std::ptr::null()) };
    match n {
        -1 => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            e => Err(e),
        },
        _ => Ok(()),
    }
}

/// Has timed waits of this thread end on time, instead of up to 50 microseconds late.
pub fn exact_timers() {
    // SAFETY: PR_SET_TIMERSLACK takes one integer and touches no memory of ours.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1usize, 0usize, 0usize, 0usize) };
}

/// An edge-triggered epoll instance, used the way mio uses one.
pub struct Epoll(OwnedFd);

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the result is checked and owned by nobody else.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just created and is valid.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn add(&self, fd: RawFd, token: u64, edge: bool) -> io::Result<()> {
        let events = if edge { libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET } else { libc::EPOLLIN };
        let mut event = libc::epoll_event { events: events as u32, u64: token };
        // SAFETY: `event` is valid for the call.
        match unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &mut event) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Waits and returns the tokens that have news.
    pub fn wait(&self, tokens: &mut Vec<u64>) -> io::Result<()> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 128];
        // SAFETY: `events` has room for as many as are asked for.
        let n = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 128, -1) };
        tokens.clear();
        if n < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        }
        tokens.extend(events[..n as usize].iter().map(|e| e.u64));
        Ok(())
    }
}

/// The CPUs that a thread may run on.
#[derive(Clone, Copy)]
pub struct Cpus(libc::cpu_set_t);

impl Cpus {
    pub fn only(cpu: usize) -> Self {
        // SAFETY: all zeroes is the empty set, and CPU_SET stays inside it for any CPU number below CPU_SETSIZE.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu % libc::CPU_SETSIZE as usize, &mut set);
            Self(set)
        }
    }

    /// Of a thread; 0 is the calling one.
    pub fn of(thread: i32) -> io::Result<Self> {
        // SAFETY: the kernel writes at most the size given into the set.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            match libc::sched_getaffinity(thread, size_of::<libc::cpu_set_t>(), &mut set) {
                0 => Ok(Self(set)),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    pub fn apply(&self, thread: i32) -> io::Result<()> {
        // SAFETY: the set is valid for the size given.
        match unsafe { libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &self.0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Pins threads to one CPU until it is dropped.
pub struct Pinned(Vec<(i32, Cpus)>);

impl Pinned {
    /// This thread, and every thread of the given process.
    pub fn to_one_cpu(process: Option<i32>) -> io::Result<Self> {
        let mut threads = vec![0];
        if let Some(pid) = process {
            for entry in std::fs::read_dir(format!("/proc/{pid}/task"))? {
                threads.extend(entry?.file_name().to_str().and_then(|n| n.parse::<i32>().ok()));
            }
        }
        let mut pinned = Pinned(Vec::new());
        for thread in threads {
            pinned.0.push((thread, Cpus::of(thread)?));
            Cpus::only(0).apply(thread)?;
        }
        Ok(pinned)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        for (thread, before) in &self.0 {
            // A thread that has ended needs nothing back.
            let _ = before.apply(*thread);
        }
    }
}

/// Allows as many open files as the hard limit does, and returns how many.
pub fn raise_file_limit() -> u64 {
    // SAFETY: the structure is plain numbers and outlives both calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
        limit.rlim_cur
    }
}

/// Resident memory of a process, bytes.
pub fn resident(pid: i32) -> io::Result<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
    let pages = statm.split(' ').nth(1).and_then(|p| p.parse::<u64>().ok());
    // SAFETY: sysconf takes a number and touches no memory of ours.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages.map(|p| p * page as u64).ok_or_else(|| io::Error::other("statm has another form"))
}

/// Has the system forget what it keeps of files in memory; for root only.
pub fn drop_caches() -> io::Result<()> {
    // SAFETY: sync takes nothing and returns nothing. Only clean pages are dropped.
    unsafe { libc::sync() };
    std::fs::write("/proc/sys/vm/drop_caches", "1")
}

/// Touches memory and gives it back, so that what is measured next does not wait for the host to find pages.
pub fn warm(bytes: u64) {
    let mut memory = vec![0u8; bytes as usize];
    for page in memory.chunks_mut(4096) {
        page[0] = 1;
    }
    std::hint::black_box(&memory);
}
