//! Ctrl-C: the first asks the command to finish what it is doing and sum up, the second ends it at once.
#![allow(unsafe_code)]

use crate::failure::{Failure, INTERRUPTED as INTERRUPTED_CODE};
use std::sync::atomic::{AtomicBool, Ordering};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_interrupt(_: libc::c_int) {
    if INTERRUPTED.swap(true, Ordering::SeqCst) {
        // SAFETY: `_exit` is async-signal-safe and runs no destructor.
        unsafe { libc::_exit(130) }
    }
}

/// Has Ctrl-C and SIGTERM set [`interrupted`]. Blocking reads then return early (no `SA_RESTART`).
pub fn watch() {
    // SAFETY: the structure is zero-initialised, which is a valid empty mask and no flags, and the handler only touches
    // an atomic and calls `_exit`.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_interrupt as extern "C" fn(libc::c_int) as usize;
        for signal in [libc::SIGINT, libc::SIGTERM] {
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// An error when the user wants this to end: what was made on the way is then cleaned up.
pub fn check() -> Result<(), Failure> {
    if interrupted() { Err(Failure::quiet(INTERRUPTED_CODE)) } else { Ok(()) }
}

/// Whether the user wants this to end.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
